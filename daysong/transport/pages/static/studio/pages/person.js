// One person of the diary: names, a summary of what was done together, and the newest of it.

import { h, icon, replace } from "../dom.js";
import { menuButton } from "../parts/menu.js";
import { editPerson, editSummary, mergePerson } from "../parts/person-forms.js";
import { avatar, mentions } from "../parts/person-name.js";

export const title = "Person";

const MOODS = {
  "very positive": "a wonderful moment",
  positive: "a good moment",
  negative: "a hard moment",
  "very negative": "a very hard moment",
};

export function show(root, ctx, { id }) {
  const { live, time } = ctx;
  let [detail, writing, shown] = [undefined, false, ""];
  const back = h("a", { class: "back", href: `${ctx.base}/people` }, icon("back"), "People");
  const head = h("header", { class: "person-head" }, h("span", { class: "avatar skeleton" }), h("div", {}, h("h1", {}, h("span", { class: "skeleton line-long" }))));
  const summary = h("section", { class: "person-summary", "aria-label": "Summary" });
  const events = h("section", { class: "person-events" });
  replace(root, back, head, summary, events);

  const stop = live.watch("memory/people:getPersonDetail", { personId: id }, {
    value(found) {
      detail = found;
      render();
    },
    error() {
      if (!detail) missing("This person cannot be shown right now", "Please try again in a little while.");
    },
  });

  function missing(words, sentence) {
    replace(root, back, h("div", { class: "invite" }, h("h1", {}, words), h("p", { class: "lead" }, sentence), h("a", { class: "button soft", href: `${ctx.base}/people` }, "All people")));
  }

  function render() {
    if (!detail) return missing("This person is no longer there", "They may have become one with another person.");
    const text = JSON.stringify([detail, writing]);
    if (shown === text) return;
    shown = text;
    const { person, recentEvents } = detail;
    document.title = `${person.primaryName} · daysong`;
    showHead(person);
    showSummary(person);
    showEvents(recentEvents);
  }

  function showHead(person) {
    const heading = head.querySelector("h1");
    replace(heading, h("bdi", {}, person.primaryName));
    const others = person.altNames?.length ? `also ${time.list(person.altNames)}` : "";
    const actions = () => [
      { label: "Edit names…", icon: "pen", act: () => editPerson(ctx, detail.person) },
      { label: "Same as another person…", icon: "merge", act: () => mergePerson(ctx, detail.person) },
    ];
    const focused = head.contains(document.activeElement) && document.activeElement !== heading;
    replace(
      head,
      avatar(person.primaryName),
      h(
        "div",
        { class: "person-names" },
        heading,
        h("p", {}, [person.relationshipLabel, others].filter(Boolean).map((words, number) => [number > 0 && " · ", h("bdi", {}, words)])),
        h("p", { class: "fine" }, mentions(person, time)),
      ),
      menuButton(`More about ${person.primaryName}`, actions),
    );
    if (focused) head.querySelector(".menu-button").focus();
  }

  function showSummary(person) {
    const { highlights, interactionCount } = person;
    const write = h(
      "button",
      { class: "button soft", type: "button", disabled: writing || !interactionCount, on: { click: generate } },
      writing ? "Reading your days…" : highlights ? "Write it anew" : "Write a summary",
    );
    replace(
      summary,
      h("h2", {}, "You two"),
      highlights
        ? h("p", { class: "prose", dir: "auto" }, highlights.summary)
        : h("p", { class: "lead" }, `What have you and ${person.primaryName} lived through lately?`),
      highlights && h("p", { class: "fine" }, `Written ${time.relative(highlights.lastGeneratedAt)}`),
      h("div", { class: "pair" }, write, highlights && h("button", { class: "button soft", type: "button", on: { click: () => editSummary(ctx, detail.person) } }, "Edit")),
    );
  }

  async function generate() {
    writing = true;
    render();
    try {
      await live.action("memory/people:generatePersonHighlight", { personId: id });
      ctx.say("The summary is written.");
    } catch (error) {
      ctx.say(ctx.inWords(error));
    } finally {
      writing = false;
      if (root.isConnected) render();
    }
  }

  function showEvents(list) {
    events.hidden = !list.length;
    replace(
      events,
      h("h2", {}, "Lately"),
      h(
        "ol",
        { class: "event-list" },
        list.map((event) =>
          h(
            "li",
            {},
            h(
              "a",
              { href: `${ctx.base}/diary/${event.diaryId}` },
              h("span", { class: "fine" }, time.short(event.happenedAt), MOODS[event.moodWord] && ` · ${MOODS[event.moodWord]}`),
              h("strong", { dir: "auto" }, event.title),
              h("span", { dir: "auto" }, event.summary),
            ),
          ),
        ),
      ),
      h("a", { class: "quiet", href: `${ctx.base}/diary?person=${encodeURIComponent(id)}` }, "All of these days"),
    );
  }

  return stop;
}
