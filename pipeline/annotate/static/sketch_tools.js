// The tools of the sketch view: what can be done to the curve, and how an episode is finished, each with its key.

import { clear, el } from "./dom.js";
import { keyHint } from "./keys.js";

const COARSE = 0.05; // of the scale: one press of an arrow
const FINE = 0.01; // with Shift
const DIGITS = [..."0123456789"];
const MOST_CHARACTERS = 2000; // of a comment; the server takes no more

/** The bar below the pad. `actions`: {undo, redo, clear, flat, fill, others, putPoint, lift, level(change), levelTo(value), guide(guides, up)} */
export class DrawingTools {
  constructor(root, keys, actions, thresholds) {
    const group = "Drawing";
    const tool = (label, combo, does, run, more = {}) => keys.button(label, combo, run, { group, does, ...more });
    this.undo = tool("Undo", "Ctrl+Z", "Undo", actions.undo);
    this.redo = tool("Redo", "Ctrl+Y", "Redo", actions.redo);
    this.clear = tool("Clear", "X", "Clear everything that is drawn", actions.clear);
    this.flat = tool("Copy flat", "F", "Hold the value at the cursor to the end, or to the next drawn stretch", actions.flat);
    this.fill = tool("Fill gaps", "G", "Fill gaps: straight between what is drawn, held at the ends", actions.fill);
    this.others = tool("Others", "O", "Show what others have drawn (once you have drawn yours)", actions.others, { hidden: true, "aria-pressed": "false" });
    for (const [button, does] of [[this.flat, "Hold the value at the cursor to the end, or to the next drawn stretch"],
      [this.fill, "Straight between what is drawn, held at the ends"]]) button.title = does;
    const guides = [0, thresholds.failure, thresholds.success, 1];
    keys.add("Ctrl+Shift+Z", "Redo", actions.redo, group);
    keys.add(["ArrowUp", "ArrowDown"], "Level up, down", (event) => actions.level(event.key === "ArrowUp" ? COARSE : -COARSE), "By keyboard");
    keys.add(["Shift+ArrowUp", "Shift+ArrowDown"], "Level up, down, finely", (event) => actions.level(event.key === "ArrowUp" ? FINE : -FINE), "By keyboard");
    keys.add(DIGITS, "Level 0.0 … 0.9", (event) => actions.levelTo(Number(event.key) / 10), "By keyboard");
    keys.add(["PageUp", "PageDown"], "Level to the next guide line: 0, failure, success, 1", (event) => actions.guide(guides, event.key === "PageUp"), "By keyboard");
    keys.add("Enter", "Put a point: a straight line from the one before", actions.putPoint, "By keyboard");
    keys.add("Escape", "Lift the pencil: the next point stands alone", actions.lift, "By keyboard");
    const hints = el("p", { class: "sketch-hints muted" },
      [[["ArrowUp", "ArrowDown", "0 … 9"], "level"], [["Enter"], "point"], [["Escape"], "lift"], [["?"], "all keys"]]
        .map(([combos, does]) => el("span", {}, combos.map(keyHint), does)));
    this.element = el("div", { class: "sketch-tools", role: "toolbar", "aria-label": "Drawing" },
      el("span", { class: "cluster" }, this.undo, this.redo), this.clear, this.flat, this.fill, this.others, hints);
    root.append(this.element);
  }

  update(curve) {
    this.undo.disabled = !curve.canUndo;
    this.redo.disabled = !curve.canRedo;
    this.clear.disabled = this.flat.disabled = curve.empty;
    this.fill.disabled = curve.empty || curve.complete;
  }
}

/** The panel in the corner: how much is drawn, and the ways to leave the episode. `actions`: {save, skip, unusable, comment} */
export class FinishTools {
  constructor(root, keys, actions) {
    const group = "Finish";
    const tool = (label, combo, does, run, more = {}) => keys.button(label, combo, run, { group, does, ...more });
    this.meter = el("progress", { max: 1, value: 0, "aria-label": "Frames drawn" });
    this.count = el("p", { class: "finish-count" });
    this.comment = tool("Comment", "M", "Comment on the episode", actions.comment);
    this.unusable = tool("Unusable video…", "U", "Unusable video, with a reason", actions.unusable);
    this.skip = tool("Skip", "N", "Skip: somebody else may draw it", actions.skip);
    this.save = tool("Save & next", "Ctrl+Enter", "Save and go on to the next", actions.save, { class: "button primary" });
    this.element = el("section", { class: "panel finish", "aria-label": "Finish" }, this.count, this.meter,
      el("div", { class: "finish-row" }, this.comment, this.skip), el("div", { class: "finish-row" }, this.unusable), el("div", { class: "finish-row" }, this.save));
    root.append(this.element);
  }

  update(curve, comment) {
    this.meter.max = curve.numSteps;
    this.meter.value = curve.count;
    const left = curve.numSteps - curve.count;
    clear(this.count).append(el("strong", {}, left ? String(curve.count) : "All"), left ? ` of ${curve.numSteps} frames drawn` : ` ${curve.numSteps} frames drawn`);
    this.save.classList.toggle("early", left > 0); // not disabled: pressed now, it says what is missing
    this.comment.setAttribute("aria-pressed", String(comment !== ""));
  }
}

/** Asks for one of several reasons; resolves to it, or to null. */
export function askReason(reasons) {
  return ask("Why is this video unusable?", (answer) =>
    el("ol", { class: "reasons" }, reasons.map((reason) => el("li", {}, el("button", { class: "button", type: "button", onclick: () => answer(reason) }, reason)))));
}

/** Asks for a comment; resolves to the text, or to null. `does`: what becomes of it. */
export function askComment(text, does = "It goes to the store with your sketch.") {
  const field = el("textarea", { rows: 5, maxlength: MOST_CHARACTERS, "aria-label": "Comment" });
  field.value = text;
  return ask("Comment", (answer) => {
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.stopPropagation(); // the dialog closes: the view would take the same keys for its own
      answer(field.value.trim());
    });
    const keep = el("button", { class: "button primary", type: "button", onclick: () => answer(field.value.trim()) }, "Keep", keyHint("Ctrl+Enter"));
    return [el("p", { class: "muted" }, does), field, el("div", { class: "dialog-row" }, keep)];
  });
}

function ask(title, contentOf) {
  return new Promise((resolve) => {
    let given = null;
    const dialog = el("dialog", { class: "ask", "aria-label": title });
    const answer = (value) => {
      given = value;
      dialog.close();
    };
    const cancel = el("button", { class: "button quiet", type: "button", onclick: () => dialog.close() }, "Cancel", keyHint("Escape"));
    dialog.append(el("h2", {}, title), ...[contentOf(answer)].flat(), cancel);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
