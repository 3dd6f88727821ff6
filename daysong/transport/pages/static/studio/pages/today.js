// Today: the editor is the page. Below it what was written today, its songs as they come to be, and this day of other years.

import { h, keyed, replace } from "../dom.js";
import { songCard } from "../parts/song-card.js";

export const title = "Today";

const DRAFT = "today";
const PAUSE = 400; // ms without a key after which the draft is kept
const SOUNDS = ["Calm", "Bright", "Acoustic", "Piano", "Folk", "Pop", "Jazz", "Lo-fi", "Electronic", "Orchestral", "Rock", "Choir"];
const LONGEST = 20_000;

export function show(root, ctx) {
  const editor = createEditor(ctx, follow);
  const entries = h("div", { class: "entries" });
  const today = h("section", { class: "so-far", hidden: true, "aria-labelledby": "so-far" }, h("h2", { id: "so-far" }, "Today so far"), entries);
  const earlier = h("section", { class: "on-this-day", hidden: true, "aria-labelledby": "on-this-day" });
  replace(root, editor.node, today, earlier);

  const rows = new Map();
  // Brings the song that was just begun into view, once its entry is listed.
  function follow(id) {
    rows.get(id)?.node.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth" });
  }
  const stops = [
    ctx.live.watch("diaries:pageDiaries", { limit: 12 }, {
      value({ page }) {
        const day = ctx.time.key(Date.now());
        const listed = page.filter((diary) => ctx.time.key(diary.date) === day);
        editor.invite(page.length === 0);
        root.classList.toggle("has-entries", listed.length > 0);
        today.hidden = listed.length === 0;
        for (const [id, row] of rows) {
          if (listed.some((diary) => diary._id === id)) continue;
          row.stop();
          rows.delete(id);
        }
        keyed(entries, listed, (diary) => diary._id, (diary) => {
          const row = createEntry(ctx, diary);
          rows.set(diary._id, row);
          return row.node;
        }, (_, diary) => rows.get(diary._id).update(diary));
      },
      error: (error) => ctx.say(ctx.inWords(error)),
    }),
    ctx.live.watch("diaries:onThisDay", {}, { value: (years) => showEarlier(earlier, ctx, years), error: () => {} }),
    ctx.onme(editor.refresh),
  ];
  return () => {
    editor.stop();
    for (const row of rows.values()) row.stop();
    for (const stop of stops) stop();
  };
}

