// The keys of one view: what each does, hints on buttons, and the overlay under "?". Keys typed into a field stay there.

import { el } from "./dom.js";

const NAMES = {
  ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", PageUp: "PgUp", PageDown: "PgDn", Delete: "Del", Escape: "Esc",
};
const REPEATING = /Arrow|Page|Ctrl\+[YZ]|^[,.]$/; // held down, these go on; saving or skipping must not
const FIELDS = "input, textarea, select, [contenteditable]";
const PRESSABLE = "button, a[href], summary, [role=menuitem]"; // Space and Enter are theirs while they have the focus

/** `Ctrl+Shift+Z` for a keydown; the command key of a Mac counts as Ctrl, Shift counts only where a key has no sign of its own. */
function comboOf(event) {
  const key = event.key === " " ? "Space" : event.key.length === 1 ? event.key.toUpperCase() : event.key;
  const named = key.length > 1 || /\p{L}/u.test(key);
  const parts = [(event.ctrlKey || event.metaKey) && "Ctrl", event.altKey && "Alt", event.shiftKey && named && "Shift", key];
  return parts.filter(Boolean).join("+");
}

/** A combination as keycaps, such as ⟦Ctrl⟧ ⟦Z⟧ in one. */
export function keyHint(combo) {
  return el("kbd", { class: "kbd", "aria-hidden": "true" }, combo.split("+").map((part) => NAMES[part] ?? part).join(" "));
}

export class Keys {
  #entries = new Map(); // combo -> {combos, label, handler, group}
  #listen = (event) => this.#pressed(event);

  constructor() {
    document.addEventListener("keydown", this.#listen);
    this.add("?", "Show and hide the keys", () => this.help(), "Page");
  }

  destroy() {
    document.removeEventListener("keydown", this.#listen);
    document.querySelector("dialog.keys")?.remove();
    this.#entries.clear();
  }

  /** Binds a combination, or several that do the same: `add(["0", "1"], ...)`.
   *
   * @param {string} label what it does, as the overlay says it
   * @param {(event: KeyboardEvent) => void} handler
   * @param {string} group the overlay's heading
   * @returns {() => void} removes it
   */
  add(combo, label, handler, group = "Page") {
    const entry = { combos: [combo].flat(), label, handler, group };
    for (const one of entry.combos) this.#entries.set(one, entry);
    return () => entry.combos.forEach((one) => this.#entries.get(one) === entry && this.#entries.delete(one));
  }

  /** A button that a key presses too, with the key shown on it; its `unbind()` frees the key. `attributes` as for `el`. */
  button(label, combo, handler, { group, does = label, ...attributes } = {}) {
    const press = () => button.disabled || handler();
    const button = el(
      "button",
      {
        class: "button", type: "button", "aria-keyshortcuts": combo.replace("Ctrl", "Control"), ...attributes,
        onclick: (event) => {
          if (event.detail) button.blur(); // by pointer: the next Space is the view's again, not this button's
          handler();
        },
      },
      el("span", { class: "label" }, label),
      keyHint(combo),
    );
    button.unbind = this.add(combo, does, press, group);
    return button;
  }

  /** Shows the overlay with every key, or hides it. */
  help() {
    const open = document.querySelector("dialog.keys");
    if (open) return open.close();
    const groups = new Map();
    for (const entry of new Set(this.#entries.values())) {
      groups.set(entry.group, [...(groups.get(entry.group) ?? []), entry]);
    }
    const inOrder = [...groups].sort(([a], [b]) => (a === "Page") - (b === "Page")); // the view's own first
    const dialog = el("dialog", { class: "keys", "aria-label": "Keys" }, el("div", { class: "keys-groups" }, inOrder.map(section)));
    dialog.append(el("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Close", keyHint("Escape")));
    dialog.addEventListener("close", () => dialog.remove());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    document.body.append(dialog);
    dialog.showModal();
  }

  #pressed(event) {
    if (event.isComposing) return;
    const combo = comboOf(event);
    const dialog = document.querySelector("dialog[open]");
    if (dialog) {
      if (combo === "?" && dialog.matches(".keys")) dialog.close();
      return;
    }
    const entry = this.#entries.get(combo);
    if (!entry || event.target.closest?.(FIELDS)) return;
    if ((combo === "Space" || combo === "Enter") && event.target.closest?.(PRESSABLE)) return;
    event.preventDefault();
    if (!event.repeat || REPEATING.test(combo)) entry.handler(event);
  }
}

function section([group, entries]) {
  const rows = entries.flatMap(({ combos, label }) => [el("dt", {}, shown(combos)), el("dd", {}, label)]);
  return el("section", {}, el("h2", {}, group), el("dl", {}, rows));
}

/** A few keys are all shown, a row of them (0 … 9) by its ends. */
function shown(combos) {
  return combos.length <= 2 ? combos.map(keyHint) : [keyHint(combos[0]), " … ", keyHint(combos.at(-1))];
}
