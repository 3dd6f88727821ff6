// What all players have in common: steering an audio element, and the deck that shows how far it is.

const SPEEDS = [1, 1.25, 1.5, 0.75];

export const clock = (seconds) => {
  const whole = Math.floor(seconds || 0);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

/** Steers `audio`. `expected` gives its length until the browser knows it; `trouble` takes a message, or "". */
export function controls(audio, { expected, trouble }) {
  const length = () => (Number.isFinite(audio.duration) && audio.duration > 0 ? audio.duration : expected());
  const fail = () => trouble("The song cannot be played right now. Please try again in a little while.");
  function resume() {
    trouble("");
    audio.play().catch((error) => {
      if (error.name !== "AbortError") fail();
    });
  }
  return {
    length,
    resume,
    fail,
    toggle: () => (audio.paused ? resume() : audio.pause()),
    move: (seconds) => (audio.currentTime = Math.min(Math.max(0, seconds), length() || seconds)),
    // Steps up (1) or down (-1), or goes round (0).
    setSpeed(by) {
      const speeds = [...SPEEDS].sort((one, other) => one - other);
      const next = by
        ? speeds[Math.min(speeds.length - 1, Math.max(0, speeds.indexOf(audio.playbackRate) + by))]
        : SPEEDS[(SPEEDS.indexOf(audio.playbackRate) + 1) % SPEEDS.length];
      // The next song starts at the default.
      audio.defaultPlaybackRate = next;
      audio.playbackRate = next;
    },
    toggleSound() {
      audio.muted = !audio.muted;
      if (!audio.muted && audio.volume === 0) audio.volume = 0.5;
    },
  };
}

/** Connects the parts of a deck in `root`, each of which may be absent; `steer` is what `controls` returns. */
export function deck(root, audio, steer) {
  const part = (selector) => root.querySelector(selector);
  const [play, seek, elapsed, total] = [".play", ".seek input", ".elapsed", ".total"].map(part);
  const [speed, mute, volume] = [".speed", ".mute", ".volume input"].map(part);
  let dragging = false;

  function show() {
    const [now, whole] = [audio.currentTime, steer.length()];
    root.style.setProperty("--played", whole ? Math.min(1, now / whole) : 0);
    if (seek && !dragging) seek.value = now;
    const text = clock(now);
    if (elapsed && elapsed.textContent !== text) {
      elapsed.textContent = text;
      seek?.setAttribute("aria-valuetext", `${text} of ${clock(whole)}`);
    }
  }

  function showLength() {
    if (seek) seek.max = steer.length();
    if (total) total.textContent = clock(steer.length());
    show();
  }

  function showState() {
    root.classList.toggle("playing", !audio.paused);
    play?.setAttribute("aria-label", audio.paused ? "Play" : "Pause");
  }

  function showSpeed() {
    if (!speed) return;
    speed.textContent = `${audio.playbackRate}×`;
    speed.setAttribute("aria-label", `Speed: ${audio.playbackRate}×`);
  }

  function showSound() {
    const silent = audio.muted || audio.volume === 0;
    root.classList.toggle("muted", silent);
    mute?.setAttribute("aria-pressed", String(silent));
    if (volume) volume.value = audio.muted ? 0 : audio.volume;
  }

  const on = (names, act) => names.forEach((name) => audio.addEventListener(name, act));
  on(["play", "pause", "ended"], showState);
  on(["loadedmetadata", "durationchange"], showLength);
  on(["seeked", "timeupdate"], show);
  on(["ratechange"], showSpeed);
  on(["volumechange"], showSound);
  on(["waiting"], () => root.classList.add("loading"));
  on(["playing", "canplay", "pause"], () => root.classList.remove("loading"));

  play?.addEventListener("click", steer.toggle);
  speed?.addEventListener("click", () => steer.setSpeed(0));
  mute?.addEventListener("click", steer.toggleSound);
  volume?.addEventListener("input", () => {
    audio.muted = false;
    audio.volume = Number(volume.value);
  });
  seek?.addEventListener("pointerdown", () => (dragging = true));
  for (const name of ["pointerup", "pointercancel", "blur"]) seek?.addEventListener(name, () => (dragging = false));
  seek?.addEventListener("input", () => {
    steer.move(Number(seek.value));
    show();
  });
  showLength();
  showState();
  showSpeed();
  showSound();
  return { show, showLength };
}

/** Shows a song on the keys and the lock screen of the device, and lets those act; a null action is switched off. */
export function mediaSession({ title, artist, cover }, actions) {
  if (!("mediaSession" in navigator)) return;
  navigator.mediaSession.metadata = new MediaMetadata({ title, artist, artwork: cover ? [{ src: cover }] : [] });
  for (const [name, act] of Object.entries(actions)) {
    try {
      navigator.mediaSession.setActionHandler(name, act);
    } catch {
      // This browser does not know the action.
    }
  }
}
