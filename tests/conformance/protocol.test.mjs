// The protocol on a bare socket: what official clients rely on, and what none of them would send.
import assert from "node:assert/strict";
import { fn, corner, overHttp, pause, test, tokenOf, unique } from "./people.mjs";
import { dial } from "./raw.mjs";
import { moment, written } from "./rules.mjs";

const ZERO = { querySet: 0, identity: 0, ts: written(0) };

for (const [path, headers] of [["/api/1.48.0/sync", {}], ["/api/1.27.3/sync", {}], ["/api/99.0.0-alpha.1/sync", {}], ["/api/sync", { "Convex-Client": "python-0.8.1" }], ["/api/sync", { Origin: "https://elsewhere.example.test" }]]) {
  test(`${path} ${JSON.stringify(headers)}: the empty query set every client starts with is taken in`, async (t) => {
    const raw = (await dial(t, { path, headers })).connect().ask(0);
    const { startVersion, endVersion, modifications } = await raw.taken(1);
    assert.deepEqual([startVersion, modifications], [ZERO, []]);
    assert.equal(endVersion.identity, 0);
    assert.ok(moment(endVersion.ts) > 0n);
  });
}

test("nothing is said before the client speaks", async (t) => {
  const raw = await dial(t);
  await pause(150);
  assert.deepEqual(raw.frames, []);
});

test("all of one query set comes in one transition, failures too", async (t) => {
  const { count, list } = corner();
  const raw = (await dial(t)).connect().ask(0, { 4: count, 5: list, 6: ["no:such", {}], 7: ["errors:convex_query", {}], 8: ["counter:increment", {}] });
  const { modifications } = await raw.taken(1);
  const byId = Object.fromEntries(modifications.map((change) => [change.queryId, change]));
  assert.deepEqual([4, 5, 6, 7, 8].map((id) => byId[id].type), ["QueryUpdated", "QueryUpdated", "QueryFailed", "QueryFailed", "QueryFailed"]);
  assert.deepEqual([6, 7, 8].map((id) => "errorData" in byId[id]), [false, true, false]);
});

test("adding and removing in a burst", async (t) => {
  const { count, list } = corner();
  const raw = (await dial(t)).connect().ask(0, { 0: count }).ask(1, {}, [0]).ask(2, { 1: list }).ask(3, { 2: count }, [1]);
  await raw.taken(4);
  const answers = raw.frames.flatMap(({ message }) => message.type === "Transition" ? message.modifications : []);
  assert.ok(answers.some((change) => change.queryId === 2 && change.type === "QueryUpdated"));
  raw.mutate(0, "counter:increment", count[1]);
  const { ts } = await raw.hearA("MutationResponse");
  const { modifications } = await raw.transition((m) => moment(m.endVersion.ts) >= moment(ts));
  assert.deepEqual(modifications.map((change) => [change.queryId, change.value]), [[2, 1]]);
});

test("a removed query is taken leave of", async (t) => {
  const { count } = corner();
  const raw = (await dial(t)).connect().ask(0, { 0: count });
  await raw.taken(1);
  const { modifications } = await raw.ask(1, {}, [0]).taken(2);
  assert.deepEqual(modifications, [{ type: "QueryRemoved", queryId: 0 }]);
});

test("the response, then the first transition at or past its moment, which shows it", async (t) => {
  const { name, count } = corner();
  const raw = (await dial(t)).connect().ask(0, { 0: count });
  await raw.taken(1);
  for (let request = 0; request < 30; request += 1) {
    const heardSoFar = raw.frames.length;
    const response = await raw.mutate(request, "counter:increment", { key: name }).hearA("MutationResponse");
    const covering = await raw.transition((m) => moment(m.endVersion.ts) >= moment(response.ts));
    assert.deepEqual(covering.modifications.map((change) => change.value), [request + 1]);
    const before = raw.frames.slice(heardSoFar, raw.frames.findIndex(({ message }) => message === response));
    assert.ok(!before.some(({ message }) => message.type === "Transition" && message.modifications.length), "shown before it was answered");
  }
});

