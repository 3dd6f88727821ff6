// A bare socket: says what no official client can be made to say.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { WebSocket } from "ws";
import { ORIGIN } from "./people.mjs";
import { findFaults } from "./rules.mjs";

/** Open one for a test; it is closed with the test, and its conversation is held against the rules. */
export async function dial(t, { path = "/api/1.48.0/sync", headers = {}, session = randomUUID(), lawful = true } = {}) {
  const socket = new WebSocket(ORIGIN.replace(/^http/, "ws") + path, { headers });
  const raw = new Raw(socket, session);
  t.after(() => {
    socket.terminate();
    if (lawful) assert.deepEqual(findFaults(raw.frames), []);
  });
  await new Promise((yes, no) => { socket.on("open", yes); socket.on("error", no); });
  return raw;
}

class Raw {
  frames = [];
  #read = 0;
  #wake = () => {};
  closed = null;

  constructor(socket, session) {
    this.socket = socket;
    this.session = session;
    socket.on("message", (data, binary) => {
      assert.ok(!binary, "a binary frame");
      this.frames.push({ from: "server", message: JSON.parse(data.toString()) });
      this.#wake();
    });
    socket.on("close", (code, reason) => { this.closed = { code, reason: reason.toString() }; this.#wake(); });
    socket.on("error", () => {});
  }

  say(message) {
    this.frames.push({ from: "client", message });
    this.socket.send(JSON.stringify(message));
  }

  /** Something that may be no message at all. */
  blurt(data) { this.socket.send(data); }

  connect(more = {}) {
    this.say({ type: "Connect", sessionId: this.session, connectionCount: 0, lastCloseReason: "InitialConnect", clientTs: Date.now(), ...more });
    return this;
  }

  /** Change the query set: what to add by id, `{0: ["counter:get", {…}]}`, and ids to remove. */
  ask(baseVersion, add = {}, remove = []) {
    this.say({
      type: "ModifyQuerySet", baseVersion, newVersion: baseVersion + 1,
      modifications: [
        ...Object.entries(add).map(([id, [udfPath, args, journal]]) => ({ type: "Add", queryId: Number(id), udfPath, args: [args], ...(journal === undefined ? {} : { journal }) })),
        ...remove.map((queryId) => ({ type: "Remove", queryId })),
      ],
    });
    return this;
  }

  be(baseVersion, token) {
    this.say(token ? { type: "Authenticate", tokenType: "User", value: token, baseVersion } : { type: "Authenticate", tokenType: "None", baseVersion });
    return this;
  }

  mutate(requestId, udfPath, args = {}) { this.say({ type: "Mutation", requestId, udfPath, args: [args] }); return this; }
  act(requestId, udfPath, args = {}) { this.say({ type: "Action", requestId, udfPath, args: [args] }); return this; }

  /** The next message that fits, in the order they came; earlier ones are passed over. */
  async hear(fits, what = "a message", ms = 6000) {
    const deadline = Date.now() + ms;
    for (;;) {
      while (this.#read < this.frames.length) {
        const { from, message } = this.frames[this.#read++];
        if (from === "server" && fits(message)) return message;
      }
      if (this.closed) assert.fail(`closed (${JSON.stringify(this.closed)}) before ${what}`);
      const left = deadline - Date.now();
      if (left <= 0) assert.fail(`no ${what} in ${ms} ms; heard ${JSON.stringify(this.frames.slice(-6)).slice(0, 900)}`);
      await new Promise((wake) => { this.#wake = wake; setTimeout(wake, left).unref(); });
    }
  }

  hearA(type, ms) { return this.hear((message) => message.type === type, `a ${type}`, ms); }
  transition(fits = () => true, what = "a Transition") { return this.hear((m) => m.type === "Transition" && fits(m), what); }
  /** The Transition that takes in that query set. */
  taken(querySet) { return this.transition((m) => m.endVersion.querySet === querySet, `query set ${querySet}`); }

  async end(ms = 6000) {
    const deadline = Date.now() + ms;
    while (!this.closed) {
      if (Date.now() > deadline) assert.fail("the server did not close");
      await new Promise((wake) => { setTimeout(wake, 10); });
    }
    return this.closed;
  }

  hangUp() { this.socket.terminate(); }
}
