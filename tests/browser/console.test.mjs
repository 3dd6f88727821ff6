// The console as an operator has it: a failed song is found, read and made again; nothing is seen or done by others.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { faults, findings, launch, ORIGIN, watched } from "./browser.mjs";

const { DAYSONG_ADMIN_KEY: KEY, DAYSONG_EMAIL: EMAIL, DAYSONG_ENTRY: ENTRY } = process.env;
const HOME = `${ORIGIN}/console`;
const DESK = { viewport: { width: 1280, height: 800 } };
// What the browser says of a page with such a status, which tests here ask for.
const REFUSED = /^console: Failed to load resource: the server responded with a status of 40[03]/;

let browser, context, page, wrong, operator;
before(async () => {
  browser = await launch();
  ({ context, page, wrong } = await watched(browser, DESK));
});
after(async () => {
  await browser.close();
  assert.deepEqual(wrong.filter((what) => !REFUSED.test(what)), []);
});

const heading = () => page.getByRole("heading", { level: 1 });
const action = async (name, fields) => {
  const form = page.locator("details.action", { has: page.getByText(name, { exact: true }).first() });
  await form.locator("summary").click();
  for (const [label, text] of Object.entries(fields)) await form.getByLabel(label).fill(text);
  await form.getByRole("button", { name }).click();
};

test("a wrong key is told, and opens nothing", async () => {
  await page.goto(`${HOME}/jobs`);
  assert.equal(new URL(page.url()).pathname, "/console/sign-in");
  assert.deepEqual(await findings(page), []);
  await page.getByLabel("Admin key").fill("not the key");
  const begun = performance.now();
  await page.keyboard.press("Enter");
  await page.getByRole("alert").getByText("That is not the admin key").waitFor();
  assert.ok(performance.now() - begun > 450, "a wrong key was answered at once");
  assert.deepEqual(await findings(page), []);
  await page.goto(`${HOME}/people`);
  assert.equal(await page.getByRole("button", { name: "Sign in" }).count(), 1);
});

test("a failed song is found by e-mail, read, made again, and has its cost", async () => {
  await page.getByLabel("Admin key").fill(KEY);
  await page.keyboard.press("Enter");
  await heading().getByText("People").waitFor();
  // The field has the focus: the keyboard alone does it.
  await page.keyboard.type(EMAIL);
  await page.keyboard.press("Enter");
  await heading().getByText(EMAIL).waitFor();
  assert.ok(!page.url().includes("@"), "the address of the page has the e-mail address");
  await page.getByRole("row").filter({ hasText: "failed" }).getByRole("link").first().click();
  await page.getByText("too long, or too close to an existing work").first().waitFor();
  assert.ok(!(await page.content()).includes(ENTRY));
  await action("Make it again", { Reason: "Ticket 4711" });
  await page.getByRole("status").getByText("being made again").waitFor();
  const made = page.url().split("?")[0];
  for (let tries = 0; (await page.locator("h1 ~ .badge").textContent()) !== "ready"; tries++) {
    assert.ok(tries < 100, "the song is not ready");
    await page.waitForTimeout(150);
    await page.goto(made);
  }
  const cost = page.locator("dl.facts div").filter({ hasText: "Cost" }).locator("dd");
  assert.match(await cost.textContent(), /^\$0\.0[5-9]\d\d$/);
});

test("words are shown for a reason alone, which is kept with all that was done", async () => {
  assert.ok(!(await page.content()).includes(ENTRY));
  const form = page.locator("details.action form[action$='/read']");
  await form.evaluate((element) => (element.noValidate = true));
  await page.getByText("Read the words", { exact: true }).first().click();
  await form.getByRole("button").click();
  await page.getByText("Give a reason of 3 to 500 characters").waitFor();
  assert.ok(!(await page.content()).includes(ENTRY));
  await page.goBack();
  await action("Read the words", { Reason: "Ticket 4711, asked by the person" });
  await page.locator("#words").getByText(ENTRY).waitFor();
  await page.getByRole("link", { name: "Audit log" }).click();
  operator = await page.locator("header.head code").textContent();
  assert.match(operator, /^console [0-9a-f]{8}$/);
  const rows = await page.getByRole("row").filter({ hasText: operator }).allTextContents();
  for (const did of ["console sign in", "songs rerun", "songs read"]) {
    assert.ok(rows.some((row) => row.includes(did)), `no row of ${did}`);
  }
  assert.ok(rows.some((row) => row.includes("asked by the person")));
});

test("a form with another token is refused, and nothing is done", async () => {
  await page.goto(`${HOME}/flags`);
  const form = page.locator("main form.act.grid");
  await form.getByLabel("Flag").fill("made-up");
  await form.locator("[name=csrf]").evaluate((field) => (field.value = "0".repeat(64)));
  await form.getByRole("button", { name: "Save" }).click();
  await heading().getByText("Not accepted").waitFor();
  await page.goto(`${HOME}/flags`);
  assert.equal(await page.getByText("made-up").count(), 0);
  // The cookie is out of reach of scripts, and of other sites.
  const [cookie] = await context.cookies(HOME);
  assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, "Strict", "/console"]);
});

test("every page is accessible in both themes and sizes, and with a zoom of 200 %", async () => {
  await page.goto(HOME);
  const paths = await page.locator("nav a").evaluateAll((links) => links.map((link) => link.pathname));
  await page.goto(`${HOME}/songs`);
  paths.push(await page.locator("td a").first().evaluate((link) => link.pathname));
  await page.goto(`${HOME}/webhooks`);
  paths.push(await page.locator("td a").first().evaluate((link) => link.pathname));
  const bad = [];
  for (const path of new Set(paths)) {
    // As it would be loaded, in the document that axe is in: the pages have one head, and no scripts.
    const answer = await context.request.get(ORIGIN + path);
    assert.equal(answer.status(), 200, path);
    await page.evaluate((text) => {
      document.body.replaceWith(document.adoptNode(new DOMParser().parseFromString(text, "text/html").body));
      for (const details of document.querySelectorAll("aside details")) details.open = true;
    }, await answer.text());
    bad.push(...(await faults(page)).map((one) => `${path}: ${one}`));
  }
  assert.deepEqual(bad, []);
});

test("signing out ends the session", async () => {
  await page.setViewportSize(DESK.viewport);
  await page.goto(HOME);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await page.goto(HOME);
  assert.equal(new URL(page.url()).pathname, "/console/sign-in");
});
