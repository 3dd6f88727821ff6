// The songs of an entry: both versions of each, or how far the newest one is.

import { h, icon, replace } from "../dom.js";
import { songMenu } from "../song-actions.js";
import { trackOf, versionName } from "../tracks.js";
import { cover } from "./cover.js";
import { menuButton } from "./menu.js";
import { songCard } from "./song-card.js";

/** Returns the songs of an entry as `node` and `stop`; `start` makes a song, and `can()` says whether there are words. */
export function createSongs(ctx, diaryId, { start, can }) {
  const node = h("section", { class: "entry-songs", "aria-label": "Song" });
  const place = h("div", {});
  const more = h("div", { class: "more-song" });
  node.append(place, more);
  let [songs, shown, card] = [[], "", null];
  const rows = new Map(); // id of a track → its play button

  /** Tracks of one song have one moment of creation. */
  function grouped(tracks) {
    const found = [];
    for (const track of tracks) {
      const last = found.at(-1);
      const isFollowing = last && last.length < 2 && last[0].createdAt === track.createdAt;
      if (isFollowing) last.push(track);
      else found.push([track]);
    }
    return found;
  }

  function draw(tracks) {
    songs = grouped(tracks);
    // The newest failed attempt is shown while nothing came after it.
    const state = JSON.stringify(songs.map((song) => song.map((one) => [one._id, one.status, one.progress.stage, one.title, one.imageUrl, one.duration])));
    if (state === shown) return refresh();
    shown = state;
    card?.stop();
    card = null;
    rows.clear();
    replace(
      place,
      songs.map((song, number) => {
        if (song.some((one) => one.status === "ready")) return ready(song);
        if (number > 0) return null;
        card = songCard(ctx, song[0]._id, { first: song[0], retry: start });
        return card.node;
      }),
    );
    refresh();
  }

  function ready(song) {
    const [main] = song.filter((one) => one.status === "ready");
    return h(
      "article",
      { class: "song-of-entry" },
      h("a", { class: "song-art-link", href: `${ctx.base}/songs/${main._id}`, "aria-label": `Show the song ${main.title ?? ""}` }, cover(main)),
      h("div", { class: "song-side" }, h("h2", { dir: "auto" }, main.title || "Untitled"), h("ul", { class: "takes" }, song.map((one, index) => version(song, one, index)))),
    );
  }

  function version(song, one, index) {
    const name = versionName(index);
    if (one.status !== "ready") return h("li", { class: "take" }, h("span", { class: "fine" }, `${name} ${one.status === "failed" ? "could not be made" : "is being made"}`));
    const button = h("button", { class: "round", type: "button", on: { click: () => play(song, one) } });
    rows.set(one._id, { button, name, song: one });
    return h(
      "li",
      { class: "take" },
      button,
      h("span", { class: "take-name" }, name, one.duration && h("span", { class: "fine" }, ctx.time.length(one.duration))),
      menuButton(`More for ${name} of ${one.title || "this song"}`, () => songMenu(ctx, one)),
    );
  }

  function play(song, one) {
    if (isCurrent(one)) return ctx.player.toggle();
    const able = song.filter(trackOf);
    ctx.player.play(able, able.indexOf(one));
  }

  const isCurrent = (one) => ctx.player.current?.key === one._id;

  function refresh() {
    for (const { button, name, song } of rows.values()) {
      const on = isCurrent(song) && ctx.player.playing;
      button.setAttribute("aria-label", `${on ? "Pause" : "Play"} ${name}`);
      replace(button, icon(on ? "pause" : "play"));
    }
    const isLive = songs.some((song) => song.some((one) => one.status === "pending"));
    const offers = can() && !isLive && !(songs.length && songs[0].every((one) => one.status === "failed"));
    replace(more, offers && h("button", { class: songs.length ? "quiet" : "button", type: "button", on: { click: start } }, icon("note"), songs.length ? "Make another song" : "Make a song"));
  }

  const stopWatching = ctx.live.watch("music:listTracks", { diaryId }, { value: draw, error: () => {} });
  const stopPlaying = ctx.player.onchange(refresh);
  return {
    node,
    refresh,
    /** The id of the newest track that is ready. */
    get first() {
      return songs.flat().find((one) => one.status === "ready") ?? null;
    },
    stop() {
      stopWatching();
      stopPlaying?.();
      card?.stop();
    },
  };
}
