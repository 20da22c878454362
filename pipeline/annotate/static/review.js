// The review view: a reward model beside the people it learnt from. The episodes that tell most come first.

import { clear, el } from "./dom.js";
import { EpisodePane } from "./episode.js";
import { EpisodeList, verdictChip } from "./list.js";

const ORDERS = {
  disagreement: { label: "Disagreement", title: "Sketch and prediction order the frames differently", none: "not sketched" },
  delusion: { label: "Suspected delusion", title: "Predicted to succeed, judged a failure", none: "no failure" },
};

let kept = { model: null, order: "disagreement" }; // coming back finds what was chosen

export async function mount(root, context, { path, query }) {
  const models = await context.api.get("/models");
  if (!models.length) {
    root.append(el("div", { class: "panel notice" },
      el("h1", {}, "No reward model has rated these episodes yet"),
      el("p", {}, `When some episodes of ${context.session.task_id} are sketched, learn a reward from them, and rate everything that was recorded:`),
      el("pre", { class: "mono" }, "armchair reward train …\narmchair annotate …")));
    return () => {};
  }
  const view = new ReviewView(root, context, models, query.model);
  await view.start(path[0] ?? null);
  return () => view.destroy();
}

class ReviewView {
  constructor(root, context, models, wanted) {
    this.context = context;
    const known = models.map(({ model_id: id }) => id);
    const model = [wanted, kept.model].find((id) => known.includes(id)) ?? known.at(-1);
    kept = { ...kept, model };
    this.model = el("select", { "aria-label": "Reward model", onchange: () => this.#choose({ model: this.model.value }) },
      models.map(({ model_id: id, episodes }) => el("option", { value: id }, `${id} (${episodes.toLocaleString()} episodes)`)));
    this.model.value = model;
    this.orders = Object.entries(ORDERS).map(([order, { label, title }]) =>
      el("button", { class: "button", type: "button", title, dataset: { order }, onclick: () => this.#choose({ order }) }, label));
    this.count = el("p", { class: "list-count", "aria-live": "polite" });
    const side = el("div", { class: "list-side" },
      el("div", { class: "filters" }, this.model, el("span", { class: "cluster order", role: "group", "aria-label": "Order" }, this.orders)), this.count);
    root.classList.add("list-view");
    root.append(side);
    this.list = new EpisodeList(side, {
      label: "Episodes that the model has rated",
      row: (episode) => scoredRow(episode, kept.order),
      onOpen: ({ episode_id: id }) => this.open(id),
      onTotal: (total) => clear(this.count).append(el("strong", {}, total.toLocaleString()), total === 1 ? " episode" : " episodes"),
      onError: (error) => context.announce(error.message, "error"),
    });
    this.pane = new EpisodePane(root, { context, hint: "Choose an episode.", onChange: (detail) => this.list.update(detail) });
    const step = (rows) => {
      this.list.move(rows);
      this.list.openActive();
    };
    context.keys.add(["ArrowUp", "ArrowDown"], "Previous, next episode", (event) => step(event.key === "ArrowUp" ? -1 : 1), "List");
    context.keys.add("P", "Previous episode", () => step(-1), "List");
    context.keys.add("N", "Next episode", () => step(1), "List");
  }

  destroy() {
    this.list.destroy();
    this.pane.destroy();
  }

  async start(episodeId) {
    if (episodeId) {
      this.list.mark(episodeId);
      this.open(episodeId);
    }
    await this.#show();
    if (!episodeId) await this.list.openActive();
  }

  open(episodeId) {
    history.replaceState(null, "", `#/review/${encodeURIComponent(episodeId)}?${new URLSearchParams({ model: kept.model })}`);
    return this.pane.show(episodeId, kept.model);
  }

  async #choose(change) {
    kept = { ...kept, ...change };
    this.list.mark(null);
    await this.#show();
    await this.list.openActive();
  }

  #show() {
    for (const button of this.orders) button.setAttribute("aria-pressed", String(button.dataset.order === kept.order));
    const { model: model_id, order } = kept;
    return this.list.show((offset, limit, signal) => this.context.api.get("/review", { query: { model_id, order, offset, limit }, signal }));
  }
}

function scoredRow(episode, order) {
  const value = episode[order];
  const people = episode.sketched_by.length;
  const highest = order === "delusion" && value !== null ? [] : [`highest ${episode.highest.toFixed(2)}`]; // it is the score
  const more = [people ? `✎ ${people}` : null, ...highest, `last ${episode.last.toFixed(2)}`].filter(Boolean);
  return [
    el("span", { class: "row-line" }, el("span", { class: "row-id" }, episode.episode_id), verdictChip(episode.verdict)),
    el("span", { class: "row-line muted" },
      value === null ? el("span", { class: "row-what" }, ORDERS[order].none) : el("span", { class: "row-what score" }, meter(value), el("span", { class: "visually-hidden" }, ORDERS[order].label), value.toFixed(2)),
      el("span", { class: "row-when" }, more.join(" · "))),
  ];
}

/** A number in [0, 1] as a short bar; the number itself stands beside it. */
function meter(value) {
  const bar = el("span", { class: "meter-value" });
  bar.style.width = `${Math.round(value * 100)}%`;
  return el("span", { class: "meter", "aria-hidden": "true" }, bar);
}
