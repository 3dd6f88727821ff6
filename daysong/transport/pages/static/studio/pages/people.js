// People: who is in the days of the person, those with most of them first.

import { h, keyed, replace } from "../dom.js";
import { avatar, mentions } from "../parts/person-name.js";

export const title = "People";
export const FLAG = "event-extraction";

export function show(root, ctx) {
  const list = h("ul", { class: "people" });
  const state = h("div", { class: "people-state" });
  const lead = h("p", { class: "lead", hidden: true }, "Who is in your days, as your entries tell it.");
  replace(root, h("h1", {}, title), lead, state, list);
  let stop = null;

  function begin() {
    if (ctx.flags[FLAG]) stop ??= ctx.live.watch("memory/people:listPeople", {}, { value: showPeople, error: failed });
    else if (FLAG in ctx.flags) closed();
    else waiting();
  }

  function waiting() {
    const rows = Array.from({ length: 6 }, () => h("span", { class: "skeleton" }));
    replace(state, h("div", { class: "people-skeletons", role: "status", "aria-label": "The people are being loaded" }, rows));
  }

  function closed() {
    stop?.();
    stop = null;
    lead.hidden = true;
    replace(list);
    replace(state, h("p", { class: "lead" }, "Your entries are not read for people at the moment, so there is nobody to show."));
  }

  function failed() {
    const again = h("button", { class: "button", type: "button", on: { click: () => ctx.go("/people", { replaced: true }) } }, "Try again");
    replace(state, h("p", { class: "lead" }, "The people cannot be shown right now."), again);
  }

  function showPeople(people) {
    lead.hidden = !people.length;
    if (people.length) replace(state);
    else {
      replace(
        state,
        h(
          "div",
          { class: "invite" },
          h("h2", {}, "Nobody yet"),
          h("p", { class: "lead" }, "Write about a day with someone. A little later they are here, with what you did together."),
          h("a", { class: "button", href: `${ctx.base}/today` }, "Write today’s entry"),
        ),
      );
    }
    keyed(list, people, ({ _id }) => _id, make, fill);
  }

  function make(person) {
    const card = h("a", { class: "person-card", href: `${ctx.base}/people/${person._id}` });
    const item = h("li", {}, card);
    item.card = card;
    fill(item, person);
    return item;
  }

  function fill({ card }, person) {
    const text = JSON.stringify(person);
    if (card.text === text) return;
    card.text = text;
    replace(
      card,
      avatar(person.primaryName),
      h(
        "span",
        { class: "person-text" },
        h("strong", {}, h("bdi", {}, person.primaryName), person.relationshipLabel && h("small", {}, h("bdi", {}, person.relationshipLabel))),
        h("span", { class: "fine" }, mentions(person, ctx.time)),
        person.highlights && h("span", { class: "person-highlight", dir: "auto" }, person.highlights.summary),
      ),
    );
  }

  const stopFlags = ctx.onme(begin);
  begin();
  return () => {
    stop?.();
    stopFlags();
  };
}
