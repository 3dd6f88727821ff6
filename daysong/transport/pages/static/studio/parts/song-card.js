// A song from the moment it is asked for: in line, its words being written, composed, ready or failed. It follows the
// live query of its track.

import { h, icon, replace } from "../dom.js";

const STAGES = {
  queued: { step: 0, title: "In line", text: "Your song begins in a moment." },
  writing: { step: 1, title: "Writing the words", text: "The lyrics are made from your entry." },
  composing: { step: 2, title: "Composing", text: "Two versions are being sung. This takes two or three minutes." },
  ready: { step: 3, title: "Ready", text: "" },
  failed: { step: -1, title: "This song did not come to be", text: "" },
  canceled: { step: -1, title: "Canceled", text: "" },
};
const STEPS = ["Words", "Music", "Ready"];
const NOT_COUNTED = "It was not counted.";

/**
 * Returns the card of a track, and `stop`. `retry` starts the song anew; without it no button says so. `first` is what is
 * known of the track before the query answers.
 */
export function songCard(ctx, musicId, { retry = null, first = null } = {}) {
  const art = h("div", { class: "card-art" });
  const stage = h("p", { class: "card-stage" });
  const title = h("h3", { class: "card-title", dir: "auto" });
  const about = h("p", { class: "card-about", role: "status" });
  const steps = h("ol", { class: "card-steps", "aria-label": "How far it is" });
  const lyric = h("div", { class: "card-lyric", dir: "auto", tabIndex: 0, role: "region", "aria-label": "Lyrics" });
  const acts = h("div", { class: "card-acts" });
  const head = h("div", { class: "card-head" }, stage, title, about);
  const node = h("article", { class: "song-card", "aria-label": "Song" }, art, head, steps, lyric, acts);
  let [shown, track] = ["", null];
  let play = null;

  function showPlaying() {
    if (!play || !track) return;
    const on = ctx.player.current?.key === track._id && ctx.player.playing;
    replace(play, icon(on ? "pause" : "play"));
    play.setAttribute("aria-label", `${on ? "Pause" : "Play"} ${track.title ?? "the song"}`);
  }

  function press() {
    if (ctx.player.current?.key === track._id) ctx.player.toggle();
    else ctx.player.play([track], 0);
  }

  function render(next) {
    track = next;
    if (track === null) {
      node.hidden = true;
      return;
    }
    node.hidden = false;
    const name = track.progress?.stage ?? { pending: "queued", ready: "ready", failed: "failed" }[track.status];
    // A remake that failed leaves the song that was there before.
    const now = name === "failed" && track.status === "ready" ? "ready" : name;
    const state = `${now} ${track.title} ${track.imageUrl} ${track.audioUrl} ${track.lyric?.length} ${track.reason}`;
    if (state === shown) return;
    shown = state;
    const { step, title: words, text } = STAGES[now];
    node.className = `song-card is-${now}`;
    stage.textContent = now === "ready" ? "A song of this day" : words;
    title.textContent = track.title ?? "";
    title.hidden = !track.title;
    about.textContent = now === "failed" ? reason(track) : now === "ready" && track.duration ? ctx.time.length(track.duration) : text;
    steps.hidden = step < 0 || step === 3;
    replace(
      steps,
      STEPS.map((label, place) => {
        const how = place + 1 < step ? "done" : place + 1 === step ? "now" : "to-come";
        return h("li", { class: how, "aria-current": how === "now" ? "step" : null }, label);
      }),
    );
    showArt(now);
    showLyric(now);
    showActs(now);
  }

  function showArt(now) {
    if (track.imageUrl && now === "ready") {
      const picture = h("img", { src: track.imageUrl, alt: "", width: "160", height: "160", loading: "lazy" });
      picture.addEventListener("error", () => replace(art, h("span", { class: "no-art" })), { once: true });
      replace(art, picture);
    } else if (now === "failed" || now === "canceled") replace(art);
    else replace(art, h("span", { class: now === "ready" ? "no-art" : "no-art pulse" }, now === "composing" && h("span", { class: "bars" }, [1, 2, 3, 4, 5].map(() => h("i")))));
  }

  function showLyric(now) {
    const lines = (track.lyric ?? "").split("\n").map((line) => line.trim()).filter((line) => line && !/^\[.*\]$/.test(line));
    const waits = now === "writing" && !lines.length;
    lyric.hidden = now === "ready" || now === "failed" || now === "canceled" || !(lines.length || waits);
    lyric.tabIndex = lines.length > 4 ? 0 : -1;
    if (lyric.hidden) return;
    if (waits) replace(lyric, h("p", { class: "skeleton" }), h("p", { class: "skeleton short" }), h("p", { class: "skeleton" }));
    else if (lyric.dataset.lines !== String(lines.length)) {
      lyric.dataset.lines = lines.length;
      replace(lyric, lines.map((line) => h("p", { class: "sung" }, line)));
    }
  }

  function showActs(now) {
    play = null;
    if (now === "ready" && track.audioUrl) {
      play = h("button", { class: "round", type: "button", on: { click: press } });
      showPlaying();
      replace(acts, play, h("a", { class: "quiet", href: `${ctx.base}/songs/${track._id}` }, "Open the song"));
    } else if (now === "failed" && retry) {
      replace(acts, h("button", { class: "button soft", type: "button", on: { click: retry } }, "Try again"));
    } else replace(acts);
  }

  if (first) render(first);
  const stopWatching = ctx.live.watch("music:getMusic", { musicId }, { value: render, error: () => {} });
  const stopPlaying = ctx.player.onchange(showPlaying);
  return {
    node,
    stop() {
      stopWatching();
      stopPlaying?.();
    },
  };
}

function reason(track) {
  const said = track.reason ?? track.progress?.reason ?? "";
  if (/not counted/i.test(said)) return said;
  return said ? `${said} ${NOT_COUNTED}` : `Something went wrong while it was made. ${NOT_COUNTED}`;
}
