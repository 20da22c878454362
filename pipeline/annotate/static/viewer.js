// The film of an episode: its cameras side by side, swapped on the same animation frame, with transport, speed and zoom.

import { el, formatTime } from "./dom.js";
import { Film } from "./frames.js";

const SPEEDS = [0.25, 0.5, 1, 2, 4]; // times the episode's own rate
const ZOOMS = ["fit", 1, 2, 4, 8]; // screen pixels a picture's pixel
const JUMP = 10; // frames, with Shift
const UNKNOWN_RATE_HZ = 10; // to play an episode that does not tell its rate
const WHOLE_FROM = 3; // enlarged this much, pictures grow by whole steps, so that all their pixels are equally large
const GAP = 8; // pixels between cameras
const CAPTION = 20; // pixels under each camera
const ICONS = {
  play: "M4 2.5v11l9-5.5z", pause: "M4 2.5h3v11H4zM9 2.5h3v11H9z",
  back: "M3 2.5h2v11H3zM13 2.5v11L6 8z", forward: "M11 2.5h2v11h-2zM3 2.5v11L10 8z",
};

export class Viewer {
  #film;
  #canvases = [];
  #shown = -1; // the frame whose pictures are on the screen
  #asked = 0; // for an animation frame
  #clock = null; // {frame, time} that playing counts from
  #speed = 1;
  #zoom = "fit";
  #wanted = 0;
  #resolveReady;

