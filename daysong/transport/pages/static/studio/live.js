// A client of the sync protocol: one socket for live queries, mutations and actions, which outlives lost connections.
//
// Mutations wait while there is no connection, and run once: the server knows a request that is sent again by the
// session's id and the request's number. An action that was sent when the connection broke is rejected, since it may or
// may not have run.

const SILENCE = 40_000; // ms without a message after which a connection counts as lost; the server pings every 15 s
const OPENING = 15_000; // ms that a connection may take to open
const LINGER = 15_000; // ms that a query without watchers stays subscribed
const FIRST_PAUSE = 400; // ms before the first attempt to reconnect
const LONGEST_PAUSE = 16_000;
const OVERLOADED_PAUSE = 3_000;
const LEEWAY = 10; // seconds before its end that a token is renewed
const MOST_REFUSALS = 3;

/** A function failed: `code` and `message` as the server gives them, `data` with what belongs to the code. */
export class Refused extends Error {
  constructor(code, message, data = null) {
    super(message);
    this.name = "Refused";
    this.code = code;
    this.data = data;
  }
}

const now = () => performance.now();

/** Returns a client of the server at `url` (ws: or wss:). It connects once `start` is called. */
export function createLive(url, { connect = (address) => new WebSocket(address) } = {}) {
  let [session, requestId, queryId] = [crypto.randomUUID(), 0, 0];
  let [socket, ready, status] = [null, false, "connecting"];
  let [connections, failures, lastClose, heardAt] = [0, 0, "InitialConnect", 0];
  let [version, querySet, identity, maxSeen] = [null, 0, 0, null];
  let [fetchToken, ended, token, refusals, skew] = [null, null, null, 0, 0];
  let [wait, silence, renewal] = [null, null, null];
  let flushing = false;
  let run = 0; // Counts calls of start and stop: what was begun before one of them has no effect after it.
  const queries = new Map(); // key → query
  const byId = new Map();
  const changed = new Map(); // ids to add (query) or to remove (null)
  const requests = new Map(); // id → request, in order
  const listeners = new Set();

  // Connection

  function setStatus(next) {
    if (status === next) return;
    status = next;
    for (const listener of [...listeners]) listener(next);
  }

  async function open() {
    clearTimeout(wait);
    wait = null;
    if (socket || !fetchToken) return;
    if (globalThis.navigator?.onLine === false) return setStatus("offline");
    const begun = run;
    if (status !== "offline") setStatus("connecting");
    const opened = (socket = { closed: false, wire: null });
    try {
      token = await fetchToken(refusals > 0);
    } catch {
      if (begun === run) lost(opened, "NoToken");
      return;
    }
    if (begun !== run || opened.closed) return;
    if (!token) return end();
    let wire;
    try {
      wire = connect(url);
    } catch {
      return lost(opened, "NotOpened");
    }
    opened.wire = wire;
    heardAt = now();
    watchSilence(opened, OPENING);
    wire.onopen = () => {
      if (socket !== opened) return wire.close();
      begin();
    };
    wire.onmessage = ({ data }) => socket === opened && heard(data);
    wire.onclose = ({ code, reason }) => lost(opened, reason || `closed with code ${code}`);
  }

  function begin() {
    [version, querySet, identity] = [{ querySet: 0, identity: 0, ts: 0n }, 0, 0];
    send({
      type: "Connect",
      sessionId: session,
      connectionCount: connections++,
      lastCloseReason: lastClose,
      clientTs: Date.now(),
      ...(maxSeen && { maxObservedTimestamp: maxSeen }),
    });
    authenticate();
    changed.clear();
    ready = true;
    modify([...byId.values()]);
    for (const request of [...requests.values()]) {
      if (request.kind === "Action" && request.sent) settle(request, null, connectionLost());
      else sendRequest(request);
    }
  }

  function lost(which, reason) {
    if (which.closed) return;
    which.closed = true;
    if (socket !== which) return;
    if (which.wire) which.wire.onclose = null;
    which.wire?.close();
    [socket, ready, lastClose] = [null, false, reason.slice(0, 100)];
    clearTimeout(silence);
    clearTimeout(renewal);
    for (const request of [...requests.values()]) {
      if (request.kind === "Action" && request.sent) settle(request, null, connectionLost());
    }
    if (!fetchToken) return;
    failures += 1;
    if (globalThis.navigator?.onLine === false || failures > 2) setStatus("offline");
    else setStatus("connecting");
    const first = /TooMany|Full|Expired|Timeout|Overload/.test(reason) ? OVERLOADED_PAUSE : FIRST_PAUSE;
    const pause = Math.min(LONGEST_PAUSE, first * 2 ** Math.min(failures - 1, 10)) * (0.5 + Math.random());
    wait = setTimeout(open, pause);
  }

  const connectionLost = () =>
    new Refused("connection_lost", "The connection was lost. Please check whether it went through, and try again.");

  function watchSilence(which, limit) {
    clearTimeout(silence);
    silence = setTimeout(() => {
      const quiet = now() - heardAt;
      if (quiet >= limit) lost(which, "InactiveServer");
      else watchSilence(which, SILENCE);
    }, Math.max(10, limit - (now() - heardAt)));
  }

  /** Closes the connection of a page that the browser keeps, which it does only without one; `hurry` opens another. */
  function rest() {
    if (socket) lost(socket, "Hidden");
    clearTimeout(wait);
  }

  function hurry() {
    if (socket || !fetchToken) return;
    failures = Math.min(failures, 1);
    open();
  }
  const goneOffline = () => {
    setStatus("offline");
    if (socket) lost(socket, "Offline");
  };
  globalThis.addEventListener?.("online", hurry);
  globalThis.addEventListener?.("offline", goneOffline);
  globalThis.document?.addEventListener("visibilitychange", () => document.visibilityState === "visible" && hurry());

  function send(message) {
    socket?.wire?.send(JSON.stringify(message));
  }

  // Sign-in

  function authenticate() {
    send({ type: "Authenticate", baseVersion: identity++, tokenType: "User", value: token });
    clearTimeout(renewal);
    const claims = claimsOf(token);
    const left = claims?.exp ? claims.exp - LEEWAY - (Date.now() + skew) / 1000 : 45;
    const life = claims?.exp && claims?.iat ? claims.exp - claims.iat : 60;
    renewal = setTimeout(renew, Math.min(Math.max(left, Math.min(5, life / 2)), life, 86_400) * 1000);
  }

  async function renew() {
    const [begun, at] = [run, socket];
    try {
      const next = await fetchToken(true);
      if (begun !== run) return;
      if (!next) return end();
      token = next;
      if (socket === at && ready) authenticate();
    } catch {
      if (begun === run && socket === at) renewal = setTimeout(renew, 3000);
    }
  }

  function end() {
    const tell = ended;
    stop();
    tell?.();
  }

  // Messages

  function heard(text) {
    heardAt = now();
    watchSilence(socket, SILENCE);
    const message = JSON.parse(text);
    switch (message.type) {
      case "Transition":
        return transition(message);
      case "MutationResponse":
      case "ActionResponse":
        return answered(message);
      case "AuthError":
        refusals += 1;
        if (refusals > MOST_REFUSALS) return end();
        lost(socket, "AuthError");
        clearTimeout(wait);
        wait = setTimeout(open, refusals === 1 ? 0 : FIRST_PAUSE);
        return;
      case "FatalError":
        console.error(message.error);
        failures = 8;
        return lost(socket, "FatalError");
    }
  }

  function transition({ startVersion, endVersion, modifications, serverTs }) {
    const begins = timestamp(startVersion.ts);
    if (startVersion.querySet !== version.querySet || startVersion.identity !== version.identity || begins !== version.ts) {
      return lost(socket, "InvalidStartVersion");
    }
    version = { querySet: endVersion.querySet, identity: endVersion.identity, ts: timestamp(endVersion.ts) };
    if (!maxSeen || version.ts > timestamp(maxSeen)) maxSeen = endVersion.ts;
    if (serverTs) skew = serverTs / 1e6 - Date.now();
    [failures, refusals] = [0, 0];
    setStatus("open");
    const news = [];
    for (const one of modifications) {
      const query = byId.get(one.queryId);
      if (!query) continue;
      query.journal = one.journal ?? null;
      if (one.type === "QueryUpdated") {
        const raw = JSON.stringify(one.value);
        if (query.raw === raw && !query.failure) continue;
        Object.assign(query, { raw, value: decode(one.value), failure: null });
        news.push(query);
      } else if (one.type === "QueryFailed") {
        Object.assign(query, { raw: null, failure: refusal(one.errorMessage, one.errorData) });
        news.push(query);
      }
    }
    // All of them hold at once, so watchers are called once all are known.
    for (const query of news) for (const watcher of [...query.watchers]) tell(query, watcher);
    for (const request of [...requests.values()]) {
      if (request.done && request.ts <= version.ts) settle(request, request.result);
    }
  }

  function answered({ requestId: id, success, result, errorData, ts, type }) {
    const request = requests.get(id);
    if (!request || request.done) return;
    if (!success) return settle(request, null, refusal(result, errorData));
    const value = decode(result);
    if (type === "ActionResponse" || !ts) return settle(request, value);
    // Its promise holds once the live queries show what it did.
    Object.assign(request, { done: true, result: value, ts: timestamp(ts) });
    if (request.ts <= version.ts) settle(request, value);
  }

  function settle(request, value, error) {
    requests.delete(request.id);
    if (error) request.reject(error);
    else request.resolve(value);
  }

  // Queries

  function tell(query, watcher) {
    if (!query.watchers.has(watcher)) return;
    if (query.failure) watcher.error?.(query.failure);
    else if (query.raw !== null) watcher.value?.(query.value);
  }

  function watch(path, args, watcher) {
    const given = encode(args ?? {});
    const key = `${path} ${canonical(given)}`;
    let query = queries.get(key);
    if (!query) {
      query = { id: queryId++, key, path, args: given, journal: null, raw: null, failure: null, watchers: new Set(), linger: null };
      queries.set(key, query);
      byId.set(query.id, query);
      change(query.id, query);
    }
    clearTimeout(query.linger);
    const own = { ...watcher };
    query.watchers.add(own);
    if (query.raw !== null || query.failure) queueMicrotask(() => tell(query, own));
    return () => {
      if (!query.watchers.delete(own) || query.watchers.size) return;
      query.linger = setTimeout(() => {
        queries.delete(key);
        byId.delete(query.id);
        change(query.id, null);
      }, LINGER);
    };
  }

  function change(id, query) {
    if (!ready) return;
    if (query === null && changed.get(id)) changed.delete(id);
    else changed.set(id, query);
    if (flushing) return;
    flushing = true;
    queueMicrotask(() => {
      flushing = false;
      if (!ready || !changed.size) return;
      const added = [...changed.values()].filter(Boolean);
      const removed = [...changed].filter(([, one]) => one === null).map(([gone]) => gone);
      changed.clear();
      modify(added, removed);
    });
  }

  function modify(added, removed = []) {
    const modifications = [
      ...added.map(({ id, path, args, journal }) => ({ type: "Add", queryId: id, udfPath: path, args: [args], ...(journal && { journal }) })),
      ...removed.map((id) => ({ type: "Remove", queryId: id })),
    ];
    send({ type: "ModifyQuerySet", baseVersion: querySet, newVersion: ++querySet, modifications });
  }

  function query(path, args) {
    return new Promise((resolve, reject) => {
      const stopWatching = watch(path, args, {
        value: (value) => (stopWatching(), resolve(value)),
        error: (error) => (stopWatching(), reject(error)),
      });
    });
  }

  // Mutations and actions

  function ask(kind, path, args) {
    if (!fetchToken) return Promise.reject(new Refused("unauthorized", "Unauthorized"));
    return new Promise((resolve, reject) => {
      const request = { id: requestId++, kind, path, args: encode(args ?? {}), sent: false, done: false, resolve, reject };
      requests.set(request.id, request);
      if (ready) sendRequest(request);
    });
  }

  function sendRequest(request) {
    request.sent = true;
    send({ type: request.kind, requestId: request.id, udfPath: request.path, args: [request.args] });
  }

  // Life

  function start(tokens, onEnd) {
    if (fetchToken) stop();
    run += 1;
    [fetchToken, ended, failures, refusals] = [tokens, onEnd, 0, 0];
    open();
  }

  /** Forgets everything: what waits is rejected, and what was watched is no more. */
  function stop() {
    run += 1;
    [fetchToken, ended, token] = [null, null, null];
    clearTimeout(wait);
    const left = [...requests.values()];
    requests.clear();
    for (const query of queries.values()) clearTimeout(query.linger);
    for (const map of [queries, byId, changed]) map.clear();
    if (socket) lost(socket, "Stopped");
    [session, requestId, connections, lastClose, maxSeen] = [crypto.randomUUID(), 0, 0, "InitialConnect", null];
    for (const request of left) request.reject(new Refused("signed_out", "You are signed out."));
    setStatus("connecting");
  }

  return {
    start,
    stop,
    rest,
    hurry,
    watch,
    query,
    mutation: (path, args) => ask("Mutation", path, args),
    action: (path, args) => ask("Action", path, args),
    get status() {
      return status;
    },
    /** Whether something waits to be sent or answered. */
    get busy() {
      return requests.size > 0;
    },
    onstatus(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function refusal(message, data) {
  const given = data === undefined ? null : decode(data);
  if (given && typeof given === "object" && typeof given.code === "string") {
    return new Refused(given.code, given.message ?? message, given);
  }
  return new Refused("failed", message, given);
}

function claimsOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return null;
  }
}

function timestamp(text) {
  return new DataView(bytesOf(text).buffer).getBigUint64(0, true);
}

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const textOf = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));

