// A gamepad by the Gamepad API ("standard" layout): it has no events for sticks, so it is asked again and again.

import { STILL } from "./motion.js";

const DEAD_ZONE = 0.15; // worn sticks rest this far from their middle
const BUTTON = { A: 0, B: 1, X: 2, Y: 3, LB: 4, RB: 5, LT: 6, RT: 7, START: 9, UP: 12, DOWN: 13, LEFT: 14, RIGHT: 15 };

/** What does what, for the page. */
export const GAMEPAD_MAP = [
  ["Left stick", "left, right, away, closer"],
  ["Right stick", "up, down, turn"],
  ["D-pad", "tilt"],
  ["A, or RT / LT", "gripper: other way, or close / open"],
  ["LB or RB", "fine, while held"],
  ["B", "the policy drives, while held"],
  ["Start", "start, stop"],
  ["X or Y", "emergency stop of a real arm"],
];

/** The first connected gamepad, read once per `poll`. */
export class Gamepads {
  #before = new Set(); // buttons that were down

  /** @returns {null | {id: string, motion: object, fine: boolean, down: Set<string>, pressed: Set<string>}} null: there is none */
  poll() {
    const pad = [...(navigator.getGamepads?.() ?? [])].find((candidate) => candidate?.connected);
    if (!pad) {
      this.#before.clear();
      return null;
    }
    const value = (name) => pad.buttons[BUTTON[name]]?.value ?? 0;
    const down = new Set(Object.keys(BUTTON).filter((name) => value(name) > 0.5));
    const pressed = new Set([...down].filter((name) => !this.#before.has(name)));
    this.#before = down;
    const [x, y, turn, up] = [0, 1, 2, 3].map((index) => stick(pad.axes[index] ?? 0));
    const motion = {
      ...STILL, right: x, away: -y, turn: -turn, up: -up, // sticks count down and right as positive
      tiltAway: down.has("UP") - down.has("DOWN"), tiltRight: down.has("RIGHT") - down.has("LEFT"),
    };
    return { id: pad.id, motion, fine: down.has("LB") || down.has("RB"), down, pressed };
  }
}

/** A stick's axis in [-1, 1] without the dead zone, finer about the middle. */
function stick(value) {
  const size = Math.max(0, (Math.min(1, Math.abs(value)) - DEAD_ZONE) / (1 - DEAD_ZONE));
  return Math.sign(value) * size * size;
}
