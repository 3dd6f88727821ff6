// A menu that opens at a button: of actions and links. On a phone it lies at the foot of the screen.

import { h, icon } from "../dom.js";

const GAP = 6; // pixels between button and menu
let openMenu = null;

/** Returns a button with three dots. `items()` gives what is in the menu when it opens; see `showMenu`. */
export function menuButton(label, items, { class: more = "" } = {}) {
  const button = h(
    "button",
    { class: `quiet menu-button ${more}`.trim(), type: "button", "aria-label": label, "aria-haspopup": "menu", "aria-expanded": "false" },
    icon("more"),
  );
  button.addEventListener("click", () => (openMenu?.anchor === button ? openMenu.close() : showMenu(button, label, items())));
  button.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown") return;
    event.preventDefault();
    showMenu(button, label, items());
  });
  return button;
}

/** Shows a menu at `anchor`. Items are {label, icon, act, href, danger}; what is false is left out, null is a line. */
export function showMenu(anchor, label, items) {
  openMenu?.close();
  const menu = h("div", { class: "menu", role: "menu", "aria-label": label, popover: "manual" });
  for (const item of items) {
    if (item === null) menu.append(h("hr", {}));
    else if (item) menu.append(entry(item));
  }
  const choices = [...menu.querySelectorAll("[role=menuitem]")];
  const stop = new AbortController();

  function close({ refocus = true } = {}) {
    if (openMenu?.menu !== menu) return;
    openMenu = null;
    stop.abort();
    const inside = menu.contains(document.activeElement);
    menu.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (refocus && inside && anchor.isConnected) anchor.focus();
  }

  function entry({ label: text, icon: name, act, href, danger }) {
    const tag = href ? "a" : "button";
    const props = { class: danger ? "danger" : null, role: "menuitem", tabIndex: -1, ...(href ? { href } : { type: "button" }) };
    const chosen = () => {
      close();
      act?.();
    };
    return h(tag, { ...props, on: { click: chosen } }, icon(name), h("span", {}, text));
  }

  menu.addEventListener("keydown", (event) => {
    const place = choices.indexOf(document.activeElement);
    const moves = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: choices.length - 1 };
    if (event.key in moves) choices.at(moves[event.key] % choices.length).focus();
    else if (event.key === "Escape") close();
    else if (event.key === "Tab") return close();
    else if (event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey) {
      const key = event.key.toLowerCase();
      const later = [...choices.slice(place + 1), ...choices];
      later.find((choice) => choice.textContent.toLowerCase().startsWith(key))?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const outside = (event) => !menu.contains(event.target) && !anchor.contains(event.target) && close({ refocus: false });
  document.addEventListener("pointerdown", outside, { capture: true, signal: stop.signal });
  for (const name of ["resize", "popstate"]) addEventListener(name, () => close({ refocus: false }), { signal: stop.signal });
  document.addEventListener("scroll", () => close({ refocus: false }), { capture: true, passive: true, signal: stop.signal });

  // In a dialog, outside of which nothing can be pressed.
  (anchor.closest("dialog") ?? document.body).append(menu);
  menu.showPopover?.();
  place(menu, anchor);
  anchor.setAttribute("aria-expanded", "true");
  openMenu = { menu, anchor, close };
  choices[0]?.focus({ preventScroll: true });
}

function place(menu, anchor) {
  if (matchMedia("(max-width: 40rem)").matches) return;
  const [at, size] = [anchor.getBoundingClientRect(), menu.getBoundingClientRect()];
  const rtl = getComputedStyle(anchor).direction === "rtl";
  const left = rtl ? at.left : at.right - size.width;
  const below = at.bottom + GAP + size.height <= innerHeight;
  const top = below ? at.bottom + GAP : Math.max(GAP, at.top - GAP - size.height);
  menu.style.left = `${Math.max(GAP, Math.min(left, innerWidth - size.width - GAP))}px`;
  menu.style.top = `${top}px`;
}
