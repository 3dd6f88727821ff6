// The diary and the calls. `olga` has 10,000 entries; rehearsal/long_diary.py.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { faults, ORIGIN } from "./browser.mjs";
import { as, assertQuick, call, chromium, DESK, PHONE, steer, turn, worked } from "./studio.mjs";

const PIXEL = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const file = (name, buffer = PIXEL, mimeType = "image/png") => ({ name, mimeType, buffer });
const WORDS = "I met Anna at the market, and we cooked dinner together.\n\nLater we walked home in the rain.";

let browser;
before(async () => (browser = await chromium()));

const button = (page, name) => page.getByRole("button", { name, exact: true });
const inDiary = (name, path, options, act) => as(browser, name, path, options, act);

test("an entry with photos, a song in two versions, other words, and its deletion", async () => {
  const { _id: id } = await call("dana", "mutation", "diaries:createDiary", { content: WORDS });
  await inDiary("dana", `/diary/${id}`, PHONE, async (page, { wrong }) => {
    await page.getByText("Later we walked home").waitFor();
    await button(page, "Make a song").click();
    await page.setInputFiles("input[type=file]", [file("a.png"), file("b.png")]);
    await page.locator(".photo .look img").nth(1).waitFor();
    // The photo is the file's own, from an address of this server.
    assert.equal(await page.locator(".photo .look img").first().evaluate((image) => image.decode().then(() => image.naturalWidth)), 1);
    await page.setInputFiles("input[type=file]", [file("page.html", Buffer.from("<html>"), "text/html")]);
    await page.getByText("This is not a photo or a video").waitFor();
    // The browser notes the refusal too.
    assert.match(wrong.splice(0).join(), /^console: .*415[^,]*$/);
    await page.locator(".photo .look").first().press("Enter");
    await page.getByRole("dialog", { name: "Photo" }).waitFor();
    await page.keyboard.press("Escape");
    await button(page, "Remove this photo").first().click();
    await button(page, "Remove").click();
    await page.waitForFunction(() => document.querySelectorAll(".photo").length === 1);

    await button(page, "Play Version 2").click();
    await button(page, "Pause Version 2").waitFor();
    assert.equal((await call("dana", "query", "music:listTracks", { diaryId: id })).length, 2);

    await button(page, "Edit").click();
    await page.getByRole("textbox").fill("Other words.");
    await page.waitForTimeout(700); // the draft is kept
    await page.reload();
    await page.getByText("Here is what you had not saved yet.").waitFor();
    assert.equal(await page.getByRole("textbox").inputValue(), "Other words.");
    await page.getByRole("textbox").press("Control+Enter");
    await page.locator(".entry-text p", { hasText: "Other words." }).waitFor();

    await button(page, "More for this entry").click();
    await page.getByRole("menuitem", { name: "Delete…" }).click();
    await page.getByRole("dialog").getByText("deleted for good").waitFor();
    await button(page, "Delete the entry").click();
    await page.getByRole("heading", { name: "Diary", level: 1 }).waitFor();
    assert.equal(await call("dana", "query", "diaries:getDiary", { diaryId: id }), null);
  });
});

test("a month, a year and the list lead to an entry, with the keyboard alone, and follow what happens", () =>
  inDiary("edda", "/diary", DESK, async (page) => {
    await page.getByRole("heading", { name: "What happened today?" }).waitFor();
    // From another device of hers: everything appears by itself.
    await call("edda", "mutation", "diaries:createDiary", { content: "First snow." });
    await page.locator(".day.written.today").waitFor();
    const { _id: id } = await call("edda", "mutation", "diaries:createDiary", { content: "مشيت على شاطئ البحر" });
    await page.getByText("2 entries", { exact: true }).waitFor();
    await call("edda", "action", "music:startDiaryMusicGeneration", { content: "A song of snow.", diaryId: id });
    await page.locator(".day.today.covered").waitFor();
    await page.locator(".day.today").focus();
    await page.keyboard.press("Enter");
    await button(page, "Show the month").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-pressed")), "true");

    await button(page, "Year").focus();
    await page.keyboard.press("Enter");
    const now = new Date().toLocaleString("en", { month: "long" });
    const month = page.getByRole("button", { name: new RegExp(`^${now} .*2 entries, 1 song`) });
    await month.waitFor();
    await page.getByText("You wrote on 1 day of").waitFor();
    await month.focus();
    await page.keyboard.press("Enter");
    await page.locator(".month-grid").waitFor();

    await button(page, "List").focus();
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "With a song" }).press("Enter");
    await page.waitForFunction(() => document.querySelectorAll(".virtual .entry-row").length === 1);
    assert.match(page.url(), /view=list&only=songs/);
    await page.reload();
    const row = page.locator(".virtual .entry-row");
    await row.focus();
    await page.keyboard.press("Enter");
    await page.locator(".take").first().waitFor();
    assert.match(page.url(), new RegExp(`/diary/${id}$`));
    await page.locator(".entry-back").press("Enter");
    await page.locator(".virtual .entry-row").waitFor();
    assert.match(page.url(), /only=songs/);
  }));

test("the days with a person, and the entries of one subject", () =>
  inDiary("selma", "/people", PHONE, async (page) => {
    await page.locator(".person-card").first().click();
    await page.getByRole("link", { name: "All of these days" }).click();
    await page.locator(".virtual .entry-row").first().waitFor();
    const person = page.getByRole("combobox", { name: "Person" });
    assert.match(page.url(), /person=person_/);
    assert.notEqual(await person.inputValue(), "");
    const subject = page.getByRole("combobox", { name: "Subject" });
    await subject.selectOption({ index: 1 });
    await page.waitForURL(/tag=tag_/);
    await page.locator(".virtual .entry-row").first().waitFor();
    await button(page, "All").click();
    await page.locator(".virtual .entry-row .of-song").first().waitFor();
  }));

