// From held keys and gamepad sticks to the arm's action. Directions are those of the person who looks by a camera.

/** What each key moves; `code`s name the place of a key, so that W A S D lie together on every keyboard. */
export const DRIVING_KEYS = {
  KeyW: { axis: "away", sign: 1, cap: "W", does: "away" },
  KeyS: { axis: "away", sign: -1, cap: "S", does: "closer" },
  KeyA: { axis: "right", sign: -1, cap: "A", does: "left" },
  KeyD: { axis: "right", sign: 1, cap: "D", does: "right" },
  KeyR: { axis: "up", sign: 1, cap: "R", does: "up" },
  KeyF: { axis: "up", sign: -1, cap: "F", does: "down" },
  KeyQ: { axis: "turn", sign: 1, cap: "Q", does: "turn ↺" },
  KeyE: { axis: "turn", sign: -1, cap: "E", does: "turn ↻" },
  ArrowUp: { axis: "tiltAway", sign: 1, cap: "↑", does: "away" },
  ArrowDown: { axis: "tiltAway", sign: -1, cap: "↓", does: "closer" },
  ArrowLeft: { axis: "tiltRight", sign: -1, cap: "←", does: "left" },
  ArrowRight: { axis: "tiltRight", sign: 1, cap: "→", does: "right" },
};
const FINE = 0.3; // of full speed: 4.5 cm/s, for the last two centimetres
const FIELDS = "input, textarea, select, [contenteditable]";

/** No motion: every axis in [-1, 1], fractions of the arm's top speed. */
export const STILL = Object.freeze({ right: 0, away: 0, up: 0, turn: 0, tiltAway: 0, tiltRight: 0 });

/** Adds motions up, each axis within [-1, 1]. */
export function sum(...motions) {
  return Object.fromEntries(
    Object.keys(STILL).map((axis) => [axis, Math.max(-1, Math.min(1, motions.reduce((all, one) => all + one[axis], 0)))]),
  );
}

/** The arm's action [vx, vy, vz, wx, wy, wz, gripper] in the base frame.
 *
 * @param {object} motion as STILL
 * @param {{away: number[], right: number[]}} view which way is away from the viewer, and which is right: unit vectors [x, y]
 * @param {boolean} fine slowly
 * @param {boolean | null} closed what the gripper is to be; null: as it is
 */
export function toAction(motion, view, fine, closed) {
  const speed = fine ? FINE : 1;
  const along = speed / Math.max(1, Math.hypot(motion.right, motion.away)); // two keys at once are not faster than one
  const tilting = speed / Math.max(1, Math.hypot(motion.tiltRight, motion.tiltAway));
  const [x, y] = [0, 1].map((i) => along * (motion.away * view.away[i] + motion.right * view.right[i]));
  // The fingers point down: about the axis to the right they turn away, about the one towards the viewer to the right.
  const [wx, wy] = [0, 1].map((i) => tilting * (motion.tiltAway * view.right[i] - motion.tiltRight * view.away[i]));
  return [x, y, speed * motion.up, wx, wy, speed * motion.turn, closed === null ? 0 : closed ? 1 : -1];
}

/** The key that lets a policy drive while it is held. */
export const POLICY_KEY = "KeyG";

/** The keys that are held down. `onChange(code)` comes after each change, `onToggle` when the gripper's key goes down. */
export class HeldKeys {
  #held = new Set();
  #listeners = [
    [window, "keydown", (event) => this.#down(event)],
    [window, "keyup", (event) => this.#up(event)],
    [window, "blur", () => this.release()],
    [document, "visibilitychange", () => document.hidden && this.release()],
  ];

  /** @param {{isDriving(): boolean, onChange(): void, onToggle(): void}} owner keys count only while it drives */
  constructor(owner) {
    this.owner = owner;
    for (const [target, type, listener] of this.#listeners) target.addEventListener(type, listener);
  }

  destroy() {
    for (const [target, type, listener] of this.#listeners) target.removeEventListener(type, listener);
  }

  /** Lets go of every key: the page does not hear of it when they are released elsewhere. */
  release() {
    this.#held.clear();
    this.owner.onChange();
  }

  isDown(code) {
    return this.#held.has(code);
  }

  get fine() {
    return this.isDown("ShiftLeft") || this.isDown("ShiftRight");
  }

  get motion() {
    const motion = { ...STILL };
    for (const code of this.#held) {
      const key = DRIVING_KEYS[code];
      if (key) motion[key.axis] += key.sign;
    }
    return motion;
  }

  #down(event) {
    const { code } = event;
    // With Ctrl, Alt or the command key it is the browser's, and some systems never tell that it was released.
    if (!this.owner.isDriving() || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest?.(FIELDS) || document.querySelector("dialog[open]")) return;
    if (!(code in DRIVING_KEYS) && code !== "Space" && code !== POLICY_KEY && !code.startsWith("Shift")) return;
    event.preventDefault();
    if (event.repeat) return;
    this.#held.add(code);
    if (code === "Space") this.owner.onToggle();
    this.owner.onChange();
  }

  #up(event) {
    if (this.#held.delete(event.code)) this.owner.onChange();
  }
}
