// The front page, signing in, Today and You, as people have them.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { faults, findings, ORIGIN } from "./browser.mjs";
import { as, call, chromium, DESK, enter, PHONE, relayed, steer, until, visit } from "./studio.mjs";

let browser;
before(async () => (browser = await chromium()));

const editor = (page) => page.getByRole("textbox", { name: "What happened today?" });
const button = (page, name) => page.getByRole("button", { name, exact: true });
/** Lets a test end well although the browser has noted the connection it was without. */
const expected = (wrong, pattern) => wrong.splice(0, wrong.length, ...wrong.filter((what) => !pattern.test(what)));

for (const [size, options, slow] of [["desk", DESK, false], ["phone, with 400 ms latency", PHONE, true]]) {
  test(`from the front page to a song that plays: ${size}`, () =>
    visit(browser, "about:blank", options, async (page) => {
      if (slow) {
        const connection = await page.context().newCDPSession(page);
        await connection.send("Network.enable");
        const speed = { offline: false, latency: 400, downloadThroughput: 200_000, uploadThroughput: 90_000 };
        await connection.send("Network.emulateNetworkConditions", speed);
      }
      await page.goto(`${ORIGIN}/`);
      await page.getByRole("heading", { name: "Tell your diary about your day" }).waitFor();
      if (slow) await enter(page, "slow alice");
      else await page.getByRole("link", { name: "Begin as alice" }).click();
      await editor(page).fill("I walked home in the rain and called my sister.\nShe laughed about the boat.");
      await page.getByText("15 words").waitFor();
      await button(page, "Choose a sound").click();
      await button(page, "Folk").click();
      await page.getByLabel("or in your own words").fill("two guitars");
      await page.evaluate(() => {
        globalThis.stages = [];
        new MutationObserver(() => {
          const now = document.querySelector(".song-card")?.className.split("is-")[1];
          if (now && stages.at(-1) !== now) stages.push(now);
        }).observe(document.querySelector("main"), { subtree: true, childList: true, attributes: true });
      });
      await steer("openai", "faults", { latency: 0.3 });
      await button(page, "Save and make a song").click();
      await page.locator(".song-card.is-ready").waitFor({ timeout: 30_000 });
      await steer("openai", "faults");
      const stages = await page.evaluate(() => stages);
      assert.deepEqual(stages.filter((stage) => ["writing", "composing", "ready"].includes(stage)), ["writing", "composing", "ready"]);
      assert.equal(await editor(page).inputValue(), "");
      await page.locator(".song-card").getByRole("button", { name: /^Play/ }).click();
      await page.locator(".song-card").getByRole("button", { name: /^Pause/ }).waitFor();
      const asked = await (await fetch(`${ORIGIN}/sandbox/suno/log`)).json();
      assert.ok(asked.some(({ body }) => /folk, two guitars/i.test(JSON.stringify(body))), "the sound is not what was chosen");
    }));
}

test("a draft survives a reload, and is the same in two tabs, as are the entries", () =>
  as(browser, "drafty", "/today", DESK, async (page) => {
    await editor(page).fill("It was a long");
    await page.getByText("Draft kept on this device").waitFor();
    const other = await page.context().newPage();
    await other.goto(`${ORIGIN}/today`);
    await other.waitForFunction(() => document.querySelector("textarea")?.value === "It was a long");
    await page.bringToFront();
    await editor(page).fill("It was a long day at the sea.");
    await page.reload();
    await page.waitForFunction(() => document.querySelector("textarea")?.value === "It was a long day at the sea.");
    await other.waitForFunction(() => document.querySelector("textarea")?.value === "It was a long day at the sea.");
    await editor(page).press("Control+Enter");
    for (const tab of [page, other]) {
      await tab.locator(".entry-words", { hasText: "at the sea" }).waitFor();
      await tab.waitForFunction(() => document.querySelector("textarea").value === "");
    }
    // A phone that uses the same account.
    await call("drafty", "mutation", "diaries:createDiary", { content: "And from the phone." });
    for (const tab of [page, other]) await tab.locator(".entry-words", { hasText: "from the phone" }).waitFor();
  }));

