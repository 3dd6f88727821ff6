// live.js, the client of the sync protocol, against the real server: over a connection that breaks where it hurts.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { ORIGIN, watched } from "./browser.mjs";
import { call, chromium, relayed } from "./studio.mjs";

let browser;
before(async () => (browser = await chromium()));

/** A page with a client of its own, signed in as `name`, and what a test needs of it. */
async function client(name, act) {
  const { context, page, wrong } = await watched(browser, { serviceWorkers: "block" });
  try {
    const relay = await relayed(page);
    await page.goto(`${ORIGIN}/sign-in`);
    await page.evaluate(async (who) => {
      const { createLive, encode, decode } = await import(document.querySelector("script[type=module]").src.replace("app.js", "live.js"));
      const live = createLive(`${location.origin.replace("http", "ws")}/api/sync`);
      const token = async () => {
        const headers = { "Content-Type": "application/json" };
        const person = { sub: `user_${who}`, email: `${who}@example.test`, name: who, ttl: globalThis.ttl };
        return (await (await fetch("/sandbox/clerk/sign-in", { method: "POST", headers, body: JSON.stringify(person) })).json()).jwt;
      };
      Object.assign(globalThis, { live, token, encode, decode, ttl: 3600, seen: [], states: [], ends: 0 });
      live.onstatus((status) => states.push(status));
      live.start(token, () => (ends += 1));
      await live.mutation("users:ensureCurrentUser", {});
      live.watch("diaries:pageDiaries", { limit: 5 }, { value: ({ page: listed }) => seen.push(listed.map((diary) => diary.content)) });
      while (!seen.length) await new Promise((done) => setTimeout(done, 5));
    }, name);
    await act(page, relay);
    assert.deepEqual(wrong.filter((what) => !what.includes("WebSocket")), []);
  } finally {
    await context.close();
  }
}

const until = (page, condition) => page.waitForFunction(condition, null, { polling: 20, timeout: 8000 });

test("a mutation holds once the live queries show it; errors and values are those of the server", () =>
  client("live_one", async (page) => {
    const shown = await page.evaluate(async () => {
      await live.mutation("diaries:createDiary", { content: "First." });
      return seen.at(-1);
    });
    assert.deepEqual(shown, ["First."]);
    // What another device writes arrives by itself.
    await call("live_one", "mutation", "diaries:createDiary", { content: "From a phone." });
    await until(page, () => seen.at(-1)?.[0] === "From a phone.");

    const failed = await page.evaluate(() =>
      live.mutation("diaries:updateDiary", { diaryId: "diary_x", content: "?" }).catch(({ name, code, message }) => ({ name, code, message })),
    );
    assert.deepEqual(failed, { name: "Refused", code: "diary_not_found", message: "Diary not found" });
    assert.equal(await page.evaluate(() => live.query("no:such", {}).catch(({ code }) => code)), "failed");

    const [same, integer] = await page.evaluate(() => {
      const value = { a: [1, -0, Infinity, null, "é\u0000"], b: 5n, c: new Uint8Array([1, 255]).buffer, d: undefined };
      const back = decode(JSON.parse(JSON.stringify(encode(value))));
      const whole = Object.is(back.a[1], -0) && back.a[2] === Infinity && back.b === 5 && new Uint8Array(back.c)[1] === 255 && !("d" in back);
      return [whole, decode(encode(2n ** 60n)) === 2n ** 60n];
    });
    assert.ok(same && integer);
  }));

test("a mutation whose answer was lost is not done twice", () =>
  client("live_two", async (page, relay) => {
    relay.hold = ({ type }) => {
      if (type !== "MutationResponse") return false;
      relay.hold = null;
      relay.cut();
      relay.mend();
      return true;
    };
    await page.evaluate(async () => void (await live.mutation("diaries:createDiary", { content: "Once." })));
    const asked = relay.sent.filter(({ type, udfPath }) => type === "Mutation" && udfPath === "diaries:createDiary");
    assert.equal(asked.length, 2);
    assert.equal(asked[0].requestId, asked[1].requestId);
    const listed = await call("live_two", "query", "diaries:pageDiaries", { limit: 5 });
    assert.deepEqual(listed.page.map((diary) => diary.content), ["Once."]);
  }));

test("what is asked without a connection is done after it is back, in order; an action in flight is rejected", () =>
  client("live_three", async (page, relay) => {
    await page.evaluate(() => {
      globalThis.lost = live.action("usage:checkUsageWithReconciliation", {}).then(() => "answered", (error) => error.code);
    });
    relay.hold = ({ type }) => type === "ActionResponse";
    relay.cut();
    assert.ok(["connection_lost", "answered"].includes(await page.evaluate(() => lost)));
    await page.evaluate(() => {
      globalThis.waiting = Promise.all(["One.", "Two.", "Three."].map((content) => live.mutation("diaries:createDiary", { content })));
    });
    await until(page, () => live.status === "offline");
    assert.equal(await page.evaluate(() => live.busy), true);
    relay.mend();
    await page.evaluate(() => waiting.then(() => null));
    assert.deepEqual(await page.evaluate(() => seen.at(-1)), ["Three.", "Two.", "One."]);
    assert.equal(await page.evaluate(() => live.status), "open");
  }));

test("a token is renewed before its end, and a refused one is replaced", () =>
  client("live_four", async (page, relay) => {
    await page.evaluate(() => {
      globalThis.asked = 0;
      globalThis.ttl = 4;
      live.stop();
      live.start((force) => ((asked += 1), asked === 1 ? "a.bad.token" : token(force)), () => (ends += 1));
      live.watch("users:getSettings", {}, { value: (settings) => (globalThis.settings = settings) });
    });
    await until(page, () => globalThis.settings?.timezone === "UTC" && asked >= 2);
    const before = relay.sent.filter(({ type }) => type === "Authenticate").length;
    // Of a life this short, the half.
    await until(page, () => asked >= 3);
    while (relay.sent.filter(({ type }) => type === "Authenticate").length <= before) await page.waitForTimeout(20);
    assert.equal(await page.evaluate(() => ends), 0);
  }));

test("a session that has ended is told once, and what waits is rejected", () =>
  client("live_five", async (page, relay) => {
    relay.cut();
    const code = await page.evaluate(() => {
      globalThis.rest = live.mutation("diaries:createDiary", { content: "Never." }).then(() => "done", (error) => error.code);
      live.stop();
      return rest;
    });
    assert.equal(code, "signed_out");
    relay.mend();
    await page.evaluate(() => live.start(async () => null, () => (ends += 1)));
    await until(page, () => ends === 1);
  }));
