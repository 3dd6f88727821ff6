// Dialogs about a person: edit their names, edit the summary, and make two people one.

import { h, keyed, replace } from "../dom.js";
import { avatar, mentions } from "./person-name.js";

const LONGEST_NAME = 80;
const LONGEST_SUMMARY = 2000;

function field(label, hint, props) {
  const input = h(props.rows ? "textarea" : "input", { autocomplete: "off", dir: "auto", ...props });
  return { input, row: h("label", { class: "person-field" }, h("span", {}, label), input, hint && h("small", {}, hint)) };
}

/** Shows a form in a dialog; `save` may reject with a refusal, whose words are shown. `also` adds elements for one. */
function form(ctx, { title, fields, save, also }) {
  const trouble = h("div", { class: "trouble", role: "alert" });
  const button = h("button", { class: "button", type: "submit" }, "Save");
  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    try {
      await save();
      opened.close(true);
    } catch (error) {
      button.disabled = false;
      replace(trouble, h("p", {}, ctx.inWords(error)), also?.(error, () => opened.close(false)));
    }
  }
  const content = h(
    "form",
    { class: "person-form", on: { submit } },
    fields.map(({ row }) => row),
    trouble,
    h("div", { class: "answers" }, h("button", { class: "button soft", type: "button", on: { click: () => opened.close(false) } }, "Cancel"), button),
  );
  const opened = ctx.openDialog({ title, content, name: "person" });
  fields[0].input.focus();
  fields[0].input.select();
}

export function editPerson(ctx, person) {
  const name = field("Name", "", { type: "text", value: person.primaryName, required: true, maxlength: LONGEST_NAME });
  const others = field("Also called", "Other names in your entries, with commas between.", { type: "text", value: (person.altNames ?? []).join(", ") });
  const label = field("Who they are to you", "", { type: "text", value: person.relationshipLabel ?? "", maxlength: LONGEST_NAME, placeholder: "sister, friend, colleague" });
  form(ctx, {
    title: `Edit ${person.primaryName}`,
    fields: [name, others, label],
    save: () =>
      ctx.live.mutation("memory/people:updatePerson", {
        personId: person._id,
        primaryName: name.input.value,
        altNames: others.input.value.split(",").map((one) => one.trim()).filter(Boolean),
        relationshipLabel: label.input.value,
      }),
    also: (error, close) =>
      error.code === "name_taken" && h("button", { class: "button soft", type: "button", on: { click: () => (close(), mergePerson(ctx, person)) } }, "They are the same person"),
  });
}

export function editSummary(ctx, person) {
  const summary = field("Summary", "Left empty, it is removed.", { rows: 7, value: person.highlights?.summary ?? "", maxlength: LONGEST_SUMMARY });
  form(ctx, {
    title: `You and ${person.primaryName}`,
    fields: [summary],
    save: () => ctx.live.mutation("memory/people:updatePerson", { personId: person._id, highlights: { summary: summary.input.value } }),
  });
}

/** Asks who the person is as well, and makes the two one. */
export function mergePerson(ctx, person) {
  const { live, time, ask, say, inWords } = ctx;
  let people = [];
  const find = h("input", { type: "search", autocomplete: "off", placeholder: "Find a name", "aria-label": "Find a name", on: { input: render } });
  const list = h("ul", { class: "people-choice" });
  const none = h("p", { class: "fine", hidden: true }, "There is nobody of that name.");
  const content = h("div", { class: "person-form" }, h("p", {}, `Their days are put together, and “${person.primaryName}” becomes another name.`), find, list, none);
  const opened = ctx.openDialog({ title: `Who is ${person.primaryName} as well?`, content, name: "person" });
  find.focus();
  const stop = live.watch("memory/people:listPeople", {}, { value: (found) => ((people = found), render()), error: (error) => say(inWords(error)) });
  opened.closed.then(stop);

  function render() {
    const wanted = find.value.trim().toLocaleLowerCase();
    const matches = ({ primaryName, altNames = [] }) => [primaryName, ...altNames].some((name) => name.toLocaleLowerCase().includes(wanted));
    const found = people.filter((other) => other._id !== person._id && matches(other));
    none.hidden = found.length > 0;
    keyed(list, found, ({ _id }) => _id, choice);
  }

  function choice(other) {
    const words = h("span", { class: "person-text" }, h("strong", {}, h("bdi", {}, other.primaryName)), h("span", { class: "fine" }, mentions(other, time)));
    return h("li", {}, h("button", { type: "button", on: { click: () => choose(other) } }, avatar(other.primaryName), words));
  }

  async function choose(other) {
    const sure = await ask({
      title: `${person.primaryName} is ${other.primaryName}?`,
      text: `All days with ${person.primaryName} become days with ${other.primaryName}. This cannot be undone.`,
      confirm: "Yes, the same person",
    });
    if (!sure) return;
    try {
      await live.mutation("memory/people:mergePeople", { personId: person._id, intoPersonId: other._id });
    } catch (error) {
      return say(inWords(error));
    }
    opened.close(true);
    say(`${person.primaryName} and ${other.primaryName} are one person now.`);
    ctx.go(`/people/${other._id}`, { replaced: true });
  }
}
