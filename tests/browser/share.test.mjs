// The share page as its visitors have it.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ORIGIN, assertWordsInTime, faults, launch, visit } from "./browser.mjs";

const LINKS = JSON.parse(process.env.DAYSONG_LINKS);
const PHONE = { viewport: { width: 375, height: 667 }, hasTouch: true };
const DESK = { viewport: { width: 1280, height: 800 } };

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

const state = (page) =>
  page.evaluate(() => {
    const audio = document.querySelector("audio");
    return { time: audio.currentTime, paused: audio.paused, muted: audio.muted, speed: audio.playbackRate };
  });
const playing = (page) =>
  page.evaluate(
    () =>
      new Promise((done) => {
        const audio = document.querySelector("audio");
        const look = () => (!audio.paused && audio.currentTime > 0 ? done() : requestAnimationFrame(look));
        look();
      }),
  );

test("words light up as they are sung, and their line is in view", () =>
  visit(browser, LINKS.english, PHONE, async (page) => {
    await page.getByRole("button", { name: "Play", exact: true }).click();
    await playing(page);
    await assertWordsInTime(page);
    const line = await page.locator(".line.now").boundingBox();
    assert.ok(line.y > 0 && line.y + line.height < 667, "the line is out of view");
    await page.getByRole("button", { name: "Pause" }).click();
    assert.equal((await state(page)).paused, true);
  }));

test("a tap on a line starts the song there within 300 ms", () =>
  visit(browser, LINKS.english, PHONE, async (page) => {
    const delays = [];
    // On a busy machine one may be late.
    for (const number of [2, 5, 7]) {
      const line = page.locator(".line").nth(number);
      const starts = Number((await line.locator("[data-t]").first().getAttribute("data-t")).split(" ")[0]) / 100;
      await page.evaluate(() => {
        const audio = document.querySelector("audio");
        audio.pause();
        globalThis.heard = new Promise((done) => {
          let begun;
          addEventListener("click", () => (begun = performance.now()), { capture: true, once: true });
          const look = () =>
            begun && !audio.paused && !audio.seeking && audio.readyState > 2
              ? done({ after: performance.now() - begun, time: audio.currentTime })
              : requestAnimationFrame(look);
          look();
        });
      });
      await line.tap();
      const heard = await page.evaluate(() => globalThis.heard);
      assert.ok(heard.time >= starts - 0.01 && heard.time < starts + 0.3, `${heard.time} instead of ${starts}`);
      delays.push(heard.after);
    }
    assert.ok(Math.min(...delays) < 300, `started after ${delays} ms`);
  }));

test("everything works with the keyboard alone", () =>
  visit(browser, LINKS.english, DESK, async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "play");
    await page.keyboard.press("Space");
    await playing(page);
    await page.keyboard.press("k");
    assert.equal((await state(page)).paused, true);
    const before = (await state(page)).time;
    await page.keyboard.press("ArrowRight");
    assert.ok(Math.abs((await state(page)).time - before - 5) < 0.1);
    await page.keyboard.press("m");
    await page.keyboard.press("Shift+>");
    const { muted, speed } = await state(page);
    assert.deepEqual({ muted, speed }, { muted: true, speed: 1.25 });
    await page.getByRole("button", { name: "Speed: 1.25×" }).waitFor();
    // Position, speed, download, mute, volume, and one stop for all lines.
    const stops = [];
    for (let n = 0; n < 6; n++) {
      await page.keyboard.press("Tab");
      stops.push(await page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.classList[0]));
      if (n === 0) {
        await page.keyboard.press("Home");
        assert.equal((await state(page)).time, 0);
      }
    }
    assert.deepEqual(stops, ["Position", "Speed: 1.25×", "quiet", "Mute", "Volume", "line"]);
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    const second = await page.locator(".line [data-t]").evaluateAll((words) => {
      const lines = [...new Set(words.map((word) => word.closest(".line")))];
      return Number(lines[1].querySelector("[data-t]").dataset.t.split(" ")[0]) / 100;
    });
    await playing(page);
    const { time } = await state(page);
    assert.ok(time >= second - 0.01 && time < second + 3, `${time} instead of ${second}`);
  }));

test("it is accessible in both themes and sizes and with a zoom of 200 %, as the embedded player is", async () => {
  for (const address of [LINKS.english, `${LINKS.english}/embed`]) {
    await visit(browser, address, DESK, async (page) => {
      await page.evaluate(() => {
        const audio = document.querySelector("audio");
        audio.currentTime = 4;
        return audio.play();
      });
      // A frame has the size that its page gives it.
      if (address === LINKS.english) await page.locator(".line.now").waitFor();
      assert.deepEqual(await faults(page, { zoom: address === LINKS.english }), [], address);
    });
  }
});

