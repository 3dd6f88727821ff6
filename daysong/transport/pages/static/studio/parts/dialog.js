// Dialogs: one that asks, and one that shows. The browser keeps the focus inside, and Escape closes.

import { h, icon } from "../dom.js";

let count = 0;

/** Shows `content` in a dialog with a title. Returns `close(value)` and `closed`, a promise of that value. */
export function openDialog({ title, content, name = "", closable = true }) {
  const id = `dialog-${++count}`;
  let [answer, done] = [null, null];
  const closed = new Promise((resolve) => (done = resolve));
  const dismiss = closable && h("button", { class: "quiet dismiss", type: "button", "aria-label": "Close", on: { click: () => close(null) } }, icon("close"));
  const dialog = h(
    "dialog",
    { class: `dialog ${name}`.trim(), "aria-labelledby": id },
    h("div", { class: "sheet" }, h("h2", { id }, title), dismiss, content),
  );
  function close(value) {
    answer = value;
    dialog.close();
  }
  dialog.addEventListener("close", () => {
    dialog.remove();
    done(answer);
  });
  // A click outside; the sheet covers the dialog itself.
  dialog.addEventListener("click", (event) => event.target === dialog && close(null));
  document.body.append(dialog);
  dialog.showModal();
  return { close, closed, dialog };
}

/**
 * Asks, and resolves to whether it was confirmed. `text` is a string or a list of paragraphs; with `type`, this word has to
 * be typed first; `danger` marks what cannot be undone.
 */
export async function ask({ title, text, confirm = "Yes", cancel = "Cancel", danger = false, type = "" }) {
  const act = h("button", { class: danger ? "button danger" : "button", type: "submit", disabled: Boolean(type) }, confirm);
  const field =
    type &&
    h(
      "label",
      { class: "typed" },
      h("span", {}, "Type ", h("strong", {}, type), " to confirm"),
      h("input", {
        type: "text",
        autocomplete: "off",
        autocapitalize: "none",
        spellcheck: "false",
        on: { input: ({ target }) => (act.disabled = target.value.trim().toLowerCase() !== type.toLowerCase()) },
      }),
    );
  const form = h(
    "form",
    { on: { submit: (event) => (event.preventDefault(), opened.close(true)) } },
    [text].flat().map((paragraph) => h("p", {}, paragraph)),
    field,
    h("div", { class: "answers" }, h("button", { class: "button soft", type: "button", on: { click: () => opened.close(false) } }, cancel), act),
  );
  const opened = openDialog({ title, content: form, name: "ask", closable: false });
  (form.querySelector("input") ?? form.querySelector(".soft")).focus();
  return (await opened.closed) === true;
}