test("a call now: it rings, is talked, and becomes an entry and a song by themselves", async () => {
  const number = "+12025550147";
  await steer("vapi", "people", { number, answers: "talks" });
  await inDiary("greta", "/calls", PHONE, async (page) => {
    await page.getByText("your phone rings and a friendly voice").waitFor();
    await page.getByLabel("Phone number with country code").fill("2025550147");
    await button(page, "Start the calls").click();
    await page.getByText("with its country code").waitFor();
    await page.getByLabel("Phone number with country code").fill("+1 (202) 555-0147");
    await page.getByLabel("Days", { exact: true }).selectOption("weekdays");
    // Where it is day, since a number that has not agreed is not called at night.
    const hour = new Date().getUTCHours();
    await page.getByLabel("Time zone").selectOption(hour < 8 ? "Asia/Tokyo" : hour < 19 ? "Europe/London" : "America/Los_Angeles");
    await button(page, "Start the calls").click();
    await page.getByText("The next call comes").waitFor();
    await page.getByRole("heading", { name: "Before the first call" }).waitFor();
    await page.getByLabel("Time of the call").fill("07:15");
    await button(page, "Save").click();
    await page.getByText("07:15").or(page.getByText("7:15")).first().waitFor();
    await button(page, "Pause the calls").click();
    await page.getByText("The calls are paused", { exact: true }).waitFor();
    assert.equal(await call("greta", "query", "callSettings:getNextCall"), null);
    await button(page, "Switch on again").click();
    await button(page, "Call me now").click();
    await page.getByText(/You talked for .* It became an entry\./).waitFor();
    await page.getByRole("heading", { name: "You agreed to these calls" }).waitFor();
    await page.locator(".call-entry .entry-row .of-song.ready").waitFor();
    const more = page.getByRole("button", { name: "More for this call" });
    await more.scrollIntoViewIfNeeded();
    await page.waitForTimeout(100); // a menu closes when the page scrolls
    await more.click();
    await page.getByRole("menuitem", { name: "What was said", exact: true }).click();
    await page.locator(".turn.own").first().waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".call-entry .entry-row").click();
    await page.locator(".take").first().waitFor();
  });
});

/** The month that is some months after the oldest entry of olga. */
const longAgo = () => new Date(Date.now() - (10_000 * 5 - 24 * 90) * 3_600_000).toISOString().slice(0, 7);

test("ten thousand entries scroll without a frame over 100 ms", () =>
  inDiary("olga", "/today", DESK, async (page) => {
    const work = await worked(page);
    const frame = (y) =>
      page.evaluate(async (step) => {
        scrollBy(0, step);
        await new Promise((next) => requestAnimationFrame(() => requestAnimationFrame(next)));
        const done = document.querySelector(".list-end").textContent.includes("where it begins");
        return { done: done && scrollY + innerHeight >= document.body.scrollHeight - 2, height: document.querySelector(".virtual").clientHeight, rows: document.querySelectorAll(".entry-row").length };
      }, y);
    // From the newest entry on, and the oldest ones to the end. DAYSONG_FRAMES=5000 scrolls through all of them.
    const most = Number(process.env.DAYSONG_FRAMES ?? 60);
    for (const [at, isEnd, least] of [["", most > 1000, most > 1000 ? 10_000 : 500], [`&at=${longAgo()}`, true, 300]]) {
      await page.goto(`${ORIGIN}/diary?view=list${at}`);
      await page.locator(".virtual .entry-row").first().waitFor();
      let seen = null;
      const works = [];
      await work();
      for (let count = 0; count < (isEnd ? 5000 : most) && !seen?.done; count += 1) {
        seen = await frame(4000);
        works.push(await work());
      }
      await frame(-100_000);
      works.push(await work());
      assertQuick(works);
      assert.ok(seen.rows < 60, `${seen.rows} rows in the document`);
      assert.ok(seen.height > least * 7 * 16, `only ${seen.height} pixels`);
      assert.ok(seen.done || !isEnd, "the end was not reached");
      if (process.env.DAYSONG_FRAMES) console.log(`longest ${Math.max(...works)} ms, ${seen.height} px`);
    }
  }));

test("the diary and the calls are accessible in both themes and sizes, and with a zoom of 200 %", async () => {
  const { _id: id } = await call("hilda", "mutation", "diaries:createDiary", { content: `${WORDS} ${"x".repeat(90)}` });
  await call("hilda", "mutation", "callSettings:upsertCallSettings", {
    phoneE164: "+12025550148", timezone: "Europe/London", timeOfDay: "20:30", cadence: "custom", daysOfWeek: [1, 5], active: true,
  });
  await call("hilda", "action", "music:startDiaryMusicGeneration", { content: WORDS, diaryId: id });
  // The entry first: once its song is there, the other views do not change while they are looked at.
  const views = [[`/diary/${id}`, ".take"], ["/diary", ".month-grid"], ["/diary?view=year", ".year-map"], ["/diary?view=list", ".virtual .entry-row"], ["/calls", ".next-when"]];
  await inDiary("hilda", "/diary", { ...DESK, reducedMotion: "reduce" }, async (page) => {
    for (const [path, sign] of views) {
      await turn(page, path);
      await page.locator(sign).first().waitFor();
      assert.deepEqual(await faults(page), [], path);
    }
  });
});
