// The diary: a year as a map, a month as a calendar with covers, and all entries as a list.

import { h, icon, keyed, replace } from "../dom.js";
import { countWords, legend, monthGrid, shifted, sum, yearMap } from "../parts/calendar.js";
import { diaryPages, eventPages, songPages } from "../parts/entry-pages.js";
import { addressOf, stateOf, VIEWS } from "../parts/diary-view.js";
import { entryRow, rowOf, updateEntryRow } from "../parts/entry-row.js";
import { virtual } from "../parts/virtual.js";

export const title = "Diary";

const HOUR = 3_600_000;
const MOST_OF_MONTH = 500;
// Rows of the list as last seen, so that going back finds its place.
let kept = { key: "", pages: null };

export function show(root, ctx) {
  const { live, time } = ctx;
  const today = time.key(Date.now());
  const state = stateOf(location.search, today);
  const body = h("div", { class: "diary-body" });
  const bar = h("div", { class: "diary-bar" });
  const label = h("p", { class: "shown-period", role: "status" });
  let stopView = null;

  function change(next) {
    const before = state.view;
    Object.assign(state, next);
    history.replaceState(history.state, "", `${ctx.base}/diary${addressOf(state, today)}`);
    draw(before !== state.view);
  }

  function draw(moved) {
    stopView?.();
    bars();
    replace(body);
    stopView = { year: showYear, month: showMonth, list: showList }[state.view]();
    if (moved) scrollTo(0, 0);
  }

  function bars() {
    const pressed = document.activeElement?.dataset?.step;
    const unit = state.view === "year" ? 12 : 1;
    const named = state.view === "year" ? state.at.slice(0, 4) : time.words(`${state.at}-01`, { month: "long", year: "numeric" });
    const last = state.view === "year" ? state.at.slice(0, 4) >= today.slice(0, 4) : state.at >= today.slice(0, 7);
    label.textContent = named;
    const step = (by, name, path, disabled) =>
      h("button", { class: "quiet step", type: "button", "aria-label": name, disabled, dataset: { step: by }, on: { click: () => change({ at: capped(shifted(state.at, by * unit)), day: "" }) } }, icon("down", path));
    const what = state.view === "year" ? "year" : "month";
    replace(
      bar,
      h(
        "div",
        { class: "views", role: "group", "aria-label": "View" },
        VIEWS.map(([view, name]) => h("button", { type: "button", "aria-pressed": state.view === view, on: { click: () => change({ view, day: "" }) } }, name)),
      ),
      state.view !== "list" && h("div", { class: "stepper" }, step(-1, `The ${what} before`, "left", false), label, step(1, `The next ${what}`, "right", last)),
    );
    if (pressed) bar.querySelector(`[data-step="${pressed}"]:not(:disabled)`)?.focus();
  }

  const capped = (month) => (month > today.slice(0, 7) ? today.slice(0, 7) : month);

  // Year

  function showYear() {
    const year = state.at.slice(0, 4);
    const said = h("p", { class: "lead" });
    const map = h("div", {}, skeleton());
    replace(body, map, said);
    return live.watch("diaries:getCalendar", { year: Number(year) }, {
      value(days) {
        const focused = [...map.querySelectorAll(".mini")].indexOf(document.activeElement);
        replace(map, yearMap({ year: Number(year), days, time, today, onmonth: (at) => change({ view: "month", at: capped(at), day: "" }) }), legend());
        if (focused >= 0) map.querySelectorAll(".mini")[focused].focus();
        const total = sum(days);
        said.textContent = total.entries
          ? `You wrote on ${time.plural(total.days, "day", "days")} of ${year}: ${countWords(total, time)}.`
          : `Nothing was written in ${year}${year === today.slice(0, 4) ? " yet" : ""}.`;
      },
      error: failed,
    });
  }

  // Month

  function showMonth() {
    const month = state.at;
    let [days, rows] = [null, null];
    const grid = h("div", { class: "grid-place" }, skeleton());
    const heading = h("h2", { class: "of-month" });
    const list = h("div", { class: "rows" });
    const empty = h("div", { class: "empty", hidden: true });
    replace(body, grid, heading, list, empty);

    function onday(day) {
      state.day = state.day === day ? "" : day;
      redraw();
    }

    function redraw() {
      if (!days || !rows) return;
      const songs = new Map();
      for (const row of rows) {
        const key = time.key(row.date);
        if (row.song?.status === "ready" && !songs.has(key)) songs.set(key, row.song);
      }
      const focused = document.activeElement?.dataset?.date;
      replace(grid, monthGrid({ month, days, songs, time, today, chosen: state.day, onday }));
      if (focused) grid.querySelector(`[data-date="${focused}"]`)?.focus({ preventScroll: true });
      const shown = state.day ? rows.filter((row) => time.key(row.date) === state.day) : rows;
      const total = sum(state.day ? days.filter((day) => day.date === state.day) : days);
      replace(
        heading,
        state.day ? time.words(state.day, { weekday: "long", day: "numeric", month: "long" }) : countWords(total, time) || "",
        state.day && h("button", { class: "quiet", type: "button", on: { click: () => onday(state.day) } }, "Show the month"),
      );
      heading.hidden = !heading.textContent;
      keyed(list, shown, (row) => row._id, (row) => entryRow(row, ctx), (node, row) => updateEntryRow(node, row, ctx));
      empty.hidden = rows.length > 0;
      if (!rows.length) replace(empty, ...invitation(ctx, month, today));
    }

    const stops = [
      live.watch("diaries:getCalendar", { year: Number(month.slice(0, 4)) }, {
        value(found) {
          days = found.filter((day) => day.date.startsWith(month));
          redraw();
        },
        error: failed,
      }),
    ];
    // In any zone the month has ended half a day after midnight in UTC.
    const before = Date.parse(`${shifted(month, 1)}-01T00:00:00Z`) + 12 * HOUR;
    let [run, stopped] = [0, false];
    stops.push(
      live.watch("diaries:pageDiaries", { before, limit: 100 }, {
        async value(first) {
          const own = ++run;
          const found = [];
          let page = first;
          try {
            for (;;) {
              found.push(...page.page.map(rowOf));
              const oldest = found.at(-1);
              if (!page.nextCursor || found.length >= MOST_OF_MONTH || (oldest && time.key(oldest.date) < `${month}-01`)) break;
              page = await live.query("diaries:pageDiaries", { before, limit: 100, cursor: page.nextCursor });
              if (own !== run || stopped) return;
            }
          } catch (error) {
            return failed(error);
          }
          rows = found.filter((row) => time.key(row.date).startsWith(month));
          redraw();
        },
        error: failed,
      }),
    );
    return () => {
      stopped = true;
      for (const stop of stops) stop();
    };
  }

  // List

  function showList() {
    const filters = h("div", { class: "filters" });
    const end = h("div", { class: "list-end" });
    const stopFilters = showFilters(filters, ctx, state, (chosen) => change(chosen));
    const key = [state.only, state.person, state.tag, state.at, time.zone].join(" ");
    if (kept.key !== key || !kept.pages) kept = { key, pages: pagesFor(state, live, today) };
    const { pages } = kept;

    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    const list = virtual({
      label: "Entries",
      measure: () => ({ columns: 1, gap: 0, wide: 4 * rem, tall: 7 * rem }),
      make: (item) => (item.wide ? h("h2", { class: "month-head" }, item.text) : entryRow(item.row, ctx)),
      update: (node, item) => !item.wide && updateEntryRow(node, item.row, ctx),
      onview: (first, last) => pages.view(first.place, last.place),
      onend: () => pages.more(),
    });
    replace(body, filters, list.element, end);
    let drawing = 0;

    function build() {
      drawing = 0;
      const { rows } = pages;
      const [items, seen] = [[], new Set()];
      let shown = "";
      rows.forEach((row, place) => {
        if (seen.has(row._id)) return;
        seen.add(row._id);
        // Kept with the row: formatting ten thousand dates takes longer than a frame.
        row.month ??= time.key(row.date).slice(0, 7);
        if (row.month !== shown) items.push({ wide: true, key: `${row.month} ${row._id}`, place, text: time.words(`${row.month}-01`, { month: "long", year: "numeric" }) });
        shown = row.month;
        items.push({ key: row._id, place, row });
      });
      list.set(items);
      ending(rows);
    }

    function ending(rows) {
      if (!pages.done) return replace(end, skeleton());
      if (rows.length) return replace(end, h("p", { class: "fine" }, "This is where it begins."));
      const filtered = state.only || state.person || state.tag;
      replace(end, h("div", { class: "empty" }, filtered ? [h("h2", {}, "Nothing matches"), h("button", { class: "button soft", type: "button", on: { click: () => change({ only: "", person: "", tag: "" }) } }, "Show all entries")] : invitation(ctx, today.slice(0, 7), today)));
    }

    pages.listen(() => (drawing ||= requestAnimationFrame(build)), failed);
    if (pages.started) build();
    else replace(end, skeleton(), skeleton());
    pages.more();
    return () => {
      cancelAnimationFrame(drawing);
      list.stop();
      pages.stop();
      stopFilters();
    };
  }

  function failed(error) {
    replace(body, h("p", { class: "trouble", role: "alert" }, ctx.inWords(error)), h("button", { class: "button soft", type: "button", on: { click: () => draw(false) } }, "Try again"));
  }

  replace(root, h("header", { class: "diary-head" }, h("h1", {}, title), bar), body);
  draw(false);
  return () => stopView?.();
}

