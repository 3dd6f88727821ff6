// What outlives a socket: mutations happen once, however often they are sent, and subscribers catch up.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe } from "node:test";
import { corner, fn, follow, overHttp, overSocket, pause, soon, test, tokenOf, unique, until } from "./people.mjs";
import { dial } from "./raw.mjs";
import { mustBeLawful, relay } from "./relay.mjs";
import { moment } from "./rules.mjs";

const read = ({ count }) => overHttp().query(fn(count[0]), count[1]);

// At once, since a client takes its time to come back.
describe("over sockets", { concurrency: true }, () => {

test("after a cut line, the client is told what it missed", async (t) => {
  const through = await relay(t);
  const place = corner();
  const client = overSocket(t, through.url);
  const [counter, todos] = [follow(client, ...place.count), follow(client, ...place.list, (found) => found.length)];
  await until(() => counter.seen.length && todos.seen.length, "first values");
  through.line.cut();
  await overHttp().mutation(...place.raise);
  await until(() => counter.last === 1, "what happened meanwhile");
  await until(() => client.connectionState().connectionRetries === 0, "the client to be at ease");
  assert.deepEqual(new Set(todos.seen), new Set([0]), "nothing new there");
  const again = through.line.frames.filter((frame) => frame.from === "client").map((frame) => frame.message);
  assert.equal(again[0].type, "Connect");
  assert.equal(again[0].connectionCount, 1);
  const answered = through.line.frames.filter((frame) => frame.message.type === "Transition").flatMap((frame) => frame.message.modifications.map((change) => change.queryId));
  assert.equal(new Set(answered).size, 2, "every query is answered on a new socket");
  mustBeLawful(through, { settled: true });
});

for (const [what, judge] of [
  ["its answer is lost", (from, message) => (message.type === "MutationResponse" ? "cut" : "pass")],
  ["it was answered but not shown yet", (from, message, line) => (line.frames.some((f) => f.message.type === "MutationResponse") && message.type === "Transition" ? "cut" : "pass")],
  ["it was cut off while it ran", (from, message) => (message.type === "Mutation" ? "pass-and-cut" : "pass")],
  ["it never arrived", (from, message) => (message.type === "Mutation" ? "cut" : "pass")],
]) {
  test(`a mutation happens once when ${what}`, async (t) => {
    const through = await relay(t);
    const place = corner();
    const client = overSocket(t, through.url);
    const counter = follow(client, ...place.count);
    await counter.first();
    let cuts = 2;
    through.judge = (...heard) => {
      const verdict = judge(...heard);
      return verdict !== "pass" && cuts-- > 0 ? verdict : "pass";
    };
    assert.equal(await soon(client.mutation(...place.raise), "the mutation", 20_000), 1);
    assert.equal(counter.last, 1);
    assert.equal(await read(place), 1);
    assert.ok(through.lines.length >= 2);
    mustBeLawful(through);
  });
}

test("a queue of mutations survives cuts: each once, in order", async (t) => {
  const through = await relay(t);
  const place = corner();
  const client = overSocket(t, through.url);
  const todos = follow(client, ...place.list, (found) => found.map((todo) => todo.text));
  await todos.first();
  let answers = 0;
  through.judge = (from, message) => (message.type === "MutationResponse" && [4, 9].includes(answers++) ? "cut" : "pass");
  const wanted = Array.from({ length: 15 }, (_, number) => String(number));
  await soon(Promise.all(wanted.map((text) => client.mutation(...place.add(text)))), "all of them", 25_000);
  assert.deepEqual(todos.last, wanted);
  mustBeLawful(through);
});

test("an action whose line was cut is given up by the client, and not sent again", async (t) => {
  const through = await relay(t);
  const client = overSocket(t, through.url);
  await client.mutation(fn("counter:noop"), {});
  const running = client.action(fn("actions:add"), { a: 1, b: 1, delayMs: 3000 });
  await until(() => through.said("client", "Action").length, "the action to be sent");
  through.line.cut();
  await assert.rejects(running, /Connection lost while action was in flight/);
  await client.mutation(fn("counter:noop"), {});
  assert.equal(through.said("client", "Action").length, 1);
});

test("a repeated request gets its first answer, moment and all, and a Transition after it", async (t) => {
  const place = corner();
  const first = (await dial(t)).connect();
  const said = await first.mutate(7, "counter:increment", { key: place.name }).hearA("MutationResponse");
  first.hangUp();
  const second = (await dial(t, { session: first.session })).connect({ connectionCount: 1 });
  const again = await second.mutate(7, "counter:increment", { key: place.name }).hearA("MutationResponse");
  assert.deepEqual(again, said);
  await second.transition((m) => moment(m.endVersion.ts) >= moment(said.ts));
  assert.equal(await read(place), 1);
});

test("two sockets of one session that send the same request at once run it once", async (t) => {
  const place = corner();
  const session = randomUUID();
  const both = await Promise.all([0, 1].map(() => dial(t, { session })));
  for (const raw of both) raw.connect();
  for (let request = 0; request < 10; request += 1) {
    for (const raw of both) raw.mutate(request, "counter:increment", { key: place.name });
    const [one, other] = await Promise.all(both.map((raw) => raw.hearA("MutationResponse")));
    assert.deepEqual(one, other);
  }
  assert.equal(await read(place), 10);
});

test("a request that failed runs again when it is repeated", async (t) => {
  const session = randomUUID();
  const place = corner();
  for (const round of [0, 1]) {
    const raw = (await dial(t, { session })).connect({ connectionCount: round });
    const said = await raw.mutate(0, "errors:failAfterWrite", { key: place.name }).hearA("MutationResponse");
    assert.equal(said.success, false);
  }
  const raw = (await dial(t, { session })).connect({ connectionCount: 2 });
  assert.equal((await raw.mutate(0, "counter:increment", { key: place.name }).hearA("MutationResponse")).result, 1);
});

test("the same request of another session is another request", async (t) => {
  const place = corner();
  for (const result of [1, 2, 3]) {
    const raw = (await dial(t)).connect();
    assert.equal((await raw.mutate(0, "counter:increment", { key: place.name }).hearA("MutationResponse")).result, result);
  }
});

test("sockets that never said Connect share nothing", async (t) => {
  const place = corner();
  for (const result of [1, 2]) {
    const raw = await dial(t);
    assert.equal((await raw.mutate(0, "counter:increment", { key: place.name }).hearA("MutationResponse")).result, result);
    await raw.ask(0, { 0: place.count }).taken(1);
  }
});

test("nobody reads another's result by naming their session", async (t) => {
  const session = randomUUID();
  const [alice, mallory] = [unique("alice"), unique("mallory")];
  const hers = (await dial(t, { session })).connect().be(0, tokenOf(alice));
  const said = await hers.mutate(0, "values:echo_mutation", { value: `private to ${alice}` }).hearA("MutationResponse");
  assert.equal(said.result, `private to ${alice}`);
  for (const token of [tokenOf(mallory), null]) {
    const raw = (await dial(t, { session })).connect({ connectionCount: 1 }).be(0, token);
    const heard = await raw.mutate(0, "values:echo_mutation", { value: "mine" }).hear((m) => m.type === "MutationResponse" || m.type === "AuthError" || m.type === "FatalError", "an answer").catch(() => null);
    assert.ok(!JSON.stringify(heard ?? {}).includes("private to"));
  }
});

test("a client from the server's future is told to come again, not given old news", async (t) => {
  const raw = (await dial(t)).connect({ maxObservedTimestamp: Buffer.from((2n ** 62n).toString(16).padStart(16, "0"), "hex").reverse().toString("base64") });
  const { code } = await raw.end();
  assert.equal(code, 1011);
  assert.ok(!raw.frames.some((frame) => frame.message.type === "FatalError"));
});

test("all sockets and query_ts go by one clock", async (t) => {
  const place = corner();
  const raw = (await dial(t)).connect();
  const { ts } = await raw.mutate(0, "counter:increment", { key: place.name }).hearA("MutationResponse");
  const now = await (await fetch(`${process.env.DAYSONG_ORIGIN}/api/query_ts`, { method: "POST" })).json();
  assert.ok(moment(now.ts) >= moment(ts));
  const other = (await dial(t)).connect({ maxObservedTimestamp: now.ts });
  const { endVersion } = await other.ask(0).taken(1);
  assert.ok(moment(endVersion.ts) >= moment(ts));
  await pause(0);
});

});
