// One episode to look at: film, everybody's curves (and a model's), what was said about it, and what to say.

import { clear, el, formatDate, formatTime } from "./dom.js";
import { verdictChip } from "./list.js";
import { Pad } from "./pad.js";
import { askComment, askReason } from "./sketch_tools.js";
import { Viewer } from "./viewer.js";

const PREDICTION_COLOR = 1; // the accent, dashed
const SKETCH_COLORS = [0, 2, 3, 4, 5];
const TYPES = { EPISODE_ROBOT_AGENT: "policy", EPISODE_ROBOT_TELEOPERATION: "teleoperated", EPISODE_ROBOT_DAGGER: "policy and person" };
const KINDS = { verdict: "judged it", unusable: "called it unusable:", skip: "skipped it", comment: "said:" };

/** What kind of episode it is, in a word; a foreign log's own word as it stands. */
export const typeName = (type) => TYPES[type] ?? type;

export class EpisodePane {
  #open = null; // {detail, viewer, pad}
  #coming = null; // id of the episode that is being fetched: what is pressed now is not meant for the one still shown
  #abort = new AbortController();
  #group = "Episode";

  /**
   * @param {HTMLElement} root where it is put
   * @param {object} options `context` of the page; `hint`: what to say while nothing is open; `onChange(detail)`: something was said about the episode
   */
  constructor(root, { context, hint, onChange }) {
    Object.assign(this, { context, onChange });
    this.head = el("header", { class: "episode-head" });
    this.stage = el("div", { class: "episode-stage" });
    this.notes = el("ul", { class: "episode-notes", "aria-label": "Notes", tabindex: "0" });
    this.element = el("section", { class: "episode-pane", "aria-label": "Episode" }, this.#hint(hint));
    this.actions = this.#actions(context.keys);
    root.append(this.element);
  }

  destroy() {
    this.#abort.abort();
    this.#putAway();
  }

  /** Id of the episode that is open; null: none. */
  get episodeId() {
    return this.#open?.detail.episode_id ?? null;
  }

  /** Shows an episode; with a model, its prediction too. A newer call overtakes an older one. */
  async show(episodeId, modelId = null) {
    this.#abort.abort();
    const { signal } = (this.#abort = new AbortController());
    const path = `/episodes/${encodeURIComponent(episodeId)}`;
    this.#coming = episodeId;
    try {
      const [detail, prediction] = await Promise.all([
        this.context.api.get(path, { signal }),
        modelId ? this.context.api.get(`${path}/predictions`, { query: { model_id: modelId }, signal }) : null,
      ]);
      if (signal.aborted) return;
      this.#coming = null;
      this.#layOut(detail, prediction);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#coming = null;
      this.#putAway();
      clear(this.element).append(el("div", { class: "panel notice", role: "alert" }, el("p", {}, error.message),
        el("button", { class: "button", type: "button", onclick: () => this.show(episodeId, modelId) }, "Try again")));
    }
  }

  #hint(text) {
    return el("p", { class: "episode-hint muted" }, text);
  }

  #layOut(detail, prediction) {
    this.#putAway();
    const { context } = this;
    clear(this.element).append(this.head, this.stage, this.actions, this.notes);
    const viewer = new Viewer(clear(this.stage), { context, detail, onFrame: (t) => pad.setFrame(t) });
    const pad = new Pad(this.stage, {
      context, numSteps: detail.num_steps, rateHz: detail.control_rate_hz, curve: null, onScrub: (t) => viewer.seek(t),
    });
    pad.setOverlays(overlaysOf(detail, prediction));
    this.#open = { detail, viewer, pad };
    this.#describe(detail);
  }

