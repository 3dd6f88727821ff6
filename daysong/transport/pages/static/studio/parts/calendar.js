// A year as a map of twelve months, and a month as a calendar with covers.

import { h, icon } from "../dom.js";
import { cover } from "./cover.js";

const two = (number) => String(number).padStart(2, "0");
export const monthKey = (year, month) => `${year}-${two(month)}`;

/** The month `by` months after one given as YYYY-MM. */
export function shifted(month, by) {
  const count = Number(month.slice(0, 4)) * 12 + Number(month.slice(5)) - 1 + by;
  return monthKey(Math.floor(count / 12), (((count % 12) + 12) % 12) + 1);
}

const lengthOf = (month) => new Date(Date.UTC(Number(month.slice(0, 4)), Number(month.slice(5)), 0)).getUTCDate();

/** The first day of the week where this language is spoken: 1 Monday to 7 Sunday. */
function firstDay(language) {
  const locale = new Intl.Locale(language);
  return (locale.getWeekInfo?.() ?? locale.weekInfo)?.firstDay ?? 1;
}

// The columns before the first of a month.
function lead(month, language) {
  return (new Date(`${month}-01T12:00:00Z`).getUTCDay() + 7 - (firstDay(language) % 7)) % 7;
}

/** "3 entries, 1 song, 2 calls", without what there is none of. */
export function countWords({ entries = 0, songs = 0, calls = 0 }, time) {
  const words = [entries && time.plural(entries, "entry", "entries"), songs && time.plural(songs, "song", "songs"), calls && time.plural(calls, "call", "calls")];
  return words.filter(Boolean).join(", ");
}

export function sum(days) {
  const total = { entries: 0, songs: 0, calls: 0, days: 0 };
  for (const day of days) {
    total.entries += day.entries;
    total.songs += day.songs;
    total.calls += day.calls;
    total.days += day.entries > 0 ? 1 : 0;
  }
  return total;
}

/** A year: each month is a button with a square for each day, darker the more was written. */
export function yearMap({ year, days, time, today, onmonth }) {
  const byDate = new Map(days.map((day) => [day.date, day]));
  const months = Array.from({ length: 12 }, (_, index) => monthKey(year, index + 1));
  return h(
    "div",
    { class: "year-map" },
    months.map((month) => {
      const own = days.filter((day) => day.date.startsWith(month));
      const name = time.words(`${month}-01`, { month: "long" });
      const said = countWords(sum(own), time) || "nothing yet";
      return h(
        "button",
        { class: "mini", type: "button", "aria-label": `${name} ${year}: ${said}`, on: { click: () => onmonth(month) } },
        h("span", { class: "name" }, name),
        squares(month, byDate, time.language, today),
      );
    }),
  );
}

function squares(month, byDate, language, today) {
  const before = lead(month, language);
  const drawn = [];
  for (let day = 1; day <= lengthOf(month); day += 1) {
    const date = `${month}-${two(day)}`;
    const [column, row] = [(before + day - 1) % 7, Math.floor((before + day - 1) / 7)];
    const { entries = 0, songs = 0, calls = 0 } = byDate.get(date) ?? {};
    const level = entries ? Math.min(entries, 4) : calls ? 1 : 0;
    drawn.push(h("rect", { class: `level-${level}${date === today ? " today" : ""}${date > today ? " ahead" : ""}`, x: column * 10 + 1, y: row * 10 + 1, width: 8, height: 8, rx: 2.4 }));
    if (songs) drawn.push(h("circle", { class: "sung", cx: column * 10 + 5, cy: row * 10 + 5, r: 1.9 }));
  }
  return h("svg", { viewBox: "0 0 70 60", "aria-hidden": "true" }, drawn);
}

/** What the colours of the year mean. */
export function legend() {
  const square = (level) => h("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, h("rect", { class: `level-${level}`, x: 0.5, y: 0.5, width: 9, height: 9, rx: 2.6 }));
  return h(
    "p",
    { class: "year-legend fine" },
    h("span", {}, "One entry"), [1, 2, 3, 4].map(square), h("span", {}, "four or more"),
    h("span", { class: "gap" }, h("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, h("circle", { class: "sung", cx: 5, cy: 5, r: 3.4 })), "with a song"),
  );
}

/** A month: a button for each day with something, with the cover of its song; `songs` are by date. */
export function monthGrid({ month, days, songs, time, today, chosen, onday }) {
  const byDate = new Map(days.map((day) => [day.date, day]));
  const first = firstDay(time.language);
  // 2024-01-01 was a Monday.
  const names = Array.from({ length: 7 }, (_, index) => `2024-01-${two(((first - 1 + index) % 7) + 1)}`);
  const cells = Array.from({ length: lead(month, time.language) }, () => h("span", { class: "day blank" }));
  for (let number = 1; number <= lengthOf(month); number += 1) {
    const date = `${month}-${two(number)}`;
    const counts = byDate.get(date);
    const classes = `day${date === today ? " today" : ""}${date > today ? " ahead" : ""}`;
    if (!counts) {
      cells.push(h("span", { class: classes }, h("span", { class: "number" }, number)));
      continue;
    }
    const song = songs.get(date);
    const said = `${time.words(date, { weekday: "long", day: "numeric", month: "long" })}: ${countWords(counts, time)}`;
    cells.push(
      h(
        "button",
        { class: `${classes} written${song ? " covered" : ""}`, type: "button", dataset: { date }, "aria-label": said, "aria-pressed": date === chosen, on: { click: () => onday(date) } },
        song && cover(song),
        h("span", { class: "number" }, number),
        h("span", { class: "marks", "aria-hidden": "true" }, counts.entries > 1 && h("i", { dataset: { count: counts.entries } }), counts.calls > 0 && !song && icon("phone")),
      ),
    );
  }
  return h(
    "div",
    { class: "month-grid" },
    h("div", { class: "weekdays", "aria-hidden": "true" }, names.map((date) => h("span", {}, time.words(date, { weekday: "short" })))),
    h("div", { class: "days" }, cells),
  );
}
