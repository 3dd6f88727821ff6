// Who talks to the server, and where it is: addresses, session tokens, and the official clients, closed when a test ends.
//   DAYSONG_ORIGIN     the server under test, in test mode
//   DAYSONG_KEYS       a folder with private.pem (trusted by the server) and wrong.pem (not)
//   DAYSONG_ADMIN_KEY  its admin key
import assert from "node:assert/strict";
import { createPrivateKey, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test as nodeTest } from "node:test";
import { ConvexClient, ConvexHttpClient } from "convex/browser";
import { makeFunctionReference } from "convex/server";
import { WebSocket } from "ws";

export const ORIGIN = process.env.DAYSONG_ORIGIN;
export const ADMIN_KEY = process.env.DAYSONG_ADMIN_KEY;
export const ISSUER = "https://harness.example.test";
const SECONDS = 1000;

const key = (name) => createPrivateKey(readFileSync(join(process.env.DAYSONG_KEYS, name)));
const trusted = key("private.pem");
const untrusted = key("wrong.pem");
const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** A session token. `lasts` seconds from `issuedAt` (now); `forged` signs with a key nobody trusts; the rest are claims. */
export function tokenOf(subject, { lasts = 3600, issuedAt = Date.now() / SECONDS, forged = false, ...claims } = {}) {
  const iat = Math.floor(issuedAt);
  const body = { iss: ISSUER, aud: "convex", sub: subject, iat, exp: iat + lasts, jti: randomUUID(), ...claims };
  const said = `${encoded({ alg: "RS256", typ: "JWT", kid: "rehearsal-1" })}.${encoded(body)}`;
  return `${said}.${sign("sha256", Buffer.from(said), forged ? untrusted : trusted).toString("base64url")}`;
}

/** A name nothing else has. */
export const unique = (what = "it") => `${what}-${randomUUID().slice(0, 13)}`;
/** A function by its path, as the clients take it. */
export const fn = (path) => makeFunctionReference(path);
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** node:test's `test` with a limit, so that a client that hangs is a failure. */
export const test = (name, body) => nodeTest(name, { timeout: 40 * SECONDS }, body);

/** Wait until `holds()` is truthy, and return that; fail after `ms`. */
export async function until(holds, what, ms = 8 * SECONDS) {
  const deadline = Date.now() + ms;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > deadline) assert.fail(`${ms} ms passed without ${what}`);
    await pause(5);
  }
}

/** What `promise` becomes, if it does so in `ms`. */
export async function soon(promise, what, ms = 6 * SECONDS) {
  let timer;
  const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error(`${what} took over ${ms} ms`)), ms); });
  try { return await Promise.race([promise, late]); } finally { clearTimeout(timer); }
}

/** A logger that keeps its lines, and says nothing. */
export class Notebook {
  lines = [];
  errors = [];
  logVerbose() {}
  log(...words) { this.lines.push(words.join(" ")); }
  warn(...words) { this.lines.push(words.join(" ")); }
  error(...words) { this.errors.push(words.join(" ")); }
}

/** The HTTP client, signed in with a token if one is given. */
export function overHttp(token, url = ORIGIN, logger = false) {
  return new ConvexHttpClient(url, { logger, skipConvexDeploymentUrlCheck: true, ...(token ? { auth: token } : {}) });
}

/** The socket client; `notes` is its logger. */
export function overSocket(t, url = ORIGIN, options = {}) {
  const notes = new Notebook();
  const client = new ConvexClient(url, {
    logger: notes, webSocketConstructor: WebSocket, skipConvexDeploymentUrlCheck: true, unsavedChangesWarning: false, ...options,
  });
  client.notes = notes;
  t.after(() => client.close());
  return client;
}

/** Sign a client in; resolves when the server has confirmed it, rejects when it has refused. */
export function signIn(client, fetchToken) {
  return soon(new Promise((yes, no) => {
    client.setAuth(async (asked) => fetchToken(asked), (ok) => (ok ? yes() : no(new Error("refused"))));
  }), "signing in");
}

/** Subscribe, and keep all that comes. `seen` are values, `failures` errors, `order` both. */
export function follow(client, path, args, shown = (value) => value) {
  const it = { seen: [], failures: [], order: [], get last() { return it.seen.at(-1); } };
  it.leave = client.onUpdate(
    fn(path), args,
    (value) => { it.seen.push(shown(value)); it.order.push("value"); },
    (error) => { it.failures.push(error); it.order.push("failure"); },
  );
  it.first = () => until(() => it.order.length > 0, `a first answer of ${path}`);
  return it;
}

/** A place of one's own: a counter and a list nobody else knows. */
export function corner() {
  const name = unique("corner");
  return {
    name,
    count: ["counter:get", { key: name }],
    raise: [fn("counter:increment"), { key: name }],
    list: ["todos:list", { channel: name }],
    add: (text) => [fn("todos:add"), { channel: name, text: String(text) }],
  };
}
