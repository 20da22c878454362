// An episode's pictures, ready before they are asked for: encoded bytes in a few large range requests, nearest to the
// cursor first; decoded off the main thread; the decoded ones bounded, least recently used first out.

const CHUNK_BYTES = 512 * 1024; // one request: large enough that its overhead is small, small enough to be there soon
const REQUESTS = 4; // at once: browsers open six connections to a server, two are left for everything else
const DECODES = 6; // at once: more than there are decoder threads, so that none of them waits for the main thread
const DECODED_BYTES = 256 * 1024 * 1024; // of ImageBitmaps
const BEHIND = 0.35; // share of the decoded window that lies behind the cursor; the rest lies where it is going
const RETRY_MS = 1500; // after a failed request

/** The pictures of all cameras of one episode. Frame `t` counts as there when every camera's picture is. */
export class Film {
  #cameras; // [{url, mime, offsets: Float64Array[T + 1], chunks: [{from, to, state, bytes, abort}], chunkOf: [T]}]
  #decoded = new Map(); // t -> [ImageBitmap], in the order of last use
  #decoding = new Map(); // t -> [promise]
  #requests = 0;
  #cursor = 0;
  #direction = 1;
  #closed = false;
  #waiting = false; // for a pump that is already scheduled
  #capacity; // frames that fit into DECODED_BYTES
  #retry = 0;
  #reach;

  /**
   * @param {object} detail EpisodeDetail of the server's API
   * @param {(camera: string) => string} urlOf where a camera's film is
   * @param {number} reach how many frames from the cursor on may be loaded; set `reach` later to load the rest
   *
   * Set `onFrame(t)`: frame t is there now; `onProblem(message)`: pictures can't be fetched, or null: they can again.
   */
  constructor(detail, urlOf, reach = Infinity) {
    this.numSteps = detail.num_steps;
    this.detail = detail;
    this.onFrame = () => {};
    this.onProblem = () => {};
    this.#reach = reach;
    this.#cameras = detail.cameras.map((camera) => cameraOf(camera, urlOf(camera.name)));
    const frameBytes = detail.cameras.reduce((sum, camera) => sum + 4 * camera.width * camera.height, 0);
    this.#capacity = Math.max(Math.floor(DECODED_BYTES / Math.max(frameBytes, 1)), 4);
    this.want(0);
  }

  set reach(reach) {
    this.#reach = reach;
    this.#soon();
  }

  has(t) {
    return this.#decoded.has(t);
  }

  /** Every camera's picture of frame t, or null. They belong to the film: don't close or keep them. */
  take(t) {
    const bitmaps = this.#decoded.get(t);
    if (!bitmaps) return null;
    this.#decoded.delete(t); // to the end of the line
    this.#decoded.set(t, bitmaps);
    return bitmaps;
  }

