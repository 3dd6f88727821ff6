// Songs: the playlist of the person, with the songs of others that they keep.

import { h, icon, replace, unseen } from "../dom.js";
import { cover } from "../parts/cover.js";
import { menuButton } from "../parts/menu.js";
import { paged } from "../parts/paged.js";
import { stateOf } from "../parts/share-panel.js";
import { virtual } from "../parts/virtual.js";
import { MOST } from "../queue.js";
import { songMenu } from "../song-actions.js";
import { trackOf } from "../tracks.js";

export const title = "Songs";

const SMALL = 640; // pixels of width below which songs are rows
const FILTERS = [
  ["all", "All"],
  ["shared", "Shared by me"],
  ["kept", "From others"],
];
const NOTHING = {
  shared: "You have not shared a song yet. Every song has “Share…” in its menu.",
  kept: "When somebody sends you a song, “Add to my songs” on its page puts it here.",
};
// Of the page as it was left.
const left = { filter: "all" };

export function show(root, ctx) {
  const { live, player, time } = ctx;
  let [songs, done, shares, filter, active] = [null, false, new Map(), left.filter, null];
  let returned = false; // to where the page was left

  const playAll = h("button", { class: "button", type: "button", on: { click: () => play(false) } }, icon("play"), "Play");
  const shuffle = h("button", { class: "button soft", type: "button", on: { click: () => play(true) } }, icon("shuffle"), "Shuffle");
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": "Which songs" }, FILTERS.map(([name, text]) =>
    h("button", { class: "tab", type: "button", dataset: { name }, on: { click: () => choose(name) } }, text)));
  const tools = h("div", { class: "songs-tools" }, h("div", { class: "pair" }, playAll, shuffle), tabs);
  const state = h("div", { class: "songs-state" });
  const list = virtual({ label: "Your songs", measure, make, update: fill, onend: () => pages.more() });
  replace(root, h("h1", {}, title), tools, state, list.element);

  const pages = paged(live, "music:pagePlaylist", {}, (rows, found) => {
    [songs, done] = [rows, found.done];
    if (found.error && !rows.length) return failed();
    render();
  });
  const stops = [
    pages.stop,
    list.stop,
    live.watch("sharing:listSharedMusic", {}, {
      value(found) {
        shares = new Map(found.map((share) => [share.musicId, share]));
        render();
        list.refresh();
      },
      error: () => {},
    }),
    player.onchange(() => list.refresh()),
  ];
  waiting();

  function measure(width) {
    if (width < SMALL) return { columns: 1, gap: 4, wide: 52, tall: 72 };
    const columns = Math.max(3, Math.floor((width + 24) / 204));
    return { columns, gap: 24, wide: 60, tall: (width - 24 * (columns - 1)) / columns + 82 };
  }

  function shown() {
    if (filter === "shared") return [...shares.values()].map(({ music }) => music).sort((one, other) => other.createdAt - one.createdAt);
    if (filter === "kept") return songs.filter(({ ownershipType }) => ownershipType === "shared");
    return songs;
  }

  function render() {
    if (!songs) return;
    root.querySelector(".page-error")?.remove();
    const found = shown();
    if (filter === "kept" && !done && songs.length < 2000) pages.more();
    tools.hidden = !songs.length && done;
    for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.dataset.name === filter));
    playAll.disabled = shuffle.disabled = !found.some(trackOf);
    if (found.length) replace(state);
    else if (!done && filter !== "shared") waiting();
    else if (filter !== "all" && songs.length) replace(state, h("p", { class: "lead" }, NOTHING[filter]));
    else invite();
    if (!found.some(({ _id }) => _id === active)) active = found[0]?._id ?? null;
    const entries = [];
    let month = null;
    for (const song of found) {
      const key = time.key(song.createdAt).slice(0, 7);
      if (key !== month) entries.push({ key: (month = key), wide: true, text: time.month(song.createdAt) });
      entries.push({ key: song._id, song });
    }
    list.set(reused(entries));
    if (entries.length && !returned) scrollTo(0, history.state?.y ?? 0);
    returned ||= entries.length > 0;
  }

  // An entry of a song that has not changed stays the same, so that its element is left alone.
  let before = new Map();
  function reused(entries) {
    const kept = entries.map((entry) => {
      const one = before.get(entry.key);
      return one && one.song === entry.song && one.text === entry.text ? one : entry;
    });
    before = new Map(kept.map((entry) => [entry.key, entry]));
    return kept;
  }

  function waiting() {
    if (!state.querySelector(".skeletons")) {
      replace(state, h("div", { class: "skeletons", "aria-label": "Your songs are being loaded", role: "status" }, Array.from({ length: 8 }, () => h("span", { class: "skeleton" }))));
    }
  }

  function invite() {
    replace(
      state,
      h(
        "div",
        { class: "invite" },
        h("div", { class: "invite-covers", "aria-hidden": "true" }, ["A walk", "The sea", "Home again"].map((name) => cover({ title: name }))),
        h("h2", {}, "Your first song"),
        h("p", { class: "lead" }, "Write about a day, and hear it sung."),
        h("a", { class: "button", href: `${ctx.base}/today` }, "Write today’s entry"),
      ),
    );
  }

  function failed() {
    const again = h("button", { class: "button", type: "button", on: { click: () => ctx.go("/songs", { replaced: true }) } }, "Try again");
    replace(state, h("div", { class: "page-error" }, h("p", { class: "lead" }, "Your songs cannot be shown right now."), again));
  }

  function choose(name) {
    left.filter = filter = name;
    render();
  }

  /** Resolves to the songs after those that are loaded, as many as a queue takes. */
  async function rest() {
    if (done) return [];
    const found = [];
    let cursor;
    const known = new Set(songs.map(({ _id }) => _id));
    do {
      const page = await live.query("music:pagePlaylist", { limit: 100, cursor });
      found.push(...page.page.filter(({ _id }) => !known.has(_id)));
      cursor = page.nextCursor;
    } while (cursor && found.length + known.size < MOST);
    return found;
  }

  function play(shuffled) {
    const options = filter === "all" ? { rest: rest() } : {};
    const playable = shown().filter(trackOf);
    if (shuffled) player.shuffle(playable, options);
    else player.play(playable, 0, options);
  }

  function press(song) {
    const track = trackOf(song);
    if (!track) return song.diaryId && song.status !== "ready" && ctx.go(`/diary/${song.diaryId}`);
    if (player.current?.key === track.key) return player.toggle();
    player.play(shown(), shown().indexOf(song), filter === "all" ? { rest: rest() } : {});
  }

  function make(entry) {
    if (entry.wide) return h("h2", { class: "songs-month" }, entry.text);
    const parts = {
      act: unseen(),
      art: h("span", { class: "song-cover", "aria-hidden": "true" }),
      name: h("bdi", { class: "song-title" }),
      about: h("span", { class: "song-about" }),
      share: unseen(),
    };
    const names = h("span", { class: "song-names" }, parts.act, parts.name, unseen(", "), parts.about, parts.share);
    const main = h("button", { class: "song-main", type: "button", on: { click: () => press(tile.entry.song) } }, parts.art, names);
    main.addEventListener("focus", () => activate(tile.entry.key));
    const menu = menuButton("", () => songMenu(ctx, tile.entry.song, { deleted: focusAt(tile.entry) }), { class: "song-menu" });
    const tile = h("div", { class: "song" }, main, menu);
    Object.assign(tile, { parts, main, menu });
    fill(tile, entry);
    return tile;
  }

  function fill(tile, entry) {
    if (entry.wide) return void (tile.textContent = entry.text);
    const { song } = entry;
    const { act, art, name, about } = tile.parts;
    tile.entry = entry;
    const track = trackOf(song);
    const isCurrent = Boolean(track) && player.current?.key === track.key;
    const share = shares.get(song._id);
    const [words, kind] = describe(song);
    tile.className = `song is-${kind}${isCurrent ? " is-current" : ""}${isCurrent && player.playing ? " is-playing" : ""}`;
    tile.main.tabIndex = tile.menu.tabIndex = entry.key === active ? 0 : -1;
    name.textContent = titleOf(song);
    about.textContent = words;
    act.textContent = kind !== "ready" ? "" : isCurrent && player.playing ? "Pause " : "Play ";
    tile.parts.share.textContent = share ? `. ${stateOf(share)}` : "";
    tile.menu.setAttribute("aria-label", `More about ${titleOf(song)}`);
    const mark = `${song.imageUrl} ${titleOf(song)} ${share?.isPrivate} ${share?.viewCount} ${kind}`;
    if (tile.mark === mark) return;
    tile.mark = mark;
    replace(art, cover(song), h("span", { class: "song-sign" }, icon("play", "to-play"), icon("pause", "to-pause"), h("span", { class: "bars" }, h("i", {}), h("i", {}), h("i", {}))), badge(share));
  }

  function badge(share) {
    if (!share) return null;
    return h("span", { class: `badge${share.isPrivate ? " is-private" : ""}`, title: stateOf(share) }, icon(share.isPrivate ? "lock" : "link"), share.isPrivate ? null : time.number(share.viewCount));
  }

  function describe(song) {
    if (song.isUnavailable) return [song.unavailableReason === "deleted" ? "Deleted by its owner" : "No longer shared", "unavailable"];
    if (song.status === "pending") return ["Being made…", "pending"];
    if (song.status === "failed") return ["It could not be made", "failed"];
    if (song.ownershipType === "shared") return [song.ownerName ? `by ${song.ownerName}` : "from another diary", "ready"];
    const length = song.duration ? ` · ${time.length(song.duration)}` : "";
    return [`${time.short(song.diaryDate ?? song.createdAt)}${length}`, "ready"];
  }

  function titleOf(song) {
    return song.title || song.diaryTitle || (song.diaryContent ?? "").trim().split(/\s+/u).slice(0, 6).join(" ") || "Untitled";
  }

  // One stop of the Tab key for all songs, and one for the menu of that song; arrows go from song to song.

  function activate(key) {
    if (active === key) return;
    active = key;
    list.refresh();
  }

  /** Returns what brings the focus to the song that is at the place of this one once it is gone. */
  function focusAt({ song }) {
    const at = shown().indexOf(song);
    return () => {
      const next = shown()[Math.min(at, shown().length - 1)];
      (next ? list.reveal(next._id)?.main : root.querySelector("h1"))?.focus({ preventScroll: true });
    };
  }

  list.element.addEventListener("keydown", (event) => {
    const tile = event.target.closest(".song");
    if (!tile || event.target !== tile.main) return;
    const found = shown();
    const ends = { Home: found[0], End: found.at(-1) };
    const next = event.key.startsWith("Arrow") ? list.beside(tile.entry.key, event.key)?.key : ends[event.key]?._id;
    if (!event.key.startsWith("Arrow") && !(event.key in ends)) return;
    event.preventDefault();
    if (next) list.reveal(next)?.main.focus({ preventScroll: true });
  });

  return () => stops.forEach((stop) => stop());
}
