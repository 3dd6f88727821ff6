// One entry in a list: its date, its first words, what became of it, and the cover of its song.

import { h, icon } from "../dom.js";
import { cover } from "./cover.js";

const SHOWN = 280; // characters of an entry that a row can show

/** What a row needs of an entry, so that a long list keeps no more than that. */
export function rowOf({ _id, date, title, content, primaryMusic: song }) {
  return {
    _id,
    date,
    title: title ?? "",
    text: content.length > SHOWN ? `${content.slice(0, SHOWN)}…` : content,
    song: song && { _id: song._id, status: song.status, title: song.title ?? "", imageUrl: song.imageUrl ?? "" },
  };
}

/** Says what there is to a song in a few words. */
export function songWords(song) {
  if (!song) return "";
  if (song.status === "ready") return song.title || "A song";
  return song.status === "pending" ? "Its song is being made" : "Its song could not be made";
}

/** Returns a link to an entry; `updateEntryRow` changes it. */
export function entryRow(row, ctx) {
  const link = h(
    "a",
    { class: "entry-row" },
    h("span", { class: "when" }, h("span", { class: "visually-hidden" }), h("b", { "aria-hidden": "true" }), h("small", { "aria-hidden": "true" })),
    h("span", { class: "words" }, h("b", { class: "title", dir: "auto" }), h("span", { class: "text", dir: "auto" }), h("span", { class: "facts" })),
    h("span", { class: "art" }),
  );
  updateEntryRow(link, row, ctx);
  return link;
}

export function updateEntryRow(link, row, ctx) {
  if (link.row === row) return;
  link.row = row;
  const { time, base } = ctx;
  const [when, words, art] = link.children;
  const key = time.key(row.date);
  link.href = `${base}/diary/${encodeURIComponent(row._id)}`;
  when.children[0].textContent = time.words(key, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
  when.children[1].textContent = String(Number(key.slice(8)));
  when.children[2].textContent = time.words(key, { weekday: "short" });
  words.children[0].textContent = row.title;
  words.children[0].hidden = !row.title;
  words.children[1].textContent = row.text;
  const said = songWords(row.song);
  words.children[2].replaceChildren(time.clock(row.date), ...(said ? [h("span", { class: `of-song ${row.song.status}` }, icon("note"), h("bdi", {}, said))] : []));
  const image = row.song?.status === "ready" ? `${row.song.imageUrl} ${row.song.title}` : "";
  if (art.dataset.image === image) return;
  art.dataset.image = image;
  art.replaceChildren(...(image ? [cover(row.song)] : []));
}