test("without a connection there is a note, the draft is kept, and it can be saved afterwards", () =>
  as(browser, "offline", "/today", PHONE, async (page, { wrong }) => {
    await editor(page).waitFor();
    await page.context().setOffline(true);
    await page.getByText("You are offline. What you write is kept on this device.").waitFor();
    await editor(page).fill("Written in a tunnel.");
    await button(page, "Save").click();
    await page.getByText("Your words are kept here").waitFor();
    await page.context().setOffline(false);
    await page.waitForFunction(() => !document.body.classList.contains("is-offline"));
    await button(page, "Save").click();
    await page.locator(".entry-words", { hasText: "in a tunnel" }).waitFor();
    expected(wrong, /ERR_INTERNET_DISCONNECTED|WebSocket/);
  }));

test("a page that could not be loaded is, once there is a connection", () =>
  as(browser, "lost", "/today", DESK, async (page, { wrong }) => {
    await editor(page).waitFor();
    await page.context().setOffline(true);
    await page.getByRole("link", { name: "You" }).click();
    await page.getByRole("heading", { name: "This page could not be loaded" }).waitFor();
    await page.context().setOffline(false);
    await button(page, "Try again").click();
    await page.locator(".plan h2").waitFor();
    expected(wrong, /ERR_INTERNET_DISCONNECTED|WebSocket/);
  }));

test("the studio opens without a connection, with the draft in it", () =>
  visit(browser, "about:blank", { ...PHONE, serviceWorkers: "allow" }, async (page, { wrong }) => {
    await enter(page, "tunnel");
    // It is once all files are kept.
    await page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
    await editor(page).fill("Kept for later.");
    await page.getByText("Draft kept on this device").waitFor();
    await page.context().setOffline(true);
    await page.goto(`${ORIGIN}/today`);
    await page.waitForFunction(() => document.querySelector("textarea")?.value === "Kept for later.");
    await page.getByText("You are offline.").waitFor();
    await page.context().setOffline(false);
    expected(wrong, /ERR_INTERNET_DISCONNECTED|WebSocket/);
  }));

test("when the session ends, signing in again leads back to the draft", () =>
  visit(browser, "about:blank", DESK, async (page, { wrong }) => {
    const relay = await relayed(page);
    await enter(page, "ended");
    await editor(page).fill("Half a thought");
    await until(() => relay.heard.some(({ type }) => type === "MutationResponse"));
    // Signed out on another device: the server refuses the token, and Clerk gives no other.
    await steer("clerk", "sign-out", { sub: "user_ended" });
    relay.say({ type: "AuthError", error: "Token expired", baseVersion: 1, authUpdateAttempted: false });
    await page.getByText("You were signed out. What you wrote is kept on this device.").waitFor();
    await page.getByLabel("or as somebody else").fill("ended");
    await button(page, "Continue").click();
    await page.waitForURL("**/today");
    await page.waitForFunction(() => document.querySelector("textarea")?.value === "Half a thought");
    expected(wrong, /401/);
  }));

test("signing out removes the draft from the device; another person never sees it", () =>
  as(browser, "leaver", "/today", DESK, async (page) => {
    await editor(page).fill("Mine alone");
    await page.getByText("Draft kept on this device").waitFor();
    await page.getByRole("link", { name: "You" }).click();
    await button(page, "Sign out").click();
    await page.getByRole("dialog").getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Tell your diary" }).waitFor();
    await enter(page, "leaver");
    await page.waitForTimeout(100);
    assert.equal(await editor(page).inputValue(), "");
    assert.deepEqual(await page.evaluate(() => Object.keys(localStorage).filter((key) => key === "daysong.session").length), 1);
  }));

