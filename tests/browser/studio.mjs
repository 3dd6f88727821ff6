// What the tests of the studio share: people who are signed in, the server's functions, and a connection that breaks.

import assert from "node:assert/strict";

import { launch, ORIGIN, visit as open } from "./browser.mjs";

export const PATIENCE = 20_000; // ms; on a busy machine everything takes a while

let started = null;
/** The one Chromium of all files. */
export const chromium = () => (started ??= launch());

// Without the service worker, which would load every file once more for each test, and without motion, which costs time.
export const PHONE = { viewport: { width: 375, height: 667 }, hasTouch: true, serviceWorkers: "block", reducedMotion: "reduce" };
export const DESK = { viewport: { width: 1280, height: 800 }, serviceWorkers: "block", reducedMotion: "reduce" };

/** Opens a page for a test, as `visit` of browser.mjs. */
export const visit = (browser, address, options, act) =>
  open(browser, address, options, (page, seen) => {
    page.setDefaultTimeout(PATIENCE);
    return act(page, seen);
  });

/** Resolves once `check` does to something true; for what the page does not show. */
export async function until(check) {
  const end = performance.now() + PATIENCE;
  while (!(await check())) {
    if (performance.now() > end) throw new Error(`never so: ${check}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** Opens a page of the studio as a person of that name, who has signed in on this device. */
export async function as(browser, name, path, options, act) {
  await call(name, "mutation", "users:ensureCurrentUser");
  const kept = { name: "daysong.session", value: JSON.stringify({ sub: `user_${name}`, name }) };
  const storageState = { cookies: [], origins: [{ origin: ORIGIN, localStorage: [kept] }] };
  await visit(browser, `${ORIGIN}${path}`, { ...options, storageState }, act);
}

/** Opens another page as a link would, without loading the document anew. */
export const turn = (page, path) =>
  page.evaluate((to) => {
    history.pushState({ y: 0 }, "", to);
    dispatchEvent(new PopStateEvent("popstate", { state: history.state }));
  }, path);

/** Resolves to a function that returns the milliseconds for which the page's thread has worked since it was last called. */
export async function worked(page) {
  // Not the time that passes: a busy machine delays frames, and makes none of them longer.
  const inspected = await page.context().newCDPSession(page);
  await inspected.send("Performance.enable", { timeDomain: "threadTicks" });
  let before = 0;
  return async () => {
    const now = (await inspected.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value * 1000;
    const longer = now - before;
    before = now;
    return longer;
  };
}

/**
 * Asserts that frames took less than 100 ms of the page's thread. One may take more, as one of many did on a busy machine
 * (110 ms): a page that draws too much is slow at every step.
 */
export function assertQuick(works) {
  const slow = works.filter((ms) => ms >= 100);
  assert.ok(slow.length <= 1, `frames took ${slow.join(", ")} ms`);
}

/** Signs in, and waits for Today. */
export async function enter(page, name) {
  await page.goto(`${ORIGIN}/sign-in`);
  await page.getByLabel("or as somebody else").fill(name);
  await page.getByRole("button", { name: "Continue", exact: true }).click();
  await page.waitForURL("**/today");
  await page.locator("main h1").waitFor();
}

/** Calls a function as that person over HTTP, as another of their devices. */
export async function call(name, kind, path, args = {}) {
  const post = (url, body, headers) =>
    fetch(`${ORIGIN}${url}`, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body: JSON.stringify(body) });
  const who = { sub: `user_${name}`, email: `${name}@example.test`, name };
  const { jwt } = await (await post("/sandbox/clerk/sign-in", who)).json();
  const answer = await post(`/api/${kind}`, { path, args, format: "json" }, { Authorization: `Bearer ${jwt}` });
  const said = await answer.json();
  if (said.status !== "success") throw new Error(`${path}: ${said.errorMessage}`);
  return said.value;
}

/** Steers a vendor of the sandbox. */
export const steer = (vendor, what, body = {}) =>
  fetch(`${ORIGIN}/sandbox/${vendor}/${what}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/**
 * Puts the page's sockets through a relay. `cut` breaks the connection, and further ones until `mend`; `sent` has the
 * messages of the page, `say` sends it one, and `hold` says which of the server's do not arrive.
 */
export async function relayed(page) {
  const relay = { open: new Set(), whole: true, sent: [], heard: [], hold: null };
  await page.routeWebSocket("**/api/sync", (socket) => {
    if (!relay.whole) return socket.close({ code: 1011, reason: "cut" });
    const server = socket.connectToServer();
    relay.open.add({ socket, server });
    socket.onMessage((message) => {
      relay.sent.push(JSON.parse(message));
      server.send(message);
    });
    server.onMessage((message) => {
      const told = JSON.parse(message);
      relay.heard.push(told);
      if (!relay.hold?.(told)) socket.send(message);
    });
    relay.say = (made) => socket.send(JSON.stringify(made));
  });
  relay.cut = () => {
    relay.whole = false;
    for (const { socket, server } of relay.open) {
      socket.close({ code: 1011, reason: "cut" });
      server.close();
    }
    relay.open.clear();
  };
  relay.mend = () => (relay.whole = true);
  return relay;
}
