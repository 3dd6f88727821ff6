// /docs as developers have it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ORIGIN, faults, launch, visit } from "./browser.mjs";

const PHONE = { viewport: { width: 375, height: 667 }, hasTouch: true };
const DESK = { viewport: { width: 1280, height: 800 } };

let browser;
before(async () => (browser = await launch()));
after(() => browser.close());

test("functions are found by what they are about", () =>
  visit(browser, `${ORIGIN}/docs`, DESK, async (page) => {
    await page.keyboard.press("/");
    await page.keyboard.type("creatediary entry dated");
    await page.getByRole("status").getByText(/of \d+/).waitFor();
    const shown = await page.locator("article:visible h3 code").allTextContents();
    assert.ok(shown.includes("diaries:createDiary") && !shown.includes("billing:getPlans"), shown.join(" "));
    await page.keyboard.press("Escape");
    assert.ok((await page.locator("article:visible").count()) > 60);
  }));

test("a function is called, as a stranger and with a token", () =>
  visit(browser, `${ORIGIN}/docs#diaries:createDiary`, PHONE, async (page, { wrong }) => {
    await page.getByRole("button", { name: "Try it: diaries:createDiary" }).click();
    const form = page.locator("form.try");
    await form.getByLabel("Arguments").fill("{");
    await form.getByRole("button", { name: "Run" }).click();
    await form.getByText("not JSON").waitFor();
    await form.getByLabel("Arguments").fill('{"content": "Written in the reference."}');
    await form.getByRole("button", { name: "Run" }).click();
    await form.getByText(/error · /).waitFor();
    await form.getByLabel(/token/).fill(process.env.DAYSONG_TOKEN);
    await form.getByRole("button", { name: "Run" }).click();
    await form.getByText(/success · 200/).waitFor();
    assert.match(await form.getByLabel("Result").textContent(), /diary_/);
    // Of the functions, which all look the same, a few; with all of them axe takes half a minute.
    await page.getByRole("searchbox").fill("creatediary entry dated");
    await page.getByRole("status").getByText(/of \d+/).waitFor();
    assert.deepEqual(await faults(page), []);
    // Chromium logs the refusal of the stranger's call, if its status says so.
    wrong.splice(0, wrong.length, ...wrong.filter((line) => !line.includes("Failed to load resource")));
  }));