test("a song that fails says why, and that it was not counted; trying again makes it", () =>
  as(browser, "unlucky", "/today", DESK, async (page) => {
    await steer("suno", "faults", { callbackCode: 501 });
    await editor(page).fill("Nothing went right today.");
    await button(page, "Save and make a song").click();
    const card = page.locator(".song-card");
    await page.locator(".song-card.is-failed").waitFor({ timeout: 30_000 });
    assert.match(await card.innerText(), /not counted/i);
    await page.getByText("5 songs left").waitFor();
    assert.deepEqual(await faults(page), []);
    await steer("suno", "faults");
    await button(page, "Try again").click();
    await page.locator(".song-card.is-ready").waitFor({ timeout: 30_000 });
  }));

test("without songs left the entry is saved all the same", () =>
  as(browser, "busy", "/today", DESK, async (page) => {
    for (let n = 0; n < 5; n++) await call("busy", "mutation", "usage:recordCurrentUserMusicGeneration");
    await page.getByText(/No songs left until/).waitFor();
    await editor(page).fill("One too many.");
    await button(page, "Save and make a song").click();
    await page.getByText(/Your entry is saved. You have used the songs of this period. They renew on/).waitFor();
    await page.locator(".entry-words", { hasText: "One too many." }).waitFor();
    assert.equal(await page.locator(".song-card").count(), 0);
  }));

test("You shows the plan, keeps preferences, and follows other devices", () =>
  as(browser, "settled", "/you", PHONE, async (page) => {
    await page.getByText("0 of 5 songs").waitFor();
    await page.getByLabel("Time zone").selectOption("Asia/Tokyo");
    await page.getByText("Changed.").waitFor();
    await page.getByLabel("Show my first name").uncheck();
    await page.getByLabel("A song is ready").uncheck();
    await call("settled", "mutation", "users:updateSettings", { language: "de" });
    await page.waitForFunction(() => document.getElementById("language")?.value === "de");
    await page.waitForFunction(() => !document.getElementById("names").checked);
    await until(async () => !(await call("settled", "query", "pushNotifications:getPreferences")).musicReady);
    const settings = await call("settled", "query", "users:getSettings");
    assert.deepEqual(settings, { timezone: "Asia/Tokyo", language: "de", showNameOnShares: false });
    await call("settled", "mutation", "usage:recordCurrentUserMusicGeneration");
    await page.getByText("1 of 5 songs").waitFor();
  }));

test("an account is deleted once its owner has typed it", () =>
  as(browser, "goner", "/you", DESK, async (page, { wrong }) => {
    await call("goner", "mutation", "diaries:createDiary", { content: "To be forgotten." });
    await button(page, "Delete my account").click();
    const dialog = page.getByRole("dialog");
    assert.equal(await dialog.getByRole("button", { name: "Delete everything" }).isDisabled(), true);
    assert.deepEqual(await findings(page), []);
    await dialog.getByRole("textbox").fill("delete");
    await dialog.getByRole("button", { name: "Delete everything" }).click();
    await page.getByText("Your account is deleted, with all that was in it.").waitFor();
    // Who comes back before the erasure has ended is signed out by it, as Clerk's user is deleted.
    await until(async () => {
      const asked = await (await fetch(`${ORIGIN}/sandbox/clerk/log`)).json();
      return asked.some(({ method, path }) => method === "DELETE" && path.endsWith("/user_goner"));
    });
    await until(() => call("goner", "mutation", "users:ensureCurrentUser").then(() => true, () => false));
    await enter(page, "goner");
    await page.waitForFunction(() => document.querySelector("textarea")?.placeholder.startsWith("Your first entry"));
    assert.equal(await page.locator(".entry").count(), 0);
    expected(wrong, /40[0-9]|WebSocket/);
  }));

test("the keyboard alone does it", () =>
  as(browser, "keys", "/you", DESK, async (page) => {
    const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.tagName);
    await page.locator(".plan h2").waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Skip to the content");
    for (const name of ["Today", "Diary"]) {
      await page.keyboard.press("Tab");
      assert.equal(await focused(), name);
    }
    await page.keyboard.press("Enter");
    await page.waitForURL("**/diary");
    await page.waitForFunction(() => document.activeElement.tagName === "H1");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keys" }).waitFor();
    assert.deepEqual(await findings(page), []);
    await page.keyboard.press("Escape");
    await page.keyboard.press("n");
    await page.waitForFunction(() => document.activeElement.tagName === "TEXTAREA");
    await page.keyboard.type("No mouse in sight?");
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "Choose a sound");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Space");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-pressed")), "true");
    while ((await focused()) !== "Save") await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.locator(".entry-words", { hasText: "No mouse in sight?" }).waitFor();
  }));

