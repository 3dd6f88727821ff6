// A long list or grid of which only what is in sight, and a little around it, is in the document.

import { h } from "../dom.js";

const AROUND = 600; // pixels above and below the window

/**
 * Returns a list that scrolls with the window. An entry has a `key`, and `wide` if it takes a whole row. `measure(width)`
 * returns {columns, gap, wide, tall}: the columns, the gap between them, and the heights of wide entries and of others.
 * `make(entry)` makes an element, `update(element, entry)` shows an entry again. `onend` is called near the end, `onview`
 * with the first and the last entry that are in the document.
 */
export function virtual({ label, measure, make, update, onend, onview }) {
  const element = h("div", { class: "virtual", role: "group", "aria-label": label });
  let [entries, places, height, width, asked] = [[], [], 0, 0, 0];
  const shown = new Map(); // key → {node, entry}

  /** Finds the place of every entry; some microseconds for a thousand. */
  function lay() {
    width = element.clientWidth;
    if (!width) return;
    const { columns, gap, wide, tall } = measure(width);
    const column = (width - gap * (columns - 1)) / columns;
    let [x, y] = [0, 0];
    places = entries.map((entry) => {
      if (entry.wide && x) [x, y] = [0, y + tall];
      const place = { x: x * (column + gap), y, width: entry.wide ? width : column, height: entry.wide ? wide : tall };
      if (entry.wide) y += wide;
      else if (++x === columns) [x, y] = [0, y + tall + gap];
      return place;
    });
    height = x ? y + tall : y;
    element.style.height = `${height}px`;
  }

  function draw() {
    asked = 0;
    if (!width) lay();
    if (!width) return;
    const top = -element.getBoundingClientRect().top;
    const [from, until] = [top - AROUND, top + innerHeight + AROUND];
    const focused = [...shown].find(([, { node }]) => node.contains(document.activeElement))?.[0];
    const wanted = [];
    for (let number = first(from); number < entries.length && places[number].y < until; number++) wanted.push(number);
    const [head, tail] = [entries[wanted[0]], entries[wanted.at(-1)]];
    // What has the focus stays, wherever it is.
    if (focused !== undefined && !wanted.some((number) => entries[number].key === focused)) {
      const number = entries.findIndex(({ key }) => key === focused);
      if (number >= 0) wanted[number < (wanted[0] ?? 0) ? "unshift" : "push"](number);
    }
    const keys = new Set(wanted.map((number) => entries[number].key));
    for (const [key, { node }] of shown) {
      if (keys.has(key)) continue;
      node.remove();
      shown.delete(key);
    }
    let before = element.firstChild;
    for (const number of wanted) {
      const entry = entries[number];
      let one = shown.get(entry.key);
      if (!one) {
        one = { node: make(entry), entry };
        shown.set(entry.key, one);
      } else if (one.entry !== entry) {
        one.entry = entry;
        update(one.node, entry);
      }
      position(one, places[number]);
      if (one.node === before) before = before.nextSibling;
      else element.insertBefore(one.node, before);
    }
    if (head) onview?.(head, tail);
    if (until > height - innerHeight) onend?.();
  }

  function position(one, place) {
    if (one.place === place) return;
    one.place = place;
    const { style } = one.node;
    style.transform = `translate(${place.x}px, ${place.y}px)`;
    style.width = `${place.width}px`;
    style.height = `${place.height}px`;
  }

  /** Returns the first entry that reaches below `y`. */
  function first(y) {
    let [low, high] = [0, places.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[middle].y + places[middle].height < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  const later = () => (asked ||= requestAnimationFrame(draw));
  const resized = new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    lay();
    later();
  });
  resized.observe(element);
  addEventListener("scroll", later, { passive: true });
  addEventListener("resize", later);

  return {
    element,
    set(next) {
      entries = next;
      lay();
      draw();
    },
    /** Shows all entries again, after a change of something beside them. */
    refresh() {
      for (const { node, entry } of shown.values()) update(node, entry);
    },
    /** Brings an entry into sight and returns its element. */
    reveal(key) {
      const number = entries.findIndex((entry) => entry.key === key);
      if (number < 0) return null;
      const { y, height: tall } = places[number];
      const top = element.getBoundingClientRect().top + y;
      if (top < 80) scrollBy(0, top - 80);
      else if (top + tall > innerHeight - 180) scrollBy(0, top + tall - innerHeight + 180);
      draw();
      return shown.get(key)?.node ?? null;
    },
    /** Returns the entry that an arrow key leads to from another one. */
    beside(key, arrow) {
      const at = entries.findIndex((entry) => entry.key === key);
      const step = arrow === "ArrowLeft" || arrow === "ArrowUp" ? -1 : 1;
      let best = null;
      for (let number = at + step; number >= 0 && number < entries.length; number += step) {
        if (entries[number].wide) continue;
        if (arrow === "ArrowLeft" || arrow === "ArrowRight") return entries[number];
        if (places[number].y === places[at].y) continue;
        if (best !== null && places[number].y !== places[best].y) break;
        const away = (one) => Math.abs(places[one].x - places[at].x);
        if (best === null || away(number) < away(best)) best = number;
      }
      return best === null ? null : entries[best];
    },
    stop() {
      resized.disconnect();
      removeEventListener("scroll", later);
      removeEventListener("resize", later);
      cancelAnimationFrame(asked);
    },
  };
}
