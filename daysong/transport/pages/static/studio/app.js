// The shell: rail, router, keys, dialogs, the offline note. A page is a module in pages/ that exports `title` and
// `show(root, ctx, params)`, which returns a function that stops it.

import { h, replace } from "./dom.js";
import { clearDrafts, createDrafts } from "./drafts.js";
import { createLive } from "./live.js";
import { ask, openDialog } from "./parts/dialog.js";
import { createPlayer } from "./player.js";
import { createSession } from "./session.js";
import { createTime } from "./time.js";
import { inWords } from "./words.js";

const ROUTES = [
  [/^\/today$/, "today"],
  [/^\/diary$/, "diary"],
  [/^\/diary\/(?<id>[^/]+)$/, "entry"],
  [/^\/songs$/, "songs"],
  [/^\/songs\/(?<id>[^/]+)$/, "song"],
  [/^\/calls$/, "calls"],
  [/^\/people$/, "people"],
  [/^\/people\/(?<id>[^/]+)$/, "person"],
  [/^\/you$/, "you"],
];
const PAGES = {
  today: () => import("./pages/today.js"),
  diary: () => import("./pages/diary.js"),
  entry: () => import("./pages/entry.js"),
  songs: () => import("./pages/songs.js"),
  song: () => import("./pages/song.js"),
  calls: () => import("./pages/calls.js"),
  people: () => import("./pages/people.js"),
  person: () => import("./pages/person.js"),
  you: () => import("./pages/you.js"),
};

const shell = document.getElementById("studio");
const [main, rail, playerHost] = ["main", "rail", "player"].map((id) => document.getElementById(id));
const how = { ...shell.dataset };
const base = how.base;
const site = new URL(`${base}/`, location.href);
const time = createTime();
const session = createSession(how);
const live = createLive(`${site.href.replace(/^http/, "ws")}api/sync`);
const here = () => location.pathname.slice(base.length) || "/";

let drafts = null;
let [stopPage, visit, isStale] = [null, 0, false];
let showAgain = null; // shows the page anew, at once
let isTouched = false; // whether its reader has begun to do something on the page

const ctx = {
  live,
  session,
  time,
  base,
  /** The caller's profile, settings and flags, as the live queries last gave them. */
  me: null,
  settings: null,
  flags: {},
  upgrades: JSON.parse(how.upgrades || "[]"),
  get drafts() {
    return drafts;
  },
  go,
  say,
  ask,
  openDialog,
  inWords,
  signOut,
  /** Calls `tell` when profile, settings or flags have changed. */
  onme(tell) {
    watchers.add(tell);
    return () => watchers.delete(tell);
  },
};
const watchers = new Set();
ctx.player = createPlayer(playerHost, ctx);

// What is said: shown for a while, and read by screen readers.

let fading = null;
const toast = h("p", { class: "toast", role: "status" });
function say(text) {
  // In the topmost dialog, outside of which nothing is seen.
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? shell).append(toast);
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => toast.classList.remove("shown"), 6000);
}

// Router

function go(path, { replaced = false } = {}) {
  if (path === here() + location.search && !replaced) return;
  history.replaceState({ y: scrollY }, "");
  history[replaced ? "replaceState" : "pushState"]({ y: 0 }, "", base + path);
  return show(true);
}

