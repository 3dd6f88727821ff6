// The player of the studio: one audio element and its queue, outside of the pages, so that it survives navigation. What it
// plays, and where, is kept on this device over a reload.

import { controls, mediaSession } from "../deck.js";
import { h } from "./dom.js";
import { createBar } from "./player-bar.js";
import { createNowPlaying } from "./now-playing.js";
import { Queue } from "./queue.js";
import { tracksOf, watchTrack } from "./tracks.js";

const KEPT = "daysong.player";
const KEPT_AT = "daysong.player.at";
const KEEP_EVERY = 5; // seconds of playing
const BEGINNING = 3; // seconds after which "previous" starts the song anew
const MOST_FAILURES = 3; // songs in a row that cannot be played, until the queue waits

/** Returns the player, which shows itself in `host`; `ctx` has live, session, time, say and go. */
export function createPlayer(host, ctx) {
  const { live, session, say } = ctx;
  const audio = h("audio", { preload: "metadata", hidden: true });
  host.append(audio);
  const queue = new Queue();
  const listeners = new Set();
  const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel(KEPT) : null;
  let [details, stopDetails] = [null, null];
  let [trouble, failures, kept, restored] = ["", 0, -1, false];
  let [pending, wanted] = [null, false]; // a position, and whether to play, once the track's address is known

  const steer = controls(audio, {
    expected: () => queue.current?.duration ?? 0,
    trouble(text) {
      trouble = text;
      tell();
    },
  });

  const player = {
    audio,
    steer,
    get queue() {
      return queue.tracks;
    },
    get upcoming() {
      return queue.upcoming;
    },
    get current() {
      return queue.current;
    },
    /** What is known of the current track beside itself: its lyric, and the timing of that. */
    get details() {
      return details;
    },
    get playing() {
      return !audio.paused;
    },
    get shuffled() {
      return queue.shuffled;
    },
    get repeat() {
      return queue.repeat;
    },
    get trouble() {
      return trouble;
    },
    get hasNext() {
      return queue.upcoming.length > 0 || queue.repeat === "all";
    },
    /** Plays songs of the playlist, or tracks, beginning with one of them. `rest` may resolve to more of them. */
    play(songs, index = 0, { rest } = {}) {
      const first = asTrack(songs[index]);
      const tracks = songs.map(asTrack).filter(Boolean);
      if (!tracks.length) return;
      queue.set(tracks, Math.max(0, tracks.findIndex((track) => track === first || track.key === first?.key)));
      const mine = queue.tracks;
      rest?.then((more) => {
        if (queue.tracks !== mine) return;
        queue.add(more.map(asTrack).filter(Boolean));
        keepQueue();
        tell();
      }, () => {});
      load({ play: true });
    },
    /** Plays the songs in random order. */
    shuffle(songs, options) {
      queue.shuffled = true;
      player.play(songs, Math.floor(Math.random() * songs.length), options);
    },
    add(songs, { next = false } = {}) {
      const idle = !queue.current;
      queue.add(songs.map(asTrack).filter(Boolean), { next });
      if (idle) load({ play: true });
      else keepQueue();
      tell();
    },
    toggle() {
      if (!queue.current) return;
      if (!audio.src) wanted = !wanted;
      else steer.toggle();
    },
    next: () => (queue.next() ? load({ play: true }) : undefined),
    previous() {
      if (audio.currentTime > BEGINNING || (queue.at === 0 && queue.repeat === "off")) return steer.move(0);
      queue.previous();
      load({ play: true });
    },
    jump: (key) => queue.jump(key) && load({ play: true }),
    remove(key) {
      const was = queue.current;
      queue.remove(key);
      if (was === queue.current) return keepQueue(), tell();
      if (queue.current) load({ play: !audio.paused });
      else player.clear();
    },
    /** Plays the other version of the current song. */
    exchange(song) {
      const track = asTrack(song);
      if (!track || track.key === queue.current?.key) return;
      queue.exchange(track);
      load({ play: true });
    },
    toggleShuffle() {
      queue.shuffle(!queue.shuffled);
      keepQueue();
      tell();
    },
    cycleRepeat() {
      queue.repeat = { off: "all", all: "one", one: "off" }[queue.repeat];
      keepQueue();
      tell();
    },
    open: (what) => nowPlaying.open(what),
    /** Forgets what it plays, as at sign-out. */
    clear() {
      stopDetails?.();
      [stopDetails, details, wanted, pending] = [null, null, false, null];
      silence();
      queue.set([]);
      nowPlaying.close();
      forget();
      if ("mediaSession" in navigator) navigator.mediaSession.metadata = null;
      tell();
    },
    onchange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };

  const tell = () => [...listeners].forEach((listener) => listener());

  /** Loads the current track: its address from what is known of it, or once the server says. */
  function load({ play, at = 0 }) {
    const track = queue.current;
    stopDetails?.();
    [details, trouble, pending, wanted] = [null, "", at, play];
    if (track.audioUrl) source(track);
    else silence();
    stopDetails = watchTrack(live, track, (found) => {
      if (queue.current?.key !== track.key) return;
      if (!found) return gone();
      details = found;
      queue.exchange(found.track);
      if (!audio.src || audio.error) source(found.track);
      announce();
      tell();
    });
    announce();
    keepQueue();
    tell();
  }

  function silence() {
    audio.pause();
    audio.removeAttribute("src");
    audio.load();
  }

  function source(track) {
    audio.src = track.audioUrl;
    if (pending) audio.currentTime = pending;
    pending = null;
    if (wanted) steer.resume();
    wanted = false;
  }

  /** The current song was deleted, or is no longer shared: on with the next one. */
  function gone() {
    const play = (!audio.paused || wanted) && player.hasNext;
    const { key, title } = queue.current;
    say(`“${title}” is no longer available.`);
    audio.pause();
    queue.remove(key);
    if (queue.current) load({ play });
    else player.clear();
  }

  function announce() {
    const { title, by, imageUrl } = queue.current;
    mediaSession(
      { title, artist: by ?? session.name ?? "daysong", cover: imageUrl },
      {
        play: steer.resume,
        pause: () => audio.pause(),
        previoustrack: player.previous,
        nexttrack: player.hasNext ? player.next : null,
        seekbackward: (how) => steer.move(audio.currentTime - (how.seekOffset ?? 10)),
        seekforward: (how) => steer.move(audio.currentTime + (how.seekOffset ?? 10)),
        seekto: (how) => steer.move(how.seekTime),
      },
    );
  }

  function position() {
    if (!("mediaSession" in navigator) || !Number.isFinite(audio.duration)) return;
    navigator.mediaSession.playbackState = audio.paused ? "paused" : "playing";
    navigator.mediaSession.setPositionState?.({
      duration: audio.duration,
      playbackRate: audio.playbackRate || 1,
      position: Math.min(audio.currentTime, audio.duration),
    });
  }

  // Kept over a reload: the queue, without addresses, which are asked for anew; and the place in it.
  function keepQueue() {
    if (!queue.current) return;
    const plain = ({ audioUrl, imageUrl, ...track }) => track;
    store(KEPT, { whose: session.subject, ...queue.kept(), tracks: queue.tracks.map(plain) });
    keep();
  }

  function keep() {
    if (!queue.current) return;
    kept = audio.currentTime;
    const { volume, muted, defaultPlaybackRate: speed } = audio;
    store(KEPT_AT, { key: queue.current.key, time: pending || kept, volume, muted, speed });
  }

  /** Takes up what was kept, once it is known who is signed in. */
  function restore() {
    if (restored || queue.current) return;
    restored = true;
    const [found, at] = [stored(KEPT), stored(KEPT_AT)];
    if (!found) return;
    if (found.whose !== session.subject) return forget();
    queue.restore(found);
    if (!queue.current) return;
    if (at?.volume >= 0 && at.volume <= 1) audio.volume = at.volume;
    audio.muted = at?.muted === true;
    if (at?.speed >= 0.5 && at.speed <= 2) audio.playbackRate = audio.defaultPlaybackRate = at.speed;
    load({ play: false, at: at?.key === queue.current.key ? Number(at.time) || 0 : 0 });
  }

  audio.addEventListener("play", () => channel?.postMessage("play"));
  channel?.addEventListener("message", () => audio.pause());
  for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, tell);
  for (const name of ["play", "pause", "seeked", "ratechange", "loadedmetadata"]) audio.addEventListener(name, position);
  for (const name of ["pause", "seeked", "ratechange", "volumechange"]) audio.addEventListener(name, keep);
  audio.addEventListener("timeupdate", () => Math.abs(audio.currentTime - kept) > KEEP_EVERY && keep());
  audio.addEventListener("playing", () => (failures = 0));
  addEventListener("pagehide", keep);
  audio.addEventListener("ended", () => {
    if (!queue.next({ ended: true })) return;
    if (queue.repeat === "one") steer.resume();
    else load({ play: true });
  });
  audio.addEventListener("error", () => {
    if (!audio.getAttribute("src")) return;
    failures += 1;
    if (player.hasNext && failures < Math.min(MOST_FAILURES, queue.tracks.length)) {
      say(`“${queue.current.title}” cannot be played right now.`);
      player.next();
    } else {
      failures = 0;
      steer.fail();
    }
  });
  live.onstatus((status) => status === "open" && restore());

  const nowPlaying = createNowPlaying(player, ctx);
  createBar(host, player, ctx);
  return player;
}

const asTrack = (song) => (song?.key ? song : (song && tracksOf([song])[0]) || null);

function store(name, value) {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // The storage is full or switched off; then the player starts empty.
  }
}

function stored(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

function forget() {
  for (const name of [KEPT, KEPT_AT]) localStorage.removeItem(name);
}