function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`)}}`;
}

/** Values as they are sent: what JSON lacks is wrapped, and fields without a value are left out. */
export function encode(value) {
  if (typeof value === "bigint") {
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setBigInt64(0, value, true);
    return { $integer: textOf(bytes.buffer) };
  }
  if (typeof value === "number") {
    if (Number.isFinite(value) && !Object.is(value, -0)) return value;
    const bytes = new DataView(new ArrayBuffer(8));
    bytes.setFloat64(0, value, true);
    return { $float: textOf(bytes.buffer) };
  }
  if (value instanceof ArrayBuffer) return { $bytes: textOf(value) };
  if (Array.isArray(value)) return value.map(encode);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined).map(([key, one]) => [key, encode(one)]));
}

/** Values as they are received; integers that a number holds exactly become one. */
export function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== "object") return value;
  const keys = Object.keys(value);
  if (keys.length === 1 && keys[0][0] === "$") {
    const bytes = new DataView(bytesOf(value[keys[0]]).buffer);
    if (keys[0] === "$float") return bytes.getFloat64(0, true);
    if (keys[0] === "$bytes") return bytes.buffer;
    const whole = bytes.getBigInt64(0, true);
    return Number.isSafeInteger(Number(whole)) ? Number(whole) : whole;
  }
  return Object.fromEntries(keys.map((key) => [key, decode(value[key])]));
}