test("front page, sign-in, Today and You are accessible in both themes and sizes, and with a zoom of 200 %", () =>
  visit(browser, `${ORIGIN}/`, DESK, async (page) => {
    await page.getByRole("heading", { name: "Tell your diary" }).waitFor();
    assert.deepEqual(await faults(page), [], "front");
    await page.goto(`${ORIGIN}/sign-in?ended=1`);
    await page.getByText("You were signed out.").waitFor();
    assert.deepEqual(await faults(page), [], "sign-in");
    await enter(page, "seen");
    await editor(page).fill("مطر على شباك أختي, and a very long word: ".concat("x".repeat(60)));
    await button(page, "Choose a sound").click();
    await button(page, "Jazz").click();
    await button(page, "Save and make a song").click();
    await page.locator(".song-card").first().waitFor();
    // What it says changes meanwhile.
    assert.deepEqual(await faults(page, { zoom: false }), [], "Today, while the song is made");
    await page.locator(".song-card.is-ready").waitFor();
    await page.getByText("4 songs left").waitFor();
    assert.deepEqual(await faults(page), [], "Today");
    await page.getByRole("link", { name: "You" }).click();
    await page.locator(".plan h2").waitFor();
    await page.getByLabel("A call was missed").waitFor();
    assert.deepEqual(await faults(page), [], "You");
  }));

test("front page and studio are painted within a second on a slow connection", async () => {
  for (const path of ["/", "/today"]) {
    const times = [];
    for (let n = 0; n < 3 && !times.some((time) => time < 1000); n++) {
      await visit(browser, "about:blank", PHONE, async (page) => {
        const connection = await page.context().newCDPSession(page);
        await connection.send("Network.enable");
        const slow = { offline: false, latency: 150, downloadThroughput: 200_000, uploadThroughput: 90_000 };
        await connection.send("Network.emulateNetworkConditions", slow);
        await page.goto(`${ORIGIN}${path}`, { waitUntil: "commit" });
        times.push(
          await page.evaluate(
            () =>
              new Promise((done) => {
                new PerformanceObserver((list) => {
                  const first = list.getEntriesByName("first-contentful-paint")[0];
                  if (first) done(first.startTime);
                }).observe({ type: "paint", buffered: true });
              }),
          ),
        );
      });
    }
    assert.ok(Math.min(...times) < 1000, `${path} painted after ${times} ms`);
  }
});

test("a connection that breaks while an entry is saved does not save it twice", () =>
  visit(browser, "about:blank", DESK, async (page, { wrong }) => {
    const relay = await relayed(page);
    await enter(page, "torn");
    await editor(page).fill("Only once.");
    // That of the account, which is ensured at first.
    await until(() => relay.heard.some(({ type }) => type === "MutationResponse"));
    relay.hold = ({ type }) => {
      if (type !== "MutationResponse") return false;
      relay.hold = null;
      relay.cut();
      setTimeout(relay.mend, 300);
      return true;
    };
    await button(page, "Save").click();
    await page.locator(".entry-words", { hasText: "Only once." }).waitFor();
    await page.getByText("Saved.").waitFor();
    assert.equal(await page.locator(".entry").count(), 1);
    expected(wrong, /WebSocket/);
  }));

