// Lyrics as elements: stanzas and lines, section names, and the moment each word is sung. As transport/pages/lyrics.py,
// which makes the same for share pages: the words shown are those of the lyric, and timed words only mark them.

import { h } from "./dom.js";

const REACH = 120; // characters that a timed word may be ahead of the one before it
const LONGEST = 86_400; // seconds
const MOST_WORDS = 4000;
const SECTION = /^[ \t]*\[([^[\]\n]+)\][ \t]*$/;
const TAG = /\[[^[\]]*\]/g;

const moment = (value) => (typeof value === "number" && value >= 0 && value < LONGEST ? value : null);

function timedWords(timed) {
  const found = Array.isArray(timed?.alignedWords) ? timed.alignedWords.slice(0, MOST_WORDS) : [];
  return found
    .map((entry) => ({ word: entry?.word, starts: moment(entry?.startS), ends: moment(entry?.endS) }))
    .filter(({ word, starts, ends }) => typeof word === "string" && starts !== null && ends !== null);
}

/** Finds the timed words in the text, in order: [first, end, starts, ends], the last two in hundredths of a second. */
export function marked(text, words) {
  // Names of sections are not sung; they keep their length.
  const sung = text.replace(TAG, (tag) => "\0".repeat(tag.length));
  const marks = [];
  let [place, latest] = [0, 0];
  for (const { word, starts, ends } of words) {
    const until = Math.max(starts, ends);
    const parts = word.replace(TAG, " ").split(/\s+/u).filter(Boolean);
    parts.forEach((part, number) => {
      const found = sung.slice(place, place + REACH + part.length).indexOf(part);
      const from = starts + ((until - starts) * number) / parts.length;
      // Words are looked up by their time, which must not go back.
      if (found < 0 || from < latest) return;
      const first = place + found;
      const to = starts + ((until - starts) * (number + 1)) / parts.length;
      [place, latest] = [first + part.length, from];
      marks.push([first, place, Math.round(from * 100), Math.round(to * 100)]);
    });
  }
  return marks;
}

/** Returns the section with the lyrics; null without any. */
export function verses(lyric, timed) {
  const words = timedWords(timed);
  const text = (lyric ?? "").replaceAll("\r\n", "\n").trim() || words.map(({ word }) => word).join("").trim();
  if (!text) return null;
  const marks = marked(text, words);
  const stanzas = [];
  let [stanza, place, next] = [null, 0, 0];
  for (const raw of text.split("\n")) {
    const [line, section] = [raw.trim(), SECTION.exec(raw)];
    if (!line || section || !stanza) {
      stanza = line ? h("p", { dir: "auto" }) : null;
      if (stanza) stanzas.push(stanza);
    }
    if (section) stanza.append(h("span", { class: "section", dir: "auto" }, section[1].trim()));
    else if (line) {
      const first = place + raw.indexOf(line);
      const end = first + line.length;
      const shown = h("span", { class: "line" });
      let from = first;
      for (; next < marks.length && marks[next][0] < end; next++) {
        const [start, stop, starts, ends] = marks[next];
        if (start < from) continue;
        shown.append(text.slice(from, start), h("span", { dataset: { t: `${starts} ${ends}` } }, text.slice(start, stop)));
        from = stop;
      }
      shown.append(text.slice(from, end));
      stanza.append(shown);
    }
    place += raw.length + 1;
  }
  return h("section", { class: "lyrics", "aria-label": "Words of the song" }, h("div", { lang: "" }, stanzas));
}
