// The player of a page: replaces the browser's own controls with ours once this script runs.

import { followLyrics } from "./lyrics.js";

const SPEEDS = [1, 1.25, 1.5, 0.75];
const STEP = 5; // seconds that an arrow key moves

export const clock = (seconds) => {
  const whole = Math.floor(seconds || 0);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

function start(root) {
  const find = (selector) => root.querySelector(selector);
  const audio = find("audio");
  const [play, seek, speed, mute] = [".play", ".seek input", ".speed", ".mute"].map(find);
  const volume = find(".volume input");
  const elapsed = find(".elapsed");
  const trouble = find(".trouble");
  const lyrics = followLyrics(document.querySelector(".lyrics"), (seconds) => {
    move(seconds);
    resume();
  });
  let dragging = false;

  const length = () => (Number.isFinite(audio.duration) && audio.duration > 0 ? audio.duration : Number(root.dataset.duration));

  function show() {
    const [now, whole] = [audio.currentTime, length()];
    root.style.setProperty("--played", whole ? Math.min(1, now / whole) : 0);
    if (!dragging) seek.value = now;
    const text = clock(now);
    if (elapsed.textContent !== text) {
      elapsed.textContent = text;
      seek.setAttribute("aria-valuetext", `${text} of ${clock(whole)}`);
    }
    lyrics.show(now, !audio.paused);
  }

  function showLength() {
    seek.max = length();
    find(".total").textContent = clock(length());
    show();
  }

  function frame() {
    show();
    if (!audio.paused && !audio.ended) requestAnimationFrame(frame);
  }

  function move(seconds) {
    audio.currentTime = Math.min(Math.max(0, seconds), length() || seconds);
    show();
  }

  function resume() {
    trouble.textContent = "";
    audio.play().catch((error) => {
      if (error.name !== "AbortError") fail();
    });
  }

  function fail() {
    trouble.textContent = "The song cannot be played right now. Please try again in a little while.";
  }

  const toggle = () => (audio.paused ? resume() : audio.pause());

  function setSpeed(by) {
    const speeds = [...SPEEDS].sort((one, other) => one - other);
    const next = by
      ? speeds[Math.min(speeds.length - 1, Math.max(0, speeds.indexOf(audio.playbackRate) + by))]
      : SPEEDS[(SPEEDS.indexOf(audio.playbackRate) + 1) % SPEEDS.length];
    audio.playbackRate = next;
    speed.textContent = `${next}×`;
    speed.setAttribute("aria-label", `Speed: ${next}×`);
  }

  function toggleSound() {
    audio.muted = !audio.muted;
    if (!audio.muted && audio.volume === 0) audio.volume = 0.5;
  }

  function state() {
    root.classList.toggle("playing", !audio.paused);
    play.setAttribute("aria-label", audio.paused ? "Play" : "Pause");
    if ("mediaSession" in navigator) navigator.mediaSession.playbackState = audio.paused ? "paused" : "playing";
    frame();
  }

  for (const name of ["play", "pause", "ended"]) audio.addEventListener(name, state);
  for (const name of ["loadedmetadata", "durationchange"]) audio.addEventListener(name, showLength);
  for (const name of ["seeked", "timeupdate"]) audio.addEventListener(name, show);
  audio.addEventListener("waiting", () => root.classList.add("loading"));
  for (const name of ["playing", "canplay", "pause"]) audio.addEventListener(name, () => root.classList.remove("loading"));
  audio.addEventListener("error", fail);
  audio.addEventListener("volumechange", () => {
    const silent = audio.muted || audio.volume === 0;
    root.classList.toggle("muted", silent);
    mute.setAttribute("aria-pressed", String(silent));
    volume.value = audio.muted ? 0 : audio.volume;
  });

  play.addEventListener("click", toggle);
  speed.addEventListener("click", () => setSpeed(0));
  mute.addEventListener("click", toggleSound);
  volume.addEventListener("input", () => {
    audio.muted = false;
    audio.volume = Number(volume.value);
  });
  seek.addEventListener("pointerdown", () => (dragging = true));
  for (const name of ["pointerup", "pointercancel", "blur"]) seek.addEventListener(name, () => (dragging = false));
  seek.addEventListener("input", () => move(Number(seek.value)));

  const keys = {
    " ": toggle,
    k: toggle,
    ArrowLeft: () => move(audio.currentTime - STEP),
    ArrowRight: () => move(audio.currentTime + STEP),
    Home: () => move(0),
    m: toggleSound,
    "<": () => setSpeed(-1),
    ">": () => setSpeed(1),
  };
  document.addEventListener("keydown", (event) => {
    const act = keys[event.key];
    const at = event.target;
    if (!act || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    // Space presses what has the focus; the volume has its own arrows.
    if (event.key === " " && at.closest("button, a, [role=button]")) return;
    if (at === volume && event.key.startsWith("Arrow")) return;
    if (event.key === "Home" && at !== seek) return;
    event.preventDefault();
    act();
  });

  function announce() {
    if (!("mediaSession" in navigator)) return;
    const cover = document.querySelector("img.cover");
    navigator.mediaSession.metadata = new MediaMetadata({
      title: audio.getAttribute("aria-label"),
      artist: document.querySelector(".about bdi")?.textContent ?? "daysong",
      artwork: cover ? [{ src: cover.src }] : [],
    });
    const actions = {
      play: resume,
      pause: () => audio.pause(),
      seekbackward: (how) => move(audio.currentTime - (how.seekOffset ?? 10)),
      seekforward: (how) => move(audio.currentTime + (how.seekOffset ?? 10)),
      seekto: (how) => move(how.seekTime),
    };
    for (const [name, act] of Object.entries(actions)) {
      try {
        navigator.mediaSession.setActionHandler(name, act);
      } catch {
        // This browser does not know the action.
      }
    }
  }
  audio.addEventListener("play", announce, { once: true });

  audio.removeAttribute("controls");
  audio.hidden = true;
  find(".deck").hidden = false;
  find(".extras").hidden = false;
  showLength();
}

document.querySelectorAll(".player").forEach(start);
