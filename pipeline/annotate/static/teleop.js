// The view "Demonstrate": a person drives the arm by keyboard or gamepad, alone or taking over from a policy, and keeps the
// episodes worth keeping.

import { clear, el, formatTime } from "./dom.js";
import { GAMEPAD_MAP, Gamepads } from "./gamepad.js";
import { keyHint } from "./keys.js";
import { DRIVING_KEYS, HeldKeys, POLICY_KEY, sum, toAction } from "./motion.js";

const COMMAND_MS = 50; // two commands a control step, so that one may be late
const NOT_SIGNED_IN = 4401; // close code of the server
const KEYS = "Drive";
const BEHIND = { away: [1, 0], right: [0, -1] }; // as seen from behind an arm whose cameras' places are not known
const GRIPPER_BUTTONS = ["A", "RT", "LT"]; // held, they drive as Space does
const STOP_BUTTONS = ["X", "Y"]; // two, as one may be missed in a hurry

/** Mounts the view; leaving it lets the arm go, with what was not kept. */
export async function mount(root, context) {
  const facts = await context.api.get("/teleop");
  if (facts.unavailable) {
    root.append(el("div", { class: "panel notice", role: "alert" }, el("h1", {}, "No arm to drive here"), el("p", {}, facts.unavailable)));
    return () => {};
  }
  const view = new Demonstrate(root, context, facts);
  return () => view.destroy();
}

class Demonstrate {
  #state = { phase: "idle", t: 0, elapsed_s: 0, seconds_left: 0 };
  #socket = null;
  #moved = false; // whether this episode's clock has been started: nothing is commanded before
  #closed = false; // what the gripper is to be; null: as the policy has left it
  #fine = false;
  #asked = false;
  #leaving = false;
  #kept = 0;
  #pictures = []; // the latest bitmap of each camera
  #timer = setInterval(() => this.#tick(), COMMAND_MS);
  #gamepads = new Gamepads();
  #pad = null;
  #escape = (event) => event.code === "Escape" && this.#stopNow(); // whatever else is held or open
  #warn = (event) => this.#inHand && event.preventDefault(); // the browser asks whether to leave