  #putAway() {
    this.#open?.viewer.destroy();
    this.#open?.pad.destroy();
    this.#open = null;
  }

  #describe(detail) {
    const { num_steps: frames, control_rate_hz: rate } = detail;
    const length = rate ? `${frames} frames, ${formatTime((frames - 1) / rate)}` : `${frames} frames`;
    const facts = [detail.task_id, typeName(detail.episode_type), detail.policy_id, length, formatDate(detail.timestamp), detail.dataset, detail.source];
    const shown = facts.filter((fact) => fact && fact !== "–").join(" · ");
    clear(this.head).append(
      el("h1", { title: detail.episode_id }, detail.episode_id),
      verdictChip(detail.verdict),
      detail.unusable ? el("span", { class: "chip bad" }, "⊘ unusable") : "",
      ...detail.tags.map((tag) => el("span", { class: "chip" }, tag)),
      el("p", { class: "muted", title: shown }, shown),
    );
    const mine = detail.sketches.some((sketch) => sketch.mine);
    this.sketchLink.firstChild.textContent = mine ? "Correct my sketch" : "Sketch it";
    this.sketchLink.href = `#/sketch/${encodeURIComponent(detail.episode_id)}`;
    this.success.setAttribute("aria-pressed", String(detail.verdict === "success"));
    this.failure.setAttribute("aria-pressed", String(detail.verdict === "failure"));
    const said = detail.notes.filter(({ kind }) => kind !== "skip").reverse();
    clear(this.notes).append(...said.map(noteItem));
    this.notes.hidden = !said.length;
  }

  #actions(keys) {
    const { context } = this;
    const ready = (run) => () => {
      if (this.#coming) context.announce(`${this.#coming} is still on its way: press again when it is there.`);
      else if (this.#open) run();
    };
    const button = (label, combo, does, run, more = {}) => keys.button(label, combo, ready(run), { group: this.#group, does, ...more });
    this.success = button("✓ Success", "S", "The episode succeeded", () => this.#say("verdict", "success"), { "aria-label": "Verdict: success" });
    this.failure = button("✕ Failure", "F", "The episode failed", () => this.#say("verdict", "failure"), { "aria-label": "Verdict: failure" });
    const comment = button("Comment", "M", "Comment on the episode", async () => {
      const id = this.episodeId;
      const text = await askComment("", "Everybody who opens this episode can read it.");
      if (text && id === this.episodeId) await this.#say("comment", text);
    });
    const unusable = button("Unusable…", "U", "Unusable video, with a reason", async () => {
      const id = this.episodeId;
      const reason = await askReason(context.session.unusable_reasons);
      if (reason && id === this.episodeId) await this.#say("unusable", reason);
    });
    this.sketchLink = el("a", { class: "button primary", "aria-keyshortcuts": "E" }, el("span", { class: "label" }, "Sketch it"), el("kbd", { class: "kbd", "aria-hidden": "true" }, "E"));
    keys.add("E", "Sketch it, or correct your sketch", ready(() => context.go(this.sketchLink.getAttribute("href"))), this.#group);
    return el("div", { class: "episode-actions", role: "toolbar", "aria-label": "Episode" },
      el("span", { class: "cluster" }, this.success, this.failure), comment, unusable, this.sketchLink);
  }

  /** Sends a note, and shows the episode as it is then. */
  async #say(kind, text) {
    const { api, announce } = this.context;
    const open = this.#open;
    const id = open.detail.episode_id;
    try {
      await api.post("/notes", { episode_id: id, kind, text });
      const detail = await api.get(`/episodes/${encodeURIComponent(id)}`);
      announce(kind === "verdict" ? `${id}: ${text}` : `Noted about ${id}`);
      this.onChange(detail);
      if (open !== this.#open) return; // another episode has been opened meanwhile
      open.detail = detail;
      this.#describe(detail);
    } catch (error) {
      announce(error.message, "error");
    }
  }
}

/** Everybody's newest curve, and a model's if it is asked for. */
function overlaysOf(detail, prediction) {
  const sketches = detail.sketches.filter((sketch) => sketch.latest).map(({ user, values, mine }, index) => ({
    label: mine ? `${user} (you)` : user, values, style: "sketch", colorIndex: SKETCH_COLORS[index % SKETCH_COLORS.length],
  }));
  if (!prediction) return sketches;
  return [...sketches, { label: prediction.model_id, values: prediction.values, style: "prediction", colorIndex: PREDICTION_COLOR }];
}

function noteItem({ kind, user, text, timestamp }) {
  const what = kind === "verdict" ? [`${KINDS.verdict} `, verdictChip(text)] : [`${KINDS[kind] ?? kind} `, text];
  return el("li", {}, el("strong", {}, user), el("span", { class: "said" }, what), el("span", { class: "muted" }, formatDate(timestamp)));
}
