// How a person is shown by name: the first letter in a circle, in a colour of their own.

import { h } from "../dom.js";

const TONES = 6;

export function avatar(name) {
  const letter = [...new Intl.Segmenter().segment(name.trim())][0]?.segment.toLocaleUpperCase() ?? "?";
  const tone = [...name].reduce((sum, one) => (sum * 31 + one.codePointAt(0)) % 9973, 7) % TONES;
  return h("span", { class: `avatar tone-${tone}`, "aria-hidden": "true" }, letter);
}

/** Says how often a person was written about, and when last. */
export function mentions({ interactionCount, lastMentionedAt }, time) {
  if (!interactionCount) return "in no entry now";
  const often = interactionCount === 1 ? "once" : `${time.number(interactionCount)} times`;
  return lastMentionedAt ? `${often}, last ${time.relative(lastMentionedAt)}` : often;
}
