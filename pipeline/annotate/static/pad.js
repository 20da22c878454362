// The drawing area: x = frame, y = how far the task has got. Hovering scrubs, pressing draws, the ruler below only scrubs.
// Events change numbers; painting waits for the next animation frame and repaints only what has changed.

import { positionOf, valueOf } from "./curve.js";
import { el, formatTime } from "./dom.js";
import { dashOf, Geometry, hatchOf, paintBack, paintCurve, paintCursor, paletteOf } from "./paint.js";

const STEEP = 2; // rise over run, in pixels: such a movement sets the height of one frame rather than drawing along
const REST_MS = 500; // without movement, until a screen reader is told where the cursor is
const ICON = { width: 28, height: 10 }; // pixels of a line in the legend

export class Pad {
  #geometry = null;
  #palette = null;
  #hatch = null;
  #asked = 0; // for an animation frame
  #dirty = { back: true, from: 0, to: Infinity, cursor: true, change: null };
  #overlays = [];
  #pointer = null; // {id, draws, x, y} while one is down
  #rect = null;
  #rest = 0;
  #byKeys = false; // the latest movement came from the keyboard: the next point's line is shown

  /**
   * @param {HTMLElement} root where it is put
   * @param {object} options `context` of the page; `numSteps`; `rateHz`; `curve`: a Curve, or null to look at only;
   *   `onScrub(t)`: the pointer is at frame t; `onChange(ended)`: the curve has changed, by a stroke that goes on or ended
   */
  constructor(root, { context, numSteps, rateHz, curve = null, onScrub = () => {}, onChange = () => {} }) {
    Object.assign(this, { numSteps, rateHz, curve, onScrub, onChange, thresholds: context.session.thresholds });
    this.frame = 0;
    this.level = 0;
    this.layers = ["pad-back", "pad-curve", "pad"].map((layer) => el("canvas", { class: layer, "aria-hidden": "true" }));
    this.pens = this.layers.map((canvas) => canvas.getContext("2d"));
    this.plot = el("div", { class: "pad-plot" }); // marks where the plot is; events pass through it
    this.legend = el("ul", { class: "pad-legend", "aria-label": "Curves", hidden: true });
    this.spoken = el("p", { class: "visually-hidden", "aria-live": "polite" });
    this.surface = el("div", {
      class: "pad-surface", tabindex: "0", role: "slider", "aria-label": curve ? "Drawing area: left and right choose the frame" : "Curves over the frames",
      "aria-valuemin": 0, "aria-valuemax": numSteps - 1, "aria-valuenow": 0,
    }, this.layers, this.plot);
    this.element = el("div", { class: curve ? "pad-box" : "pad-box read-only" }, this.surface, this.legend, this.spoken);
    root.append(this.element);
    this.#listen();
    this.#measure();
    this.#say();
  }

  /** Curves beneath one's own: [{label, values, style: "sketch" | "prediction", colorIndex}]. */
  setOverlays(overlays) {
    this.#overlays = overlays;
    this.legend.replaceChildren(...overlays.map(legendItem));
    this.legend.hidden = !overlays.length;
    this.#dirty.back = this.#dirty.cursor = true;
    this.#request();
  }

  setFrame(t) {
    if (t === this.frame) return;
    this.frame = t;
    this.#moved();
  }

  /** Moves the cursor's height, by the keyboard. */
  setLevel(level) {
    this.level = Math.min(Math.max(level, 0), 1);
    this.#byKeys = true;
    this.#moved();
  }

  /** Puts a point at the cursor: a straight line from the one before. */
  putPoint() {
    this.#byKeys = true;
    this.#changed(this.curve.point(this.frame, this.level), true);
  }

  /** The curve was changed from outside: paint all of it. */
  refresh() {
    this.#changed([0, this.numSteps - 1], true);
  }