function createEditor(ctx, follow) {
  const { time, drafts } = ctx;
  const chosen = new Set();
  const area = h("textarea", {
    id: "entry",
    dir: "auto",
    rows: "6",
    maxlength: LONGEST,
    placeholder: "Begin anywhere.",
    "aria-labelledby": "question",
    "aria-describedby": "count",
    on: { input: changed, keydown: save_by_key },
  });
  const count = h("span", { id: "count" });
  const state = h("span", { class: "draft-state", role: "status" });
  const left = h("span", { class: "left" });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const free = h("input", { id: "sound", class: "field", type: "text", maxlength: "200", placeholder: "a waltz, two guitars, sung softly", on: { input: changed } });
  const chips = h("div", { class: "chips", role: "group", "aria-label": "How it may sound" }, SOUNDS.map((sound) =>
    h("button", { class: "chip", type: "button", "aria-pressed": "false", dataset: { sound }, on: { click: ({ currentTarget }) => toggle(currentTarget) } }, sound)));
  const sounds = h("div", { id: "sounds", class: "sounds", hidden: true }, chips, h("label", { htmlFor: "sound" }, "or in your own words"), free);
  const opener = h("button", { class: "quiet opener", type: "button", "aria-expanded": "false", "aria-controls": "sounds", on: { click: () => open(sounds.hidden) } });
  const save = h("button", { class: "button soft", type: "button", "aria-keyshortcuts": "Control+Enter", on: { click: () => submit(false) } }, "Save");
  const make = h("button", { class: "button", type: "button", on: { click: () => submit(true) } }, "Save and make a song");
  const node = h(
    "section",
    { class: "editor" },
    h("p", { class: "eyebrow" }, time.day(Date.now())),
    h("h1", { id: "question" }, "What happened today?"),
    area,
    h("p", { class: "beneath fine" }, count, state),
    h("div", { class: "sound-row" }, opener, left),
    sounds,
    h("div", { class: "submit" }, save, make),
    trouble,
  );
  const draws = CSS.supports("field-sizing", "content");
  let [timer, saving, stopped] = [null, false, false];

  const style = () => [...chosen].map((sound) => sound.toLowerCase()).concat(free.value.trim() || []).join(", ");

  function refresh() {
    grow();
    const words = countWords(area.value);
    count.textContent = area.value.trim() ? time.plural(words, "word", "words") : "";
    for (const chip of chips.children) chip.setAttribute("aria-pressed", String(chosen.has(chip.dataset.sound)));
    const sound = style();
    opener.textContent = sound ? `Sound: ${sound}` : "Choose a sound";
    const status = ctx.me?.subscription;
    const remaining = status ? Math.max(0, status.musicLimit - status.musicGenerationsUsed) : null;
    left.textContent =
      remaining === null ? "" : remaining ? `${time.plural(remaining, "song", "songs")} left` : `No songs left until ${time.short(status.periodEnd)}`;
  }

  function grow() {
    if (draws) return;
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight}px`;
  }

  function toggle(chip) {
    if (!chosen.delete(chip.dataset.sound)) chosen.add(chip.dataset.sound);
    changed();
  }

  function open(on) {
    sounds.hidden = !on;
    opener.setAttribute("aria-expanded", String(on));
  }

  function changed() {
    refresh();
    state.textContent = "";
    clearTimeout(timer);
    timer = setTimeout(keep, PAUSE);
  }

  async function keep() {
    clearTimeout(timer);
    timer = null;
    if (saving) return;
    const text = area.value;
    try {
      if (text.trim() || chosen.size || free.value) await drafts.set(DRAFT, { text, chosen: [...chosen], free: free.value });
      else await drafts.remove(DRAFT);
      if (!stopped && area.value === text && text.trim()) state.textContent = "Draft kept on this device";
    } catch {
      state.textContent = "This browser does not keep drafts: save before you leave.";
    }
  }

  function fill(draft) {
    area.value = draft?.text ?? "";
    free.value = draft?.free ?? "";
    chosen.clear();
    for (const sound of draft?.chosen ?? []) chosen.add(sound);
    if (draft?.text) state.textContent = "Draft kept on this device";
    refresh();
  }

  function save_by_key(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      submit(false);
    }
  }

  async function submit(withSong) {
    trouble.textContent = "";
    const content = area.value.trim();
    if (saving) return;
    if (!content) {
      trouble.textContent = "Write a few words first.";
      return area.focus();
    }
    if (ctx.live.status === "offline") {
      await keep();
      trouble.textContent = "You are offline. Your words are kept here: save them once you are back.";
      return;
    }
    const sound = style();
    busy(true);
    try {
      const { _id } = await ctx.live.mutation("diaries:createDiary", { content });
      clearTimeout(timer);
      await drafts.remove(DRAFT).catch(() => {});
      fill(null);
      open(false);
      state.textContent = "";
      if (!withSong) ctx.say("Saved.");
      else if (await makeSong(ctx, _id, content, sound, (text) => (trouble.textContent = text))) follow(_id);
    } catch (error) {
      if (!stopped) trouble.textContent = ctx.inWords(error);
    }
    busy(false);
  }

  function busy(on) {
    saving = on;
    area.readOnly = on;
    save.disabled = make.disabled = on;
    save.textContent = on ? "Saving…" : "Save";
  }

  const stopLeaving = drafts.onleave(() => timer && keep());
  const stopHearing = drafts.onchange(DRAFT, (draft) => {
    if (!saving && document.activeElement !== area) fill(draft);
  });
  refresh();
  drafts
    .get(DRAFT)
    .then((draft) => draft && !area.value && !stopped && fill(draft))
    .catch(() => {});

  return {
    node,
    refresh,
    invite: (first) => (area.placeholder = first ? "Your first entry. Begin anywhere: a place, a face, the weather." : "Begin anywhere."),
    stop() {
      // Before the page goes: also when the session has ended.
      if (timer) keep();
      stopped = true;
      stopLeaving();
      stopHearing();
    },
  };
}

/** Starts a song of an entry, and returns whether it began; `tell` gets why not. */
async function makeSong(ctx, diaryId, content, style, tell) {
  const renews = ctx.me?.subscription ? ctx.time.short(ctx.me.subscription.periodEnd) : "";
  try {
    const started = await ctx.live.action("music:startDiaryMusicGeneration", { diaryId, content, style: style || undefined });
    if (started.success) {
      ctx.say("Saved. Your song is on its way.");
      return true;
    }
    tell(`Your entry is saved. ${ctx.inWords({ code: started.code, message: started.reason }, { renews })}`);
  } catch (error) {
    tell(`Your entry is saved. ${ctx.inWords(error, { renews })}`);
  }
  return false;
}

function createEntry(ctx, diary) {
  const words = h("p", { class: "entry-words", dir: "auto" });
  const at = h("time", { class: "fine" });
  const place = h("div", { class: "entry-song" });
  const make = h("button", { class: "quiet", type: "button", on: { click: start } }, "Make a song");
  const open = h("a", { class: "entry-link", href: `${ctx.base}/diary/${diary._id}` }, at, words);
  const trouble = h("p", { class: "trouble", role: "alert" });
  const node = h("article", { class: "entry" }, open, place, trouble);
  let [card, musicId, current] = [null, null, diary];

  async function start() {
    make.disabled = true;
    trouble.textContent = "";
    await makeSong(ctx, current._id, current.content, "", (text) => (trouble.textContent = text.replace("Your entry is saved. ", "")));
    make.disabled = false;
  }

  function update(next) {
    current = next;
    at.textContent = ctx.time.clock(next.date);
    at.dateTime = new Date(next.date).toISOString();
    words.textContent = next.content;
    const song = next.primaryMusic;
    if ((song?._id ?? null) === musicId && (card || make.isConnected)) return;
    card?.stop();
    card = null;
    musicId = song?._id ?? null;
    if (song) {
      card = songCard(ctx, song._id, { first: song, retry: start });
      replace(place, card.node);
    } else replace(place, make);
  }

  update(diary);
  return { node, update, stop: () => card?.stop() };
}

function showEarlier(section, ctx, years) {
  section.hidden = !years?.length;
  replace(
    section,
    h("h2", { id: "on-this-day" }, "On this day"),
    (years ?? []).map(({ yearsAgo, diaries }) =>
      h(
        "div",
        { class: "year" },
        h("p", { class: "eyebrow" }, yearsAgo === 1 ? "A year ago" : `${ctx.time.number(yearsAgo)} years ago`),
        diaries.map((diary) =>
          h(
            "a",
            { class: "memory", href: `${ctx.base}/diary/${diary._id}` },
            diary.primaryMusic?.imageUrl && h("img", { src: diary.primaryMusic.imageUrl, alt: "", width: "64", height: "64", loading: "lazy" }),
            h("span", { class: "memory-words" }, h("span", { dir: "auto" }, diary.content), diary.primaryMusic?.title && h("span", { class: "memory-song", dir: "auto" }, `♪ ${diary.primaryMusic.title}`)),
          )),
      )),
  );
}

const segmenter = globalThis.Intl?.Segmenter ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;
function countWords(text) {
  if (!segmenter) return text.split(/\s+/).filter(Boolean).length;
  let count = 0;
  for (const { isWordLike } of segmenter.segment(text)) if (isWordLike) count += 1;
  return count;
}