  /**
   * @param {HTMLElement} root where it is put
   * @param {object} options `context` of the page; `detail`: EpisodeDetail; `onFrame(t)`: the cursor is at frame t now;
   *   `film`: a Film of this episode that is already loading
   */
  constructor(root, { context, detail, onFrame = () => {}, film = null }) {
    this.detail = detail;
    this.onFrame = onFrame;
    this.rate = detail.control_rate_hz || UNKNOWN_RATE_HZ;
    this.ready = new Promise((resolve) => (this.#resolveReady = resolve));
    this.#film = film ?? new Film(detail, (camera) => context.api.filmUrl(detail.episode_id, camera));
    this.#film.reach = Infinity;
    this.#film.onFrame = () => this.#shown !== this.#wanted && this.#request();
    this.#film.onProblem = (message) => {
      this.problem.textContent = message ?? "";
      this.problem.hidden = !message;
    };
    this.element = el("div", { class: "viewer" }, this.#stage(), this.#transport(context.keys));
    root.append(this.element);
    this.resizing = new ResizeObserver(() => this.#layOut());
    this.resizing.observe(this.stage);
    this.#layOut();
    if (!detail.cameras.length) this.#resolveReady();
    this.#request();
  }

  /** The frame that the cursor is at; its pictures may still be on their way. */
  get frame() {
    return this.#wanted;
  }

  get playing() {
    return this.#clock !== null;
  }

  get speed() {
    return this.#speed;
  }

  set speed(speed) {
    this.#speed = speed;
    if (this.#clock) this.#clock = { frame: this.#wanted, time: performance.now() };
    this.speedText.textContent = `${speed}×`;
    this.slower.disabled = speed === SPEEDS[0];
    this.faster.disabled = speed === SPEEDS.at(-1);
  }

  get zoom() {
    return this.#zoom;
  }

  set zoom(zoom) {
    this.#zoom = zoom;
    this.zoomText.textContent = zoom === "fit" ? "Fit" : `${zoom}×`;
    this.#layOut();
  }

  /** Goes to a frame, and stops playing. */
  seek(t) {
    this.pause();
    this.#go(t);
  }

  step(frames) {
    this.seek(this.#wanted + frames);
  }

  play() {
    if (this.#wanted >= this.detail.num_steps - 1) this.#go(0);
    this.#clock = { frame: this.#wanted, time: performance.now() };
    this.#showPlaying();
    this.#request();
  }

  pause() {
    if (!this.#clock) return;
    this.#clock = null;
    this.#showPlaying();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  destroy() {
    cancelAnimationFrame(this.#asked);
    this.#clock = null;
    this.resizing.disconnect();
    this.unbind.forEach((remove) => remove());
    this.#film.close();
    this.element.remove();
  }

  #go(t) {
    const frame = Math.min(Math.max(Math.round(t), 0), this.detail.num_steps - 1);
    if (frame === this.#wanted) return;
    this.#wanted = frame;
    this.#film.want(frame);
    this.#request();
    this.onFrame(frame);
  }

  #request() {
    if (!this.#asked) this.#asked = requestAnimationFrame((now) => this.#tick(now));
  }

  #tick(now) {
    this.#asked = 0;
    if (this.#clock) this.#advance(now);
    this.#show();
    if (this.#clock) this.#request();
  }

  #advance(now) {
    const { frame, time } = this.#clock;
    const target = Math.min(frame + Math.floor(((now - time) / 1000) * this.rate * this.#speed), this.detail.num_steps - 1);
    if (target <= this.#wanted) return;
    // Pictures that are late hold the film up; it must not run on without them.
    if (this.#canvases.length && !this.#film.has(target) && this.#shown !== this.#wanted) {
      this.#clock = { frame: this.#wanted, time: now };
      return;
    }
    this.#go(target);
    if (target === this.detail.num_steps - 1) this.pause();
  }

  #show() {
    const t = this.#wanted;
    const nearest = this.#canvases.length ? this.#film.nearest(t) : t;
    if (nearest >= 0 && nearest !== this.#shown) {
      this.#film.take(nearest)?.forEach((bitmap, i) => this.#canvases[i].pen.drawImage(bitmap, 0, 0));
      this.#shown = nearest;
      this.element.dataset.shown = nearest;
      this.#resolveReady();
    }
    this.element.dataset.frame = t;
    this.frameText.textContent = t;
    this.timeText.textContent = this.detail.control_rate_hz ? formatTime(t / this.rate) : "";
    const late = this.#shown !== t;
    this.late.hidden = !late;
    if (late) this.late.textContent = this.#shown < 0 ? `Frame ${t} is on its way` : `Picture of frame ${this.#shown}; ${t} is on its way`;
  }

  #showPlaying() {
    this.playButton.querySelector("path").setAttribute("d", this.playing ? ICONS.pause : ICONS.play);
    this.playButton.querySelector(".label").textContent = this.playing ? "Pause" : "Play";
  }

  #stage() {
    this.late = el("p", { class: "viewer-late", hidden: true });
    this.problem = el("p", { class: "viewer-problem", role: "alert", hidden: true });
    const figures = this.detail.cameras.map((camera) => {
      const canvas = el("canvas", { width: camera.width, height: camera.height, role: "img", "aria-label": `Camera ${camera.name}` });
      this.#canvases.push({ canvas, camera, pen: canvas.getContext("2d", { alpha: false }) });
      return el("figure", {}, canvas, el("figcaption", {}, el("span", { class: "viewer-camera" }, camera.name.replace(/^pixels\//, "")),
        el("span", { class: "muted" }, `${camera.width}×${camera.height}`)));
    });
    const none = figures.length ? null : el("p", { class: "viewer-none" }, "This episode has no camera: there is nothing to see, only steps to number.");
    this.rows = el("div", { class: "viewer-film" }, figures.length ? el("div", { class: "viewer-row" }, figures) : none);
    this.stage = el("div", { class: "viewer-stage" }, this.rows);
    return el("div", { class: "viewer-window" }, this.stage, this.late, this.problem);
  }

  #transport(keys) {
    const last = this.detail.num_steps - 1;
    const group = "Film";
    const button = (...args) => keys.button(...args);
    const stepBack = button("", "ArrowLeft", () => this.step(-1), { group, does: "One frame back", "aria-label": "One frame back" });
    const stepOn = button("", "ArrowRight", () => this.step(1), { group, does: "One frame on", "aria-label": "One frame on" });
    this.playButton = button("Play", "Space", () => this.toggle(), { group, does: "Play and pause", class: "button viewer-play" });
    for (const [one, name] of [[stepBack, "back"], [this.playButton, "play"], [stepOn, "forward"]]) one.prepend(icon(name));
    const change = (list, value, by) => list[Math.min(Math.max(list.indexOf(value) + by, 0), list.length - 1)];
    this.slower = button("−", ",", () => (this.speed = change(SPEEDS, this.speed, -1)), { group, does: "Slower", "aria-label": "Slower" });
    this.faster = button("+", ".", () => (this.speed = change(SPEEDS, this.speed, 1)), { group, does: "Faster", "aria-label": "Faster" });
    this.speedText = el("output", { class: "viewer-speed", "aria-label": "Speed" }, "1×");
    const turn = () => (this.zoom = ZOOMS[(ZOOMS.indexOf(this.zoom) + 1) % ZOOMS.length]);
    const zoomButton = button("Fit", "Z", turn, { group, does: "Zoom: fit, 1×, 2×, 4×, 8×", title: "Zoom", "aria-label": "Zoom" });
    this.zoomText = zoomButton.querySelector(".label");
    this.unbind = [
      keys.add("Shift+ArrowLeft", `${JUMP} frames back`, () => this.step(-JUMP), group),
      keys.add("Shift+ArrowRight", `${JUMP} frames on`, () => this.step(JUMP), group),
      keys.add("Home", "First frame", () => this.seek(0), group),
      keys.add("End", "Last frame", () => this.seek(last), group),
      ...[stepBack, this.playButton, stepOn, this.slower, this.faster, zoomButton].map((one) => one.unbind),
    ];
    this.frameText = el("span", { class: "viewer-number" }, "0");
    this.timeText = el("span", { class: "viewer-time" });
    const rate = this.detail.control_rate_hz ? `${this.detail.control_rate_hz} Hz` : "rate not known";
    return el(
      "div",
      { class: "viewer-transport", role: "toolbar", "aria-label": "Film" },
      el("span", { class: "cluster" }, stepBack, this.playButton, stepOn),
      el("span", { class: "cluster" }, this.slower, this.speedText, this.faster),
      this.detail.cameras.length ? zoomButton : null,
      el("span", { class: "viewer-readout" }, this.timeText, el("span", { class: "muted" }, `frame`), this.frameText,
        el("span", { class: "muted" }, `/ ${last}`), el("span", { class: "muted viewer-rate" }, rate)),
    );
  }

  /** Sizes the pictures: by the zoom, or so that all of them fit, equally high, in as many rows as make them largest. */
  #layOut() {
    const { cameras } = this.detail;
    if (!cameras.length) return;
    const room = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    const layouts = [1, 2, 3].map((rows) => fitted(cameras, rows, room));
    const { rows, height } = layouts.reduce((best, one) => (one.height > best.height ? one : best));
    if (rows !== this.rows.childElementCount) this.#arrange(rows);
    for (const { canvas, camera } of this.#canvases) {
      const exact = this.#zoom === "fit" ? height / camera.height : this.#zoom;
      const device = exact * devicePixelRatio;
      const scale = device >= WHOLE_FROM ? Math.floor(device) / devicePixelRatio : exact;
      canvas.style.width = `${camera.width * scale}px`;
      canvas.style.height = `${camera.height * scale}px`;
      canvas.style.imageRendering = device > 1 ? "pixelated" : "auto";
    }
  }

  #arrange(rows) {
    const figures = this.#canvases.map(({ canvas }) => canvas.parentElement);
    const perRow = Math.ceil(figures.length / rows);
    const cut = Array.from({ length: rows }, (_, i) => figures.slice(i * perRow, (i + 1) * perRow));
    this.rows.replaceChildren(...cut.map((some) => el("div", { class: "viewer-row" }, some)));
  }
}

/** How high pictures are that fill `room` in so many rows: {rows, height}, in pixels. */
function fitted(cameras, rows, room) {
  const perRow = Math.ceil(cameras.length / rows);
  let height = (room.height - (rows - 1) * GAP) / rows - CAPTION;
  for (let i = 0; i < cameras.length; i += perRow) {
    const some = cameras.slice(i, i + perRow);
    const widthAtUnitHeight = some.reduce((sum, camera) => sum + camera.width / camera.height, 0);
    height = Math.min(height, (room.width - (some.length - 1) * GAP) / widthAtUnitHeight);
  }
  const filled = Math.ceil(cameras.length / perRow); // three rows of four cameras are two
  return { rows: filled, height: filled === rows ? Math.max(height, 16) : 0 };
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true" })) svg.setAttribute(key, value);
  path.setAttribute("d", ICONS[name]);
  path.setAttribute("fill", "currentColor");
  svg.append(path);
  return svg;
}