function pagesFor({ only, person, tag, at }, live, today) {
  if (person) return eventPages(live, (event) => event.people.some((one) => one._id === person));
  if (tag) return eventPages(live, (event) => event.tagsDetails.some((one) => one._id === tag));
  if (only === "songs") return songPages(live);
  return diaryPages(live, at < today.slice(0, 7) ? Date.parse(`${shifted(at, 1)}-01T00:00:00Z`) + 12 * HOUR : undefined);
}

function showFilters(host, ctx, state, onchange) {
  const chosen = state.person || state.tag;
  const chip = (name, only) =>
    h("button", { type: "button", class: "chip", "aria-pressed": !chosen && state.only === only, on: { click: () => onchange({ only, person: "", tag: "" }) } }, name);
  const people = picker("Everyone", "Person", state.person, (person) => onchange({ person, tag: "", only: "" }));
  const tags = picker("Any subject", "Subject", state.tag, (tag) => onchange({ tag, person: "", only: "" }));
  replace(host, chip("All", ""), chip("With a song", "songs"), people.node, tags.node);
  if (!ctx.flags["event-extraction"]) return () => {};
  const stops = [
    ctx.live.watch("memory/people:listPeople", {}, { value: (list) => people.fill(list.map((one) => [one._id, one.primaryName])) }),
    ctx.live.watch("memory/tags:listTags", {}, { value: (list) => tags.fill(list.map((one) => [one._id, one.displayName])) }),
  ];
  return () => stops.forEach((stop) => stop());
}

function picker(any, label, value, onchoose) {
  const select = h("select", { class: "chip", "aria-label": label, hidden: true, on: { change: () => onchoose(select.value) } });
  return {
    node: select,
    fill(options) {
      select.hidden = !options.length;
      replace(select, h("option", { value: "" }, any), options.map(([id, name]) => h("option", { value: id }, name)));
      select.value = options.some(([id]) => id === value) ? value : "";
      select.classList.toggle("chosen", Boolean(select.value));
      if (select.value) select.parentNode.scrollLeft = select.offsetLeft - select.parentNode.offsetLeft - 24;
    },
  };
}

function invitation(ctx, month, today) {
  const now = month === today.slice(0, 7);
  return [
    h("h2", {}, now ? "What happened today?" : "Nothing from this month"),
    h("p", {}, now ? "Write a few words. They can become a song." : "Go on through the months with the arrows, or look at the whole year."),
    now && h("a", { class: "button", href: `${ctx.base}/today` }, "Write"),
  ].filter(Boolean);
}

const skeleton = () => h("div", { class: "waiting", "aria-hidden": "true" }, h("p", { class: "skeleton wide" }), h("p", { class: "skeleton" }), h("p", { class: "skeleton short" }));
