// What the diary shows, as it is in its address.

export const VIEWS = [["month", "Month"], ["year", "Year"], ["list", "List"]];
let last = "";

/** Reads the address: the view, the month (YYYY-MM) it is at, and what it is filtered by. */
export function stateOf(search, today) {
  const given = new URLSearchParams(search);
  const now = today.slice(0, 7);
  const view = VIEWS.some(([name]) => name === given.get("view")) ? given.get("view") : "month";
  const at = /^[0-9]{4}-(0[1-9]|1[0-2])$/.test(given.get("at") ?? "") ? given.get("at") : now;
  const [only, person, tag] = ["only", "person", "tag"].map((name) => (given.get(name) ?? "").slice(0, 64));
  last = search;
  return { view: only || person || tag ? "list" : view, at: at > now ? now : at, day: "", only, person, tag };
}

/** The query of the address of a state. */
export function addressOf({ view, at, only, person, tag }, today) {
  const parts = { view: view === "month" ? "" : view, at: at === today.slice(0, 7) ? "" : at, only, person, tag };
  const query = new URLSearchParams(Object.entries(parts).filter(([, value]) => value));
  return (last = query.size ? `?${query}` : "");
}

/** The query of the diary as it was last seen. */
export const lastView = () => last;
