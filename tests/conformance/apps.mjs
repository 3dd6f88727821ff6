// The web and the mobile app of a person, with one version of the official client over one transport.
// Every call goes by the function's own kind, is noted as driven, and its result is compared with RESULTS.
import { WebSocket } from "ws";
import { RESULTS, like } from "./shapes.mjs";

export const ORIGIN = process.env.DAYSONG_ORIGIN;
const PUBLIC = JSON.parse(process.env.DAYSONG_PUBLIC ?? "{}"); // kinds by name
const WAIT = 20_000; // ms that anything may take

/** What `promise` becomes, if it does so in time. */
function inTime(promise, what) {
  let timer;
  const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error(`${what} took over ${WAIT} ms`)), WAIT); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export async function post(path, body) {
  const answer = await fetch(`${ORIGIN}${path}`, { method: "POST", body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

export const tokenOf = async (sub, name) =>
  (await post("/sandbox/clerk/sign-in", { sub, name, email: `${sub}@example.test`, ttl: 86_400 })).jwt;

/** The apps of one journey: `library` is { browser, server } of a version of the client; `driven` fills with names. */
export class Apps {
  driven = new Set();
  #library;
  #socket;
  #closing = [];

  constructor(library, transport) {
    this.#library = library;
    this.#socket = transport === "WebSocket";
  }

  /** An app; signed in with a token, if there is one. */
  async open(token) {
    const { ConvexClient, ConvexHttpClient } = this.#library.browser;
    if (!this.#socket) {
      return new App(this, new ConvexHttpClient(ORIGIN, { logger: false, skipConvexDeploymentUrlCheck: true, ...(token ? { auth: token } : {}) }));
    }
    const client = new ConvexClient(ORIGIN, {
      logger: false, webSocketConstructor: WebSocket, skipConvexDeploymentUrlCheck: true, unsavedChangesWarning: false,
    });
    this.#closing.push(() => client.close());
    if (token) {
      await inTime(new Promise((yes, no) => {
        client.setAuth(async () => token, (ok) => (ok ? yes() : no(new Error("the sign-in was refused"))));
      }), "the sign-in");
    }
    return new App(this, client, true);
  }

  /** A writer of the blog: internal functions, by the admin key. */
  author() {
    const client = new this.#library.browser.ConvexHttpClient(ORIGIN, { logger: false, skipConvexDeploymentUrlCheck: true });
    client.setAdminAuth(process.env.DAYSONG_ADMIN_KEY);
    return (path, args) => client.mutation(this.ref(path), args);
  }

  ref(path) { return this.#library.server.makeFunctionReference(path); }
  close() { return Promise.all(this.#closing.map((done) => done())); }
}

class App {
  #apps;
  #client;
  #live;

  constructor(apps, client, live = false) {
    this.#apps = apps;
    this.#client = client;
    this.#live = live;
  }

  /** The result of a public function, called by its kind unless `kind` says otherwise. */
  async call(path, args = {}, kind = PUBLIC[path]) {
    if (!kind) throw new Error(`${path} is not public`);
    if (!(path in RESULTS)) throw new Error(`${path} has no shape in shapes.mjs`);
    let result;
    try {
      result = await inTime(this.#client[kind](this.#apps.ref(path), args), path);
    } catch (failure) {
      throw new Error(`${path}: ${failure.message}`, { cause: failure });
    }
    this.#apps.driven.add(path);
    like(result, RESULTS[path], path);
    return result;
  }

  /** Call `act`; return the result of a query that `holds` then: of the live query, where there are any. */
  async watch(path, args, act, holds) {
    if (!this.#live) {
      await act();
      const result = await this.call(path, args);
      if (!holds(result)) throw new Error(`${path} gave ${JSON.stringify(result).slice(0, 500)}`);
      return result;
    }
    let leave;
    const seen = new Promise((yes, no) => {
      leave = this.#client.onUpdate(this.#apps.ref(path), args, (result) => { if (holds(result)) yes(result); }, no);
    });
    seen.catch(() => {});
    try {
      await act();
      const result = await inTime(seen, `the live ${path}`);
      this.#apps.driven.add(path);
      like(result, RESULTS[path], path);
      return result;
    } finally {
      leave();
    }
  }
}
