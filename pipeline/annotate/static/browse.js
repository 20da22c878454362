// The browse view: every episode of the store, filtered as fast as one types; the chosen one beside the list.

import { el, formatDate } from "./dom.js";
import { EpisodePane, typeName } from "./episode.js";
import { EpisodeList, verdictChip } from "./list.js";

const DEBOUNCE_MS = 30; // of typing: less than between two keys, so that only bursts are held together
const FACETS = [
  ["task_id", "task"], ["policy_id", "policy"], ["verdict", "verdict"], ["tag", "tag"], ["episode_type", "type"],
  ["dataset", "dataset"], ["source", "source"],
];
const VERDICT_NAMES = { unknown: "not judged" };

let kept = {}; // the conditions, so that coming back finds the list as it was left

export async function mount(root, context, { path }) {
  const facets = await context.api.get("/facets");
  const view = new BrowseView(root, context, facets);
  if (path[0]) view.open(path[0]);
  return () => view.destroy();
}

class BrowseView {
  #timer = 0;

  constructor(root, context, facets) {
    this.context = context;
    this.count = el("p", { class: "list-count", "aria-live": "polite" });
    this.filters = this.#filters(facets);
    const side = el("div", { class: "list-side" }, this.filters, this.count);
    root.classList.add("list-view");
    root.append(side);
    this.list = new EpisodeList(side, {
      label: "Episodes, newest first",
      row: episodeRow,
      onOpen: ({ episode_id: id }) => this.open(id),
      onTotal: (total) => this.#counted(total),
      onError: (error) => context.announce(error.message, "error"),
    });
    this.pane = new EpisodePane(root, { context, hint: "Choose an episode: ↑ ↓ and Enter, or click.", onChange: (detail) => this.list.update(detail) });
    const keys = context.keys;
    keys.add(["ArrowUp", "ArrowDown"], "Row up, row down", (event) => this.list.move(event.key === "ArrowUp" ? -1 : 1), "List");
    keys.add(["PageUp", "PageDown"], "Ten rows up, ten rows down", (event) => this.list.move(event.key === "PageUp" ? -10 : 10), "List");
    keys.add("Enter", "Open the row", () => this.list.openActive(), "List");
    keys.add("/", "Search", () => this.search.focus(), "List");
    this.#filter();
  }

  destroy() {
    clearTimeout(this.#timer);
    this.list.destroy();
    this.pane.destroy();
  }

  open(episodeId) {
    this.list.mark(episodeId);
    history.replaceState(null, "", `#/browse/${encodeURIComponent(episodeId)}`); // a link to it, and no new view
    return this.pane.show(episodeId);
  }

  #filters(facets) {
    const changed = () => this.#soon(0);
    this.search = el("input", {
      type: "search", class: "filter-text", placeholder: "Search id, task, policy, source, tag   /", "aria-label": "Search", "aria-keyshortcuts": "/",
      maxlength: 200, autocomplete: "off", spellcheck: "false", oninput: () => this.#soon(DEBOUNCE_MS),
    });
    this.search.addEventListener("keydown", (event) => this.#leaveSearch(event));
    this.fields = { text: this.search };
    const total = Object.values(facets.dataset).reduce((sum, count) => sum + count, 0); // each episode is in one
    const selects = FACETS.map(([name, label]) => {
      const values = Object.entries(facets[name] ?? {});
      const choice = values.length > 1 || values[0]?.[1] < total; // one value that all episodes have tells nothing
      const select = this.#select(name, label, values.map(([value, count]) => [value, `${labelOf(name, value)} (${count.toLocaleString()})`]), changed);
      select.hidden = !choice;
      return select;
    });
    const sketched = this.#select("sketched", "sketched", [["yes", "sketched"], ["no", "not sketched"]], changed, "Sketched?");
    const day = (name, label) => (this.fields[name] = el("input", { type: "date", "aria-label": label, title: label, onchange: changed }));
    const dates = el("div", { class: "filter-dates" }, el("span", { class: "muted" }, "from"), day("since", "Recorded from"), el("span", { class: "muted" }, "to"), day("until", "Recorded until"));
    this.reset = el("button", { class: "button quiet", type: "button", onclick: () => this.#resetAll() }, "Clear");
    const form = el("form", { class: "filters", role: "search", "aria-label": "Filter the episodes" }, this.search, selects, sketched, dates, this.reset);
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const [name, field] of Object.entries(this.fields)) field.value = kept[name] ?? "";
    return form;
  }

  #select(name, label, choices, onchange, all = `Any ${label}`) {
    const any = el("option", { value: "" }, all);
    const select = el("select", { "aria-label": label, onchange }, any, choices.map(([value, text]) => el("option", { value }, text)));
    this.fields[name] = select;
    return select;
  }

  #leaveSearch(event) {
    if (event.key === "ArrowDown" || event.key === "Enter" || (event.key === "Escape" && !this.search.value)) {
      event.preventDefault();
      this.list.element.focus();
    }
  }

  #resetAll() {
    for (const field of Object.values(this.fields)) field.value = "";
    this.search.focus();
    this.#filter();
  }

  #soon(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#filter(), wait);
  }

  #filter() {
    clearTimeout(this.#timer);
    kept = Object.fromEntries(Object.entries(this.fields).map(([name, field]) => [name, field.value]).filter(([, value]) => value));
    for (const field of Object.values(this.fields)) field.classList.toggle("set", Boolean(field.value));
    this.reset.hidden = !Object.keys(kept).length;
    const query = { ...kept, since: startOf(kept.since), until: startOf(kept.until, 1) };
    return this.list.show((offset, limit, signal) => this.context.api.get("/episodes", { query: { ...query, offset, limit }, signal }));
  }

  #counted(total) {
    const filtered = Object.keys(kept).length > 0;
    this.count.replaceChildren(el("strong", {}, total.toLocaleString()), total === 1 ? " episode" : " episodes", filtered ? (total ? " match" : " match: clear a filter") : "");
  }
}

function labelOf(name, value) {
  if (name === "episode_type") return typeName(value);
  return name === "verdict" ? (VERDICT_NAMES[value] ?? value) : value;
}

/** Unix seconds at which a day begins here, `days` later; "" for no day. */
function startOf(day, days = 0) {
  if (!day) return "";
  const [year, month, date] = day.split("-").map(Number);
  return Math.max(0, Math.floor(new Date(year, month - 1, date + days).getTime() / 1000));
}

function episodeRow(episode) {
  const people = episode.sketched_by;
  return [
    el("span", { class: "row-line" },
      el("span", { class: "row-id" }, episode.episode_id),
      people.length ? el("span", { class: "row-people", title: `Sketched by ${people.join(", ")}` }, el("span", { "aria-hidden": "true" }, "✎ "), el("span", { class: "visually-hidden" }, "sketched by "), people.join(", ")) : null,
      episode.unusable ? el("span", { class: "chip bad" }, "⊘ unusable") : null,
      verdictChip(episode.verdict)),
    el("span", { class: "row-line muted" },
      el("span", { class: "row-what" }, [episode.task_id, episode.policy_id || typeName(episode.episode_type)].filter(Boolean).join(" · ")),
      el("span", { class: "row-when" }, el("span", { class: "row-frames" }, `${episode.num_steps} frames · `), formatDate(episode.timestamp))),
  ];
}
