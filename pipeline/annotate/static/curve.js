/** A curve that is being drawn: one value in [0, 1] a frame, and which frames have one yet. No DOM.
 *
 * Positions are in frames and may lie between two of them. A stroke is the polyline through the pointer's samples: a
 * frame that it crosses takes the polyline's height at that very frame, so that a fast stroke leaves no gap, and the
 * frame under the pointer follows the pointer. Each stroke, and each other change, is one step of undo.
 */

const MOST_STEPS = 1000; // of undo: hours of drawing; a step keeps only the frames that it changed

/** The frame under a pointer that is `x` along a drawing area `width` wide (both in pixels). */
export function positionOf(x, width, numSteps) {
  return Math.min(Math.max(x / width, 0), 1) * (numSteps - 1);
}

/** The value under a pointer that is `y` below the top of a drawing area `height` high (both in pixels). */
export function valueOf(y, height) {
  return Math.min(Math.max(1 - y / height, 0), 1);
}

export class Curve {
  #undo = [];
  #redo = [];
  #before = null; // the curve as it was when the stroke in progress began
  #last = null; // the stroke's latest sample
  #crossed = -1; // the frame whose column the stroke crossed exactly and in whose reach the pointer still is
  #from = 0;
  #to = -1; // the frames that the change in progress has touched

  /** @param {number} numSteps frames of the episode: as many values as the sketch will have. */
  constructor(numSteps) {
    this.numSteps = numSteps;
    this.values = new Float32Array(numSteps); // [T], 0 where nothing is drawn
    this.drawn = new Uint8Array(numSteps); // [T], 1 where something is
    this.count = 0; // frames drawn
    this.anchor = null; // {frame, value}: where the next straight line starts
  }

  get complete() {
    return this.count === this.numSteps;
  }

