// The bar of the player: what is being played, at the foot of every page.

import { deck } from "../deck.js";
import { h, icon, replace, unseen } from "./dom.js";
import { cover } from "./parts/cover.js";
import { drawn } from "./wave.js";

/** Returns a button with an icon. */
export function iconButton(label, name, act, { class: more = "", ...props } = {}) {
  return h("button", { class: `quiet ${more}`.trim(), type: "button", "aria-label": label, on: { click: act }, ...props }, icon(name));
}

/** Returns the parts of a deck, as in transport/pages/player.py; `static/deck.js` connects them. */
export function deckParts() {
  const under = h("span", { class: "drawn" }, drawn(null));
  return {
    play: h("button", { class: "play", type: "button", "aria-label": "Play" }, icon("play", "to-play"), icon("pause", "to-pause")),
    seek: h("div", { class: "seek" }, under, h("input", { type: "range", min: 0, max: 0, step: 0.1, value: 0, "aria-label": "Position" })),
    under,
    elapsed: h("span", { class: "elapsed" }, "0:00"),
    total: h("span", { class: "total" }, "0:00"),
    speed: h("button", { class: "quiet speed", type: "button" }),
    volume: h(
      "span",
      { class: "volume" },
      h("button", { class: "quiet mute", type: "button", "aria-label": "Mute" }, icon("loud", "loud"), icon("silent", "silent")),
      h("input", { type: "range", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "Volume" }),
    ),
  };
}

/** Calls `show` in each frame while the song plays and `wanted()`, until `signal`. Returns a function that starts it. */
export function whilePlaying(audio, wanted, show, signal) {
  let asked = 0;
  function frame() {
    asked = 0;
    show();
    if (!audio.paused && !audio.ended && wanted()) asked = requestAnimationFrame(frame);
  }
  const start = () => (asked ||= requestAnimationFrame(frame));
  audio.addEventListener("play", start, { signal });
  return start;
}

/** Returns the switches of the queue, which follow the player. */
export function queueSwitches(player) {
  const shuffle = iconButton("Shuffle", "shuffle", player.toggleShuffle, { class: "shuffle" });
  const repeat = iconButton("Repeat", "repeat", player.cycleRepeat, { class: "repeat" });
  const labels = { off: "Repeat: off", all: "Repeat: all songs", one: "Repeat: this song" };
  function show() {
    shuffle.setAttribute("aria-pressed", String(player.shuffled));
    repeat.setAttribute("aria-label", labels[player.repeat]);
    repeat.classList.toggle("on", player.repeat !== "off");
    replace(repeat, icon(player.repeat === "one" ? "repeat-one" : "repeat"));
  }
  return { shuffle, repeat, show };
}

/** Shows the bar in `host` while there is something to play. */
export function createBar(host, player, { time }) {
  const parts = deckParts();
  const switches = queueSwitches(player);
  const art = h("span", { class: "bar-cover" });
  const name = h("bdi", { class: "bar-title" });
  const about = h("bdi", { class: "bar-about" });
  const song = h("button", { class: "bar-song", type: "button", on: { click: () => player.open("words") } }, art, h("span", { class: "bar-names" }, unseen("Now playing: "), name, unseen(", "), about, unseen(". Show the words")));
  const next = iconButton("Next song", "next", player.next);
  const bar = h(
    "section",
    { class: "player-bar", "aria-label": "Player" },
    song,
    h("div", { class: "bar-keys" }, iconButton("Previous song", "previous", player.previous, { class: "wide-only" }), parts.play, next),
    h("div", { class: "bar-place" }, parts.elapsed, parts.seek, parts.total),
    h(
      "div",
      { class: "bar-more" },
      switches.shuffle,
      switches.repeat,
      parts.speed,
      parts.volume,
      iconButton("Queue", "queue", () => player.open("queue")),
    ),
  );
  const { show, showLength } = deck(bar, player.audio, player.steer);
  whilePlaying(player.audio, () => bar.isConnected && !document.querySelector("dialog.now-playing[open]"), show);
  let [shown, timed] = [null, null];

  function update() {
    const track = player.current;
    if (!track) {
      bar.remove();
      document.body.classList.remove("has-player");
      shown = null;
      return;
    }
    if (!bar.isConnected) host.append(bar);
    document.body.classList.add("has-player");
    const key = `${track.key} ${track.imageUrl} ${track.title}`;
    if (shown !== key) {
      shown = key;
      replace(art, cover(track, { eager: true }));
      name.textContent = track.title;
      about.textContent = aboutTrack(track, time);
      showLength();
    }
    if (timed !== player.details?.timed) {
      timed = player.details?.timed;
      replace(parts.under, drawn(timed));
    }
    about.textContent = player.trouble || aboutTrack(track, time);
    next.disabled = !player.hasNext;
    switches.show();
  }
  player.onchange(update);
  update();
}

/** Says whose song it is, or from which day. */
export function aboutTrack(track, time) {
  if (track.shareId) return track.by ? `by ${track.by}` : "a song of another diary";
  return track.date ? time.short(track.date) : "";
}
