// A relay between an official client and the server: it hears every frame, and can hold frames back or cut the line.
import http from "node:http";
import { WebSocket, WebSocketServer } from "ws";
import { ORIGIN } from "./people.mjs";
import { findFaults } from "./rules.mjs";

const MOST = 128 * 1024 * 1024;

/** Start one for a test. `lines` are its sockets, oldest first; `requests` its HTTP requests. */
export async function relay(t, target = ORIGIN) {
  const self = {
    lines: [],
    requests: [],
    closed: false,           // true: new sockets are turned away
    judge: () => "pass",     // (from, message, line) => pass | hold | lose | cut | pass-and-cut
    get line() { return self.lines.at(-1); },
    said: (from, type) => self.lines.flatMap((line) => line.frames).filter((f) => f.from === from && (!type || f.message.type === type)).map((f) => f.message),
    target,
  };
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      const body = Buffer.concat(parts);
      self.requests.push({ path: request.url, headers: request.headers, body: body.toString() });
      const onward = http.request(new URL(request.url, self.target), { method: request.method, headers: { ...request.headers, host: new URL(self.target).host } }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      onward.on("error", () => response.destroy());
      onward.end(body);
    });
  });
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MOST });
  server.on("upgrade", (request, raw, head) => {
    if (self.closed) return raw.destroy();
    sockets.handleUpgrade(request, raw, head, (client) => self.lines.push(line(self, request, client)));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  self.url = `http://127.0.0.1:${server.address().port}`;
  t.after(() => {
    for (const one of self.lines) one.cut();
    server.closeAllConnections();
    return new Promise((done) => server.close(done));
  });
  return self;
}

function line(self, request, client) {
  const headers = Object.fromEntries(["convex-client", "origin"].filter((name) => request.headers[name]).map((name) => [name, request.headers[name]]));
  const server = new WebSocket(new URL(request.url, self.target).href.replace(/^http/, "ws"), { headers, maxPayload: MOST });
  const it = { path: request.url, headers: request.headers, frames: [], held: [], open: true, end: null };
  it.cut = () => { it.open = false; client.terminate(); server.terminate(); };
  it.release = () => { for (const pass of it.held.splice(0)) pass(); };
  const carry = (from, to, data) => {
    const message = JSON.parse(data.toString());
    it.frames.push({ from, message, at: performance.now() });
    const verdict = self.judge(from, message, it);
    const pass = (sent) => { if (to.readyState === WebSocket.OPEN) to.send(data.toString(), sent); };
    if (verdict === "hold") it.held.push(pass);
    else if (verdict === "cut") it.cut();
    else if (verdict === "pass-and-cut") pass(it.cut);
    else if (verdict !== "lose") pass();
  };
  const waiting = [];
  client.on("message", (data) => (server.readyState === WebSocket.OPEN ? carry("client", server, data) : waiting.push(data)));
  server.on("open", () => { for (const data of waiting.splice(0)) carry("client", server, data); });
  server.on("message", (data) => carry("server", client, data));
  const ended = (who, other) => (code, reason) => {
    it.end ??= { who, code, reason: reason.toString() };
    if (!it.open) return;
    it.open = false;
    if (code === 1005) other.close();
    else if (code === 1006) other.terminate();
    else other.close(code, reason);
  };
  client.on("close", ended("client", server));
  server.on("close", ended("server", client));
  client.on("error", () => {});
  server.on("error", () => it.cut());
  return it;
}

/** Fail if any socket of the relay broke a rule; with `settled`, also if one still open is owed anything. */
export function mustBeLawful(self, { settled = false } = {}) {
  self.lines.forEach((one, number) => {
    const faults = findFaults(one.frames, { settled: settled && one.open });
    if (faults.length) throw new Error(`socket ${number}: ${faults.join("; ")}`);
  });
}
