// The settings of calls as a sentence: "Call me at 20:30 on weekdays, in Lisbon, on +351 …, in Portuguese."

import { h, replace } from "../dom.js";
import { placeOf } from "./call-words.js";

const CADENCES = [["daily", "every day"], ["weekdays", "on weekdays"], ["weekends", "on weekends"], ["custom", "on chosen days"]];
// Those that are spoken on the phone.
const LANGUAGES = (
  "ar bg ca cs da de el en es et fa fi fr he hi hr hu id it ja ko lt lv ms nl no pl pt ro ru sk sl sr sv th tr uk vi zh"
).split(" ");

/**
 * Returns the sentence as `node`, `fill(settings)` and `values()`; `onsave(values)` resolves to whether they were saved.
 * `settings` is null before there are any.
 */
export function callSentence(ctx, onsave) {
  const { time } = ctx;
  const names = namesOf(time.language);
  const clock = h("input", { type: "time", class: "blank", required: true, "aria-label": "Time of the call" });
  const cadence = h("select", { class: "blank", "aria-label": "Days" }, CADENCES.map(([value, text]) => h("option", { value }, text)));
  const zone = h("select", { class: "blank", "aria-label": "Time zone" }, zones().map((value) => h("option", { value }, placeOf(value))));
  const phone = h("input", { type: "tel", class: "blank phone", required: true, autocomplete: "tel", placeholder: "+351 912 345 678", size: 17, maxlength: 24, "aria-label": "Phone number with country code" });
  const language = h("select", { class: "blank", "aria-label": "Language of the call" }, LANGUAGES.map((value) => [value, names(value)]).sort((one, other) => one[1].localeCompare(other[1], time.language)).map(([value, text]) => h("option", { value }, text)));
  const days = h("div", { class: "chosen-days", role: "group", "aria-label": "Days of the week", hidden: true });
  const save = h("button", { class: "button", type: "submit" });
  const undo = h("button", { class: "button soft", type: "button", on: { click: () => fill(saved) } }, "Undo");
  const acts = h("div", { class: "sentence-acts", hidden: true }, save, undo);
  const trouble = h("p", { class: "trouble", role: "alert" });
  const node = h(
    "form",
    { class: "call-sentence", novalidate: true, on: { submit: (event) => (event.preventDefault(), submit()), input: changed } },
    h("p", {}, "Call me at ", clock, " ", cadence, ", in ", zone, ", on ", phone, ", in ", language, "."),
    days,
    acts,
    trouble,
  );
  let [saved, chosen] = [null, new Set([1, 3, 5])];

  function drawDays() {
    days.hidden = cadence.value !== "custom";
    replace(
      days,
      // 2024-01-07 was a Sunday.
      [1, 2, 3, 4, 5, 6, 0].map((day) =>
        h(
          "button",
          {
            class: "chip",
            type: "button",
            "aria-pressed": chosen.has(day),
            dataset: { day },
            on: { click: () => ((chosen.delete(day) || chosen.add(day)), drawDays(), changed(), days.querySelector(`[data-day="${day}"]`).focus()) },
          },
          time.words(`2024-01-0${day || 7}`, { weekday: "short" }),
        )),
    );
  }

  function values() {
    return {
      phoneE164: phone.value.replace(/[\s().-]/g, "").replace(/^00/, "+"),
      timezone: zone.value,
      timeOfDay: clock.value,
      cadence: cadence.value,
      daysOfWeek: cadence.value === "custom" ? [...chosen].sort() : undefined,
      language: language.value,
    };
  }

  function fill(settings) {
    saved = settings;
    const given = settings ?? { timeOfDay: "20:30", cadence: "daily", timezone: time.zone, phoneE164: "", language: time.language };
    clock.value = given.timeOfDay;
    cadence.value = given.cadence;
    choose(zone, given.timezone, placeOf(given.timezone));
    phone.value = spaced(given.phoneE164);
    choose(language, LANGUAGES.includes(given.language.split("-")[0]) ? given.language.split("-")[0] : given.language, names(given.language));
    if (given.daysOfWeek) chosen = new Set(given.daysOfWeek);
    trouble.textContent = "";
    drawDays();
    changed();
  }

  function changed() {
    drawDaysIfNeeded();
    const now = JSON.stringify(values());
    const isChanged = !saved || now !== JSON.stringify(valuesOf(saved));
    acts.hidden = !isChanged;
    undo.hidden = !saved;
    save.textContent = saved ? "Save" : "Start the calls";
  }

  const drawDaysIfNeeded = () => days.hidden === (cadence.value === "custom") && drawDays();

  function valuesOf(settings) {
    const main = settings.language.split("-")[0];
    return {
      phoneE164: settings.phoneE164,
      timezone: settings.timezone,
      timeOfDay: settings.timeOfDay,
      cadence: settings.cadence,
      daysOfWeek: settings.cadence === "custom" ? settings.daysOfWeek : undefined,
      language: LANGUAGES.includes(main) ? main : settings.language,
    };
  }

  async function submit() {
    const given = values();
    trouble.textContent = "";
    if (!/^\+[1-9][0-9]{6,14}$/.test(given.phoneE164)) {
      trouble.textContent = "Please write your number with its country code, such as +351 912 345 678.";
      return phone.focus();
    }
    if (!given.timeOfDay) {
      trouble.textContent = "Please choose a time.";
      return clock.focus();
    }
    if (given.cadence === "custom" && !chosen.size) {
      trouble.textContent = "Please choose at least one day.";
      return;
    }
    save.disabled = true;
    try {
      await onsave(given);
    } catch (error) {
      trouble.textContent = ctx.inWords(error);
    }
    save.disabled = false;
  }

  return {
    node,
    /** Shows settings, unless they are being changed. */
    fill(settings) {
      if (saved && !acts.hidden && node.contains(document.activeElement)) saved = settings;
      else fill(settings);
    },
    values,
  };
}

function choose(select, value, text) {
  if (![...select.options].some((option) => option.value === value)) select.append(h("option", { value }, text));
  select.value = value;
}

function zones() {
  const known = Intl.supportedValuesOf?.("timeZone") ?? [];
  const found = known.filter((zone) => zone.includes("/") && !zone.startsWith("Etc/"));
  return [...found, "UTC"].sort((one, other) => placeOf(one).localeCompare(placeOf(other)));
}

function namesOf(language) {
  try {
    const names = new Intl.DisplayNames([language], { type: "language" });
    return (tag) => names.of(tag) ?? tag;
  } catch {
    return (tag) => tag;
  }
}

// Country codes of two digits; 1 and 7 have one, all others three.
const TWO_DIGITS = /^(2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])/;

/** A number in groups, as people read it. */
function spaced(number) {
  const digits = number.slice(1);
  const size = /^[17]/.test(digits) ? 1 : TWO_DIGITS.test(digits) ? 2 : 3;
  const rest = digits.slice(size).replace(/(\d{3})(?=\d{2,})/g, "$1 ");
  return number && `+${digits.slice(0, size)} ${rest}`;
}
