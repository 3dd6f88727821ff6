// Calls: when the phone rings, and what became of the calls there were.

import { h, icon, replace } from "../dom.js";
import { callHistory } from "../parts/call-history.js";
import { callSentence } from "../parts/call-sentence.js";
import { CAN_RESUME, PAUSED, placeOf, untilWords, whenWords } from "../parts/call-words.js";

export const title = "Calls";

const CONSENT = {
  unknown: [
    "Before the first call",
    "The voice first asks whether it may call you on this number. Say yes, and it calls as you chose. Say no, and it never calls again. Nothing is kept of a call without a yes.",
  ],
  granted: [
    "You agreed to these calls",
    "Only you hear them, and your words become your entry. Say “stop calling me” on any call, and they end. You can have the words of a call deleted below.",
  ],
  refused: ["No calls to this number", "The person on this number said no. That is kept, so that it is never asked again."],
};

export function show(root, ctx) {
  const { live, time } = ctx;
  const lead = h("p", { class: "lead" });
  const next = h("section", { class: "next-call", "aria-label": "Next call" });
  const consent = h("section", { class: "consent" });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const sentence = callSentence(ctx, (values) => save({ ...values, active: settings?.active ?? true }, settings ? "Saved." : "The calls are switched on."));
  let [settings, planned, calling, minute] = [undefined, undefined, null, null];

  async function save(values, said) {
    await live.mutation("callSettings:upsertCallSettings", values);
    ctx.say(said);
  }

  async function change(active, said) {
    trouble.textContent = "";
    const { phoneE164, timezone, timeOfDay, cadence, daysOfWeek, language } = settings;
    try {
      await save({ phoneE164, timezone, timeOfDay, cadence, daysOfWeek, language, active }, said);
    } catch (error) {
      trouble.textContent = ctx.inWords(error);
    }
  }

  async function callNow(event) {
    trouble.textContent = "";
    event.currentTarget.disabled = true;
    try {
      await live.mutation("callSettings:sendTestCall", {});
      ctx.say("Your phone rings in a moment.");
    } catch (error) {
      trouble.textContent = ctx.inWords(error);
    }
    draw();
  }

  const button = (text, act, { soft = true, disabled = false, mark = null } = {}) =>
    h("button", { class: soft ? "button soft" : "button", type: "button", disabled, on: { click: act } }, mark && icon(mark), text);

  function draw() {
    if (settings === undefined || planned === undefined) return;
    const focused = document.activeElement?.textContent;
    lead.textContent = settings
      ? ""
      : "At a time you choose, your phone rings and a friendly voice asks about your day. What you tell it becomes an entry, and a song.";
    lead.hidden = Boolean(settings);
    next.hidden = !settings;
    consent.hidden = false;
    if (settings) showNext();
    const [head, text] = CONSENT[settings?.consent ?? "unknown"];
    replace(consent, h("h2", {}, head), h("p", {}, text));
    [...next.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
  }

  function showNext() {
    const paused = planned?.pausedReason;
    if (paused) {
      return replace(next, h("p", { class: "next-when" }, "No calls come at the moment"), h("p", { class: "next-more" }, PAUSED[paused] ?? "Calls to this number are paused."), h("div", { class: "next-acts" }, CAN_RESUME.has(paused) && button("Switch on again", () => change(true, "The calls are switched on."))), trouble);
    }
    if (!planned) {
      return replace(next, h("p", { class: "next-when" }, "The calls are paused"), h("p", { class: "next-more" }, "Your phone stays quiet until you switch them on again."), h("div", { class: "next-acts" }, button("Switch on again", () => change(true, "The calls are switched on."), { soft: false })), trouble);
    }
    const elsewhere = planned.timezone !== time.zone;
    const more = [
      planned.at && untilWords(planned.at, time.language),
      elsewhere && `at ${time.clock(planned.at)} on your clock`,
      planned.minutesLeft >= 1 ? `${time.plural(Math.floor(planned.minutesLeft), "minute", "minutes")} left in this period` : "no minutes left in this period: it rings once they renew",
    ];
    replace(
      next,
      h("p", { class: "eyebrow" }, "The next call comes"),
      h("p", { class: "next-when" }, planned.at ? `${whenWords(planned.at, planned.timezone, time.language)}${elsewhere ? ` in ${placeOf(planned.timezone)}` : ""}` : "soon"),
      h("p", { class: "next-more" }, more.filter(Boolean).join(" · ")),
      h(
        "div",
        { class: "next-acts" },
        button(calling ? "A call is on its way" : "Call me now", callNow, { soft: false, disabled: Boolean(calling), mark: "phone" }),
        button("Pause the calls", () => change(false, "The calls are paused.")),
      ),
      trouble,
    );
  }

  function profile() {
    // Null until an account exists; then callSettings is null until there are any.
    if (!ctx.me) return;
    const before = JSON.stringify(settings);
    settings = ctx.me.callSettings ?? null;
    if (JSON.stringify(settings) !== before) sentence.fill(settings);
    sentence.node.hidden = false;
    waiting.remove();
    draw();
  }

  const history = callHistory(ctx, (job) => {
    if ((job?._id ?? null) === (calling?._id ?? null)) return;
    calling = job;
    draw();
  });
  const waiting = h("div", { "aria-hidden": "true" }, h("p", { class: "skeleton wide" }), h("p", { class: "skeleton" }));
  sentence.node.hidden = true;
  next.hidden = consent.hidden = lead.hidden = true;
  replace(root, h("h1", {}, title), lead, waiting, next, h("div", { class: "sentence-place" }, sentence.node), consent, history.node);
  const stops = [
    ctx.onme(profile),
    live.watch("callSettings:getNextCall", {}, { value: (found) => ((planned = found), draw()), error: (error) => (trouble.textContent = ctx.inWords(error)) }),
    () => history.stop(),
  ];
  profile();
  minute = setInterval(draw, 60_000);
  return () => {
    clearInterval(minute);
    for (const stop of stops) stop();
  };
}