test("the same while others write to the same place", async (t) => {
  // With every own mutation the counter moves by 1000, with every other by 1: what is shown tells which commits it has.
  const { name, count } = corner();
  const [raw, noise] = [(await dial(t)).connect().ask(0, { 0: count }), (await dial(t)).connect()];
  await raw.taken(1);
  let going = true;
  const others = (async () => {
    for (let request = 0; going; request += 1) await noise.mutate(request, "counter:increment", { key: name }).hearA("MutationResponse");
  })();
  for (let request = 0; request < 40; request += 1) {
    const response = await raw.mutate(request, "counter:increment", { key: name, by: 1000 }).hearA("MutationResponse");
    await raw.transition((m) => moment(m.endVersion.ts) >= moment(response.ts));
  }
  going = false;
  await others;
  let [answered, newest] = [0, 0];
  const commits = [];
  for (const { from, message } of raw.frames) {
    if (from !== "server") continue;
    if (message.type === "MutationResponse") { answered += 1; commits.push(moment(message.ts)); }
    if (message.type !== "Transition") continue;
    newest = message.modifications.at(-1)?.value ?? newest;
    const own = Math.floor(newest / 1000);
    assert.ok(own <= answered, `${own} shown, ${answered} answered`);
    const due = commits.filter((ts) => ts <= moment(message.endVersion.ts)).length;
    assert.ok(own >= due, `${due} due, ${own} shown`);
  }
  assert.equal(answered, 40);
});

test("a failed mutation is followed by a transition as well, and has no moment", async (t) => {
  const raw = (await dial(t)).connect().ask(0);
  await raw.taken(1);
  for (const [request, path] of ["errors:convex_mutation", "errors:plain_mutation", "no:such"].entries()) {
    const { success, ts, result } = await raw.mutate(request, path).hearA("MutationResponse");
    assert.deepEqual([success, ts ?? null, typeof result], [false, null, "string"]);
    await raw.transition();
  }
});

test("mutations of one socket run one after the other, those of two at once", async (t) => {
  const places = [corner(), corner()];
  const raws = await Promise.all(places.map(async () => (await dial(t)).connect()));
  for (let request = 0; request < 25; request += 1) raws.forEach((raw, who) => raw.mutate(request, "counter:increment", { key: places[who].name }));
  for (const raw of raws) {
    for (let request = 0; request < 25; request += 1) {
      const { requestId, result } = await raw.hearA("MutationResponse");
      assert.deepEqual([requestId, result], [request, request + 1]);
    }
  }
});

test("a mutation runs as who the socket was when it was sent", async (t) => {
  const [alice, bob] = [unique("alice"), unique("bob")];
  const raw = (await dial(t)).connect();
  raw.mutate(0, "auth:whoamiMutation").be(0, tokenOf(alice)).mutate(1, "auth:whoamiMutation").be(1, tokenOf(bob)).mutate(2, "auth:whoamiMutation").be(2, null).mutate(3, "auth:whoamiMutation");
  for (const who of [null, alice, bob, null]) assert.equal((await raw.hearA("MutationResponse")).result, who);
});

test("an action answers when it is done, mutations meanwhile", async (t) => {
  const { name } = corner();
  const raw = (await dial(t)).connect().act(0, "actions:add", { a: 1, b: 2, delayMs: 400 }).mutate(1, "counter:increment", { key: name }).act(2, "actions:add", { a: 3, b: 4 });
  const order = [];
  for (let left = 3; left > 0; left -= 1) order.push((await raw.hear((m) => m.type.endsWith("Response"), "a response")).requestId);
  assert.equal(order.at(-1), 0);
});

test("a value that is malformed fails the call or ends the socket, and no more", async (t) => {
  const raw = await dial(t, { lawful: false });
  raw.connect().mutate(0, "values:echo_mutation", { value: { $integer: "AA==" } });
  const heard = await raw.hear((m) => ["MutationResponse", "FatalError"].includes(m.type), "an answer");
  assert.ok(heard.type === "FatalError" || heard.success === false);
  const after = (await dial(t)).connect().ask(0);
  await after.taken(1);
});