  destroy() {
    cancelAnimationFrame(this.#asked);
    clearTimeout(this.#rest);
    this.resizing.disconnect();
    this.theming.disconnect();
    this.element.remove();
  }

  #listen() {
    const surface = this.surface;
    surface.addEventListener("pointerdown", (event) => this.#down(event));
    surface.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) surface.addEventListener(type, (event) => this.#up(event));
    surface.addEventListener("pointerenter", () => (this.#rect = surface.getBoundingClientRect()));
    surface.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press of a pen is a stroke
    this.resizing = new ResizeObserver(() => this.#measure());
    this.resizing.observe(surface);
    this.theming = new MutationObserver(() => this.#measure());
    this.theming.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  #down(event) {
    if (this.#pointer || event.button !== 0) return;
    event.preventDefault();
    this.surface.focus({ preventScroll: true });
    this.surface.setPointerCapture(event.pointerId);
    this.#rect = this.surface.getBoundingClientRect();
    const { x, y } = this.#place(event);
    this.#pointer = { id: event.pointerId, draws: this.curve !== null && y <= this.#geometry.bottom + 6, x, y };
    if (this.#pointer.draws) {
      const point = this.#point(x, y);
      this.#changed(this.curve.begin(point.position, point.value), false);
    }
    this.#hover(x, y);
  }

  #move(event) {
    if (this.#pointer && event.pointerId !== this.#pointer.id) return;
    if (!this.#pointer && event.pointerType === "touch") return;
    if (this.#pointer?.draws) {
      const samples = event.getCoalescedEvents?.() ?? [];
      for (const sample of samples.length ? samples : [event]) this.#draw(sample);
    }
    const { x, y } = this.#place(event);
    this.#hover(x, y);
  }

  #draw(sample) {
    const { x, y } = this.#place(sample);
    const before = this.#pointer;
    const steep = Math.abs(y - before.y) > STEEP * Math.abs(x - before.x);
    const { position, value } = this.#point(x, y);
    // Undone by a key in mid-stroke, the stroke is over; what follows is a new one.
    this.#changed(this.curve.stroking ? this.curve.extend(position, value, steep) : this.curve.begin(position, value), false);
    Object.assign(before, { x, y });
  }

  #up(event) {
    if (event.pointerId !== this.#pointer?.id) return;
    const { draws } = this.#pointer;
    if (draws && event.type === "pointerup") this.#draw(event);
    this.#pointer = null;
    if (!draws) return;
    this.curve.end();
    this.#changed([this.frame, this.frame], true);
  }

  #place(event) {
    const { clientLeft: border, clientTop: edge } = this.surface;
    return { x: event.clientX - this.#rect.left - border, y: event.clientY - this.#rect.top - edge };
  }

  #point(x, y) {
    const g = this.#geometry;
    return { position: positionOf(x - g.left, g.plotWidth, this.numSteps), value: valueOf(y - g.top, g.plotHeight) };
  }

  #hover(x, y) {
    const { position, value } = this.#point(x, y);
    const frame = Math.round(position);
    this.#byKeys = false;
    if (y <= this.#geometry.bottom || this.#pointer?.draws) this.level = value;
    if (frame !== this.frame) this.onScrub(frame);
    this.frame = frame;
    this.#moved();
  }

  #moved() {
    this.#dirty.cursor = true;
    this.#request();
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => this.#say(), REST_MS);
  }

  #changed([from, to], ended) {
    const dirty = this.#dirty;
    dirty.from = Math.min(dirty.from, from);
    dirty.to = Math.max(dirty.to, to);
    dirty.change = ended ? "ended" : (dirty.change ?? "moving");
    this.#moved();
  }

  #measure() {
    const { clientWidth: width, clientHeight: height } = this.surface;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    this.layers.forEach((canvas, i) => {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      this.pens[i].setTransform(ratio, 0, 0, ratio, 0, 0);
    });
    this.#rect = this.surface.getBoundingClientRect();
    const g = (this.#geometry = new Geometry(width, height, this.numSteps));
    Object.assign(this.plot.style, { left: `${g.left}px`, top: `${g.top}px`, width: `${g.plotWidth}px`, height: `${g.plotHeight}px` });
    this.#palette = paletteOf(this.surface);
    this.#hatch = hatchOf(this.pens[1], this.#palette, ratio);
    Object.assign(this.#dirty, { back: true, from: 0, to: Infinity, cursor: true });
    this.#paint(); // now: a canvas that was resized is empty until it is painted
  }

  #request() {
    if (!this.#asked) this.#asked = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    this.#asked = 0;
    const g = this.#geometry;
    if (!g) return;
    const dirty = this.#dirty;
    this.#dirty = { back: false, from: Infinity, to: -1, cursor: false, change: null };
    const { thresholds, rateHz, curve, frame, level } = this;
    const overlays = this.#overlays;
    if (dirty.back) paintBack(this.pens[0], g, this.#palette, { thresholds, rateHz, overlays });
    if (curve && dirty.to >= dirty.from) paintCurve(this.pens[1], g, this.#palette, this.#hatch, curve, dirty.from, Math.min(dirty.to, this.numSteps - 1));
    const rubber = this.#byKeys && curve?.anchor?.frame !== frame ? curve?.anchor : null;
    if (dirty.cursor) paintCursor(this.pens[2], g, this.#palette, { frame, level, curve, rubber, rateHz, overlays });
    if (dirty.change) this.onChange(dirty.change === "ended");
  }

  /** Tells a screen reader where the cursor is, once it rests. */
  #say() {
    const value = this.curve?.drawn[this.frame] ? this.curve.values[this.frame].toFixed(2) : "not drawn";
    const time = this.rateHz ? `, ${formatTime(this.frame / this.rateHz)}` : "";
    const own = this.curve ? `, ${value}, level ${this.level.toFixed(2)}` : "";
    const others = this.#overlays.map(({ label, values }) => `, ${label} ${values[this.frame].toFixed(2)}`).join("");
    const text = `Frame ${this.frame} of ${this.numSteps - 1}${time}${own}${others}`;
    this.surface.setAttribute("aria-valuenow", this.frame);
    this.surface.setAttribute("aria-valuetext", text);
    // A focused slider's text is spoken by itself; saying it twice is noise.
    this.spoken.textContent = document.activeElement === this.surface ? "" : text;
  }
}

function legendItem({ label, style, colorIndex }) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ ...ICON, "aria-hidden": "true" })) svg.setAttribute(name, value);
  const middle = ICON.height / 2;
  const drawn = { x1: 0, x2: ICON.width, y1: middle, y2: middle, "stroke-width": 2, "stroke-dasharray": dashOf(colorIndex).join(" ") };
  for (const [name, value] of Object.entries(drawn)) line.setAttribute(name, value);
  line.style.stroke = `var(--series-${(colorIndex % 6) + 1})`;
  svg.append(line);
  return el("li", {}, svg, label, style === "prediction" ? el("span", { class: "muted" }, "predicted") : null);
}