  /** The frame nearest to t that is there, or -1. */
  nearest(t) {
    if (this.#decoded.size) {
      for (let d = 0; d < this.numSteps; d++) {
        if (this.#decoded.has(t - d)) return t - d;
        if (this.#decoded.has(t + d)) return t + d;
      }
    }
    return -1;
  }

  /** The cursor is at frame t: what is near it comes first. */
  want(t) {
    if (t !== this.#cursor) this.#direction = Math.sign(t - this.#cursor);
    this.#cursor = t;
    this.#soon();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#retry);
    for (const camera of this.#cameras) for (const chunk of camera.chunks) chunk.abort?.abort();
    for (const bitmaps of this.#decoded.values()) bitmaps.forEach((bitmap) => bitmap.close());
    this.#decoded.clear();
  }

  #soon() {
    if (this.#waiting || this.#closed) return;
    this.#waiting = true;
    queueMicrotask(() => {
      this.#waiting = false;
      if (this.#closed || !this.#cameras.length) return;
      this.#fetchMore();
      this.#decodeMore();
    });
  }

  /** Frames around the cursor, nearest first, within what may be decoded. */
  *#window() {
    const size = Math.min(this.numSteps, Math.floor(this.#capacity / 2), this.#reach); // half: what was seen stays too
    const behind = Math.floor(size * BEHIND);
    const ahead = size - behind;
    yield this.#cursor;
    for (let d = 1; d < Math.max(ahead, behind) + 1; d++) {
      for (const [step, reach] of [[d, ahead], [-d, behind]]) {
        const t = this.#cursor + step * (this.#direction || 1);
        if (d <= reach && t >= 0 && t < this.numSteps) yield t;
      }
    }
  }

  #fetchMore() {
    const missing = [];
    for (const camera of this.#cameras) {
      for (const chunk of camera.chunks) {
        if (chunk.state === "there") continue;
        const distance = Math.max(chunk.from - this.#cursor, this.#cursor - chunk.to, 0);
        if (distance < this.#reach) missing.push({ camera, chunk, distance });
      }
    }
    missing.sort((a, b) => a.distance - b.distance);
    const first = missing.slice(0, REQUESTS);
    for (const { chunk } of missing.slice(REQUESTS)) {
      if (chunk.state === "coming" && first.some(({ chunk: nearer }) => !nearer.state)) chunk.abort.abort();
    }
    for (const { camera, chunk } of first) {
      if (!chunk.state && this.#requests < REQUESTS) this.#fetch(camera, chunk);
    }
  }

  async #fetch(camera, chunk) {
    chunk.state = "coming";
    chunk.abort = new AbortController();
    this.#requests++;
    try {
      const [start, end] = [camera.offsets[chunk.from], camera.offsets[chunk.to + 1]];
      const response = await fetch(camera.url, { headers: { Range: `bytes=${start}-${end - 1}` }, signal: chunk.abort.signal });
      if (!response.ok) throw new Error(`The server answered ${response.status} for pictures of this episode.`);
      const bytes = new Uint8Array(await response.arrayBuffer());
      // A server may answer a range with the whole film.
      chunk.bytes = response.status === 206 ? bytes : bytes.subarray(start, end);
      chunk.state = "there";
      this.onProblem(null);
    } catch (error) {
      chunk.state = undefined;
      if (error.name !== "AbortError" && !this.#closed) {
        chunk.state = "failed";
        this.onProblem(error instanceof TypeError ? "The server does not answer; pictures are missing." : error.message);
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => this.#again(), RETRY_MS);
      }
    } finally {
      this.#requests--;
      this.#soon();
    }
  }

  #again() {
    for (const camera of this.#cameras) {
      for (const chunk of camera.chunks) if (chunk.state === "failed") chunk.state = undefined;
    }
    this.#soon();
  }

  #decodeMore() {
    if (this.#decoding.size >= DECODES) return;
    for (const t of this.#window()) {
      if (this.#decoded.has(t) || this.#decoding.has(t)) continue;
      if (this.#cameras.every((camera) => camera.chunkOf(t).state === "there")) this.#decode(t);
      if (this.#decoding.size >= DECODES) return;
    }
  }

  async #decode(t) {
    this.#decoding.set(t, true);
    let bitmaps = [];
    try {
      bitmaps = await Promise.all(this.#cameras.map((camera) => createImageBitmap(camera.picture(t))));
    } catch {
      // A picture that can't be decoded must not stop the others: the frame shows as empty, and says so.
      bitmaps = await Promise.all(this.#cameras.map((camera) => createImageBitmap(new ImageData(camera.width, camera.height))));
      this.onProblem(`Frame ${t} can't be decoded.`);
    }
    this.#decoding.delete(t);
    if (this.#closed) return bitmaps.forEach((bitmap) => bitmap.close());
    this.#decoded.set(t, bitmaps);
    this.#evict(t);
    this.onFrame(t);
    this.#soon();
  }

  #evict(justDecoded) {
    for (const [t, bitmaps] of this.#decoded) {
      if (this.#decoded.size <= this.#capacity) return;
      if (t === this.#cursor || t === justDecoded) continue;
      bitmaps.forEach((bitmap) => bitmap.close());
      this.#decoded.delete(t);
    }
  }
}

/** A camera's film, cut into chunks of whole frames. */
function cameraOf({ name, mime, width, height, byte_lengths: lengths }, url) {
  const offsets = new Float64Array(lengths.length + 1); // [T + 1]
  lengths.forEach((length, t) => (offsets[t + 1] = offsets[t] + length));
  const chunks = [];
  const chunkIndex = new Uint32Array(lengths.length); // [T]
  lengths.forEach((length, t) => {
    const chunk = chunks.at(-1);
    // The first frame comes alone: something to look at comes before everything else.
    if (!chunk || chunks.length === 1 || offsets[t + 1] - offsets[chunk.from] > CHUNK_BYTES) chunks.push({ from: t, to: t });
    else chunk.to = t;
    chunkIndex[t] = chunks.length - 1;
  });
  const chunkOf = (t) => chunks[chunkIndex[t]];
  const picture = (t) => {
    const chunk = chunkOf(t);
    const start = offsets[t] - offsets[chunk.from];
    return new Blob([chunk.bytes.subarray(start, start + lengths[t])], { type: mime });
  };
  return { name, url, width, height, offsets, chunks, chunkOf, picture };
}
