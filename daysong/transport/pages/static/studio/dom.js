// Elements from data. Text is set as text, never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "circle", "rect", "line", "g", "text", "title", "polyline"]);
// Set as properties: as attributes they would only be defaults.
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "selected", "tabIndex", "textContent", "htmlFor"]);

/** Creates an element: props are attributes, and `class`, `dataset`, `on`; children are nodes, strings, lists, or nothing. */
export function h(tag, props, ...children) {
  const inSvg = SVG_TAGS.has(tag) && !(tag === "title" && props?.html);
  const element = inSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "class") element.setAttribute("class", value);
    else if (PROPERTIES.has(name) && !inSvg) element[name] = value;
    else if (name.startsWith("aria-")) element.setAttribute(name, String(value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

function append(parent, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(parent, child);
    else if (child !== null && child !== undefined && child !== false && child !== true && child !== "") parent.append(child);
  }
}

/** Replaces what is in `parent`. */
export function replace(parent, ...children) {
  const made = document.createDocumentFragment();
  append(made, children);
  parent.replaceChildren(made);
  return parent;
}

const kept = new WeakMap();

/**
 * Shows a list in `parent`, one node per item. The node of an item that stays is kept, with its focus and what it plays:
 * `make(item)` makes one, `update(node, item)` changes it.
 */
export function keyed(parent, items, keyOf, make, update) {
  const before = kept.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const key = keyOf(item);
    let node = before.get(key);
    if (node) update?.(node, item);
    else node = make(item);
    after.set(key, node);
  }
  for (const [key, node] of before) if (after.get(key) !== node) node.remove();
  let place = parent.firstChild;
  for (const node of after.values()) {
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
  kept.set(parent, after);
}

/** Text for screen readers alone. */
export const unseen = (text = "") => h("span", { class: "unseen" }, text);

/** A picture of the icon set below. */
export function icon(name, more = "") {
  return h("svg", { class: `icon ${more}`.trim(), viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: ICONS[name] }));
}

