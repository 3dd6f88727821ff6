// Covers of songs: the song's picture, or one that is drawn from its name when it has none.

import { h } from "../dom.js";

// The sky from top to horizon, the far hill and the near one.
const SKIES = [
  ["#7d3a68", "#c86b7e", "#eab07c", "#3b2a63", "#241d4a"],
  ["#24365e", "#5c7ea6", "#f0c99a", "#26405a", "#172638"],
  ["#14403f", "#3f8578", "#f2d29b", "#1d4a45", "#0f2b2c"],
  ["#4a2352", "#a04a72", "#f4a67c", "#43204e", "#2a1434"],
  ["#2b2a5e", "#6a63ab", "#e6b3c8", "#2f2b62", "#1b1940"],
  ["#5e2b24", "#b9654a", "#f5cf8e", "#4c2a2c", "#2c181d"],
  ["#1f3d52", "#4d8aa0", "#d9e2c4", "#28505a", "#142f3a"],
  ["#3d2c1c", "#96703f", "#f3dca6", "#4a3a24", "#291f15"],
];
const SIZE = 100;
let drawings = 0;

/** Returns a cover as an element that fills its place. `song` has imageUrl and title, or key. It tells nothing to screen readers. */
export function cover(song, { eager = false } = {}) {
  const frame = h("span", { class: "art-frame", "aria-hidden": "true" });
  if (!song?.imageUrl) {
    frame.append(drawing(song?.title || song?.key || ""));
    return frame;
  }
  const picture = h("img", { src: song.imageUrl, alt: "", decoding: "async", loading: eager ? "eager" : "lazy", draggable: "false" });
  // A vendor's address may be dead until the picture is stored.
  picture.addEventListener("error", () => picture.replaceWith(drawing(song.title || "")), { once: true });
  frame.append(picture);
  return frame;
}

function drawing(name) {
  const dice = random(name);
  const [top, middle, horizon, far, near] = SKIES[Math.floor(dice() * SKIES.length)];
  const id = `sky-${++drawings}`;
  const [x, y, radius] = [28 + dice() * 44, 22 + dice() * 18, 7 + dice() * 6];
  return h(
    "svg",
    { viewBox: `0 0 ${SIZE} ${SIZE}`, preserveAspectRatio: "xMidYMid slice" },
    gradient(id, [top, middle, horizon]),
    h("rect", { width: SIZE, height: SIZE, fill: `url(#${id})` }),
    [2.4, 1.7].map((halo) => h("circle", { cx: x, cy: y, r: radius * halo, fill: "#fff", opacity: 0.1 })),
    h("circle", { cx: x, cy: y, r: radius, fill: "#fdf3d8", opacity: 0.92 }),
    h("path", { d: hill(58, 9, dice), fill: far, opacity: 0.85 }),
    h("path", { d: hill(74, 8, dice), fill: near }),
  );
}

function gradient(id, colours) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", "linearGradient");
  for (const [name, value] of Object.entries({ id, x1: 0, y1: 0, x2: 0, y2: 1 })) element.setAttribute(name, value);
  colours.forEach((colour, number) => {
    const stop = document.createElementNS(element.namespaceURI, "stop");
    stop.setAttribute("offset", [0, 0.45, 0.75][number]);
    stop.setAttribute("stop-color", colour);
    element.append(stop);
  });
  return element;
}

function hill(base, height, dice) {
  const waves = [1, 2, 3].map((wave) => ({ wave, turn: dice() * 2 * Math.PI, size: ((0.3 + dice() * 0.7) * height) / wave }));
  let path = `M0 ${SIZE}`;
  for (let x = 0; x <= SIZE; x += 4) {
    const y = base + waves.reduce((sum, { wave, turn, size }) => sum + size * Math.sin((x / SIZE) * Math.PI * (wave + 0.7) + turn), 0);
    path += `L${x} ${y.toFixed(1)}`;
  }
  return `${path}L${SIZE} ${SIZE}z`;
}

/** Returns numbers from 0 to 1, the same for the same text. */
function random(text) {
  let state = 2166136261;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 16777619);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
