// Two small charts in SVG: bars by day, and a dot with its interval. Each says in words what it shows.

const NS = "http://www.w3.org/2000/svg";
const DAY_MS = 24 * 3600 * 1000;
const MOST_DAYS = 60; // two months: a bar stays wide enough to point at
const WIDEST_BAR = 36; // pixels

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.flat());
  return node;
}

/** Every day from the first to the last with work, at most the latest MOST_DAYS: [{day, value, text}], 0 where there was none. */
export function fillDays(days, valueOf, textOf) {
  if (!days.length) return [];
  const known = new Map(days.map((day) => [day.day, day]));
  const last = Date.parse(days.at(-1).day);
  const first = Math.max(Date.parse(days[0].day), last - (MOST_DAYS - 1) * DAY_MS);
  const filled = [];
  for (let time = first; time <= last; time += DAY_MS) {
    const day = new Date(time).toISOString().slice(0, 10);
    const found = known.get(day);
    filled.push({ day, value: found ? valueOf(found) : 0, text: found ? textOf(found) : "nothing" });
  }
  return filled;
}

/** A number at or above `value` that people count to, with a half that is as plain. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 4, 6, 8, 10].map((times) => times * power).find((candidate) => candidate >= value);
}

/** Bars by day.
 *
 * @param {{day: string, value: number, text: string}[]} days from `fillDays`
 * @param {object} options `width`, `height` in pixels; `label`: what the chart shows, for a screen reader
 */
export function barsByDay(days, { width, height, label }) {
  const [left, top, bottom] = [34, 10, 22];
  const [plotWidth, plotHeight] = [width - left - 8, height - top - bottom];
  const highest = roundUp(Math.max(...days.map(({ value }) => value), 1));
  const pitch = Math.min(plotWidth / days.length, WIDEST_BAR * 1.4);
  const y = (value) => top + plotHeight * (1 - value / highest);
  const chart = svg("svg", { class: "chart", width, height, role: "img", "aria-label": label });
  for (const level of highest > 1 ? [0, highest / 2, highest] : [0, highest]) {
    chart.append(svg("line", { class: "chart-grid", x1: left, x2: width - 8, y1: y(level), y2: y(level) }),
      svg("text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" }, String(level)));
  }
  days.forEach(({ day, value, text }, index) => {
    const x = left + index * pitch + pitch * 0.22;
    const bar = svg("rect", { class: "chart-bar", x, y: y(value), width: pitch * 0.56, height: Math.max(y(0) - y(value), value ? 1 : 0), rx: Math.min(2, pitch * 0.2) });
    const reach = svg("rect", { class: "chart-reach", x: left + index * pitch, y: top, width: pitch, height: plotHeight }, svg("title", {}, `${day}: ${text}`));
    chart.append(bar, reach);
  });
  const every = Math.max(1, Math.ceil(52 / pitch)); // a date needs so many pixels
  days.forEach(({ day }, index) => {
    if (index % every === 0) chart.append(svg("text", { x: left + (index + 0.5) * pitch, y: height - 6, "text-anchor": "middle" }, shortDate(day)));
  });
  return chart;
}

const shortDate = (day) => new Date(day).toLocaleDateString([], { day: "numeric", month: "short", timeZone: "UTC" });

/** A dot with its interval on a scale.
 *
 * @param {{value: number, low: number | null, high: number | null}} estimate
 * @param {object} options `from`, `to`: the scale; `mark`: the value that means nothing, as by chance; `width`; `ticks`: whether the scale is labelled
 */
export function dotAndWhisker(estimate, { from, to, mark, width, ticks = false }) {
  const height = ticks ? 40 : 20;
  const middle = 10;
  const x = (value) => 8 + ((value - from) / (to - from)) * (width - 16);
  const chart = svg("svg", { class: "chart", width, height, "aria-hidden": "true" }); // the text beside it says the same
  chart.append(svg("line", { class: "chart-grid", x1: x(from), x2: x(to), y1: middle, y2: middle }),
    svg("line", { class: "chart-mark", x1: x(mark), x2: x(mark), y1: 2, y2: 18 }));
  const { value, low, high } = estimate;
  if (low !== null) {
    chart.append(svg("line", { class: "chart-whisker", x1: x(low), x2: x(high), y1: middle, y2: middle }),
      ...[low, high].map((end) => svg("line", { class: "chart-whisker", x1: x(end), x2: x(end), y1: middle - 5, y2: middle + 5 })));
  }
  chart.append(svg("circle", { class: "chart-dot", cx: x(value), cy: middle, r: 4 }));
  if (ticks) {
    for (const [level, anchor] of [[from, "start"], [mark, "middle"], [to, "end"]]) {
      chart.append(svg("text", { x: level === from ? 2 : level === to ? width - 2 : x(level), y: 34, "text-anchor": anchor }, String(level).replace("-", "−")));
    }
  }
  return chart;
}
