// The entries of a long diary, page by page. Pages near the screen are live; the others stay as they were last seen.

import { rowOf } from "./entry-row.js";

const PAGE = 100;

/** Reads all entries, newest first; those before a moment (ms) with `before`. */
export function diaryPages(live, before) {
  const given = before ? { before } : {};
  return pages(
    (cursor, end) => ["diaries:pageDiaries", { ...given, paginationOpts: { numItems: PAGE, cursor, id: 1, ...(end && { endCursor: end }) } }],
    ({ page, continueCursor, isDone }) => ({ rows: page.map(rowOf), end: continueCursor, next: isDone ? null : continueCursor }),
    live,
  );
}

/** Reads the entries with a song, newest song first. */
export function songPages(live) {
  return pages(
    (cursor, end) => ["music:pagePlaylist", { paginationOpts: { numItems: PAGE, cursor, id: 1, ...(end && { endCursor: end }) } }],
    ({ page, continueCursor, isDone }) => ({
      rows: page.filter((song) => song.diaryId && song.status === "ready").map((song) =>
        rowOf({ _id: song.diaryId, date: song.diaryDate ?? song.createdAt, title: song.diaryTitle, content: song.diaryContent ?? "", primaryMusic: song }),
      ),
      end: continueCursor,
      next: isDone ? null : continueCursor,
    }),
    live,
  );
}

/** Reads the entries with an event that `wanted` accepts: each entry once, with its newest such event. */
export function eventPages(live, wanted) {
  const seen = new Map();
  return pages(
    (cursor) => ["memory/events:getTimelineEvents", { limit: 200, ...(cursor && { range: { start: 0, end: cursor } }) }],
    (events, cursor) => {
      const rows = [];
      for (const event of events.filter(wanted)) {
        if ((seen.get(event.diaryId) ?? cursor) !== cursor) continue;
        if (rows.some((row) => row._id === event.diaryId)) continue;
        seen.set(event.diaryId, cursor);
        rows.push(rowOf({ _id: event.diaryId, date: event.happenedAt, title: event.title, content: event.summary }));
      }
      const last = events.at(-1)?.happenedAt;
      return { rows, end: null, next: events.length === 200 && last !== cursor ? last : null };
    },
    live,
  );
}

function pages(ask, read, live) {
  const list = []; // { cursor, end, next, rows, stop }
  let [tell, complain, loading] = [() => {}, () => {}, false];

  function watch(page) {
    if (page.stop) return;
    page.stop = live.watch(...ask(page.cursor, page.end), {
      value(value) {
        const first = page.rows === null;
        Object.assign(page, read(value, page.cursor));
        if (first) loading = false;
        tell();
      },
      error(error) {
        if (page.rows === null) loading = false;
        complain(error);
      },
    });
  }

  function sleep(page) {
    page.stop?.();
    page.stop = null;
  }

  return {
    get rows() {
      return list.flatMap((page) => page.rows ?? []);
    },
    get started() {
      return list.length > 0 && list[0].rows !== null;
    },
    get done() {
      return list.length > 0 && list.at(-1).rows !== null && list.at(-1).next === null;
    },
    /** Reads the next page, if there is one and none is being read. */
    more() {
      if (loading || this.done) return;
      const last = list.at(-1);
      if (last && last.rows === null) return sleep(last), (loading = true), watch(last);
      loading = true;
      const page = { cursor: last ? last.next : null, end: null, next: null, rows: null, stop: null };
      list.push(page);
      watch(page);
    },
    /** Keeps the pages live that have rows from `first` to `last`. */
    view(first, last) {
      let at = 0;
      for (const page of list) {
        if (page.rows === null) continue;
        const size = page.rows.length;
        if (at <= last && at + size >= first) watch(page);
        else sleep(page);
        at += size;
      }
    },
    listen(onchange, onerror) {
      [tell, complain] = [onchange, onerror];
    },
    /** Lets go of what is live; the rows stay. */
    stop() {
      [tell, complain] = [() => {}, () => {}];
      for (const page of list) sleep(page);
      while (list.length && list.at(-1).rows === null) list.pop();
      loading = false;
    },
  };
}
