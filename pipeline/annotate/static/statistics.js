// The statistics view: how much is sketched, by whom, how fast, and how far people agree.

import { barsByDay, dotAndWhisker, fillDays } from "./charts.js";
import { clear, el } from "./dom.js";

const MEASURES = {
  order: { label: "Order agreement", from: 0, to: 1, mark: 0.5, does: "The share of clearly separated frame pairs that two people put in the same order; 0.5 is chance." },
  tau: { label: "Kendall’s tau", from: -1, to: 1, mark: 0, does: "Rank correlation over all frame pairs: 1 the same order, 0 unrelated, −1 reversed." },
};

export async function mount(root, context) {
  const [found, queue] = await Promise.all([context.api.get("/statistics"), context.api.get("/queue")]);
  if (!found.total.versions) {
    root.append(el("div", { class: "panel notice" }, el("h1", {}, "Nothing is sketched yet"),
      el("p", {}, `${queue.left.toLocaleString()} episodes of ${context.session.task_id} wait.`), el("a", { class: "button primary", href: "#/sketch" }, "Sketch the first one")));
    return () => {};
  }
  const days = el("div", { class: "chart-room" });
  root.append(
    numbers(found, queue),
    el("div", { class: "statistics-row" },
      el("section", { class: "panel by-day", "aria-label": "Sketches by day" }, el("h2", {}, "Sketches by day"), days),
      agreement(found)),
    people(found.annotators),
  );
  const resizing = new ResizeObserver(() => drawDays(days, found.days));
  resizing.observe(days);
  return () => resizing.disconnect();
}

function numbers({ total, annotators }, queue) {
  const share = queue.total ? queue.sketched / queue.total : 0;
  const corrected = total.versions - annotators.reduce((sum, { work }) => sum + work.episodes, 0);
  const facts = [
    [total.episodes.toLocaleString(), total.episodes === 1 ? "episode sketched" : "episodes sketched", `${queue.left.toLocaleString()} of ${queue.total.toLocaleString()} in the queue are left`, share],
    [total.versions.toLocaleString(), total.versions === 1 ? "sketch" : "sketches", corrected ? `of which ${corrected.toLocaleString()} correct an earlier one` : "none corrected so far"],
    [minutesText(total.minutes), "minutes spent drawing", total.episodes && total.minutes ? `${((60 * total.minutes) / total.versions).toFixed(0)} seconds a sketch` : "where the tool told"],
    [rateText(total.frames_per_minute), "frames a minute", `${total.frames.toLocaleString()} frames in all`],
  ];
  return el("dl", { class: "numbers" }, facts.map(([value, label, more, progress]) =>
    el("div", { class: "panel" }, el("dt", {}, label), el("dd", { class: "number" }, value),
      el("dd", { class: "muted" }, more), progress === undefined ? null : el("dd", {}, el("progress", { max: 1, value: progress, "aria-label": "Share of the queue that is sketched" })))));
}

function agreement({ agreement: found, shared }) {
  const panel = el("section", { class: "panel agreement", "aria-label": "Agreement" }, el("h2", {}, "Agreement between annotators"));
  if (!shared) {
    panel.append(el("p", { class: "muted" }, "No episode has been sketched by two people yet. A few go to a second person on purpose; or open one that somebody else has sketched."));
    return panel;
  }
  for (const [name, { label, does, ...scale }] of Object.entries(MEASURES)) {
    const estimate = found[name];
    panel.append(el("div", { class: "measure" },
      el("h3", { title: does }, label),
      estimate ? el("p", { class: "measure-text" }, el("strong", {}, estimate.value.toFixed(2)), ` ${intervalText(estimate)}`) : el("p", { class: "muted" }, "The curves do not tell."),
      estimate ? dotAndWhisker(estimate, { ...scale, width: 300, ticks: true }) : "",
      el("p", { class: "muted measure-does" }, does)));
  }
  return panel;
}

function people(annotators) {
  const columns = ["Annotator", "Episodes", "Sketches", "Minutes", "Frames / min", "Order agreement with the others"];
  const rows = annotators.map(({ user, work, agreement: { order } }) => el("tr", {},
    el("th", { scope: "row" }, user), numeric(work.episodes.toLocaleString()), numeric(work.versions.toLocaleString()),
    numeric(minutesText(work.minutes)), numeric(rateText(work.frames_per_minute)),
    el("td", { class: "with-dot" }, order
      ? el("span", {}, dotAndWhisker(order, { ...MEASURES.order, width: 200 }), el("strong", {}, order.value.toFixed(2)), el("span", { class: "muted" }, ` ${intervalText(order)}`))
      : el("span", { class: "muted" }, "no shared episode"))));
  return el("section", { class: "panel", "aria-label": "Annotators" }, el("h2", {}, "Annotators"),
    el("table", { class: "table" }, el("thead", {}, el("tr", {}, columns.map((name, index) => el("th", { scope: "col", class: index && index < 5 ? "numeric" : null }, name)))), el("tbody", {}, rows)));
}

function drawDays(room, days) {
  const { clientWidth: width, clientHeight: height } = room;
  if (!width || !height) return;
  const filled = fillDays(days, ({ work }) => work.versions, ({ work }) => `${work.versions} sketched, ${minutesText(work.minutes)} minutes`);
  clear(room);
  if (!filled.length) return room.append(el("p", { class: "muted" }, "The sketches here tell no date."));
  const busiest = filled.reduce((a, b) => (b.value > a.value ? b : a));
  const label = `From ${filled[0].day} to ${filled.at(-1).day}; most on ${busiest.day}: ${busiest.text}`;
  room.append(barsByDay(filled, { width, height, label }));
}

const numeric = (text) => el("td", { class: "numeric" }, text);
const rateText = (rate) => (rate === null ? "–" : Math.round(rate).toLocaleString());
const minutesText = (minutes) => (minutes && minutes < 10 ? minutes.toFixed(1) : Math.round(minutes).toLocaleString());

function intervalText({ low, high, episodes }) {
  const from = episodes === 1 ? "1 episode" : `${episodes.toLocaleString()} episodes`;
  return low === null ? `(${from})` : `(95 %: ${low.toFixed(2)} to ${high.toFixed(2)}; ${from})`;
}