test("the page is light, fits small screens, and keeps still where that is asked for", async () => {
  for (const [name, address] of Object.entries(LINKS)) {
    await visit(browser, address, { viewport: { width: 320, height: 640 }, reducedMotion: "reduce" }, async (page, { loaded }) => {
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 320, `${name} is too wide`);
      const bytes = loaded.filter(({ url }) => !url.includes("/media/")).reduce((sum, one) => sum + one.bytes, 0);
      assert.ok(bytes > 10_000 && bytes < 60_000, `${name} has ${bytes} bytes`);
      assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector(".play")).transitionDuration), "0s, 0s");
    });
  }
});

test("it is painted within a second on a slow connection", async () => {
  const times = [];
  for (let n = 0; n < 3 && !times.some((time) => time < 1000); n++) {
    await visit(browser, "about:blank", PHONE, async (page) => {
      const connection = await page.context().newCDPSession(page);
      await connection.send("Network.enable");
      const slow = { offline: false, latency: 150, downloadThroughput: 200_000, uploadThroughput: 90_000 };
      await connection.send("Network.emulateNetworkConditions", slow);
      await page.goto(LINKS.english);
      const painted = () =>
        new Promise((done) => {
          new PerformanceObserver((list) => {
            const first = list.getEntriesByName("first-contentful-paint")[0];
            if (first) done(first.startTime);
          }).observe({ type: "paint", buffered: true });
        });
      times.push(await page.evaluate(painted));
    });
  }
  assert.ok(Math.min(...times) < 1000, `painted after ${times} ms`);
});

test("without scripts the browser's own player and the lyrics are there", () =>
  visit(browser, LINKS.english, { ...DESK, javaScriptEnabled: false }, async (page) => {
    assert.equal(await page.locator("audio[controls]").isVisible(), true);
    assert.equal(await page.locator(".deck").isVisible(), false);
    assert.equal(await page.getByText("With the rain on the stone").isVisible(), true);
  }));

test("a song without timed words plays, with plain lyrics and a plain bar", () =>
  visit(browser, LINKS.untimed, PHONE, async (page) => {
    await page.getByRole("button", { name: "Play", exact: true }).click();
    await playing(page);
    assert.equal(await page.locator(".bar.played").count(), 1);
    assert.equal(await page.locator(".line[role]").count(), 0);
  }));

test("a song as the sandbox composes it plays to its end", () => {
  const song = JSON.parse(process.env.DAYSONG_SONG);
  return visit(browser, song.url, PHONE, async (page) => {
    assert.ok((await page.title()).includes(song.title));
    await page.getByRole("heading", { name: song.title }).waitFor();
    const seen = await page.evaluate(
      () =>
        new Promise((done, failed) => {
          const audio = document.querySelector("audio");
          audio.onended = () => done({ duration: audio.duration, width: document.querySelector("img.cover").naturalWidth });
          audio.playbackRate = 8;
          audio.play().catch(failed);
        }),
    );
    assert.ok(Math.abs(seen.duration - song.duration) < 0.3, `${seen.duration} s instead of ${song.duration}`);
    assert.ok(seen.width > 0, "the cover is not shown");
  });
});

test("the player may be embedded, the page may not", async (t) => {
  const context = await browser.newContext();
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const frames = `<iframe id="player" src="${LINKS.english}/embed"></iframe><iframe id="page" src="${LINKS.english}"></iframe>`;
  const elsewhere = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(frames));
  t.after(async () => {
    await context.close();
    elsewhere.closeAllConnections();
    elsewhere.close();
  });
  await new Promise((done) => elsewhere.listen(0, "127.0.0.1", done));
  await page.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  const player = page.frameLocator("#player");
  await player.getByRole("button", { name: "Play", exact: true }).click();
  await player.getByRole("button", { name: "Pause" }).waitFor();
  assert.equal(await page.frameLocator("#page").locator(".song").count(), 0);
});

test("once the song is private, there is a friendly page", async () => {
  const body = {
    path: "sharing:setSharePrivacy",
    args: { sharedMusicId: process.env.DAYSONG_SHARE, isPrivate: true },
    format: "json",
  };
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${process.env.DAYSONG_TOKEN}` };
  const closed = await fetch(`${ORIGIN}/api/mutation`, { method: "POST", headers, body: JSON.stringify(body) });
  assert.equal((await closed.json()).status, "success");
  await visit(browser, LINKS.english, PHONE, async (page, { answer, wrong }) => {
    assert.equal(answer.status(), 404);
    await page.getByRole("heading", { name: "There is no song here" }).waitFor();
    assert.equal(await page.locator("audio").count(), 0);
    assert.deepEqual(await faults(page), []);
    // The browser logs the status of the page itself.
    wrong.splice(0, wrong.length, ...wrong.filter((what) => !what.includes("404")));
  });
});