  constructor(root, context, facts) {
    Object.assign(this, { context, facts });
    this.held = new HeldKeys({ isDriving: () => this.#driving, onChange: () => this.#command(), onToggle: () => this.#toggle() });
    this.#build(root);
    this.#bind(context.keys);
    window.addEventListener("beforeunload", this.#warn);
    window.addEventListener("keydown", this.#escape, true);
    this.#showStopped(facts.stopped);
    this.#say(facts.busy_by ? `The arm is busy by ${facts.busy_by}.` : "");
    this.#show();
  }

  destroy() {
    if (this.#inHand) this.context.announce("You left, so the demonstration in hand was discarded.", "error");
    this.#leaving = true;
    clearInterval(this.#timer);
    window.removeEventListener("beforeunload", this.#warn);
    window.removeEventListener("keydown", this.#escape, true);
    this.held.destroy();
    this.#socket?.close();
  }

  get #driving() {
    return this.#state.phase === "ready" || this.#state.phase === "running";
  }

  get #inHand() {
    return this.#driving || this.#state.phase === "ended";
  }

  #build(root) {
    const { facts, context } = this;
    const task = facts.tasks.includes(context.session.task_id) ? context.session.task_id : facts.tasks[0];
    this.task = el("select", {}, facts.tasks.map((name) => el("option", { value: name, selected: name === task }, name)));
    this.policy = el("select", {}, el("option", { value: "" }, "me"),
      facts.policies.map((name) => el("option", { value: name }, `${name}, and I take over`)));
    this.seed = el("input", { type: "number", min: 0, max: 2 ** 31 - 1, step: 1, placeholder: "random", title: "The same number sets up the same scene" });
    this.go = context.keys.button("Start", "Enter", () => this.#startOrStop(), { group: KEYS, does: "Start, stop", class: "button primary" });
    this.switchView = context.keys.button("Other side", "C", () => this.#switchView(), { group: KEYS, does: "Look from the other side" });
    this.phase = el("span", { class: "chip phase", role: "status" });
    this.driver = el("span", { class: "chip driver", role: "status" });
    this.emergency = el("button", { class: "button emergency", type: "button", hidden: !facts.is_robot, onclick: () => this.#stopNow() },
      el("span", { class: "label" }, "Emergency stop"), keyHint("Escape"));
    this.stopped = el("div", { class: "teleop-stopped", role: "alert", hidden: true });
    this.message = el("div", { class: "teleop-message", role: "status" });
    this.verdict = el("div", { class: "teleop-verdict", role: "group", "aria-label": "Is the task done?" });
    this.stage = el("div", { class: "teleop-stage" });
    this.others = el("div", { class: "teleop-others" });
    this.numbers = el("dl", { class: "teleop-numbers" });
    this.padState = el("p", { class: "teleop-pad", role: "status" });
    this.keptList = el("ul", { class: "teleop-kept" });
    this.caps = new Map();
    root.append(
      el("div", { class: "teleop" },
        el("div", { class: "teleop-main" },
          el("div", { class: "teleop-bar" },
            el("label", { class: "field" }, "Task", this.task), el("label", { class: "field" }, "Scene", this.seed),
            facts.policies.length > 0 && el("label", { class: "field" }, "Who drives", this.policy),
            this.go, this.phase, this.driver, this.emergency),
          this.stopped, this.stage, this.numbers),
        el("aside", { class: "teleop-side" },
          this.others,
          el("section", { class: "panel" }, el("h2", {}, "Keys"), this.#keyboard()),
          el("section", { class: "panel" }, el("h2", {}, "Gamepad"), this.padState),
          el("section", { class: "panel" }, el("h2", {}, "Kept"), this.keptCount = el("p", { class: "muted" }), this.keptList))),
    );
    this.#setCameras(facts.cameras);
    this.#showPad(null);
    this.#showKept();
  }

  /** The keys as they lie on a keyboard; those that are held light up. */
  #keyboard() {
    const cap = (code, text, does, wide = "") => {
      const node = el("span", { class: `cap ${wide}` }, el("b", {}, text), el("small", {}, does));
      this.caps.set(code, node);
      return node;
    };
    const row = (...codes) => el("div", { class: "caps-row" }, codes.map((code) => cap(code, DRIVING_KEYS[code].cap, DRIVING_KEYS[code].does)));
    const moving = el("div", {}, row("KeyQ", "KeyW", "KeyE", "KeyR"), row("KeyA", "KeyS", "KeyD", "KeyF"));
    const tilting = el("div", { class: "caps-tilt" }, row("ArrowUp"), row("ArrowLeft", "ArrowDown", "ArrowRight"));
    const rest = el("div", { class: "caps-row" }, cap("Shift", "Shift", "fine", "wide"), cap("Space", "Space", "gripper: close, open", "space"),
      this.facts.policies.length ? cap(POLICY_KEY, "G", "policy") : el("span", { class: "caps-note muted" }, "arrows tilt"));
    this.direction = el("p", { class: "muted caps-direction" });
    return el("div", { class: "caps" }, el("div", { class: "caps-rows" }, moving, tilting), rest, this.direction);
  }

  #bind(keys) {
    for (const { cap, does, axis } of Object.values(DRIVING_KEYS)) {
      const code = { "↑": "ArrowUp", "↓": "ArrowDown", "←": "ArrowLeft", "→": "ArrowRight" }[cap] ?? cap;
      keys.add(code, axis.startsWith("tilt") ? `Tilt the fingers ${does}` : `Move ${does}`.replace("Move turn", "Turn"), () => {}, KEYS);
    }
    keys.add("Space", "Close or open the gripper", () => {}, KEYS);
    if (this.facts.is_robot) keys.add("Escape", "Emergency stop", () => {}, KEYS);
    keys.add("Shift", "Fine: slowly, while held", () => {}, KEYS);
    if (this.facts.policies.length) keys.add("G", "The policy drives, while held and until another key takes over", () => {}, KEYS);
    this.verdictButtons = [
      ["Success", "1", "success"], ["Failure", "2", "failure"], ["Not sure", "3", "unknown"],
    ].map(([label, key, verdict]) => Object.assign(
      keys.button(label, key, () => this.#ask("keep", { verdict }), { group: "Keep", does: `Keep as ${label.toLowerCase()}` }), { verdict }));
    this.discard = keys.button("Discard", "Delete", () => this.#ask("discard"), { group: "Keep", does: "Discard the episode", class: "button quiet" });
  }

  // What is sent

  async #startOrStop() {
    if (this.#driving) return this.#ask("stop");
    if (this.#state.phase !== "idle" || this.#asked) return undefined;
    document.activeElement?.blur?.(); // Space is the gripper's now
    this.#say("Setting the scene …");
    const seed = this.seed.value === "" ? null : Number(this.seed.value);
    return (await this.#reached()) && this.#ask("start", { task_id: this.task.value, seed, policy: this.policy.value });
  }

  /** Whether there is a connection by now. */
  async #reached() {
    try {
      await this.#connect();
      return true;
    } catch {
      this.#say("The server does not answer. Is `armchair sketch` still running?", "error");
      return false;
    }
  }

  /** The button that stops a robot at once, also on its way home, which is where a start leads. */
  #stopNow() {
    if (this.facts.is_robot) this.#send("emergency_stop");
  }

  /** The person has looked at the arm that was stopped: it may move again. */
  async #clear() {
    if (await this.#reached()) this.#ask("clear");
  }

  /** Sends a wish unless another waits for its answer: a key pressed twice is one wish. */
  #ask(type, content) {
    if (this.#asked) return;
    this.#asked = true;
    this.#send(type, content);
  }

  #send(type, content = {}) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify({ type, ...content }));
  }

  #connect() {
    if (this.#socket?.readyState === WebSocket.OPEN) return Promise.resolve();
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/teleop`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#receive(JSON.parse(data)) : this.#picture(data));
    socket.onclose = (event) => this.#lost(event);
    this.#socket = socket;
    return new Promise((resolve, reject) => {
      socket.onopen = () => resolve();
      socket.onerror = () => reject(new Error("no connection"));
    });
  }

  #toggle() {
    this.#closed = !(this.#closed ?? this.#state.gripper_closing);
  }

  /** Tells the arm what keys and gamepad say, once they have said anything at all. With none held, the arm stands still. */
  #command() {
    const pad = this.#pad;
    const motion = sum(this.held.motion, ...(pad ? [pad.motion] : []));
    this.#fine = this.held.fine || Boolean(pad?.fine);
    this.#light();
    if (!this.#driving) return;
    const drives = this.held.isDown("Space") || GRIPPER_BUTTONS.some((name) => pad?.down.has(name)) || Object.values(motion).some(Boolean);
    if (this.#state.policy_id && !drives && (this.held.isDown(POLICY_KEY) || pad?.down.has("B"))) {
      this.#moved = true;
      this.#closed = null; // who takes over, in the middle of a grasp perhaps, drops nothing
      this.#send("leave_to_policy");
      return;
    }
    this.#moved ||= drives;
    if (this.#moved) this.#send("command", { action: toAction(motion, this.#view, this.#fine, this.#closed) });
  }

  #tick() {
    const pad = this.#gamepads.poll();
    if (pad?.id !== this.#pad?.id) this.#showPad(pad);
    this.#pad = pad;
    if (STOP_BUTTONS.some((name) => pad?.pressed.has(name))) this.#stopNow();
    if (pad?.pressed.has("START")) this.#startOrStop();
    if (this.#driving && pad) {
      if (pad.pressed.has("A")) this.#toggle();
      if (pad.pressed.has("RT")) this.#closed = true;
      if (pad.pressed.has("LT")) this.#closed = false;
    }
    if (this.#driving) this.#command();
  }

  // What comes

  #receive(message) {
    if (message.type !== "state" || message.phase !== this.#state.phase) this.#asked = false;
    if (message.type === "error") return this.#say(message.message, "error");
    if (message.type === "kept") return this.#keptOne(message);
    if (message.type === "cameras") return this.#setCameras(message.cameras);
    if (message.type === "cleared") {
      this.#showStopped("");
      return this.#say("The arm may move again.");
    }
    const before = this.#state.phase;
    this.#state = message;
    this.#showStopped(message.stopped);
    if (message.phase !== before) this.#enter(message);
    this.#light();
    return this.#show();
  }

  #enter({ phase, error, is_success: solved, policy_id: policy }) {
    if (phase === "ready") {
      this.#moved = this.#closed = false;
      this.#say(policy ? "Hold G to let the policy drive, or press a key to move yourself. Time starts then." : "Press a key to move. Time starts then.");
    } else if (phase === "running") this.#say("");
    else if (phase === "ended") {
      const told = { true: "The simulator says: solved.", false: "The simulator says: not solved." }[solved] ?? "";
      for (const button of this.verdictButtons) button.classList.toggle("primary", button.verdict === { true: "success", false: "failure" }[solved]);
      clear(this.verdict).append(
        el("p", {}, el("b", {}, "Not saved yet."), " ", el("span", { class: "muted" }, told)),
        el("div", { class: "teleop-buttons" }, this.verdictButtons, this.discard));
      this.#say("");
    } else this.#say(error ? `The episode is lost: ${error}` : "", error ? "error" : "info");
  }

  async #picture(data) {
    const index = new DataView(data).getUint8(0);
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(data, 1)], { type: "image/jpeg" }));
    this.#pictures[index]?.close();
    this.#pictures[index] = bitmap;
    const canvas = this.canvases[index];
    if (canvas.width !== bitmap.width) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    canvas.dataset.frames = Number(canvas.dataset.frames ?? 0) + 1;
  }

  #keptOne({ episode_id: id, verdict }) {
    this.#kept += 1;
    this.keptList.prepend(el("li", {},
      el("a", { href: `#/sketch/${encodeURIComponent(id)}` }, `${this.task.value}, ${verdict}`), el("span", { class: "muted mono" }, ` ${id.slice(0, 8)}`)));
    while (this.keptList.children.length > 3) this.keptList.lastChild.remove();
    this.#showKept();
    this.#say("Saved.");
  }

  #lost({ code, reason }) {
    if (this.#leaving) return;
    const had = this.#inHand;
    this.#asked = false;
    this.#state = { ...this.#state, phase: "idle" };
    this.#show();
    const why = code === NOT_SIGNED_IN ? reason : "The connection to the server is lost.";
    this.#say(had ? `${why} The arm has stopped and the episode is discarded.` : why, "error");
  }

  // What is shown

  #switchView() {
    const all = this.cameras.map((_, index) => index);
    const placed = all.filter((index) => this.cameras[index].away);
    const choice = placed.length ? placed : all;
    this.main = choice[(choice.indexOf(this.main) + 1) % choice.length] ?? 0;
    this.#place();
    this.#command();
  }

  /** The cameras of the arm, which a robot tells when it is first driven. */
  #setCameras(cameras) {
    if (JSON.stringify(cameras) === JSON.stringify(this.cameras)) return;
    this.cameras = cameras;
    this.canvases = cameras.map(({ name }) => el("canvas", { width: 640, height: 480, role: "img", "aria-label": `Live picture, ${title(name)}` }));
    this.main = 0; // whose directions count
    this.#place();
  }

  /** Which way is away and which is right, for the person who looks. */
  get #view() {
    const camera = this.cameras[this.main];
    return camera?.away ? camera : BEHIND;
  }

  #place() {
    const figure = (index) => el("figure", {}, this.canvases[index], el("figcaption", {}, title(this.cameras[index].name)));
    clear(this.stage).append(...(this.canvases.length ? [figure(this.main)] : []), this.switchView, this.message, this.verdict);
    clear(this.others).append(...this.canvases.map((_, index) => index).filter((index) => index !== this.main).map(figure));
    this.direction.textContent = this.#view === BEHIND
      ? "As seen from behind the arm's base: W moves along its x axis."
      : `As seen by the camera ${title(this.cameras[this.main].name)}: W moves away from you.`;
  }

  #show() {
    const { phase, elapsed_s: elapsed, seconds_left: left, gripper_opening: opening, acted_by: by, policy_id: policy, overruns, jitter_ms: jitter } = this.#state;
    this.go.querySelector(".label").textContent = this.#driving ? "Stop" : "Start";
    this.go.disabled = phase === "ended";
    this.task.disabled = this.seed.disabled = this.policy.disabled = phase !== "idle";
    this.verdict.hidden = phase !== "ended";
    for (const button of [...(this.verdictButtons ?? []), this.discard]) if (button) button.disabled = phase !== "ended";
    if (this.discard && this.#driving) this.discard.disabled = false;
    this.phase.textContent = { idle: "no episode", ready: "ready", running: "● recording", ended: "not saved yet" }[phase];
    this.phase.className = `chip phase ${phase}`;
    this.driver.hidden = !(policy && phase === "running");
    this.driver.textContent = { person: "you drive", policy: "the policy drives", nobody: "nobody drives" }[by] ?? "";
    this.driver.className = `chip driver ${by}`;
    this.stage.dataset.driver = this.driver.hidden ? "" : by;
    const facts = [
      ["Time", formatTime(elapsed)], ["Left", !this.#driving ? "–" : `${Math.ceil(left)} s`],
      ["Gripper", opening == null ? "–" : `${this.#closed ?? this.#state.gripper_closing ? "closing" : "open"}, ${Math.round(opening * 1000)} mm`],
      ["Arm", phase !== "running" ? "–" : { person: "obeys", policy: `obeys ${policy}` }[by] ?? "stands still: no commands"],
      ["Rate", `${this.facts.control_rate_hz} Hz, ${(jitter ?? 0).toFixed(1)} ms late, ${overruns ?? 0} overruns`],
    ];
    this.numbers.replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }

  /** Why the arm was stopped, and the button by which a person lets it move again. */
  #showStopped(why) {
    if (this.stopped.dataset.why === why) return;
    this.stopped.dataset.why = why;
    this.stopped.hidden = !why;
    clear(this.stopped).append(
      el("p", {}, el("b", {}, "The arm was stopped"), `: ${why}. Nothing moves before somebody has looked at it.`),
      el("button", { class: "button", type: "button", onclick: () => this.#clear() }, `I, ${this.context.session.user}, have looked: it may move`));
  }

  #light() {
    for (const [code, node] of this.caps) {
      const on = code === "Space" ? this.#closed : code === "Shift" ? this.#fine : this.held.isDown(code);
      node.classList.toggle("on", on && this.#driving);
    }
  }

  #showPad(pad) {
    clear(this.padState).append(pad
      ? el("span", {}, el("b", {}, "Connected: "), pad.id.slice(0, 60))
      : el("span", { class: "muted" }, "None. Connect one and press a button on it."));
    if (pad) this.padState.append(el("dl", { class: "teleop-padmap" }, GAMEPAD_MAP.map(([what, does]) => [el("dt", {}, what), el("dd", {}, does)])));
  }

  #showKept() {
    this.keptCount.textContent = this.#kept ? `${this.#kept} this visit. Sketch them:` : "None yet on this visit.";
  }

  #say(text, kind = "info") {
    this.message.textContent = text || (this.#state.phase === "idle" && !this.#pictures.length ? "Choose a task and press Enter." : "");
    this.message.className = `teleop-message ${kind}`;
    this.message.hidden = !this.message.textContent;
  }
}

/** `basket_front_left` -> `basket front left` */
function title(name) {
  return name.replaceAll("_", " ");
}
