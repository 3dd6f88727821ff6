// Dates and numbers in the person's zone and language. Moments are in milliseconds, as the functions give them.

const DAY = 86_400_000;

/** Returns the formats; `configure` changes zone and language, both the browser's own at first. */
export function createTime() {
  let zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  let language = navigator.language;
  let formats = new Map();

  function format(name, options) {
    if (!formats.has(name)) formats.set(name, new Intl.DateTimeFormat(language, { timeZone: zone, ...options }));
    return formats.get(name);
  }

  const key = (ms) => {
    if (!formats.has("key")) {
      const parts = { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" };
      formats.set("key", new Intl.DateTimeFormat("en-CA", parts));
    }
    return formats.get("key").format(ms);
  };
  // Noon of a date, in UTC: its weekday and month are the date's own in every format below.
  const noon = (date) => Date.parse(`${date}T12:00:00Z`);
  const plain = (date, options) => new Intl.DateTimeFormat(language, { timeZone: "UTC", ...options }).format(noon(date));

  return {
    configure(given) {
      const before = `${zone} ${language}`;
      zone = usable("timeZone", given.timezone) ?? zone;
      language = usable("locale", given.language) ?? language;
      formats = new Map();
      return before !== `${zone} ${language}`;
    },
    get zone() {
      return zone;
    },
    get language() {
      return language;
    },
    /** "Friday 27 November" */
    day: (ms) => format("day", { weekday: "long", day: "numeric", month: "long" }).format(ms),
    /** "27 Nov 2026" */
    date: (ms) => format("date", { day: "numeric", month: "short", year: "numeric" }).format(ms),
    /** "27 November", with the year unless it is this one. */
    short(ms) {
      const here = key(ms).slice(0, 4) === key(Date.now()).slice(0, 4);
      return format(here ? "short" : "long", { day: "numeric", month: "long", ...(!here && { year: "numeric" }) }).format(ms);
    },
    month: (ms) => format("month", { month: "long", year: "numeric" }).format(ms),
    clock: (ms) => format("clock", { hour: "numeric", minute: "2-digit" }).format(ms),
    weekday: (ms) => format("weekday", { weekday: "long" }).format(ms),
    /** "today", "yesterday", or the date. */
    relative(ms) {
      const days = Math.round((noon(key(ms)) - noon(key(Date.now()))) / DAY);
      if (Math.abs(days) <= 1) return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(days, "day");
      return this.short(ms);
    },
    /** The date of a moment as YYYY-MM-DD, in the person's zone. */
    key,
    /** A date given as YYYY-MM-DD, in words. */
    words: (date, options = { day: "numeric", month: "long", year: "numeric" }) => plain(date, options),
    number: (count) => new Intl.NumberFormat(language).format(count),
    plural: (count, one, many) => `${new Intl.NumberFormat(language).format(count)} ${count === 1 ? one : many}`,
    list: (words) => new Intl.ListFormat(language, { type: "conjunction" }).format(words),
    /** Minutes and seconds, as players show them. */
    length(seconds) {
      const whole = Math.floor(seconds || 0);
      return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
    },
  };
}

function usable(what, value) {
  if (!value) return null;
  try {
    if (what === "timeZone") new Intl.DateTimeFormat("en", { timeZone: value });
    else new Intl.DateTimeFormat(value);
    return value;
  } catch {
    return null;
  }
}