test("journals come back with the results, and make a page keep its end", async (t) => {
  const { name, add } = corner();
  for (let number = 0; number < 5; number += 1) await overHttp().mutation(...add(number));
  const page = (cursor, journal) => ["todos:page", { channel: name, paginationOpts: { numItems: 2, cursor } }, journal];
  const raw = (await dial(t)).connect().ask(0, { 0: page(null) });
  const { modifications: [first] } = await raw.taken(1);
  assert.equal(typeof first.journal, "string");
  assert.deepEqual(first.value.page.map((todo) => todo.text), ["0", "1"]);
  const whole = (await dial(t)).connect().ask(0, { 0: page(null, first.journal), 1: page(first.value.continueCursor, "end"), 2: page(null, null) });
  const { modifications } = await whole.taken(1);
  const found = Object.fromEntries(modifications.map((change) => [change.queryId, change.value.page.map((todo) => todo.text)]));
  assert.deepEqual(found, { 0: ["0", "1"], 1: ["2", "3", "4"], 2: ["0", "1"] });
  const { modifications: [plain] } = await raw.ask(1, { 1: ["counter:get", {}] }).taken(2);
  assert.equal(plain.journal, null);
});

test("events are heard and not answered", async (t) => {
  const raw = (await dial(t)).connect();
  raw.say({ type: "Event", eventType: "ClientConnect", event: [{ name: "x", startTime: 0.5 }] });
  raw.say({ type: "Event", eventType: "Whatever", event: null });
  await raw.ask(0).taken(1);
  assert.deepEqual(raw.frames.filter(({ from }) => from === "server").map(({ message }) => message.type), ["Transition"]);
});

test("Connect may leave out what is optional, be null there, or know more than we do", async (t) => {
  for (const more of [{}, { lastCloseReason: null, clientTs: 0 }, { lastCloseReason: "InactiveServer", connectionCount: 3, maxObservedTimestamp: written(1), more: [1] }]) {
    const raw = await dial(t);
    raw.say({ type: "Connect", sessionId: raw.session, connectionCount: 0, ...more });
    await raw.ask(0).taken(1);
  }
});

for (const [what, send] of Object.entries({
  "a base version that is not": (raw) => raw.ask(7),
  "a base version twice": (raw) => raw.ask(0).ask(0),
  "half a message": (raw) => raw.blurt("{"),
  "an unknown type": (raw) => raw.blurt('{"type":"Nonsense"}'),
  "no type": (raw) => raw.blurt("{}"),
  "no object": (raw) => raw.blurt("[1,2]"),
  "a field of another type": (raw) => raw.blurt('{"type":"Mutation","requestId":"one","udfPath":"counter:noop","args":[{}]}'),
})) {
  test(`${what} is fatal to the socket, and to nothing else`, async (t) => {
    const raw = await dial(t, { lawful: false });
    send(raw.connect());
    const { error } = await raw.hearA("FatalError");
    if (what.startsWith("a base")) assert.match(error, /[Bb]ase version/);
    await raw.end();
    await (await dial(t)).connect().ask(0).taken(1);
  });
}

for (const [what, send] of Object.entries({
  "a base identity that is not": (raw) => raw.be(3, null),
  "a query added twice": (raw) => raw.ask(0, { 0: ["counter:get", {}] }).ask(1, { 0: ["counter:get", {}] }),
  "a query removed that was not there": (raw) => raw.ask(0, {}, [9]),
})) {
  test(`${what} ends the socket so that the client comes again`, async (t) => {
    const raw = await dial(t, { lawful: false });
    send(raw.connect());
    assert.equal((await raw.end()).code, 1011);
    assert.ok(!raw.frames.some(({ message }) => message.type === "FatalError"));
  });
}

test("a server's clock is told in whole numbers", async (t) => {
  const raw = (await dial(t)).connect({ clientTs: Date.now() }).ask(0);
  const { clientClockSkew, serverTs } = await raw.taken(1);
  for (const number of [clientClockSkew, serverTs]) assert.ok(number == null || Number.isInteger(number));
});

test("a path of a module with .js is the same function", async (t) => {
  const { count } = corner();
  const raw = (await dial(t)).connect().ask(0, { 0: ["counter.js:get", count[1]] });
  assert.equal((await raw.taken(1)).modifications[0].value, 0);
  assert.equal((await raw.mutate(0, "counter.js:increment", count[1]).hearA("MutationResponse")).result, 1);
  assert.equal(await overHttp().query(fn("counter:get"), count[1]), 1);
});