async function show(moved) {
  const path = here();
  if (path === "/") return go("/today", { replaced: true });
  const number = ++visit;
  const found = ROUTES.map(([pattern, name]) => [path.match(pattern), name]).find(([match]) => match);
  if (!found) return go("/today", { replaced: true });
  const [{ groups = {} }, name] = found;
  for (const link of rail.querySelectorAll("a")) {
    const target = new URL(link.href).pathname.slice(base.length);
    if (path === target || path.startsWith(`${target}/`)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let page;
  try {
    page = await PAGES[name]();
  } catch {
    if (number !== visit) return;
    // Of a release that is no longer there.
    if (isStale) return location.reload();
    return unreachable();
  }
  if (number !== visit) return;
  showAgain = () => put(page, name, groups, false);
  put(page, name, groups, moved);
}

function put(page, name, groups, moved) {
  stopPage?.();
  stopPage = null;
  const root = h("div", { class: `page page-${name}` });
  replace(main, root);
  document.title = `${page.title} · daysong`;
  const params = Object.fromEntries(Object.entries(groups).map(([key, value]) => [key, decodeURIComponent(value)]));
  const stop = page.show(root, ctx, params);
  stopPage = () => stop?.();
  main.removeAttribute("aria-busy");
  scrollTo(0, history.state?.y ?? 0);
  const heading = root.querySelector("h1");
  if (moved && heading && !root.contains(document.activeElement)) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  isTouched = false;
}

for (const kind of ["pointerdown", "keydown", "focusin", "input"]) {
  addEventListener(kind, () => (isTouched = true), { capture: true, passive: true });
}

function unreachable() {
  stopPage?.();
  stopPage = null;
  // Loaded anew, since browsers remember that a module could not be loaded.
  const retry = () => (navigator.onLine || !drafts ? location.reload() : show(true));
  const again = h("button", { class: "button", type: "button", on: { click: retry } }, "Try again");
  replace(main, h("div", { class: "page" }, h("h1", {}, "This page could not be loaded"), h("p", { class: "lead" }, "Please check your connection."), again));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.target || link.hasAttribute("download") || link.origin !== location.origin || !session.signedIn) return;
  const path = link.pathname.startsWith(base) ? link.pathname.slice(base.length) : "";
  if (!ROUTES.some(([pattern]) => pattern.test(path))) return;
  event.preventDefault();
  go(path + link.search);
});

// Keys

const typing = (element) => Boolean(element?.closest?.("input, textarea, select, [contenteditable]"));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !session.signedIn) return;
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  if (event.key === "n") {
    event.preventDefault();
    Promise.resolve(go("/today")).then(() => document.querySelector(".editor textarea")?.focus());
  } else if (event.key === "?") {
    help();
  } else if (event.key === " " && ctx.player.current && !event.target.closest?.("button, a, summary, [role=button]")) {
    event.preventDefault();
    ctx.player.toggle();
  }
});

function help() {
  const keys = [
    ["N", "Write a new entry"],
    ["Space", "Play or pause the song"],
    ["← →", "Go from song to song; five seconds back or forward while the words are shown"],
    ["?", "Show this help"],
    ["Esc", "Close what is open"],
  ];
  const content = h("dl", { class: "keys" }, keys.map(([key, what]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, what)]));
  openDialog({ title: "Keys", content, name: "help" });
}
document.getElementById("help")?.addEventListener("click", help);

// Offline

const note = h("p", { class: "offline", role: "status" });
live.onstatus((status) => {
  const off = status === "offline" && session.signedIn;
  note.textContent = off ? "You are offline. What you write is kept on this device." : "";
  document.body.classList.toggle("is-offline", off);
});

// Sign-in and sign-out

function toSignIn(query = "") {
  location.assign(`${base}/sign-in${query}`);
}

let leaving = false;
async function signOut(query = "") {
  leaving = true;
  stopPage?.();
  stopPage = null;
  main.replaceChildren();
  ctx.player.clear();
  live.stop();
  await clearDrafts().catch(() => {});
  localStorage.removeItem(KEPT_TIME);
  await session.signOut();
  location.assign(`${base}/${query}`);
}

function ended() {
  if (leaving) return;
  leaving = true;
  // Pages keep their drafts as they stop.
  stopPage?.();
  stopPage = null;
  main.replaceChildren();
  live.stop();
  const next = here();
  const back = ROUTES.some(([pattern]) => pattern.test(next)) ? `&next=${encodeURIComponent(next)}` : "";
  toSignIn(`?ended=1${back}`);
}

// Zone and language are kept on this device, so that the first page has them before the server answers. A page is not
// shown anew under the fingers of its reader.
const KEPT_TIME = "daysong.time";
function setTime({ timezone, language }) {
  localStorage.setItem(KEPT_TIME, JSON.stringify({ timezone, language }));
  const isBusy = isTouched || typing(document.activeElement) || document.querySelector("dialog[open], [aria-expanded=true]");
  if (time.configure({ timezone, language }) && stopPage && !isBusy) showAgain();
}

