// The side of the sketch view: how much is done, by whom, and what comes next.

import { clear, el } from "./dom.js";

const EVERY_MS = 30_000; // others work too
const MOST_NEXT = 12; // episodes listed; there is no room for more
const MOST_PEOPLE = 5;

export class QueuePanel {
  #timer = 0;
  #stopped = false;

  constructor(root, { api, session }) {
    Object.assign(this, { api, session, current: null, latest: null });
    this.element = el("section", { class: "panel queue", "aria-label": "Queue" }, el("h2", {}, session.task_id), el("div", { class: "queue-body" }));
    root.append(this.element);
  }

  /** Asks the server again; `current` is the episode on the table. Returns the queue, or null if it can't be had. */
  async refresh(current = this.current) {
    this.current = current;
    clearTimeout(this.#timer);
    try {
      this.latest = await this.api.get("/queue");
    } catch {
      this.latest = null; // the view itself says that the server is gone
    }
    if (this.#stopped) return null;
    if (this.latest) this.#show(this.latest);
    this.#timer = setTimeout(() => this.refresh(), EVERY_MS);
    return this.latest;
  }

  /** The episode that most likely comes after the current one, or null. */
  get next() {
    return this.latest?.upcoming.find(({ episode_id }) => episode_id !== this.current) ?? null;
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #show({ total, sketched, mine, left, second_opinions_left: second, by, upcoming, in_progress: busy }) {
    const others = busy.filter(({ user }) => user !== this.session.user);
    const next = upcoming.filter(({ episode_id }) => episode_id !== this.current).slice(0, MOST_NEXT);
    clear(this.element.querySelector(".queue-body")).append(
      el("progress", { max: total || 1, value: sketched, "aria-label": "Episodes sketched" }),
      el("p", { class: "queue-done" }, el("strong", {}, String(sketched)), ` of ${total} sketched`, el("span", { class: "muted" }, `${mine} by you`)),
      el("p", { class: "muted queue-left" }, second ? `${left} to go, and ${second} for a second opinion` : `${left} to go`),
      people(by),
      others.length ? el("p", { class: "muted" }, others.map(({ user, episode_id }) => `${user} draws ${episode_id}`).join(", ")) : "",
      el("h3", {}, "Next"),
      next.length
        ? el("ol", { class: "queue-next" }, next.map(upcomingItem))
        : el("p", { class: "muted" }, "Nothing: this is the last one."),
    );
  }
}

function people(by) {
  const shown = [...by].sort((a, b) => b.sketched - a.sketched).slice(0, MOST_PEOPLE);
  const rest = by.length - shown.length;
  return el("ul", { class: "queue-people", "aria-label": "Sketched by" },
    shown.map(({ user, sketched }) => el("li", {}, el("span", {}, user), el("span", { class: "muted" }, String(sketched)))),
    rest > 0 ? el("li", { class: "muted" }, `and ${rest} more`) : null);
}

function upcomingItem({ episode_id, num_steps, why }) {
  return el("li", {},
    el("a", { href: `#/sketch/${encodeURIComponent(episode_id)}`, title: `Open ${episode_id} now` }, episode_id),
    el("span", { class: "muted" }, why === "next" ? `${num_steps} frames` : why));
}
