// What the drawing area looks like: painters that put one layer each on a canvas. They know nothing of pointers.

import { formatTime } from "./dom.js";

const MARGIN = { left: 50, right: 20, top: 12, bottom: 36 }; // pixels around the plot: the scale, and the ruler below
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [14, 5], [5, 2, 2, 2, 2, 2]]; // overlays differ by these, not by colour only
const FRAME_STEPS = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 2500, 5000, 10000, 20000];
const TICK_ROOM = 64; // pixels that a label of the ruler needs
const LEVELS = [0, 0.25, 0.5, 0.75, 1];
const CLEAR_OF_LINE = 22; // pixels: nearer than this, one level's label would touch another's

/** Where frames and values are, in pixels of the pad. */
export class Geometry {
  constructor(width, height, numSteps) {
    Object.assign(this, { width, height, numSteps });
    this.left = MARGIN.left;
    this.top = MARGIN.top;
    this.plotWidth = Math.max(width - MARGIN.left - MARGIN.right, 1);
    this.plotHeight = Math.max(height - MARGIN.top - MARGIN.bottom, 1);
    this.right = this.left + this.plotWidth;
    this.bottom = this.top + this.plotHeight;
  }

  x(t) {
    return this.left + (this.numSteps > 1 ? (t / (this.numSteps - 1)) * this.plotWidth : 0);
  }

  y(value) {
    return this.top + (1 - value) * this.plotHeight;
  }

  /** Pixels between two frames. */
  get pitch() {
    return this.numSteps > 1 ? this.plotWidth / (this.numSteps - 1) : this.plotWidth;
  }
}

/** The page's colours and type as a canvas wants them; read again when the theme changes. */
export function paletteOf(element) {
  const style = getComputedStyle(element);
  const names = ["bg", "panel", "raised", "ink", "ink-soft", "line", "accent", "accent-ink", "good", "bad"];
  const palette = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  palette.series = [1, 2, 3, 4, 5, 6].map((i) => style.getPropertyValue(`--series-${i}`).trim());
  palette.font = (size, weight = 400) => `${weight} ${size}px ${style.fontFamily}`;
  return palette;
}

export const dashOf = (index) => DASHES[index % DASHES.length];

/** Half a pixel on: a line one pixel wide covers one row of pixels, not two at half strength. */
const crisp = (position) => Math.round(position) + 0.5;

/** Scale, ruler, guide lines, and the curves that others drew. */
export function paintBack(pen, g, palette, { thresholds, rateHz, overlays }) {
  pen.clearRect(0, 0, g.width, g.height);
  pen.fillStyle = palette.bg;
  pen.fillRect(g.left, g.top, g.plotWidth, g.plotHeight);
  paintRuler(pen, g, palette, rateHz);
  paintScale(pen, g, palette, thresholds);
  for (const { values, style, colorIndex } of overlays) {
    pen.strokeStyle = palette.series[colorIndex % palette.series.length];
    pen.lineWidth = style === "prediction" ? 1.25 : 1.75;
    pen.setLineDash(dashOf(colorIndex));
    pen.beginPath();
    values.forEach((value, t) => pen.lineTo(g.x(t), g.y(value)));
    pen.stroke();
  }
  pen.setLineDash([]);
}

function paintRuler(pen, g, palette, rateHz) {
  const step = FRAME_STEPS.find((frames) => frames * g.pitch >= TICK_ROOM) ?? FRAME_STEPS.at(-1);
  const last = g.numSteps - 1;
  pen.textAlign = "center";
  pen.textBaseline = "top";
  pen.lineWidth = 1;
  const ticks = [];
  for (let t = 0; t <= last; t += step) ticks.push(t);
  if (last - ticks.at(-1) < step * 0.6 && ticks.length > 1) ticks.pop();
  if (ticks.at(-1) !== last) ticks.push(last);
  for (const t of ticks) {
    pen.strokeStyle = palette.line;
    pen.globalAlpha = 0.6;
    pen.beginPath();
    pen.moveTo(crisp(g.x(t)), g.top);
    pen.lineTo(crisp(g.x(t)), g.bottom + 4);
    pen.stroke();
    pen.globalAlpha = 1;
    pen.fillStyle = palette["ink-soft"];
    pen.font = palette.font(11);
    pen.fillText(String(t), g.x(t), g.bottom + 7);
    if (rateHz) pen.fillText(formatTime(t / rateHz), g.x(t), g.bottom + 20);
  }
}

