// A Chromium and pages that are watched: every test ends with no error, no refusal by the policy, and no foreign request.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
export const ORIGIN = process.env.DAYSONG_ORIGIN;

/** `keepsPages`: for going back and forward, as browsers of people do; then `page.goBack` of playwright does not work. */
export const launch = ({ keepsPages = false } = {}) =>
  chromium.launch({
    ignoreDefaultArgs: keepsPages ? ["--disable-back-forward-cache"] : [],
    executablePath: process.env.DAYSONG_CHROMIUM,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--autoplay-policy=no-user-gesture-required",
    ],
  });

/** A page with a list of what must not happen, and the sizes of what was loaded. */
export async function watched(browser, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const wrong = [];
  const loaded = [];
  page.on("pageerror", (error) => wrong.push(`error: ${error}`));
  page.on("console", (message) => message.type() === "error" && wrong.push(`console: ${message.text()}`));
  page.on("request", (request) => {
    if (!request.url().replace(/^blob:/, "").startsWith(`${ORIGIN}/`)) wrong.push(`foreign: ${request.url()}`);
  });
  page.on("requestfinished", async (request) => {
    const sizes = await request.sizes().catch(() => null);
    if (sizes) loaded.push({ url: request.url(), bytes: sizes.responseBodySize + sizes.responseHeadersSize });
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective}`));
  });
  return { context, page, wrong, loaded };
}

/** Opens a page for a test, and checks at its end that nothing went wrong. */
export async function visit(browser, address, options, act) {
  const { context, page, wrong, loaded } = await watched(browser, options);
  try {
    const answer = await page.goto(address);
    await act(page, { answer, loaded, wrong });
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
  }
}

/** Returns what axe finds serious or critical, in all of the page or within an element. */
export async function findings(page, within = "html", rules = null) {
  // Not as a script of the page, whose policy would refuse it.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  const { violations } = await page.evaluate(
    ([where, only]) => globalThis.axe.run(where, { resultTypes: ["violations"], preload: false, ...(only && { runOnly: only }) }),
    [within, rules],
  );
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
}

// Where only the theme differs from what axe has seen, only these can find something else.
const OF_COLOURS = ["color-contrast", "link-in-text-block"];
const LOOKS = [
  ["light", 1280, 800, null],
  ["dark", 1280, 800, OF_COLOURS],
  ["dark", 320, 640, null],
  ["light", 320, 640, OF_COLOURS],
];

/**
 * Returns what is wrong with a page as it is: what axe finds in both themes, at a desk and on a small phone, where it is
 * too wide, and what a zoom of 200 % loses, unless `zoom` is false. `within` is the part of it that is looked at.
 */
export async function faults(page, { within = "html", zoom = true } = {}) {
  const found = [];
  const before = page.viewportSize();
  let whole = null;
  for (const [colorScheme, width, height, rules] of LOOKS) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.setViewportSize({ width, height });
    const wide = await page.evaluate(laidOut);
    if (wide > width) found.push(`${width}: the page is ${wide} wide`);
    whole ??= zoom && (await page.evaluate(contents, [within, false]));
    found.push(...(await findings(page, within, rules)).map((what) => `${colorScheme} ${width}: ${what}`));
  }
  if (zoom) found.push(...(await lostByZoom(page, within, whole)));
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  await page.setViewportSize(before);
  return found;
}

// What a browser's zoom changes is how many pixels of the screen a CSS pixel has. At 200 % a window of 1280 × 800 is 640 × 400
// of them, each 2 × 2: innerWidth, devicePixelRatio and media queries say so, with Chromium's own zoom as with this. (CSS
// `zoom` leaves media queries alone, and Emulation.setPageScaleFactor is a pinch, which lays nothing out.)
async function lostByZoom(page, within, whole) {
  const inspected = await page.context().newCDPSession(page);
  await inspected.send("Emulation.setDeviceMetricsOverride", { width: 640, height: 400, deviceScaleFactor: 2, mobile: false });
  const wide = await page.evaluate(laidOut);
  const zoomed = await page.evaluate(contents, [within, true]);
  await inspected.send("Emulation.clearDeviceMetricsOverride");
  await inspected.detach();
  return [
    ...(wide > 640 ? [`at 200 % the page is ${wide} wide`] : []),
    ...whole.texts.filter((text) => !zoomed.texts.includes(text)).map((text) => `at 200 % a text is lost: ${text}`),
    ...zoomed.covered.map((control) => `at 200 % a control with the focus is covered: ${control}`),
  ];
}

/** Resolves to the width of the page once it is laid out and what moves has come to rest. */
async function laidOut() {
  const frame = () => new Promise((next) => requestAnimationFrame(next));
  for (let count = 0; count < 2; count += 1) await frame();
  const moving = document.getAnimations().filter(({ effect }) => effect.getTiming().iterations === 1);
  await Promise.allSettled(moving.map(({ finished }) => finished));
  // A list is laid out anew in the next frames.
  for (let count = 0; count < 60 && document.documentElement.scrollWidth > innerWidth; count += 1) await frame();
  return document.documentElement.scrollWidth;
}

/** Returns the texts that can be seen, and the controls that are covered when they have the focus. */
function contents([within, withControls]) {
  const root = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.querySelector(within);
  const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  /** What of a box is not cut off for good: what can be scrolled is not. */
  const kept = (box, element) => {
    let { left, top, right, bottom } = box;
    for (let one = element; one && one !== document.documentElement; one = one.parentElement) {
      const [style, own] = [getComputedStyle(one), one.getBoundingClientRect()];
      if (["hidden", "clip"].includes(style.overflowX)) [left, right] = [Math.max(left, own.left), Math.min(right, own.right)];
      if (["hidden", "clip"].includes(style.overflowY)) [top, bottom] = [Math.max(top, own.top), Math.min(bottom, own.bottom)];
      if (style.clipPath !== "none" && own.width < 2) return 0;
    }
    return Math.max(0, right - left) * Math.max(0, bottom - top);
  };
  const texts = new Set();
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const [text, parent] = [node.data.trim(), node.parentElement];
    // A long list has fewer of its rows in the document where the window is small, the cells of a table say their heads
    // themselves, what the bar of the player leaves out is in its dialog, and the time of a song goes on.
    if (!text || /^\d+:\d\d$/.test(text) || parent.closest(".virtual, .brand, .player-bar, thead, option, script, style, noscript") || !shown(parent)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (kept(box, parent) > (box.width * box.height) / 2) texts.add(text.slice(0, 80));
  }
  const covered = [];
  const [active, y] = [document.activeElement, scrollY];
  for (const one of withControls ? root.querySelectorAll("a[href], button, input, select, textarea, summary") : []) {
    if (one.disabled || one.tabIndex < 0 || !shown(one)) continue;
    one.focus();
    const { left, top, right, bottom } = one.getBoundingClientRect();
    const at = document.elementFromPoint((Math.max(left, 0) + Math.min(right, innerWidth)) / 2, (Math.max(top, 0) + Math.min(bottom, innerHeight)) / 2);
    if (!at || !(one.contains(at) || at.contains(one) || [...(one.labels ?? [])].some((label) => label.contains(at)))) {
      covered.push(`${one.outerHTML.slice(0, 90)} by ${at?.outerHTML.slice(0, 60)}`);
    }
  }
  if (withControls) {
    active?.focus({ preventScroll: true });
    scrollTo(0, y);
  }
  return { texts: [...texts], covered };
}

/** Moves the playing audio to some moments: at each, one word is lit, that of the moment. `player`, `words`: where to look. */
export async function assertWordsInTime(page, { player = "audio", words = ".line.now .word" } = {}) {
  for (const moment of [2.2, 5.1, 9, 14.3, 19.7]) {
    const seen = await page.evaluate(
      ([at, audio, lit]) =>
        new Promise((done) => {
          const element = document.querySelector(audio);
          element.currentTime = at;
          const begun = performance.now();
          // After the page's own frames, in one of them.
          const look = () => {
            if (element.seeking || performance.now() - begun < 250) return requestAnimationFrame(look);
            const word = document.querySelector(lit);
            if (!word && performance.now() - begun < 3000) return requestAnimationFrame(look);
            done({ time: element.currentTime, word: word?.dataset.t, many: document.querySelectorAll(".word").length });
          };
          requestAnimationFrame(look);
        }),
      [moment, player, words],
    );
    assert.ok(seen.word, `no word is lit at ${moment}`);
    assert.equal(seen.many, 1);
    const [start, end] = seen.word.split(" ").map((hundredths) => hundredths / 100);
    assert.ok(start - 0.15 <= seen.time && seen.time <= end + 0.15, `at ${seen.time}: the word of ${start} to ${end}`);
  }
}
