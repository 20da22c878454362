// The frame of the page: signing in, tabs, routes, theme, messages. Each view is a module with `mount`.

import { ApiError, api } from "./api.js";
import { clear, el } from "./dom.js";
import { Keys } from "./keys.js";

const VIEWS = [
  { name: "sketch", title: "Sketch", load: () => import("./sketch.js") },
  { name: "browse", title: "Browse", load: () => import("./browse.js") },
  { name: "review", title: "Review", load: () => import("./review.js") },
  { name: "demonstrate", title: "Demonstrate", load: () => import("./teleop.js") },
  { name: "statistics", title: "Statistics", load: () => import("./statistics.js") },
];
const MESSAGE_MS = 6000; // long enough to read a sentence

const view = document.getElementById("view");
const status = document.getElementById("status");
const themeButton = document.getElementById("theme");
let session = null;
let unmount = () => {};
let navigation = 0; // a slow view must not be mounted over a newer one

/** Says something in the header, and to a screen reader. */
function announce(text, kind = "info") {
  status.textContent = text;
  status.className = kind;
  clearTimeout(announce.timer);
  if (kind !== "error") announce.timer = setTimeout(() => (status.textContent = ""), MESSAGE_MS);
}

/** `#/review/EPISODE?model=m` -> {name, path: [EPISODE], query: {model: "m"}} */
function route() {
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").filter(Boolean).map(decodeURIComponent);
  return { name: name ?? "sketch", path: rest, query: Object.fromEntries(new URLSearchParams(search)) };
}

async function show() {
  const mine = ++navigation;
  const { name, path, query } = route();
  const wanted = VIEWS.find((candidate) => candidate.name === name) ?? VIEWS[0];
  announce(""); // a view's messages leave with it, all but its last words
  await unmount();
  unmount = () => {};
  clear(view);
  for (const tab of document.querySelectorAll("#tabs a")) {
    if (tab.dataset.view === wanted.name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  document.title = `${wanted.title} – Armchair`;
  const keys = new Keys();
  document.getElementById("help").onclick = () => keys.help();
  const root = el("section", { class: `view ${wanted.name}`, "aria-label": wanted.title });
  const context = { session, api, announce, keys, go: (hash) => (location.hash = hash) };
  view.append(root);
  try {
    const module = await wanted.load();
    const stop = await module.mount(root, context, { path, query });
    const leave = () => {
      keys.destroy();
      return stop?.();
    };
    if (mine === navigation) unmount = leave;
    else leave();
  } catch (error) {
    keys.destroy();
    if (mine === navigation) fail(root, error);
  }
}

function fail(root, error) {
  if (!(error instanceof ApiError)) console.error(error);
  if (error.status === 401) return signedOut(error.message);
  clear(root).append(
    el("div", { class: "panel notice", role: "alert" },
      el("p", {}, error.message),
      el("button", { class: "button primary", onclick: show }, "Try again")),
  );
}

function signedOut(message) {
  document.getElementById("tabs").replaceChildren();
  clear(view).append(
    el("div", { class: "panel notice", role: "alert" },
      el("h1", {}, "Open your link"),
      el("p", {}, message),
      el("p", { class: "muted" }, "The terminal in which `armchair sketch` runs shows it. An unfinished drawing is kept in this browser.")),
  );
}

function setTheme(theme) {
  const dark = theme === "dark" || (!theme && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  themeButton.textContent = dark ? "Light" : "Dark";
  themeButton.title = `Change to the ${dark ? "light" : "dark"} colours`;
}

themeButton.onclick = () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("armchair-theme", next);
  setTheme(next);
};

async function start() {
  setTheme(localStorage.getItem("armchair-theme"));
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  try {
    if (token) {
      history.replaceState(null, "", "/"); // the token stays in no history
      session = await api.post("/session", { token });
    } else {
      session = await api.get("/session");
    }
  } catch (error) {
    return error.status === 401 ? signedOut(error.message) : fail(clear(view), error);
  }
  document.getElementById("who").textContent = `${session.user} · ${session.task_id}`;
  document.getElementById("tabs").replaceChildren(
    ...VIEWS.map(({ name, title }) => el("a", { href: `#/${name}`, dataset: { view: name } }, title)),
  );
  window.addEventListener("hashchange", show);
  await show();
}

start();