function paintScale(pen, g, palette, thresholds) {
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  pen.font = palette.font(11);
  const guides = [["success", thresholds?.success, palette.good, [7, 4]], ["failure", thresholds?.failure, palette.bad, [3, 3]]]
    .filter(([, value]) => value !== undefined);
  for (const level of LEVELS) {
    pen.strokeStyle = palette.line;
    pen.globalAlpha = 0.6;
    pen.beginPath();
    pen.moveTo(g.left, crisp(g.y(level)));
    pen.lineTo(g.right, crisp(g.y(level)));
    pen.stroke();
    pen.globalAlpha = 1;
    if (guides.some(([, value]) => Math.abs(g.y(value) - g.y(level)) < CLEAR_OF_LINE)) continue;
    pen.fillStyle = palette["ink-soft"];
    pen.fillText(level.toFixed(2), g.left - 8, g.y(level));
  }
  for (const [name, value, color, dash] of guides) {
    pen.strokeStyle = color;
    pen.fillStyle = color;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(g.left, crisp(g.y(value)));
    pen.lineTo(g.right, crisp(g.y(value)));
    pen.stroke();
    pen.setLineDash([]);
    pen.textAlign = "right";
    pen.fillText(value.toFixed(2), g.left - 8, g.y(value));
    pen.textAlign = "left";
    pen.fillText(name, g.left + 6, g.y(value) - 8);
  }
}

/** A fine diagonal hatching: nothing is drawn here yet. */
export function hatchOf(pen, palette, ratio) {
  const size = Math.round(8 * ratio);
  const tile = new OffscreenCanvas(size, size);
  const tilePen = tile.getContext("2d");
  tilePen.strokeStyle = palette["ink-soft"];
  tilePen.globalAlpha = 0.38;
  tilePen.lineWidth = ratio;
  for (const shift of [-size, 0, size]) {
    tilePen.moveTo(shift, size);
    tilePen.lineTo(shift + size, 0);
  }
  tilePen.stroke();
  const hatch = pen.createPattern(tile, "repeat");
  hatch.setTransform(new DOMMatrix().scale(1 / ratio)); // the canvas is scaled by it: the tile's pixels are the screen's
  return hatch;
}

/** The curve and the hatching, over frames from <= t <= to only. */
export function paintCurve(pen, g, palette, hatch, curve, from, to) {
  // Whole pixels: a clip through the middle of one would leave a seam in the ground under the curve.
  const left = from <= 0 ? 0 : Math.floor(g.x(from - 1));
  const right = to >= g.numSteps - 1 ? g.width : Math.ceil(g.x(to + 1));
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, right - left, g.bottom + 3);
  pen.clip();
  pen.clearRect(left, 0, right - left, g.bottom + 3);
  pen.lineJoin = "round";
  pen.lineCap = "round";
  const [first, last] = [Math.max(from - 3, 0), Math.min(to + 3, g.numSteps - 1)];
  for (let a = first; a <= last; ) {
    let b = a;
    while (b < last && curve.drawn[b + 1] === curve.drawn[a]) b++;
    if (curve.drawn[a]) paintStretch(pen, g, palette, curve.values, a, b);
    else paintGap(pen, g, hatch, a, b);
    a = b + 1;
  }
  pen.restore();
}

