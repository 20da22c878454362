// Making elements without innerHTML: data can never become markup.

/** An element. `attributes`: `class`, `on<event>` functions, `dataset` and any attribute; null and false leave one out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Empties a node and returns it. */
export function clear(node) {
  node.replaceChildren();
  return node;
}

/** Seconds as `0:07.3`. */
export function formatTime(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = tenths % 600;
  return `${Math.floor(tenths / 600)}:${String(Math.floor(rest / 10)).padStart(2, "0")}.${rest % 10}`;
}

/** Unix seconds as `2026-01-31 14:05` in the reader's own time zone; a dash for 0, which means "not known". */
export function formatDate(timestamp) {
  if (!timestamp) return "–";
  const date = new Date(timestamp * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}
