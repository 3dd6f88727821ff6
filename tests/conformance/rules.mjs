// The rules every conversation on a socket keeps, whoever the client is.

/** A timestamp of the wire as a BigInt; throws when it is not base64 of eight bytes, or too large for the clients. */
export function moment(text) {
  const bytes = Buffer.from(text, "base64");
  if (bytes.length !== 8 || bytes.toString("base64") !== text) throw new Error(`${text} is no timestamp`);
  const value = bytes.readBigUInt64LE();
  if (value >= 1n << 63n) throw new Error(`${text} is past 2^63`);
  return value;
}

/** A BigInt as a timestamp of the wire. */
export function written(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes.toString("base64");
}

const isLogLine = (text) => typeof text === "string" && /^\[.*?\] /.test(text);

class Conversation {
  faults = [];
  version = { querySet: 0, identity: 0, ts: 0n };
  sent = { querySet: 0, identity: 0 };
  queries = new Map();      // id → answered
  removed = new Set();
  requests = new Map();     // id → { kind, answers }
  uncovered = new Map();    // id → commit moment
  awaiting = null;          // why a Transition is owed

  fault(text) { this.faults.push(text); }

  client(message) {
    this.spoken = true;
    if (message.type === "ModifyQuerySet") {
      this.sent.querySet = message.newVersion;
      this.awaiting = "ModifyQuerySet";
      for (const change of message.modifications) {
        if (change.type === "Add") this.queries.set(change.queryId, false);
        else { this.queries.delete(change.queryId); this.removed.add(change.queryId); }
      }
    }
    if (message.type === "Authenticate") { this.sent.identity += 1; this.awaiting = "Authenticate"; }
    if (message.type === "Mutation" || message.type === "Action") this.requests.set(message.requestId, { kind: message.type, answers: 0 });
  }

  server(message) {
    if (!this.spoken) this.fault(`the server spoke first (${message.type})`);
    const hear = { Transition: this.transition, MutationResponse: this.response, ActionResponse: this.response, AuthError: this.authError, FatalError: this.fatal, Ping: () => {} }[message.type];
    if (hear) hear.call(this, message);
    else this.fault(`unknown message ${message.type}`);
  }

  transition(message) {
    const from = { ...message.startVersion, ts: moment(message.startVersion.ts) };
    const to = { ...message.endVersion, ts: moment(message.endVersion.ts) };
    for (const part of ["querySet", "identity", "ts"]) {
      if (from[part] !== this.version[part]) this.fault(`${part} starts at ${from[part]}, not at ${this.version[part]}`);
      if (to[part] < from[part]) this.fault(`${part} went back`);
    }
    for (const part of ["querySet", "identity"]) if (to[part] > this.sent[part]) this.fault(`${part} ${to[part]} was never asked for`);
    for (const part of ["clientClockSkew", "serverTs"]) {
      if (message[part] != null && !Number.isInteger(message[part])) this.fault(`${part} is no integer`);
    }
    for (const change of message.modifications) this.modification(change);
    this.version = to;
    if (to.querySet === this.sent.querySet) for (const [id, answered] of this.queries) if (!answered) this.fault(`query ${id} got no answer with its set`);
    for (const [id, ts] of this.uncovered) if (ts <= to.ts) this.uncovered.delete(id);
    if (to.querySet === this.sent.querySet && to.identity === this.sent.identity) this.awaiting = null;
  }

  modification(change) {
    const { type, queryId } = change;
    if (type === "QueryRemoved") {
      if (!this.removed.has(queryId)) this.fault(`query ${queryId} was removed by nobody`);
      return;
    }
    if (type !== "QueryUpdated" && type !== "QueryFailed") return this.fault(`unknown modification ${type}`);
    if (!this.queries.has(queryId) && !this.removed.has(queryId)) this.fault(`answer to unknown query ${queryId}`);
    if (type === "QueryUpdated" && !("value" in change)) this.fault("QueryUpdated without value");
    if (type === "QueryFailed" && typeof change.errorMessage !== "string") this.fault("QueryFailed without errorMessage");
    if (change.journal !== null && typeof change.journal !== "string") this.fault(`${type} without journal`);
    if (!Array.isArray(change.logLines) || !change.logLines.every(isLogLine)) this.fault(`${type} with bad logLines`);
    if (this.queries.has(queryId)) this.queries.set(queryId, true);
  }

  response(message) {
    const asked = this.requests.get(message.requestId);
    if (!asked) return this.fault(`answer to unknown request ${message.requestId}`);
    if (`${asked.kind}Response` !== message.type) this.fault(`${message.type} for a ${asked.kind}`);
    asked.answers += 1;
    if (asked.answers > 1) this.fault(`request ${message.requestId} was answered twice`);
    if (typeof message.success !== "boolean") this.fault("response without success");
    if (!Array.isArray(message.logLines) || !message.logLines.every(isLogLine)) this.fault("response with bad logLines");
    if (!message.success && typeof message.result !== "string") this.fault("failed response without a message");
    if (message.success && !("result" in message)) this.fault("response without result");
    if (message.type !== "MutationResponse") return;
    this.awaiting = `MutationResponse ${message.requestId}`;
    if (!message.success) { if (message.ts != null) this.fault("a failed mutation has a moment"); return; }
    if (moment(message.ts) === 0n) this.fault("a mutation committed at 0");
    this.uncovered.set(message.requestId, moment(message.ts));
  }

  authError(message) {
    if (typeof message.error !== "string" || !Number.isInteger(message.baseVersion) || typeof message.authUpdateAttempted !== "boolean") this.fault("malformed AuthError");
  }

  fatal(message) {
    if (typeof message.error !== "string") this.fault("malformed FatalError");
  }

  owed() {
    const open = [...this.requests].filter(([, asked]) => !asked.answers).map(([id]) => id);
    return [
      ...(this.awaiting ? [`a Transition is owed for ${this.awaiting}`] : []),
      ...(open.length ? [`requests without answer: ${open}`] : []),
      ...(this.uncovered.size ? [`mutations no Transition covers: ${[...this.uncovered.keys()]}`] : []),
    ];
  }
}

/** What is wrong with the frames of one socket, in words; with `settled`, also what is still owed at its end. */
export function findFaults(frames, { settled = false } = {}) {
  const talk = new Conversation();
  for (const { from, message } of frames) {
    try { talk[from](message); } catch (error) { talk.fault(error.message); }
  }
  return settled ? [...talk.faults, ...talk.owed()] : talk.faults;
}