export const ICONS = {
  play: "M8 5.2v13.6a.8.8 0 0 0 1.2.7l10.6-6.8a.8.8 0 0 0 0-1.4L9.2 4.5a.8.8 0 0 0-1.2.7z",
  pause: "M7 5h3.4v14H7zM13.6 5H17v14h-3.4z",
  more: "M6 10.3a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4zm6 0a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4zm6 0a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 0 1 0-3.4z",
  close: "M6.4 5 12 10.6 17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4z",
  check: "M9.5 16.2 5.3 12l-1.4 1.4 5.6 5.6L20.6 7.9l-1.4-1.4z",
  note: "M19 3v11.5a3.2 3.2 0 1 1-2-3V7.3l-7 1.6v8.6a3.2 3.2 0 1 1-2-3V5.6z",
  loud:
    "M4 9.5v5h3.2L12 19V5L7.2 9.5zM14.5 8.4v7.2a4 4 0 0 0 0-7.2z" +
    "M14.5 4.6v1.9a5.9 5.9 0 0 1 0 11v1.9a7.7 7.7 0 0 0 0-14.8z",
  silent:
    "M4 9.5v5h3.2L12 19V5L7.2 9.5zM20.6 9.3l-1.3-1.3-2.3 2.4L14.7 8l-1.3 1.3 2.4 2.3-2.4 2.4 1.3 1.3 2.3-2.4 2.3 2.4 " +
    "1.3-1.3-2.4-2.4z",
  next: "M6 5.8v12.4a.7.7 0 0 0 1.1.6l8.4-6.2a.7.7 0 0 0 0-1.2L7.1 5.2a.7.7 0 0 0-1.1.6zM16.5 5H19v14h-2.5z",
  previous: "M18 5.8v12.4a.7.7 0 0 1-1.1.6l-8.4-6.2a.7.7 0 0 1 0-1.2l8.4-6.2a.7.7 0 0 1 1.1.6zM7.5 5H5v14h2.5z",
  shuffle:
    "M16.5 3.5 21 7l-4.5 3.5V8h-1.9l-6.4 9H3v-2h4.2l6.4-9h2.9zM3 6h5.2l1.9 2.7-1.2 1.7L7.2 8H3z" +
    "M12.6 13.6l1.2-1.7L15.5 15h1v-2.5L21 16l-4.5 3.5V17h-2z",
  repeat: "M7 6h9.5V3.5L21 7l-4.5 3.5V8H7a2 2 0 0 0-2 2v2H3v-2a4 4 0 0 1 4-4zm10 12H7.5v2.5L3 17l4.5-3.5V16H17a2 2 0 0 0 2-2v-2h2v2a4 4 0 0 1-4 4z",
  "repeat-one":
    "M7 6h9.5V3.5L21 7l-4.5 3.5V8H7a2 2 0 0 0-2 2v2H3v-2a4 4 0 0 1 4-4zm10 12H7.5v2.5L3 17l4.5-3.5V16H17a2 2 0 0 0 2-2v-2h2v2a4 4 0 0 1-4 4z" +
    "M11 9.5h2V15h-1.7v-3.7H10v-1.2z",
  queue: "M3 5h18v2H3zm0 5h11v2H3zm0 5h8v2H3zm13-2.5 5 3.3-5 3.3z",
  share: "M12 2.6 17 7.6l-1.4 1.4L13 6.4V15h-2V6.4L8.4 9 7 7.6zM5 11h3v2H6.5v6.5h11V13H16v-2h3a.5.5 0 0 1 .5.5V21a.5.5 0 0 1-.5.5H5a.5.5 0 0 1-.5-.5v-9.5A.5.5 0 0 1 5 11z",
  link:
    "M10.6 13.4a1 1 0 0 1-1.4 1.4 4.5 4.5 0 0 1 0-6.3l3.2-3.2a4.5 4.5 0 0 1 6.3 6.3l-1.3 1.3a1 1 0 0 1-1.4-1.4l1.3-1.3a2.5 2.5 0 0 0-3.5-3.5l-3.2 3.2a2.5 2.5 0 0 0 0 3.5z" +
    "M13.4 10.6a1 1 0 0 1 1.4-1.4 4.5 4.5 0 0 1 0 6.3l-3.2 3.2a4.5 4.5 0 0 1-6.3-6.3l1.3-1.3A1 1 0 0 1 8 12.5l-1.3 1.3a2.5 2.5 0 0 0 3.5 3.5l3.2-3.2a2.5 2.5 0 0 0 0-3.5z",
  lock: "M7 10V8a5 5 0 0 1 10 0v2h.5A1.5 1.5 0 0 1 19 11.5v8a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 5 19.5v-8A1.5 1.5 0 0 1 6.5 10zm2 0h6V8a3 3 0 0 0-6 0z",
  bin: "M9 3h6l1 2h4v2H4V5h4zM6 8.5h12l-.8 11.1a1.5 1.5 0 0 1-1.5 1.4H8.3a1.5 1.5 0 0 1-1.5-1.4zm3.5 2.5v7.5h1.5V11zm3.5 0v7.5h1.5V11z",
  book: "M4 4.5h5.5A3 3 0 0 1 12 6a3 3 0 0 1 2.5-1.5H20V18h-5.5A2.5 2.5 0 0 0 12 20a2.5 2.5 0 0 0-2.5-2H4zm2 2V16h3.5a4 4 0 0 1 1.5.3V8a1.5 1.5 0 0 0-1.5-1.5zm8.5 0A1.5 1.5 0 0 0 13 8v8.3a4 4 0 0 1 1.5-.3H18V6.5z",
  pen: "M15.8 3.5l4.7 4.7L9.2 19.5 3.5 20.5l1-5.7zm0 2.8L6.4 15.7l-.4 2.3 2.3-.4 9.4-9.4z",
  merge: "M7 3.5 11.5 8h-3.4c.2 2.8 1.6 4.2 4.9 4.6V20h-2v-5.6C7.5 13.7 6.3 11.6 6.1 8H2.5zM17 3.5 21.5 8h-3.6c-.2 2.5-.9 4.3-2.6 5.4l-1.3-1.6c1.2-.8 1.7-2 1.9-3.8h-3.4z",
  back: "M14.7 5.3 16.1 6.7 10.8 12l5.3 5.3-1.4 1.4L8 12z",
  down: "M12 15.6 5.7 9.3l1.4-1.4 4.9 4.9 4.9-4.9 1.4 1.4z",
  phone: "M7.2 3.5 10 8.2 8.3 10a12 12 0 0 0 5.7 5.7l1.8-1.7 4.7 2.8-.9 3.2c-.2.7-.8 1.1-1.5 1A17.2 17.2 0 0 1 3 5.9c0-.7.4-1.3 1-1.5z",
  photo: "M5 5h14a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V7c0-1.1.9-2 2-2zm0 12h14l-4.6-6.1-3.5 4.4-2.4-2.9zM8.2 10.4a1.5 1.5 0 1 0 0-3 1.5 1.5 0 0 0 0 3z",
};
