// A list of any number of episodes: only the rows in sight are elements, and they are fetched a page at a time.

import { el } from "./dom.js";

const PAGE = 100; // episodes a request
const ROW = 54; // pixels; `.episode-row` in views.css is as high
const SPARE = 6; // rows above and below those in sight

const VERDICTS = { success: ["✓", "success", "good"], failure: ["✕", "failure", "bad"] };

/** A verdict as sign, word and colour. */
export function verdictChip(verdict) {
  const [sign, word, kind] = VERDICTS[verdict] ?? ["?", "not judged", "muted"];
  return el("span", { class: `chip ${kind}` }, el("span", { "aria-hidden": "true" }, `${sign} `), word);
}

export class EpisodeList {
  #pages = new Map(); // number -> episodes, or the promise of them
  #load = null;
  #abort = new AbortController();
  #asked = 0; // for an animation frame

  /**
   * @param {HTMLElement} root where it is put
   * @param {object} options `label`; `row(episode)`: the content of a row; `onOpen(episode)`; `onTotal(total)`; `onError(error)`
   */
  constructor(root, { label, row, onOpen, onTotal, onError }) {
    Object.assign(this, { row, onOpen, onTotal, onError });
    this.total = 0;
    this.active = 0; // the row that the arrow keys have reached
    this.opened = null; // id of the episode that is shown beside the list
    this.sheet = el("div", { class: "episode-sheet", role: "presentation" });
    this.element = el("div", { class: "episode-list", role: "listbox", tabindex: "0", "aria-label": label, onscroll: () => this.#request() }, this.sheet);
    this.element.addEventListener("click", (event) => this.#clicked(event));
    this.resizing = new ResizeObserver(() => this.#request());
    this.resizing.observe(this.element);
    root.append(this.element);
  }

  destroy() {
    this.#abort.abort();
    cancelAnimationFrame(this.#asked);
    this.resizing.disconnect();
  }

  /** Shows another list: `load(offset, limit, signal)` -> {total, episodes}. The old rows stay until the new ones are there. */
  async show(load) {
    this.#abort.abort();
    const { signal } = (this.#abort = new AbortController());
    this.element.setAttribute("aria-busy", "true");
    try {
      const { total, episodes } = await load(0, PAGE, signal);
      this.#load = load;
      this.#pages = new Map([[0, episodes]]);
      this.total = total;
      this.active = Math.max(0, episodes.findIndex((episode) => episode.episode_id === this.opened));
      this.element.scrollTop = 0;
      this.element.removeAttribute("aria-busy");
      this.#paint();
      this.onTotal(total);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.element.removeAttribute("aria-busy");
      this.onError(error);
    }
  }

  /** Moves the active row and brings it into sight. */
  move(rows) {
    this.active = Math.min(Math.max(this.active + rows, 0), Math.max(this.total - 1, 0));
    const top = this.active * ROW;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    if (top + ROW > scrollTop + clientHeight) this.element.scrollTop = top + ROW - clientHeight;
    this.#paint();
  }

  /** Opens the active row, once it has been fetched. */
  async openActive() {
    if (!this.total) return;
    const index = this.active;
    await this.#pages.get(Math.floor(index / PAGE));
    const episode = this.#at(index);
    if (episode && index === this.active) this.#open(episode);
  }

  /** An episode has changed: shows it as it is now, where the list holds it. */
  update(changed) {
    for (const page of this.#pages.values()) {
      if (!Array.isArray(page)) continue;
      const place = page.findIndex((episode) => episode.episode_id === changed.episode_id);
      if (place >= 0) page[place] = { ...page[place], ...changed };
    }
    this.#paint();
  }

  /** Marks the episode that is shown beside the list. */
  mark(episodeId) {
    this.opened = episodeId;
    this.#paint();
  }

  #clicked(event) {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    this.active = Number(option.dataset.index);
    this.openActive();
  }

  #open(episode) {
    this.mark(episode.episode_id);
    this.onOpen(episode);
  }

  #at(index) {
    const page = this.#pages.get(Math.floor(index / PAGE));
    return Array.isArray(page) ? page[index % PAGE] : undefined;
  }

  #request() {
    if (!this.#asked) this.#asked = requestAnimationFrame(() => this.#paint());
  }

  #paint() {
    cancelAnimationFrame(this.#asked);
    this.#asked = 0;
    const first = Math.max(Math.floor(this.element.scrollTop / ROW) - SPARE, 0);
    const last = Math.min(Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW) + SPARE, this.total);
    const rows = [];
    for (let index = first; index < last; index++) {
      this.#fetch(Math.floor(index / PAGE));
      rows.push(this.#option(index, this.#at(index)));
    }
    this.sheet.style.height = `${this.total * ROW}px`;
    this.sheet.replaceChildren(...rows);
    const inSight = this.active >= first && this.active < last;
    if (inSight) this.element.setAttribute("aria-activedescendant", `episode-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  #option(index, episode) {
    const active = index === this.active;
    const opened = episode !== undefined && episode.episode_id === this.opened;
    const option = el("div", {
      class: `episode-row${active ? " active" : ""}`, role: "option", id: `episode-${index}`, dataset: { index },
      "aria-selected": String(opened), "aria-setsize": this.total, "aria-posinset": index + 1,
    }, episode ? this.row(episode) : el("span", { class: "muted" }, "…"));
    option.style.top = `${index * ROW}px`;
    return option;
  }

  async #fetch(number) {
    if (this.#pages.has(number) || !this.#load) return;
    const pages = this.#pages;
    const wanted = this.#load(number * PAGE, PAGE, this.#abort.signal).then(({ episodes }) => {
      pages.set(number, episodes);
      this.#request();
    });
    pages.set(number, wanted.catch(() => {})); // whoever waits for the page looks whether it is there
    try {
      await wanted;
    } catch (error) {
      pages.delete(number); // scrolling there again tries again
      if (error.name !== "AbortError") this.onError(error);
    }
  }
}
