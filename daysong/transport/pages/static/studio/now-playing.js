// What is being played, on the whole screen: cover, words as they are sung, versions, and the queue.

import { deck } from "../deck.js";
import { followLyrics } from "../lyrics.js";
import { h, icon, keyed, replace } from "./dom.js";
import { cover } from "./parts/cover.js";
import { openShare } from "./parts/share-panel.js";
import { aboutTrack, deckParts, iconButton, queueSwitches, whilePlaying } from "./player-bar.js";
import { trackOf, versionName } from "./tracks.js";
import { verses } from "./verses.js";
import { drawn } from "./wave.js";

const STEP = 5; // seconds that an arrow key moves
const SHOWN = 50; // songs of the queue

/** Returns the view; it is built when it is opened first. */
export function createNowPlaying(player, ctx) {
  let view = null;
  return {
    open(what) {
      if (!player.current) return;
      view ??= build(player, ctx);
      view.open(what);
    },
    close: () => view?.close(),
  };
}

function build(player, ctx) {
  const { audio, steer } = player;
  const parts = deckParts();
  const switches = queueSwitches(player);
  const art = h("div", { class: "now-art" });
  const title = h("h2", { id: "now-title", dir: "auto", lang: "" });
  const about = h("p", { class: "now-about" });
  const versions = h("div", { class: "versions", role: "group", "aria-label": "Versions of this song" });
  const trouble = h("p", { class: "trouble", role: "status" });
  const previous = iconButton("Previous song", "previous", player.previous, { class: "step" });
  const next = iconButton("Next song", "next", player.next, { class: "step" });
  const share = iconButton("Share", "share", () => openShare(ctx, player.current));
  const words = h("div", { class: "now-words" });
  const list = h("ol", { class: "queue-list" });
  const queue = h("div", { class: "now-queue", hidden: true }, h("h3", {}, "Up next"), list);
  const toWords = h("button", { class: "tab", type: "button", "aria-pressed": "true", on: { click: () => choose("words") } }, "Words");
  const toQueue = h("button", { class: "tab", type: "button", "aria-pressed": "false", on: { click: () => choose("queue") } }, "Queue");
  const scroller = h("div", { class: "now-text", tabIndex: -1 }, words, queue);
  const close = iconButton("Close", "down", () => dialog.close(), { class: "now-close" });
  const dialog = h(
    "dialog",
    { class: "now-playing", "aria-labelledby": "now-title" },
    h(
      "div",
      { class: "now-sheet" },
      h("header", { class: "now-head" }, close, h("div", { class: "tabs", role: "group", "aria-label": "Show" }, toWords, toQueue), share),
      h(
        "div",
        { class: "now-song" },
        art,
        h("div", { class: "now-names" }, title, about, versions),
        h(
          "div",
          { class: "now-deck" },
          parts.seek,
          h("p", { class: "times" }, parts.elapsed, parts.total),
          h("div", { class: "now-keys" }, switches.shuffle, previous, parts.play, next, switches.repeat),
          h("div", { class: "extras" }, parts.speed, parts.volume),
          trouble,
        ),
      ),
      scroller,
    ),
  );
  const { show, showLength } = deck(dialog, audio, steer);
  let [shown, text, lyrics, following, stopTracks, versionsOf] = [null, null, { show() {} }, null, null, null];

  function draw() {
    show();
    lyrics.show(audio.currentTime, !audio.paused);
  }
  const start = whilePlaying(audio, () => dialog.open, draw);
  for (const name of ["seeked", "timeupdate"]) audio.addEventListener(name, () => dialog.open && draw());

  function choose(what) {
    const isQueue = what === "queue";
    words.hidden = isQueue;
    queue.hidden = !isQueue;
    toWords.setAttribute("aria-pressed", String(!isQueue));
    toQueue.setAttribute("aria-pressed", String(isQueue));
    scroller.scrollTop = 0;
    showQueue();
  }

  function update() {
    if (!dialog.open) return;
    const track = player.current;
    if (!track) return dialog.close();
    const key = `${track.key} ${track.imageUrl} ${track.title} ${track.by}`;
    if (shown !== key) {
      shown = key;
      const leave = { href: `${ctx.base}/diary/${track.diaryId}`, on: { click: () => dialog.close() } };
      replace(about, aboutTrack(track, ctx.time), track.diaryId && [" · ", h("a", leave, "Read the entry")]);
      replace(art, track.imageUrl && h("img", { class: "light", src: track.imageUrl, alt: "", "aria-hidden": "true" }), cover(track, { eager: true }));
      title.textContent = track.title;
      title.classList.toggle("long", track.title.length > 34);
      showLength();
    }
    share.hidden = Boolean(track.shareId);
    showWords();
    showVersions(track);
    showQueue();
    trouble.textContent = player.trouble;
    next.disabled = !player.hasNext;
    switches.show();
  }

  function showWords() {
    const { lyric, timed } = player.details ?? {};
    const now = player.details ? `${player.current.key} ${lyric?.length} ${timed?.alignedWords?.length}` : null;
    if (text === now && text !== null) return;
    text = now;
    following?.abort();
    following = new AbortController();
    lyrics = { show() {} };
    replace(parts.under, drawn(timed));
    const section = player.details && verses(lyric, timed);
    const none = player.details ? "This song has no words." : "";
    replace(words, section ?? h("p", { class: "lead" }, none));
    if (!section) return;
    lyrics = followLyrics(section, (seconds) => (steer.move(seconds), steer.resume()), following.signal);
    draw();
  }

  function showVersions(track) {
    const whose = track.shareId ? null : (track.diaryId ?? null);
    if (versionsOf !== whose) {
      stopTracks?.();
      versionsOf = whose;
      replace(versions);
      stopTracks = whose && ctx.live.watch("music:listTracks", { diaryId: whose }, { value: (songs) => fillVersions(songs), error: () => {} });
    }
    for (const button of versions.children) button.setAttribute("aria-pressed", String(button.dataset.key === track.key));
  }

  function fillVersions(songs) {
    const playable = songs.map(trackOf).filter(Boolean);
    replace(
      versions,
      playable.length > 1 &&
        playable.map((track, number) =>
          h("button", { class: "tab", type: "button", dataset: { key: track.key }, on: { click: () => player.exchange(track) } }, versionName(number)),
        ),
    );
    if (player.current) for (const button of versions.children) button.setAttribute("aria-pressed", String(button.dataset.key === player.current.key));
  }

  function showQueue() {
    if (queue.hidden) return;
    const upcoming = player.upcoming.slice(0, SHOWN);
    keyed(list, upcoming, ({ key }) => key, row);
    if (!upcoming.length && !list.querySelector(".none")) list.append(h("li", { class: "none" }, "Nothing comes after this song."));
    else if (upcoming.length) list.querySelector(".none")?.remove();
  }

  function row(track) {
    const play = h(
      "button",
      { class: "queue-song", type: "button", on: { click: () => player.jump(track.key) } },
      h("span", { class: "queue-cover" }, cover(track)),
      h("span", { class: "queue-names" }, h("bdi", {}, track.title), h("small", {}, aboutTrack(track, ctx.time))),
    );
    return h("li", {}, play, iconButton(`Remove ${track.title} from the queue`, "close", () => player.remove(track.key)));
  }

  const keys = {
    " ": player.toggle,
    k: player.toggle,
    ArrowLeft: () => steer.move(audio.currentTime - STEP),
    ArrowRight: () => steer.move(audio.currentTime + STEP),
    m: steer.toggleSound,
    "<": () => steer.setSpeed(-1),
    ">": () => steer.setSpeed(1),
  };
  dialog.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === " " && event.target.closest("button, a, [role=button]")) return;
    if (event.key.startsWith("Arrow") && event.target.closest("input")) return;
    event.preventDefault();
    act();
  });
  dialog.addEventListener("close", () => {
    document.documentElement.classList.remove("is-covered");
    stopTracks?.();
    [stopTracks, versionsOf] = [null, null];
  });
  addEventListener("popstate", () => dialog.open && dialog.close());
  player.onchange(update);
  document.body.append(dialog);

  return {
    open(what = "words") {
      if (!dialog.open) {
        dialog.showModal();
        document.documentElement.classList.add("is-covered");
      }
      choose(what);
      update();
      start();
      close.focus();
    },
    close: () => dialog.open && dialog.close(),
  };
}
