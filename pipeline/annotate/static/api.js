// The server's JSON API (`/api/openapi.json` lists it). Every failure is an ApiError with one sentence to show.

/** What the server refused, or that it did not answer. */
export class ApiError extends Error {
  /**
   * @param {number} status HTTP status; 0: no answer at all
   * @param {string} code what kind, such as "stale_lease"
   * @param {string} message one sentence for the person
   * @param {object} details whatever else the server said
   */
  constructor(status, code, message, details = {}) {
    super(message);
    Object.assign(this, { status, code, details });
  }
}

async function request(method, path, { query, body, signal } = {}) {
  const wanted = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const search = wanted.length ? `?${new URLSearchParams(wanted)}` : "";
  const options = { method, signal };
  if (body !== undefined) Object.assign(options, { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
  let response;
  try {
    response = await fetch(`/api${path}${search}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "no_server", "The server does not answer. Is `armchair sketch` still running?");
  }
  if (response.ok) return response.status === 204 ? null : response.json();
  const told = await response.json().catch(() => ({}));
  const { code = "error", message = `The server answered ${response.status}.`, ...details } = told.error ?? {};
  throw new ApiError(response.status, code, message, details);
}

const id = encodeURIComponent;

export const api = {
  get: (path, options) => request("GET", path, options),
  post: (path, body = {}) => request("POST", path, { body }),
  put: (path, body = {}) => request("PUT", path, { body }),
  delete: (path) => request("DELETE", path),
  /** All pictures of a camera, one after the other; answers byte ranges. */
  filmUrl: (episodeId, camera) => `/api/episodes/${id(episodeId)}/film?camera=${id(camera)}`,
};
