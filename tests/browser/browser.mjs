// A Chromium and pages that are watched: every test ends with no error, no refusal by the policy, and no foreign request.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const AXE = readFileSync(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
export const ORIGIN = process.env.DAYSONG_ORIGIN;

export const launch = () =>
  chromium.launch({
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
export async function findings(page, within = "html") {
  // Not as a script of the page, whose policy would refuse it.
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(AXE);
  const { violations } = await page.evaluate((where) => globalThis.axe.run(where, { resultTypes: ["violations"], preload: false }), within);
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
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
