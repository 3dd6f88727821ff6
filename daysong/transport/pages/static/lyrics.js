// Lights up the words as they are sung, keeps their line in view, and makes lines start the song where they are sung.

const REST = 4; // seconds a line stays lit after its last word, when no other follows
const LEAVE_ALONE = 4000; // milliseconds without following, after the reader has scrolled

/** Follows the words of `section`; `signal` ends that. */
export function followLyrics(section, playFrom, signal) {
  const words = [...(section?.querySelectorAll("[data-t]") ?? [])].map((element) => {
    const [start, end] = element.dataset.t.split(" ").map((hundredths) => Number(hundredths) / 100);
    return { element, start, end, line: element.closest(".line") };
  });
  if (!words.length) return { show() {} };

  const lines = [...new Set(words.map((word) => word.line))];
  const starts = new Map();
  for (const word of words) if (!starts.has(word.line)) starts.set(word.line, word.start);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let [lit, shown, readAt] = [null, -1, -Infinity];

  // One stop of the Tab key for all lines; arrows go from line to line.
  lines.forEach((line, number) => {
    line.setAttribute("role", "button");
    line.tabIndex = number ? -1 : 0;
  });
  function focus(line) {
    if (!line) return;
    for (const other of lines) other.tabIndex = other === line ? 0 : -1;
    line.focus();
  }
  section.addEventListener("click", (event) => {
    const line = event.target.closest(".line[role]");
    if (line && getSelection().isCollapsed) playFrom(starts.get(line));
  });
  section.addEventListener("keydown", (event) => {
    const place = lines.indexOf(event.target.closest(".line[role]"));
    if (place < 0) return;
    if (event.key === "Enter" || event.key === " ") playFrom(starts.get(lines[place]));
    else if (event.key === "ArrowDown") focus(lines[place + 1]);
    else if (event.key === "ArrowUp") focus(lines[place - 1]);
    else return;
    event.preventDefault();
  });
  for (const name of ["wheel", "touchmove"]) {
    addEventListener(name, () => (readAt = performance.now()), { passive: true, signal });
  }

  // The last word that has begun; -1 before the first one.
  function at(seconds) {
    let [low, high] = [0, words.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (words[middle].start <= seconds) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  function light(line) {
    if (line === lit) return;
    if (lit) {
      lit.classList.remove("now");
      for (const word of lit.querySelectorAll(".past, .word")) word.classList.remove("past", "word");
    }
    lit = line;
    line?.classList.add("now");
    if (line && performance.now() - readAt > LEAVE_ALONE) {
      line.scrollIntoView({ block: "center", behavior: calm.matches ? "instant" : "smooth" });
    }
  }

  function show(seconds, playing) {
    if (playing) section.classList.add("live");
    else if (seconds === 0) section.classList.remove("live");
    if (!section.classList.contains("live")) return;
    const current = at(seconds);
    const word = words[current];
    const sung = word && seconds < word.end + 0.05;
    if (current === shown && (!word || sung === word.element.classList.contains("word"))) {
      if (word && !sung && seconds > word.end + REST) light(null);
      return;
    }
    shown = current;
    light(word && seconds <= word.end + REST ? word.line : null);
    if (!lit) return;
    for (let place = current; place >= 0 && words[place].line === lit; place--) {
      words[place].element.classList.add("past");
      words[place].element.classList.remove("word");
    }
    for (let place = current + 1; place < words.length && words[place].line === lit; place++) {
      words[place].element.classList.remove("past", "word");
    }
    if (sung) word.element.classList.add("word");
  }

  return { show };
}