test("a shared song is kept from its page, after a question", () =>
  visit(browser, "about:blank", DESK, async (page) => {
    const { page: listed } = await call("selma", "query", "music:pagePlaylist", { limit: 5 });
    const own = listed.find(({ ownershipType }) => ownershipType === "owned");
    const { shareUrl, shareId } = await call("selma", "mutation", "sharing:createShareLink", { musicId: own._id });
    await page.goto(shareUrl);
    assert.equal(await page.getByRole("link", { name: "Add to my songs" }).count(), 0);
    await enter(page, "keeper");
    await page.goto(shareUrl);
    await page.getByRole("link", { name: "Add to my songs" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Add", exact: true }).click();
    await page.getByText("It is among your songs now.").waitFor();
    assert.equal(await call("keeper", "query", "userSongs:isShareInLibrary", { shareId }), true);
    await page.goto(`${ORIGIN}/songs?add=${shareId}`);
    await page.getByText("This song is among yours already.").waitFor();
    await page.goto(`${ORIGIN}/songs?add=2345678923`);
    await page.getByText("This song is no longer shared.").waitFor();
  }));

// The parts of Clerk's script that the studio uses, as Clerk documents them; tokens are those of the sandbox.
const CLERK = `
  const kept = () => sessionStorage.getItem("played");
  const post = (what, body) => fetch("/sandbox/clerk/" + what, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const listeners = [];
  globalThis.Clerk = {
    async load(options) { this.options = options; },
    get user() { return kept() ? { id: kept(), firstName: "Clara" } : null; },
    get session() { return kept() ? { getToken: async ({ template }) => {
      if (template) throw Object.assign(new Error("no such template"), { status: 404 });
      const answer = await post("token", { sub: kept() });
      return answer.ok ? (await answer.json()).jwt : null;
    } } : null; },
    addListener(tell) { listeners.push(tell); tell({ user: this.user }); },
    mountSignIn(place, { forceRedirectUrl }) {
      const button = document.createElement("button");
      button.textContent = "Clerk's button";
      button.setAttribute("style", "color: green");
      button.onclick = () => { sessionStorage.setItem("played", "user_clerk_clara"); location.assign(forceRedirectUrl); };
      place.append(button);
    },
    async signOut() { sessionStorage.removeItem("played"); },
    expire() { sessionStorage.removeItem("played"); for (const tell of listeners) tell({ user: null }); },
  };`;

test("with Clerk's own script people sign in, come back to where they were, and sign out", () =>
  visit(browser, "about:blank", { ...DESK, bypassCSP: true }, async (page, { wrong }) => {
    const clerk = "https://clerk.example.test";
    await page.route(`${clerk}/**`, (route) => {
      const isUi = route.request().url() === `${clerk}/npm/@clerk/ui@1/dist/ui.browser.js`;
      const isCore = route.request().url() === `${clerk}/npm/@clerk/clerk-js@6/dist/clerk.browser.js`;
      const headers = { "Access-Control-Allow-Origin": "*" };
      if (!isUi && !isCore) return route.abort();
      return route.fulfill({ contentType: "text/javascript", headers, body: isUi ? "globalThis.__internal_ClerkUICtor = class {};" : CLERK });
    });
    // This server has the sandbox's Clerk: its pages are changed to what they are with another issuer.
    await page.addInitScript((address) => {
      new MutationObserver((_, observer) => {
        const studio = document.getElementById("studio");
        if (!studio) return;
        Object.assign(studio.dataset, { auth: "clerk", clerk: address, clerkKey: "pk_test_played" });
        observer.disconnect();
      }).observe(document, { subtree: true, childList: true });
    }, clerk);
    await page.goto(`${ORIGIN}/you`);
    await page.waitForURL("**/sign-in?next=*");
    await button(page, "Clerk's button").click();
    await page.waitForURL("**/you");
    await page.locator(".plan h2").waitFor();
    await page.getByRole("link", { name: "Today" }).click();
    await editor(page).fill("Kept until I am back");
    await page.evaluate(() => Clerk.expire());
    await page.getByText("You were signed out. What you wrote is kept on this device.").waitFor();
    await button(page, "Clerk's button").click();
    await page.waitForURL("**/today");
    await page.waitForFunction(() => document.querySelector("textarea")?.value === "Kept until I am back");
    expected(wrong, /clerk\.example\.test/);
  }));
