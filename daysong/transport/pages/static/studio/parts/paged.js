// A list in pages, each of them live.

const SIZE = 100;
let lists = 0;

/**
 * Watches a function with pages, as diaries:pageDiaries. `tell(rows, {done, error})` gets the rows of all pages so far, once
 * each page is known. Returns {more, stop}: `more` asks for the next page.
 */
export function paged(live, path, args, tell) {
  let [pages, stopped] = [[], false];
  begin();

  function begin() {
    for (const page of pages) page.stop();
    pages = [];
    add(null, ++lists);
  }

  function add(cursor, id) {
    const page = { result: null, error: null, stop() {} };
    pages.push(page);
    page.stop = live.watch(path, { ...args, paginationOpts: { numItems: SIZE, cursor, id } }, {
      value(result) {
        if (stopped || !pages.includes(page)) return;
        // The page has grown over what it may hold: its parts are pages of their own.
        if (result.pageStatus === "SplitRequired") return begin();
        page.result = result;
        page.error = null;
        show();
      },
      error(error) {
        if (stopped || !pages.includes(page)) return;
        if (error.code === "invalid_cursor") return begin();
        page.error = error;
        show();
      },
    });
  }

  function show() {
    const error = pages.find((page) => page.error)?.error ?? null;
    if (!error && pages.some((page) => !page.result)) return;
    const known = pages.filter((page) => page.result);
    const seen = new Set();
    const rows = known.flatMap(({ result }) => result.page).filter(({ _id }) => !seen.has(_id) && seen.add(_id));
    tell(rows, { done: !error && pages.at(-1).result.isDone, error });
  }

  return {
    more() {
      const last = pages.at(-1);
      if (last.result && !last.result.isDone) add(last.result.continueCursor, lists);
    },
    stop() {
      stopped = true;
      for (const page of pages) page.stop();
    },
  };
}
