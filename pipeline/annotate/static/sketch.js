// The sketch view: the film above, the drawing area below, the queue at the side. One episode after the other.

import { Curve } from "./curve.js";
import { clear, el, formatTime } from "./dom.js";
import { Draft } from "./drafts.js";
import { Film } from "./frames.js";
import { Activity, LeaseKeeper } from "./lease.js";
import { Pad } from "./pad.js";
import { QueuePanel } from "./queue.js";
import { askComment, askReason, DrawingTools, FinishTools } from "./sketch_tools.js";
import { Viewer } from "./viewer.js";

const FIRST_FRAMES = 24; // of the next episode, loaded while this one is drawn

export async function mount(root, context, { path }) {
  const view = new SketchView(root, context);
  await view.open(path[0] ?? null);
  return () => view.leave();
}

class SketchView {
  #work = null; // {detail, curve, draft, activity, lease, viewer, pad, comment, correcting}
  #prepared = null; // {detail, film} of the episode that most likely comes next
  #done = ""; // what the server has just confirmed; said together with what comes next
  #left = false;
  #pagehide = () => {
    const work = this.#work;
    if (work?.touched || work?.curve.stroking) this.#keep(work); // a stroke's latest samples may not be painted yet
    work?.draft.flush();
  };

  constructor(root, context) {
    Object.assign(this, { context, api: context.api, session: context.session });
    this.notice = el("div", { class: "sketch-notices" });
    this.title = el("header", { class: "sketch-title" });
    this.table = el("div", { class: "sketch-table" });
    this.main = el("div", { class: "sketch-main" }, this.title, this.notice, this.table);
    this.side = el("aside", { class: "sketch-side" });
    root.append(this.main, this.side);
    const drawing = (run) => () => this.#work && !this.#work.sending && run(this.#work);
    const edit = (change) => drawing((work) => {
      change(work);
      work.pad.refresh();
      this.#update(work); // now, not with the next picture: the next key may be here before it
    });
    this.tools = new DrawingTools(this.main, context.keys, {
      undo: edit(({ curve }) => curve.undo()),
      redo: edit(({ curve }) => curve.redo()),
      clear: edit(({ curve }) => curve.clear()),
      flat: edit((work) => this.#copyFlat(work)),
      fill: edit((work) => this.#fillGaps(work)),
      others: drawing((work) => this.#toggleOthers(work)),
      putPoint: edit(({ pad }) => pad.putPoint()),
      lift: edit(({ curve }) => curve.lift()),
      level: (change) => this.#work?.pad.setLevel(this.#work.pad.level + change),
      levelTo: (value) => this.#work?.pad.setLevel(value),
      guide: (guides, up) => this.#work && this.#toGuide(this.#work, guides, up),
    }, this.session.thresholds);
    this.queue = new QueuePanel(this.side, context);
    this.finish = new FinishTools(this.side, context.keys, {
      save: drawing((work) => this.#save(work)),
      skip: drawing((work) => this.#note(work, "skip", "", "Skipped")),
      unusable: drawing((work) => this.#unusable(work)),
      comment: drawing((work) => this.#comment(work)),
    });
    window.addEventListener("pagehide", this.#pagehide);
  }

  /** Opens an episode, or the queue's next one. `anyway`: though somebody else has it open. */
  async open(episodeId = null, anyway = false) {
    this.#putAway();
    this.#tell(null);
    this.main.setAttribute("aria-busy", "true");
    try {
      const lease = await this.api.post("/leases", { episode_id: episodeId, anyway });
      const prepared = this.#prepared?.detail.episode_id === lease.episode_id ? this.#prepared : null;
      if (this.#prepared && !prepared) this.#prepared.film.close();
      this.#prepared = null;
      const detail = prepared?.detail ?? (await this.api.get(`/episodes/${encodeURIComponent(lease.episode_id)}`));
      if (this.#left) return void this.api.delete(`/leases/${lease.lease_id}`).catch(() => {});
      this.#layOut(detail, lease, prepared?.film ?? null);
    } catch (error) {
      this.#cannotOpen(error, episodeId);
    } finally {
      this.main.removeAttribute("aria-busy");
    }
    this.#prepareNext();
  }

  /** Leaves the view: what is drawn stays as a draft, the episode is free again. */
  leave() {
    this.#left = true;
    window.removeEventListener("pagehide", this.#pagehide);
    this.queue.stop();
    this.#prepared?.film.close();
    this.#putAway();
  }

  #layOut(detail, lease, film) {
    const draft = new Draft(this.session, detail.episode_id, (message) => this.context.announce(message, "error"));
    const kept = draft.load();
    const own = detail.sketches.find(({ mine, latest }) => mine && latest);
    const work = { detail, draft, comment: kept?.comment ?? "", correcting: Boolean(own), touched: Boolean(kept), othersShown: false };
    work.curve = this.#startingCurve(work, kept, own);
    work.activity = new Activity(kept?.seconds ?? 0);
    work.lease = new LeaseKeeper(this.api, lease, {
      isActive: () => work.activity.active,
      onLost: () => this.#lost(work),
      onTrouble: (error) => (error ? this.#trouble(work, error) : this.#tell("The server is back.")),
    });
    const { context } = this;
    clear(this.table);
    work.viewer = new Viewer(this.table, {
      context, detail, film,
      onFrame: (t) => {
        work.activity.touch();
        work.pad.setFrame(t);
      },
    });
    work.pad = new Pad(this.table, {
      context, numSteps: detail.num_steps, rateHz: detail.control_rate_hz, curve: work.curve,
      onScrub: (t) => work.viewer.seek(t), onChange: (ended) => this.#changed(work, ended),
    });
    this.#work = work;
    this.#showTitle(work);
    this.tools.others.hidden = !work.correcting || !othersOf(detail).length;
    this.tools.others.setAttribute("aria-pressed", "false");
    this.#update(work);
    work.pad.surface.focus({ preventScroll: true });
    this.#say(`Episode ${detail.episode_id}, ${detail.num_steps} frames`);
  }

  #say(text) {
    this.context.announce([this.#done, text].filter(Boolean).join(" · "));
    this.#done = "";
  }

  #startingCurve(work, kept, own) {
    const { num_steps: numSteps } = work.detail;
    if (kept) {
      try {
        const curve = Curve.fromJSON(kept.curve, numSteps);
        const time = new Date(kept.savedAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
        this.#tell(`Your unfinished drawing of ${time} is back.`, [["Start over", () => this.#startOver(own)]]);
        return curve;
      } catch {
        work.draft.remove(); // of another version of the episode: it fits no more
        work.touched = false;
      }
    }
    if (own) {
      this.#tell("You have sketched this episode. Saving adds a new version; the one before stays.");
      return Curve.fromJSON({ values: own.values }, numSteps);
    }
    return new Curve(numSteps);
  }

  #startOver(own) {
    const { curve, pad } = this.#work;
    if (own) curve.replace(own.values);
    else curve.clear();
    pad.refresh();
    this.#tell(null);
  }

  #showTitle({ detail, correcting }) {
    const { episode_id: id, num_steps: frames, control_rate_hz: rate, episode_type: type, cameras } = detail;
    const second = !correcting && othersOf(detail).length;
    const facts = [`${frames} frames`, rate ? formatTime((frames - 1) / rate) : null, cameras.length ? null : "no camera", kindOf(type), detail.dataset];
    clear(this.title).append(
      el("h1", {}, id),
      el("span", { class: "muted" }, facts.filter(Boolean).join(" · ")),
      correcting ? el("span", { class: "chip" }, "correction") : "",
      second ? el("span", { class: "chip" }, "second opinion") : "",
      detail.unusable ? el("span", { class: "chip bad" }, "marked unusable") : "",
    );
  }

  #changed(work, ended) {
    work.touched = true;
    this.#keep(work);
    if (ended) work.draft.flush();
    this.#update(work);
  }

  #keep(work) {
    if (work.lost) return; // another tab goes on with the episode: the draft is that tab's
    work.draft.soon(() => ({ curve: work.curve.toJSON(), comment: work.comment, seconds: Math.round(work.activity.seconds) }));
  }

  #update({ curve, comment }) {
    this.tools.update(curve);
    this.finish.update(curve, comment);
  }

  #copyFlat({ curve, pad }) {
    const range = curve.flatRange(pad.frame);
    if (!range) return this.context.announce("Nothing is drawn here or before: there is no value to hold.");
    curve.flat(range.from, range.to, range.value);
    this.context.announce(`Frames ${range.from} to ${range.to} are held at ${range.value.toFixed(2)}`);
  }

  #fillGaps({ curve }) {
    const filled = curve.fillGaps();
    this.#tell(null);
    this.context.announce(filled ? `${filled} frames filled` : "There is no gap to fill");
  }

  #toggleOthers(work) {
    if (this.tools.others.hidden) return;
    work.othersShown = !work.othersShown;
    this.tools.others.setAttribute("aria-pressed", String(work.othersShown));
    work.pad.setOverlays(work.othersShown ? othersOf(work.detail) : []);
  }

  #toGuide({ pad }, guides, up) {
    const beyond = guides.filter((value) => (up ? value > pad.level + 1e-6 : value < pad.level - 1e-6));
    if (beyond.length) pad.setLevel(up ? beyond[0] : beyond.at(-1));
  }

  async #comment(work) {
    const text = await askComment(work.comment);
    if (text === null || work !== this.#work) return;
    work.comment = text;
    this.#changed(work, true);
  }

  async #unusable(work) {
    const reason = await askReason(this.session.unusable_reasons);
    if (reason !== null && work === this.#work) await this.#note(work, "unusable", reason, "Marked as unusable");
  }

  async #note(work, kind, text, told) {
    const id = work.detail.episode_id;
    await this.#leaving(work, async () => {
      if (work.comment) await this.api.post("/notes", { episode_id: id, kind: "comment", text: work.comment });
      work.comment = "";
      await this.api.post("/notes", { episode_id: id, kind, text });
      if (work.curve.empty) work.draft.remove();
      this.#done = `${told}: ${id}`;
    }, () => this.#note(work, kind, text, told));
  }

  async #save(work) {
    const { curve, detail, lease } = work;
    const missing = detail.num_steps - curve.count;
    if (missing) {
      const frames = missing === 1 ? "1 frame is" : `${missing} frames are`;
      const fill = [`Fill the ${missing === 1 ? "gap" : "gaps"} (G)`, () => this.tools.fill.click()];
      return this.#tell(`${frames} not drawn yet: those that are hatched.`, curve.empty ? [] : [fill], "warn");
    }
    if (work.correcting && !work.touched) return this.#tell("Nothing has changed since you saved this.");
    await this.#leaving(work, async () => {
      const { values } = curve.toJSON();
      const body = { lease_id: lease.id, values, seconds_spent: work.activity.seconds, comment: work.comment };
      const saved = await this.api.post("/sketches", body);
      lease.stop(); // the server has consumed it
      work.draft.remove();
      this.#done = `Saved: ${saved.episode_id}`;
    }, () => this.#save(work));
  }

  /** Sends something and goes on to the next episode; `again` is what "try again" does. */
  async #leaving(work, send, again) {
    if (work.sending) return;
    work.sending = true;
    this.main.inert = this.side.inert = true; // what is drawn now would not be in what is sent
    try {
      await send();
    } catch (error) {
      if (work === this.#work) this.#trouble(work, error, again);
      return;
    } finally {
      work.sending = false;
      this.main.inert = this.side.inert = false;
    }
    if (this.#left || work !== this.#work) return this.#say("");
    if (location.hash.startsWith("#/sketch/")) history.replaceState(null, "", "#/sketch"); // reloading goes on, not back
    await this.open();
  }

  #lost(work) {
    work.lost = true;
    work.lease.stop();
    const say = "This episode is no longer reserved for this page: it is open in another tab, or somebody has taken it. Your drawing is kept here.";
    this.#tell(say, [
      ["Save as a second opinion", () => this.#reclaim(work)],
      ["Leave it, next episode", () => this.open()],
    ], "bad");
  }

  async #reclaim(work) {
    try {
      const lease = await this.api.post("/leases", { episode_id: work.detail.episode_id, anyway: true });
      work.lease = new LeaseKeeper(this.api, lease, work.lease);
      work.lost = false;
      this.#tell(null);
      await this.#save(work);
    } catch (error) {
      this.#trouble(work, error, () => this.#reclaim(work));
    }
  }

  /** Says what went wrong while an episode is open; the drawing stays. */
  #trouble(work, error, again = () => work.lease.renew()) {
    if (this.#left) return;
    work.draft.flush();
    if (error.code === "stale_lease") return this.#lost(work);
    const kept = "Your drawing is kept in this browser.";
    const ways = [["Try again", () => {
      this.#tell(null);
      again();
    }]];
    if (error.status === 401) this.#tell(`${error.message} Open the link of \`armchair sketch\` in another tab, then try again. ${kept}`, ways, "bad");
    else this.#tell(`${error.message} ${kept}`, ways, "bad");
  }

  #cannotOpen(error, episodeId) {
    if (this.#left) return;
    clear(this.title);
    clear(this.table);
    const button = (label, run, kind = "button") => el("button", { class: kind, type: "button", onclick: run }, label);
    const card = (title, text, ...buttons) => this.table.append(el("div", { class: "panel notice", role: "alert" }, el("h1", {}, title), el("p", {}, text), el("div", { class: "dialog-row" }, buttons)));
    this.#say("");
    const next = button("The next episode", () => this.open(), "button primary");
    if (error.code === "nothing_left") {
      card("Nothing left to sketch", error.message, button("Look again", () => this.open()), button("Browse the episodes", () => this.context.go("#/browse")));
    } else if (error.code === "nothing_yet") {
      card("Nothing to sketch yet", error.message, button("Demonstrate", () => this.context.go("#/demonstrate"), "button primary"), button("Look again", () => this.open()));
    } else if (error.code === "taken") {
      card(`${error.details.holder ?? "Somebody"} is drawing ${episodeId}`, "One person draws an episode, unless a second opinion is wanted.", next, button("Draw it too, as a second opinion", () => this.open(episodeId, true)));
    } else {
      if (!error.status && error.code !== "no_server") console.error(error);
      card("This episode does not open", error.message, button("Try again", () => this.open(episodeId), "button primary"), episodeId ? button("The next episode", () => this.open()) : "");
    }
  }

  async #prepareNext() {
    await this.queue.refresh(this.#work?.detail.episode_id ?? null);
    const { next } = this.queue;
    const work = this.#work;
    if (!work || !next || this.#prepared) return;
    await work.viewer.ready; // this episode's first picture comes before the next one's
    try {
      const detail = await this.api.get(`/episodes/${encodeURIComponent(next.episode_id)}`);
      if (this.#left || this.#prepared || work !== this.#work) return;
      this.#prepared = { detail, film: new Film(detail, (camera) => this.api.filmUrl(detail.episode_id, camera), FIRST_FRAMES) };
    } catch {
      // It is only to be quicker; opening the episode says what is wrong with it.
    }
  }

  /** Shows a message with ways on, or none. `kind`: "info", "warn" or "bad". */
  #tell(text, ways = [], kind = "info") {
    clear(this.notice);
    if (!text) return;
    const buttons = ways.map(([label, run]) => el("button", { class: "button", type: "button", onclick: run }, label));
    const close = el("button", { class: "button quiet", type: "button", "aria-label": "Close this message", onclick: () => this.#tell(null) }, "✕");
    this.notice.append(el("div", { class: `sketch-notice ${kind}`, role: kind === "info" ? "status" : "alert" }, el("p", {}, text), buttons, close));
  }

  #putAway() {
    const work = this.#work;
    if (!work) return;
    this.#work = null;
    work.draft.flush();
    work.lease.release();
    work.activity.stop();
    work.viewer.destroy();
    work.pad.destroy();
    for (const dialog of document.querySelectorAll("dialog.ask")) dialog.close();
  }
}

/** What others have drawn, newest version each, as overlays of the pad. */
function othersOf({ sketches }) {
  return sketches
    .filter(({ mine, latest }) => !mine && latest)
    .map(({ user, values }, colorIndex) => ({ label: user, values, style: "sketch", colorIndex }));
}

/** `EPISODE_ROBOT_AGENT` as people say it: `robot agent`. */
function kindOf(episodeType) {
  return episodeType.replace(/^EPISODE_/, "").replaceAll("_", " ").toLowerCase();
}
