// One entry: its words, photos, songs and what was read from it.

import { h, icon, replace } from "../dom.js";
import { createPhotos } from "../parts/photos.js";
import { createSongs } from "../parts/entry-songs.js";
import { openShare } from "../parts/share-panel.js";
import { menuButton } from "../parts/menu.js";
import { trackOf } from "../tracks.js";
import { lastView } from "../parts/diary-view.js";

export const title = "Entry";

const PAUSE = 600; // ms after the last key before a draft is kept

export function show(root, ctx, { id }) {
  const { live, time } = ctx;
  const draftName = `entry ${id}`;
  const eyebrow = h("p", { class: "eyebrow" });
  const heading = h("h1", { dir: "auto" });
  const words = h("div", { class: "entry-text", dir: "auto" });
  const trouble = h("p", { class: "trouble", role: "alert" });
  const events = h("section", { class: "entry-events", "aria-labelledby": "events-head" });
  const edit = h("button", { class: "quiet", type: "button", on: { click: () => begin() } }, icon("pen"), "Edit");
  let [entry, editor, timer, stopped, parts] = [undefined, null, null, false, null];

  function build() {
    const photos = createPhotos(ctx, id);
    const songs = createSongs(ctx, id, { start: makeSong, can: () => Boolean(entry?.content.trim()) });
    const videos = createVideos(ctx, songs);
    const more = menuButton("More for this entry", () => [
      { label: "Edit", icon: "pen", act: () => begin() },
      { label: "Add photos", icon: "photo", act: () => photos.button.click() },
      songs.first && { label: "Share the song…", icon: "share", act: () => openShare(ctx, trackOf(songs.first)) },
      null,
      { label: "Delete…", icon: "bin", danger: true, act: remove },
    ]);
    const article = h(
      "article",
      { class: "entry-page" },
      h("header", { class: "entry-head" }, h("div", {}, eyebrow, heading), h("div", { class: "entry-tools" }, more)),
      words,
      trouble,
      photos.node,
      h("div", { class: "entry-acts" }, edit, photos.button),
      songs.node,
      videos.node,
      events,
    );
    replace(root, h("a", { class: "quiet entry-back", href: `${ctx.base}/diary${lastView()}` }, icon("back"), "Diary"), article);
    photos.dropOn(article);
    parts = { photos, songs, videos };
  }

  function draw() {
    const key = time.key(entry.date);
    const day = time.words(key, { weekday: "long", day: "numeric", month: "long" });
    eyebrow.textContent = [entry.title && day, key.slice(0, 4), time.clock(entry.date)].filter(Boolean).join(" · ");
    heading.textContent = entry.title || day;
    document.title = `${heading.textContent} · daysong`;
    if (!editor) {
      replace(words, entry.content.split(/\n{2,}/).filter((part) => part.trim()).map((part) => h("p", { dir: "auto" }, part)));
      words.classList.toggle("is-empty", !entry.content.trim());
      if (!entry.content.trim()) replace(words, h("p", { class: "lead" }, "No words yet."));
    }
    edit.hidden = Boolean(editor);
    showEvents();
    parts.songs.refresh();
  }

  function showEvents() {
    const list = entry.events ?? [];
    const state = JSON.stringify(list);
    if (events.shown === state) return;
    events.shown = state;
    events.hidden = !list.length;
    replace(
      events,
      h("h2", { id: "events-head" }, "What this day held"),
      h(
        "ul",
        { class: "events" },
        list.map((event) =>
          h(
            "li",
            { class: "event" },
            h("p", { class: "event-title", dir: "auto" }, event.title),
            h("p", { class: "event-text", dir: "auto" }, event.summary),
            h(
              "p",
              { class: "event-facts" },
              event.people.map((person) => h("a", { class: "tag person", href: `${ctx.base}/people/${person._id}` }, h("bdi", {}, person.name))),
              event.tags.map((tag) => h("a", { class: "tag", href: `${ctx.base}/diary?tag=${encodeURIComponent(tag._id)}` }, h("bdi", {}, tag.name))),
              (event.moodWord || event.arousalWord) && h("span", { class: "mood" }, [event.moodWord, event.arousalWord].filter(Boolean).join(", ")),
            ),
          )),
      ),
    );
  }

  // Editing

  function begin(draft) {
    if (editor) return editor.area.focus();
    const area = h("textarea", { class: "entry-area", dir: "auto", rows: 4, maxlength: 50_000, "aria-label": "The words of this entry", value: draft ?? entry.content, on: { input: changed, keydown: keys } });
    const save = h("button", { class: "button", type: "button", on: { click: saveWords } }, "Save");
    const cancel = h("button", { class: "button soft", type: "button", on: { click: leave } }, "Cancel");
    editor = { area, save, node: h("div", { class: "entry-editor" }, area, h("div", { class: "answers" }, cancel, save)) };
    replace(words, editor.node);
    grow();
    draw();
    area.focus({ preventScroll: true });
    area.setSelectionRange(area.value.length, area.value.length);
  }

  function keys(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) saveWords();
    else if (event.key === "Escape") leave();
    else return;
    event.preventDefault();
  }

  function grow() {
    editor.area.style.height = "auto";
    editor.area.style.height = `${editor.area.scrollHeight + 4}px`;
  }

  function changed() {
    grow();
    clearTimeout(timer);
    timer = setTimeout(keep, PAUSE);
  }

  function keep() {
    clearTimeout(timer);
    timer = null;
    if (editor && editor.area.value !== entry.content) ctx.drafts.set(draftName, { text: editor.area.value }).catch(() => {});
  }

  async function leave() {
    const isChanged = editor.area.value.trim() !== entry.content.trim();
    if (isChanged && !(await ctx.ask({ title: "Discard your changes?", text: "The entry stays as it was.", confirm: "Discard", danger: true }))) return;
    done();
  }

  function done() {
    clearTimeout(timer);
    timer = null;
    editor = null;
    trouble.textContent = "";
    ctx.drafts.remove(draftName).catch(() => {});
    draw();
    edit.focus({ preventScroll: true });
  }

  async function saveWords() {
    const content = editor.area.value.trim();
    trouble.textContent = content ? "" : "Write a few words first.";
    if (!content || editor.save.disabled) return;
    keep();
    editor.save.disabled = true;
    try {
      await live.mutation("diaries:updateDiary", { diaryId: id, content });
      entry = { ...entry, content };
      if (!stopped) done();
      ctx.say("Saved.");
    } catch (error) {
      if (stopped) return;
      editor.save.disabled = false;
      trouble.textContent = ctx.inWords(error);
    }
  }

  // Song and deletion

  async function makeSong() {
    trouble.textContent = "";
    const renews = ctx.me?.subscription ? time.short(ctx.me.subscription.periodEnd) : "";
    try {
      const started = await live.action("music:startDiaryMusicGeneration", { diaryId: id, content: entry.content });
      if (started.success) ctx.say("Your song is on its way.");
      else trouble.textContent = ctx.inWords({ code: started.code, message: started.reason }, { renews });
    } catch (error) {
      trouble.textContent = ctx.inWords(error, { renews });
    }
    if (trouble.textContent) trouble.scrollIntoView({ block: "center" });
  }

  async function remove() {
    const sure = await ctx.ask({
      title: "Delete this entry?",
      text: "Its words, photos and songs are deleted for good, and links to its songs stop working.",
      confirm: "Delete the entry",
      danger: true,
    });
    if (!sure) return;
    try {
      await live.mutation("diaries:deleteDiary", { diaryId: id });
      await ctx.drafts.remove(draftName).catch(() => {});
      ctx.say("The entry is deleted.");
      if (!stopped) ctx.go("/diary", { replaced: true });
    } catch (error) {
      trouble.textContent = ctx.inWords(error);
    }
  }

  function nothing(heading_, text) {
    parts?.photos.stop();
    parts?.songs.stop();
    parts?.videos.stop();
    parts = null;
    replace(root, h("div", { class: "empty" }, h("h1", {}, heading_), h("p", {}, text), h("a", { class: "button soft", href: `${ctx.base}/diary` }, "To the diary")));
  }

  replace(root, h("h1", { class: "visually-hidden" }, title), h("p", { class: "skeleton wide" }), h("p", { class: "skeleton" }), h("p", { class: "skeleton" }), h("p", { class: "skeleton short" }));
  const stopLeaving = ctx.drafts.onleave(() => timer && keep());
  const stopWatching = live.watch("diaries:getDiary", { diaryId: id }, {
    value(found) {
      if (!found) return nothing("This entry is not there", "It may have been deleted.");
      const isFirst = !parts;
      entry = found;
      if (isFirst) build();
      draw();
      if (!isFirst) return;
      if (!entry.content.trim()) begin();
      ctx.drafts.get(draftName).then((draft) => {
        if (stopped || editor?.area.value || !draft || draft.text === entry.content) return;
        if (editor) editor.area.value = draft.text;
        else begin(draft.text);
        ctx.say("Here is what you had not saved yet.");
      }).catch(() => {});
    },
    error: (error) => nothing("This entry cannot be shown right now", ctx.inWords(error)),
  });
  return () => {
    if (timer) keep();
    stopped = true;
    stopLeaving();
    stopWatching();
    parts?.photos.stop();
    parts?.songs.stop();
    parts?.videos.stop();
  };
}

/** The videos of the entry's newest song, if it has any. */
function createVideos(ctx, songs) {
  const node = h("section", { class: "entry-videos", "aria-label": "Video", hidden: true });
  let [musicId, stop] = [null, () => {}];

  function follow() {
    const next = songs.first?._id ?? null;
    if (next === musicId) return;
    musicId = next;
    stop();
    stop = next === null ? () => {} : ctx.live.watch("videos:listVideosForMusic", { musicId: next }, { value: draw, error: () => {} });
  }

  function draw(videos) {
    const shown = videos.filter(({ status, videoUrl }) => status === "ready" && videoUrl).sort((one, other) => other.isPrimary - one.isPrimary);
    node.hidden = !shown.length;
    if (node.dataset.shown === shown.map(({ _id }) => _id).join()) return;
    node.dataset.shown = shown.map(({ _id }) => _id).join();
    replace(node, shown.slice(0, 1).map((video) => h("video", { src: video.videoUrl, controls: true, preload: "metadata", playsinline: true, "aria-label": "The video of this song" })));
  }

  const watching = new MutationObserver(follow);
  watching.observe(songs.node, { childList: true, subtree: true });
  follow();
  return {
    node,
    stop() {
      watching.disconnect();
      stop();
    },
  };
}