// A new account is in UTC: after signing in it gets the zone of the device.
function newcomer({ timezone }) {
  const device = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (!sessionStorage.getItem("daysong.fresh")) return;
  sessionStorage.removeItem("daysong.fresh");
  if (timezone === "UTC" && device !== "UTC") live.mutation("users:updateSettings", { timezone: device }).catch(() => {});
}

function follow(path, use) {
  live.watch(path, {}, {
    value(value) {
      use(value);
      for (const tell of [...watchers]) tell();
    },
    error: () => {},
  });
}

let hasBegun = false;
async function begin() {
  hasBegun = true;
  drafts = createDrafts(session.subject);
  time.configure(JSON.parse(localStorage.getItem(KEPT_TIME) ?? "{}"));
  session.onend(ended);
  live.start((force) => session.token(force), ended);
  document.body.classList.add("signed-in");
  // Before the first query, so that a new person has an account when it runs.
  live.mutation("users:ensureCurrentUser", {}).catch(() => {});
  follow("users:getUserProfile", (profile) => (ctx.me = profile));
  follow("users:getSettings", (settings) => {
    ctx.settings = settings;
    if (settings) newcomer(settings);
    if (settings) setTime(settings);
  });
  follow("featureFlags:getUserFlags", (flags) => {
    ctx.flags = flags ?? {};
    const people = rail.querySelector("[data-flag]");
    if (people) people.hidden = !ctx.flags[people.dataset.flag];
  });
  history.scrollRestoration = "manual";
  addEventListener("popstate", () => show(true));
  await show(false);
  await keepShared();
}

// The link of a share page. It asks, since any site can have such a link.
async function keepShared() {
  const shareId = new URLSearchParams(location.search).get("add");
  if (!shareId) return;
  history.replaceState(history.state, "", location.pathname);
  try {
    const [song, isKept] = await Promise.all([live.query("sharing:getSharedMusic", { shareId }), live.query("userSongs:isShareInLibrary", { shareId })]);
    if (!song.found) return say("This song is no longer shared.");
    if (isKept) return say("This song is among yours already.");
    const whose = song.userName ? `A song by ${song.userName}.` : "A song that was shared with you.";
    if (!(await ask({ title: `Add “${song.title || "Untitled"}”?`, text: whose, confirm: "Add" }))) return;
    await live.mutation("userSongs:addFromShare", { shareId });
    say("It is among your songs now.");
  } catch (error) {
    say(inWords(error));
  }
}

// The front page of a development server: one click signs in.
async function enterAt(event) {
  event.preventDefault();
  const link = event.currentTarget;
  try {
    await session.signIn(link.dataset.name);
    sessionStorage.setItem("daysong.fresh", "1");
    location.assign(`${base}/today`);
  } catch {
    location.assign(link.href);
  }
}

async function run() {
  shell.append(note, toast);
  try {
    await session.start();
  } catch {
    if (here() === "/") return;
    return unreachable();
  }
  if (here() === "/sign-in") {
    const { showSignIn } = await import("./pages/sign-in.js");
    return showSignIn(main, { session, base, how, live, time });
  }
  if (!session.signedIn) {
    if (here() !== "/") return toSignIn(`?next=${encodeURIComponent(here() + location.search)}`);
    // The front page is there already; its song, if it has one, gets the player of share pages.
    document.querySelector("[data-name]")?.addEventListener("click", enterAt);
    if (new URLSearchParams(location.search).has("gone")) say("Your account is deleted, with all that was in it.");
    if (document.querySelector(".player audio")) await import("../player.js");
    return;
  }
  await begin();
}


// A page that the browser keeps for going back or forward. It goes on where it was, with what has changed meanwhile, unless
// a user has signed out or in since, on this page or in another tab.
addEventListener("pagehide", ({ persisted }) => persisted && live.rest());
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  if (hasBegun && !leaving && session.unchanged()) live.hurry();
  else location.reload();
});

if ("serviceWorker" in navigator) {
  const workers = navigator.serviceWorker;
  const hadOne = Boolean(workers.controller);
  workers.addEventListener("controllerchange", () => (isStale = hadOne));
  addEventListener("load", () => workers.register(`${base}/sw.js`, { scope: `${base}/` }).catch(() => {}));
}

run();
