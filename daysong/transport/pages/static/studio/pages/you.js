// You: the plan and what was used of it, the year by week, preferences, and the end of the account.

import { h, replace } from "../dom.js";

export const title = "You";

const TIERS = { free: "Free plan", weekly: "Weekly plan", monthly: "Monthly plan", yearly: "Yearly plan" };
const NOTICES = [
  ["musicReady", "A song is ready"],
  ["musicFailed", "A song did not come to be"],
  ["videoReady", "A video is ready"],
  ["callMissed", "A call was missed"],
];
const STEP = 12; // from week to week
const LETTER = 6.5; // width of a letter below the weeks
// Languages to choose from; another one that is set already is added.
const LANGUAGES = ["ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "pt-BR", "ro", "ru", "sv", "sw", "ta", "th", "tr", "uk", "ur", "vi", "zh"];

export function show(root, ctx) {
  const { live } = ctx;
  const who = h("p", { class: "lead who", dir: "auto" });
  const plan = h("section", { class: "plan", "aria-label": "Plan" }, h("p", { class: "skeleton wide" }), h("p", { class: "skeleton" }));
  const year = h("section", { class: "year-picture", hidden: true, "aria-labelledby": "your-year" });
  const preferences = h("section", { class: "preferences", "aria-labelledby": "preferences" });
  const notices = h("section", { class: "notices", "aria-labelledby": "notices" });
  const end = h(
    "section",
    { class: "end" },
    h("button", { class: "button soft", type: "button", on: { click: () => leave(ctx) } }, "Sign out"),
    h("button", { class: "quiet erase", type: "button", on: { click: () => erase(ctx) } }, "Delete my account"),
  );
  replace(root, h("h1", {}, "You"), who, plan, year, preferences, notices, end);

  const showWho = () => {
    const { name, email } = ctx.me?.user ?? {};
    replace(who, name && h("bdi", {}, name), name && email && " · ", email && h("bdi", { class: "email" }, email));
    showPreferences(preferences, ctx);
  };
  let [usage, offers] = [null, []];
  const showPlan = () => usage && renderPlan(plan, ctx, usage, offers);
  showWho();
  const stops = [
    ctx.onme(showWho),
    live.watch("usage:getCurrentUserUsage", {}, {
      value(value) {
        usage = value;
        showPlan();
      },
      error: () => replace(plan),
    }),
    ctx.upgrades.length &&
      live.watch("billing:getPlans", {}, {
        value(value) {
          offers = value;
          showPlan();
        },
      }),
    live.watch("usage:getUsageByWeek", { weeks: 53 }, { value: (weeks) => renderYear(year, ctx, weeks), error: () => {} }),
    live.watch("pushNotifications:getPreferences", {}, { value: (value) => renderNotices(notices, ctx, value), error: () => {} }),
  ];
  return () => stops.forEach((stop) => stop && stop());
}

// Plan

function renderPlan(section, ctx, usage, offers) {
  const { time } = ctx;
  const left = Math.max(0, usage.musicLimit - usage.musicGenerationsUsed);
  const renews = time.short(usage.periodEnd);
  const minutesLeft = Math.max(0, usage.minutesLimit - usage.minutesUsed);
  replace(
    section,
    h("p", { class: "eyebrow" }, TIERS[usage.tier] ?? usage.tier),
    h("h2", { class: "plan-words" }, left ? `${time.plural(left, "song", "songs")} left until ${renews}` : `No songs left until ${renews}`),
    h(
      "div",
      { class: "rings" },
      ring("songs", usage.musicGenerationsUsed, usage.musicLimit, `${time.number(usage.musicGenerationsUsed)} of ${time.plural(usage.musicLimit, "song", "songs")}`, time),
      usage.minutesLimit > 0 &&
        ring("talk", usage.minutesUsed, usage.minutesLimit, `${time.number(Math.round(usage.minutesUsed))} of ${time.plural(usage.minutesLimit, "minute", "minutes")} of calls`, time),
    ),
    usage.minutesLimit > 0 && minutesLeft < 1 && h("p", { class: "fine" }, "There are no minutes left for calls in this period."),
    upgrades(ctx, usage, offers),
  );
}

function ring(name, used, limit, words, time) {
  const part = limit ? Math.min(1, used / limit) : 1;
  const around = 2 * Math.PI * 42;
  return h(
    "figure",
    { class: `ring ${name}` },
    h(
      "svg",
      { viewBox: "0 0 100 100", "aria-hidden": "true" },
      h("circle", { class: "track", cx: 50, cy: 50, r: 42 }),
      part > 0 && h("circle", { class: "used", cx: 50, cy: 50, r: 42, "stroke-dasharray": `${around * part} ${around}`, transform: "rotate(-90 50 50)" }),
      h("text", { x: 50, y: 51 }, time.number(Math.round(used))),
    ),
    h("figcaption", {}, words),
  );
}

function upgrades(ctx, usage, offers) {
  const rank = Object.keys(TIERS);
  const higher = ctx.upgrades.filter(({ tier }) => rank.indexOf(tier) > rank.indexOf(usage.tier));
  if (!higher.length) return null;
  return h(
    "ul",
    { class: "offers" },
    higher.map(({ tier, url }) => {
      const offer = offers.find((one) => one.tier === tier);
      const price = offer && new Intl.NumberFormat(ctx.time.language, { style: "currency", currency: "USD" }).format(offer.price);
      const period = { weekly: "a week", monthly: "a month", yearly: "a year" }[tier] ?? "";
      return h(
        "li",
        {},
        h("a", { class: "offer", href: url, rel: "noopener", target: "_blank" }, h("strong", {}, TIERS[tier]), offer && h("span", {}, `${ctx.time.plural(offer.musicLimit, "song", "songs")} · ${price} ${period}`)),
      );
    }),
  );
}

// The year

function renderYear(section, ctx, weeks) {
  const { time } = ctx;
  const sums = { songs: 0, minutes: 0, entries: 0 };
  for (const week of weeks) for (const name of Object.keys(sums)) sums[name] += week[name];
  section.hidden = !(sums.songs + sums.minutes + sums.entries);
  if (section.hidden) return;
  const tallest = Math.max(...weeks.map((week) => Math.max(week.entries, week.songs)), 3);
  const [width, height] = [weeks.length * STEP, 110];
  const tall = (count) => (count ? Math.max(3, (count / tallest) * (height - 18)) : 0);
  const ordered = [...weeks].sort((one, other) => stampOf(one) - stampOf(other));
  const bars = ordered.map((week, place) => {
    const stamp = stampOf(week);
    return h(
      "g",
      {},
      h("title", {}, `${time.words(new Date(stamp).toISOString().slice(0, 10))}: ${time.plural(week.entries, "entry", "entries")}, ${time.plural(week.songs, "song", "songs")}`),
      h("rect", { class: "base", x: place * STEP + 1, y: height - 15, width: 8, height: 1 }),
      h("rect", { class: "entries", x: place * STEP + 1, y: height - 15 - tall(week.entries), width: 8, height: tall(week.entries), rx: 2 }),
      h("rect", { class: "songs", x: place * STEP + 1, y: height - 15 - tall(week.songs), width: 8, height: tall(week.songs), rx: 2 }),
    );
  });
  const words = time.list(
    [
      sums.entries && time.plural(sums.entries, "entry", "entries"),
      sums.songs && time.plural(sums.songs, "song", "songs"),
      sums.minutes >= 1 && `${time.plural(Math.round(sums.minutes), "minute", "minutes")} on the phone`,
    ].filter(Boolean),
  );
  replace(
    section,
    h("h2", { id: "your-year" }, "Your year"),
    h("p", { class: "year-words" }, words),
    h("div", { class: "scroller", tabIndex: 0, role: "img", "aria-label": `Entries and songs by week, in the last year: ${words}` }, h("svg", { viewBox: `0 0 ${width} ${height}`, class: "weeks", "aria-hidden": "true" }, bars, monthNames(ordered, time.language, height - 2))),
    h("p", { class: "legend fine" }, h("span", { class: "dot entries" }), "Entries", h("span", { class: "dot songs" }), "Songs"),
  );
  const scroller = section.querySelector(".scroller");
  scroller.scrollLeft = scroller.scrollWidth;
}

/** Returns the names of months below their first weeks, of those that fit between their neighbors. */
function monthNames(weeks, language, y) {
  const month = new Intl.DateTimeFormat(language, { month: "short", timeZone: "UTC" });
  const all = weeks.map((week) => month.format(stampOf(week)));
  const starts = [...all.keys()].filter((place) => all[place] !== all[place - 1]);
  const end = weeks.length * STEP;
  const widthOf = (place) => (all[place].length + 1) * LETTER;
  // The last month is named even if it has just begun: its name ends where the weeks do.
  const last = Math.min(starts.at(-1) * STEP, end - widthOf(starts.at(-1)) + LETTER);
  const at = starts.map((place, number) => (number === starts.length - 1 ? last : place * STEP));
  return starts.map((place, number) => {
    if (at[number] + widthOf(place) > (at[number + 1] ?? Infinity)) return null;
    const where = at[number] < place * STEP ? { x: end, "text-anchor": "end" } : { x: at[number] };
    return h("text", { ...where, y }, all[place]);
  });
}

// Weeks begin on a date, given in words or as a moment.
const stampOf = ({ weekStart }) => (typeof weekStart === "number" ? weekStart : Date.parse(`${weekStart}T12:00:00Z`));

// Preferences

function showPreferences(section, ctx) {
  const { settings } = ctx;
  if (!settings) return;
  if (section.dataset.shown === JSON.stringify(settings)) return;
  section.dataset.shown = JSON.stringify(settings);
  const set = (change) =>
    ctx.live.mutation("users:updateSettings", change).then(
      () => ctx.say("Changed."),
      (error) => {
        ctx.say(ctx.inWords(error));
        section.dataset.shown = "";
        showPreferences(section, ctx);
      },
    );
  const device = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zones = Intl.supportedValuesOf ? [...new Set(["UTC", ...Intl.supportedValuesOf("timeZone"), device, settings.timezone])].sort() : [device, settings.timezone, "UTC"];
  const names = new Intl.DisplayNames(["en"], { type: "language" });
  const languages = [...new Set([...LANGUAGES, settings.language])].map((tag) => [tag, nameOf(names, tag)]).sort((one, other) => one[1].localeCompare(other[1]));
  const focused = document.activeElement?.id;
  replace(
    section,
    h("h2", { id: "preferences" }, "Preferences"),
    row("zone", "Time zone", h("select", { id: "zone", on: { change: ({ target }) => set({ timezone: target.value }) } }, zones.map((zone) => h("option", { value: zone, selected: zone === settings.timezone }, zone.replaceAll("_", " "))))),
    device !== settings.timezone && h("p", { class: "hint fine" }, `This device is in ${device.replaceAll("_", " ")}. `, h("button", { class: "link", type: "button", on: { click: () => set({ timezone: device }) } }, "Use this zone")),
    row("language", "Language of dates and calls", h("select", { id: "language", on: { change: ({ target }) => set({ language: target.value }) } }, languages.map(([tag, name]) => h("option", { value: tag, selected: tag === settings.language }, name)))),
    toggle("names", "Show my first name with songs I share", settings.showNameOnShares, (on) => set({ showNameOnShares: on })),
  );
  if (focused) document.getElementById(focused)?.focus();
}

function nameOf(names, tag) {
  try {
    return names.of(tag) ?? tag;
  } catch {
    return tag;
  }
}

const row = (id, label, control) => h("div", { class: "row" }, h("label", { htmlFor: id }, label), control);

function toggle(id, label, on, set) {
  const box = h("input", { id, type: "checkbox", role: "switch", class: "onoff", checked: on, on: { change: () => set(box.checked) } });
  return h("div", { class: "row" }, h("label", { htmlFor: id }, label), box);
}

function renderNotices(section, ctx, preferences) {
  section.hidden = !preferences;
  if (!preferences) return;
  const set = (name, on) => ctx.live.mutation("pushNotifications:setPreferences", { [name]: on }).catch((error) => ctx.say(ctx.inWords(error)));
  if (section.childElementCount) {
    for (const [name] of NOTICES) document.getElementById(`notice-${name}`).checked = preferences[name];
    return;
  }
  replace(
    section,
    h("h2", { id: "notices" }, "Notifications on your phone"),
    NOTICES.map(([name, label]) => toggle(`notice-${name}`, label, preferences[name], (on) => set(name, on))),
  );
}

// The end

async function leave(ctx) {
  const draft = await ctx.drafts.get("today").catch(() => null);
  const sure =
    !draft?.text?.trim() ||
    (await ctx.ask({ title: "Sign out?", text: "The draft you have not saved is removed from this device.", confirm: "Sign out" }));
  if (sure) await ctx.signOut();
}

async function erase(ctx) {
  const sure = await ctx.ask({
    title: "Delete your account?",
    text: [
      "Your entries, photos, songs, calls, people and shared links are erased, and your sign-in with them. Links you have shared stop working at once.",
      "A subscription is not canceled by this: please do that where you bought it.",
      "This cannot be undone.",
    ],
    confirm: "Delete everything",
    danger: true,
    type: "delete",
  });
  if (!sure) return;
  try {
    await ctx.live.mutation("users:deleteAccount", {});
    await ctx.signOut("?gone=1");
  } catch (error) {
    ctx.say(ctx.inWords(error));
  }
}
