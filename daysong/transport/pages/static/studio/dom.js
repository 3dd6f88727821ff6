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
  down: "M12 15.6 5.7 9.3l1.4-1.4 4.9 4.9 4.9-4.9 1.4 1.4z",
};
