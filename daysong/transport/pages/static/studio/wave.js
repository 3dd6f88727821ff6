// The waveform of a song as bars, as transport/pages/player.py draws it.

import { h } from "./dom.js";

const BARS = 90;
const HEIGHT = 40;
const SILENCE = 0.06; // part of the height
const LOUDEST = 1e9;

/** Returns the path of the bars; "" without usable levels. */
export function waveform(levels) {
  const usable = (Array.isArray(levels) ? levels : [])
    .filter((level) => typeof level === "number" && Math.abs(level) < LOUDEST)
    .map(Math.abs);
  const loudest = usable.reduce((most, level) => Math.max(most, level), 0);
  if (usable.length < BARS / 3 || !loudest) return "";
  const middle = HEIGHT / 2;
  let path = "";
  for (let number = 0; number < BARS; number++) {
    const from = Math.floor((number * usable.length) / BARS);
    const until = Math.max(from + 1, Math.floor(((number + 1) * usable.length) / BARS));
    const level = usable.slice(from, until).reduce((most, one) => Math.max(most, one), 0);
    const half = (SILENCE + ((1 - SILENCE) * level) / loudest) * (middle - 1);
    path += `M${number * 4 + 2} ${(middle - half).toFixed(1)}V${(middle + half).toFixed(1)}`;
  }
  return path;
}

/** Returns what is drawn below a position slider: the waveform twice, whole and played, or two plain bars. */
export function drawn(timed) {
  const path = waveform(timed?.waveformData);
  return ["", " played"].map((part) =>
    path
      ? h(
          "svg",
          { class: `wave${part}`, viewBox: `0 0 ${BARS * 4} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
          h("path", { d: path }),
        )
      : h("span", { class: `bar${part}` }),
  );
}
