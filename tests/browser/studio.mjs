// What the tests of the studio share: people who are signed in, the server's functions, and a connection that breaks.

import { launch, ORIGIN, visit } from "./browser.mjs";

let started = null;
/** The one Chromium of all files. */
export const chromium = () => (started ??= launch());

// Without the service worker, which would load every file once more for each test.
export const PHONE = { viewport: { width: 375, height: 667 }, hasTouch: true, serviceWorkers: "block" };
export const DESK = { viewport: { width: 1280, height: 800 }, serviceWorkers: "block" };

/** Opens a page of the studio as a person of that name; a name that is not signed in yet is. */
export const as = (browser, name, path, options, act) =>
  visit(browser, "about:blank", options, async (page, seen) => {
    await enter(page, name);
    if (path !== "/today") await page.goto(`${ORIGIN}${path}`);
    await act(page, seen);
  });

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
 * messages of the page.
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