function paintStretch(pen, g, palette, values, a, b) {
  const trace = () => {
    for (let t = a; t <= b; t++) pen.lineTo(g.x(t), g.y(values[t]));
  };
  pen.fillStyle = palette.accent;
  pen.globalAlpha = 0.13;
  pen.beginPath();
  pen.moveTo(g.x(a), g.bottom);
  trace();
  pen.lineTo(g.x(b), g.bottom);
  pen.fill();
  pen.globalAlpha = 1;
  pen.strokeStyle = palette.accent;
  pen.lineWidth = 2.25;
  pen.beginPath();
  pen.moveTo(g.x(a), g.y(values[a])); // and a line to itself: a frame alone is a dot
  trace();
  pen.stroke();
}

function paintGap(pen, g, hatch, a, b) {
  const left = Math.max(g.x(a - 0.5), g.left);
  const right = Math.min(g.x(b + 0.5), g.right);
  pen.fillStyle = hatch;
  pen.fillRect(left, g.top, right - left, g.plotHeight);
}

/** The cross-hair: frame and level, the curve's value there, and the line that the next point would draw. */
export function paintCursor(pen, g, palette, { frame, level, curve, rubber, rateHz, overlays }) {
  pen.clearRect(0, 0, g.width, g.height);
  const x = g.x(frame);
  pen.strokeStyle = palette.ink;
  pen.lineWidth = 1;
  pen.beginPath();
  pen.moveTo(crisp(x), g.top - 4);
  pen.lineTo(crisp(x), g.bottom + 4);
  pen.stroke();
  for (const { values, colorIndex } of overlays) dot(pen, palette, x, g.y(values[frame]), palette.series[colorIndex % palette.series.length]);
  if (curve) {
    if (rubber) {
      pen.setLineDash([4, 4]);
      pen.beginPath();
      pen.moveTo(g.x(rubber.frame), g.y(rubber.value));
      pen.lineTo(x, g.y(level));
      pen.stroke();
      pen.setLineDash([]);
    }
    pen.beginPath(); // the level: a short bar across the cursor line
    pen.moveTo(x - 7, g.y(level));
    pen.lineTo(x + 7, g.y(level));
    pen.lineWidth = 2;
    pen.stroke();
    if (curve.drawn[frame]) dot(pen, palette, x, g.y(curve.values[frame]), palette.accent);
    tag(pen, palette, level.toFixed(2), g.left - 6, g.y(level), "right", false);
    if (curve.drawn[frame]) {
      const [leftSide, y] = [x > g.right - 60, g.y(curve.values[frame])];
      tag(pen, palette, curve.values[frame].toFixed(2), x + (leftSide ? -12 : 12), Math.max(y - 14, g.top + 10), leftSide ? "right" : "left", true);
    }
  }
  const time = rateHz ? ` · ${formatTime(frame / rateHz)}` : "";
  tag(pen, palette, `${frame}${time}`, Math.min(Math.max(x, 40), g.width - 40), g.bottom + 21, "center", false);
}

function dot(pen, palette, x, y, color) {
  pen.beginPath();
  pen.arc(x, y, 4.5, 0, 2 * Math.PI);
  pen.fillStyle = color;
  pen.fill();
  pen.lineWidth = 2;
  pen.strokeStyle = palette.bg;
  pen.stroke();
  pen.strokeStyle = palette.ink;
  pen.lineWidth = 1;
}

/** A small label on ground of its own, so that it is legible over anything. */
function tag(pen, palette, text, x, y, align, accent) {
  pen.font = palette.font(12, 600);
  const width = Math.ceil(pen.measureText(text).width) + 10;
  const left = align === "right" ? x - width : align === "center" ? x - width / 2 : x;
  pen.fillStyle = accent ? palette.accent : palette.ink;
  pen.beginPath();
  pen.roundRect(left, y - 9, width, 18, 4);
  pen.fill();
  pen.fillStyle = accent ? palette["accent-ink"] : palette.panel;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.fillText(text, left + width / 2, y + 0.5);
}
