// One song of the person: its versions, its words, and what can be done with it.

import { followLyrics } from "../../lyrics.js";
import { h, icon, replace } from "../dom.js";
import { cover } from "../parts/cover.js";
import { menuButton } from "../parts/menu.js";
import { openShare, stateOf } from "../parts/share-panel.js";
import { whilePlaying } from "../player-bar.js";
import { songMenu } from "../song-actions.js";
import { trackOf, versionName } from "../tracks.js";
import { verses } from "../verses.js";

export const title = "Song";

export function show(root, ctx, { id }) {
  const { live, player, time } = ctx;
  let [song, versions, shares, stopVersions, words] = [undefined, [], [], null, null];
  let [lyrics, following] = [{ show() {} }, null];
  const shown = new AbortController();

  const heading = h("h1", { dir: "auto", lang: "" }, h("span", { class: "skeleton line-long" }));
  const about = h("p", { class: "song-about" });
  const art = h("div", { class: "song-art skeleton" });
  const acts = h("div", { class: "song-acts" });
  const list = h("ul", { class: "song-versions" });
  const text = h("div", { class: "song-words" });
  const back = h("a", { class: "back", href: `${ctx.base}/songs` }, icon("back"), "Songs");
  replace(root, back, h("div", { class: "song-page" }, h("div", { class: "song-head" }, art, h("div", {}, heading, about, acts, list)), text));

  const isCurrent = () => player.current?.key === id || versions.some(({ _id }) => _id === player.current?.key);
  const draw = () => lyrics.show(player.current?.key === id ? player.audio.currentTime : 0, player.current?.key === id && player.playing);
  const start = whilePlaying(player.audio, () => !shown.signal.aborted && player.current?.key === id, draw, shown.signal);

  const stops = [
    live.watch("music:getMusic", { musicId: id }, { value: showSong, error: failed }),
    live.watch("sharing:listSharedMusic", {}, { value: (found) => ((shares = found), showActs()), error: () => {} }),
    player.onchange(() => (showActs(), start())),
    () => stopVersions?.(),
    () => following?.abort(),
    () => shown.abort(),
  ];

  function missing(words, sentence) {
    replace(root, back, h("div", { class: "invite" }, h("h1", {}, words), h("p", { class: "lead" }, sentence)));
  }

  function failed() {
    if (!song) missing("This song cannot be shown right now", "Please try again in a little while.");
  }

  function showSong(found) {
    song = found;
    if (!song) return missing("This song is no longer there", "It was deleted, or it is in another diary.");
    heading.textContent = song.title || "Untitled";
    heading.classList.toggle("long", (song.title ?? "").length > 34);
    document.title = `${song.title || "Song"} · daysong`;
    art.classList.remove("skeleton");
    replace(art, song.imageUrl && h("img", { class: "light", src: song.imageUrl, alt: "", "aria-hidden": "true" }), cover(song, { eager: true }));
    const day = time.day?.(song.diaryDate ?? song.createdAt) ?? time.short(song.diaryDate ?? song.createdAt);
    replace(about, song.diaryId ? h("a", { href: `${ctx.base}/diary/${song.diaryId}` }, `From ${day}`) : day);
    stopVersions ??= song.diaryId ? live.watch("music:listTracks", { diaryId: song.diaryId }, { value: (tracks) => ((versions = tracks), showActs()), error: () => {} }) : null;
    const known = `${song.lyric} ${song.lyricWithTime?.alignedWords?.length}`;
    if (words !== known) {
      words = known;
      following?.abort();
      following = new AbortController();
      const section = verses(song.lyric, song.lyricWithTime);
      replace(text, section ?? h("p", { class: "lead" }, song.status === "pending" ? "The words are being written." : "This song has no words."));
      lyrics = section ? followLyrics(section, playFrom, following.signal) : { show() {} };
      draw();
    }
    showActs();
  }

  function playFrom(seconds) {
    if (player.current?.key !== id) player.play([song]);
    player.steer.move(seconds);
    player.steer.resume();
  }

  function showActs() {
    if (!song) return;
    const track = trackOf(song);
    const isPlaying = player.current?.key === id && player.playing;
    const focused = acts.querySelector(":focus")?.dataset.act;
    replace(
      acts,
      track &&
        h(
          "button",
          { class: "button", type: "button", dataset: { act: "play" }, on: { click: () => (player.current?.key === id ? player.toggle() : player.play([song])) } },
          icon(isPlaying ? "pause" : "play"),
          isPlaying ? "Pause" : "Play",
        ),
      track && h("button", { class: "button soft", type: "button", dataset: { act: "share" }, on: { click: () => openShare(ctx, track) } }, icon("share"), "Share"),
      !track && h("p", { class: "lead" }, song.status === "failed" ? failure(song) : "It is being made. This takes a few minutes."),
      menuButton(`More about ${song.title || "this song"}`, () => songMenu(ctx, song, { onPage: true, deleted: () => ctx.go("/songs") })),
    );
    if (focused) acts.querySelector(`[data-act=${focused}]`)?.focus();
    showVersions();
  }

  function showVersions() {
    const share = (one) => shares.find(({ musicId }) => musicId === one._id);
    const state = share(song) && h("p", { class: "fine" }, stateOf(share(song)));
    const others = versions.length > 1 ? versions : [];
    list.hidden = !others.length && !state;
    replace(
      list,
      others.map((one, number) => {
        const here = one._id === id;
        const length = one.duration ? ` · ${time.length(one.duration)}` : "";
        const name = `${versionName(number)}${length}`;
        return h("li", {}, here ? h("span", { "aria-current": "true" }, name) : h("a", { href: `${ctx.base}/songs/${one._id}` }, name));
      }),
      state && h("li", { class: "state" }, state),
    );
    list.classList.toggle("is-current", isCurrent());
  }

  const failure = ({ reason = "" }) => (reason.includes(" ") ? reason : "It could not be made.");

  return () => stops.forEach((stop) => stop?.());
}
