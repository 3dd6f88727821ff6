// The player of a page: replaces the browser's own controls with ours once this script runs.

import { controls, deck, mediaSession } from "./deck.js";
import { followLyrics } from "./lyrics.js";

const STEP = 5; // seconds that an arrow key moves

function start(root) {
  const find = (selector) => root.querySelector(selector);
  const audio = find("audio");
  const seek = find(".seek input");
  const volume = find(".volume input");
  const steer = controls(audio, {
    expected: () => Number(root.dataset.duration),
    trouble: (text) => (find(".trouble").textContent = text),
  });
  const { show } = deck(root, audio, steer);
  const lyrics = followLyrics(document.querySelector(".lyrics"), (seconds) => {
    move(seconds);
    steer.resume();
  });

  function draw() {
    show();
    lyrics.show(audio.currentTime, !audio.paused);
  }

  function frame() {
    draw();
    if (!audio.paused && !audio.ended) requestAnimationFrame(frame);
  }

  function move(seconds) {
    steer.move(seconds);
    draw();
  }

  for (const name of ["play", "pause", "ended"]) {
    audio.addEventListener(name, () => {
      if ("mediaSession" in navigator) navigator.mediaSession.playbackState = audio.paused ? "paused" : "playing";
      frame();
    });
  }
  for (const name of ["seeked", "timeupdate"]) audio.addEventListener(name, draw);
  audio.addEventListener("error", steer.fail);

  const keys = {
    " ": steer.toggle,
    k: steer.toggle,
    ArrowLeft: () => move(audio.currentTime - STEP),
    ArrowRight: () => move(audio.currentTime + STEP),
    Home: () => move(0),
    m: steer.toggleSound,
    "<": () => steer.setSpeed(-1),
    ">": () => steer.setSpeed(1),
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

  const announce = () =>
    mediaSession(
      {
        title: audio.getAttribute("aria-label"),
        artist: document.querySelector(".about bdi")?.textContent ?? "daysong",
        cover: document.querySelector("img.cover")?.src,
      },
      {
        play: steer.resume,
        pause: () => audio.pause(),
        seekbackward: (how) => move(audio.currentTime - (how.seekOffset ?? 10)),
        seekforward: (how) => move(audio.currentTime + (how.seekOffset ?? 10)),
        seekto: (how) => move(how.seekTime),
      },
    );
  audio.addEventListener("play", announce, { once: true });

  audio.removeAttribute("controls");
  audio.hidden = true;
  find(".deck").hidden = false;
  find(".extras").hidden = false;
}

document.querySelectorAll(".player").forEach(start);