  get empty() {
    return this.count === 0;
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  get stroking() {
    return this.#last !== null;
  }

  /** Starts a stroke: the frame under the pointer takes its value. Returns the touched frames, [from, to]. */
  begin(position, value) {
    this.#start();
    this.#last = { position, value };
    const frame = Math.round(position);
    this.#crossed = position === frame ? frame : -1;
    this.#set(frame, value);
    return [frame, frame];
  }

  /** Goes on with the stroke. Returns the touched frames, [from, to].
   *
   * @param {boolean} steep The pointer moves up or down rather than along: the frame under it follows it even when its
   *   column has been passed already.
   */
  extend(position, value, steep = false) {
    const last = this.#last;
    const low = Math.min(last.position, position);
    const high = Math.max(last.position, position);
    const start = Math.round(last.position);
    const frame = Math.round(position);
    for (let t = Math.ceil(low); t <= Math.floor(high); t++) {
      const share = high > low ? (t - last.position) / (position - last.position) : 1;
      this.#set(t, last.value + share * (value - last.value));
    }
    if (frame >= low && frame <= high) this.#crossed = frame;
    else if (frame !== start) this.#crossed = -1;
    if (frame !== this.#crossed || steep) this.#set(frame, value);
    this.#last = { position, value };
    return [Math.min(start, frame, Math.ceil(low)), Math.max(start, frame, Math.floor(high))];
  }

  /** Ends the stroke: from here it is one step of undo. */
  end() {
    if (!this.#last) return;
    const frame = Math.round(this.#last.position);
    this.#last = null;
    this.anchor = { frame, value: this.values[frame] };
    this.#finish();
  }

  /** Puts a point and joins it to the one before, if there is one, by a straight line. Returns [from, to]. */
  point(frame, value) {
    const anchor = this.anchor ?? { frame, value };
    this.#start();
    this.#line(anchor, { frame, value });
    this.anchor = { frame, value };
    this.#finish();
    return [Math.min(anchor.frame, frame), Math.max(anchor.frame, frame)];
  }

  /** Lets the next point stand alone. */
  lift() {
    this.anchor = null;
  }

  /** What `flat(frame)` would hold: {from, to, value} over frames from <= t <= to, or null if nothing is drawn so far.
   *
   * From the cursor (or, if nothing is drawn there, from the last frame drawn before it) to the end, or until the next
   * stretch that is drawn apart from this one.
   */
  flatRange(frame) {
    let from = frame;
    while (from >= 0 && !this.drawn[from]) from--;
    if (from < 0) return null;
    let to = frame;
    while (from === frame && to + 1 < this.numSteps && this.drawn[to + 1]) to++; // the stretch that the cursor is in
    while (to + 1 < this.numSteps && !this.drawn[to + 1]) to++; // and the gap after it
    return { from, to, value: this.values[from] };
  }

  /** Holds one value over frames from <= t <= to. */
  flat(from, to, value) {
    this.#start();
    for (let t = from; t <= to; t++) this.#set(t, value);
    this.anchor = { frame: to, value };
    this.#finish();
  }

  /** Draws what is not drawn: straight between drawn stretches, held before the first and after the last.
   *
   * Returns how many frames that were; 0 also if nothing is drawn at all.
   */
  fillGaps() {
    const gaps = this.empty ? 0 : this.numSteps - this.count;
    if (!gaps) return 0;
    this.#start();
    let previous = -1;
    for (let t = 0; t < this.numSteps; t++) {
      if (!this.#before.drawn[t]) continue;
      if (previous < 0) for (let s = 0; s < t; s++) this.#set(s, this.values[t]);
      else this.#line({ frame: previous, value: this.values[previous] }, { frame: t, value: this.values[t] }, true);
      previous = t;
    }
    for (let s = previous + 1; s < this.numSteps; s++) this.#set(s, this.values[previous]);
    this.#finish();
    return gaps;
  }

  clear() {
    if (this.empty) return;
    this.#start();
    this.values.fill(0);
    this.drawn.fill(0);
    this.#from = 0;
    this.#to = this.numSteps - 1;
    this.anchor = null;
    this.#finish();
  }

  /** Replaces the whole curve, as one step of undo. @param {ArrayLike<number>} values one a frame */
  replace(values) {
    this.#start();
    for (let t = 0; t < this.numSteps; t++) this.#set(t, values[t]);
    this.anchor = null;
    this.#finish();
  }

  undo() {
    this.#step(this.#undo, this.#redo, "before");
  }

  redo() {
    this.#step(this.#redo, this.#undo, "after");
  }

  /** What `fromJSON` takes: plain numbers, exact, null where nothing is drawn. The steps of undo are not in it. */
  toJSON() {
    return { values: Array.from(this.values, (value, t) => (this.drawn[t] ? Number(value.toPrecision(9)) : null)) };
  }

  /** @throws {RangeError} if it is not a curve of `numSteps` frames with values in [0, 1]. */
  static fromJSON(json, numSteps) {
    const curve = new Curve(numSteps);
    const isValue = (value) => value === null || (typeof value === "number" && value >= 0 && value <= 1);
    if (!Array.isArray(json?.values) || json.values.length !== numSteps || !json.values.every(isValue)) {
      throw new RangeError(`not a curve of ${numSteps} frames`);
    }
    json.values.forEach((value, t) => value !== null && curve.#set(t, value));
    return curve;
  }

  #set(t, value) {
    this.values[t] = value;
    if (!this.drawn[t]) {
      this.drawn[t] = 1;
      this.count++;
    }
    this.#from = Math.min(this.#from, t);
    this.#to = Math.max(this.#to, t);
  }

  #line(a, b, betweenOnly = false) {
    const [left, right] = a.frame <= b.frame ? [a, b] : [b, a];
    const span = right.frame - left.frame;
    for (let t = left.frame + (betweenOnly ? 1 : 0); t <= right.frame - (betweenOnly ? 1 : 0); t++) {
      const share = span ? (t - left.frame) / span : 0;
      this.#set(t, t === b.frame ? b.value : left.value + share * (right.value - left.value));
    }
  }

  #start() {
    if (this.#last) this.end();
    this.#before = { values: this.values.slice(), drawn: this.drawn.slice(), anchor: this.anchor };
    this.#from = this.numSteps;
    this.#to = -1;
  }

  #finish() {
    const [from, end] = [this.#from, this.#to + 1];
    const cut = ({ values, drawn, anchor }) => ({ values: values.slice(from, end), drawn: drawn.slice(from, end), anchor });
    this.#undo.push({ from, before: cut(this.#before), after: cut(this) });
    if (this.#undo.length > MOST_STEPS) this.#undo.shift();
    this.#redo = [];
    this.#before = null;
    this.#recount();
  }

  #step(source, target, which) {
    this.end();
    const change = source.pop();
    if (!change) return;
    this.values.set(change[which].values, change.from);
    this.drawn.set(change[which].drawn, change.from);
    this.anchor = change[which].anchor;
    target.push(change);
    this.#recount();
  }

  #recount() {
    this.count = this.drawn.reduce((sum, one) => sum + one, 0);
  }
}
