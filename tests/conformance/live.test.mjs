// ConvexClient: subscriptions, mutations and actions on one socket.
import assert from "node:assert/strict";
import { BaseConvexClient, ConvexClient } from "convex/browser";
import { ConvexError } from "convex/values";
import { WebSocket } from "ws";
import { Notebook, ORIGIN, corner, fn, follow, overHttp, overSocket, pause, soon, test, until } from "./people.mjs";
import { mustBeLawful, relay } from "./relay.mjs";

const texts = (todos) => todos.map((todo) => todo.text);

test("a subscriber is told of what other sockets, HTTP and actions write", async (t) => {
  const through = await relay(t);
  const { name, count, raise } = corner();
  const [reader, writer] = [overSocket(t, through.url), overSocket(t)];
  const counter = follow(reader, ...count);
  await counter.first();
  await writer.mutation(...raise);
  await until(() => counter.last === 1, "news of another socket");
  await overHttp().mutation(...raise);
  await until(() => counter.last === 2, "news of an HTTP call");
  await writer.action(fn("actions:incrementVia"), { key: name });
  await until(() => counter.last === 3, "news of an action");
  assert.deepEqual(counter.seen, [0, 1, 2, 3]);
  mustBeLawful(through, { settled: true });
});

test("a mutation's promise resolves once the subscriptions show it, and not before", async (t) => {
  const through = await relay(t);
  const { count, raise, list, add } = corner();
  const client = overSocket(t, through.url);
  const [counter, todos] = [follow(client, ...count), follow(client, ...list, texts)];
  await until(() => counter.seen.length && todos.seen.length, "first values");
  for (let round = 1; round <= 20; round += 1) {
    assert.equal(await client.mutation(...raise), round);
    assert.equal(counter.last, round);
    await client.mutation(...add(round));
    assert.equal(todos.last.length, round);
  }
  mustBeLawful(through, { settled: true });
});

test("without any subscription, mutations and actions resolve as well", async (t) => {
  const through = await relay(t);
  const { raise } = corner();
  const client = overSocket(t, through.url);
  assert.equal(await soon(client.mutation(...raise), "a mutation"), 1);
  assert.equal(await soon(client.mutation(fn("counter:noop"), {}), "a mutation that changes nothing"), null);
  assert.equal(await soon(client.action(fn("actions:add"), { a: 2, b: 40 }), "an action"), 42);
  await pause(100);
  mustBeLawful(through, { settled: true });
});

test("many mutations at once happen one after the other, in order, each once", async (t) => {
  const through = await relay(t);
  const { list, add } = corner();
  const client = overSocket(t, through.url);
  const todos = follow(client, ...list, texts);
  await todos.first();
  const wanted = Array.from({ length: 60 }, (_, number) => String(number));
  await Promise.all(wanted.map((text) => client.mutation(...add(text))));
  assert.deepEqual(todos.last, wanted);
  for (const shown of todos.seen) assert.deepEqual(shown, wanted.slice(0, shown.length));
  mustBeLawful(through, { settled: true });
});

test("an optimistic update is replaced by the real one without a flicker", async (t) => {
  const { list, add } = corner();
  const client = overSocket(t);
  const todos = follow(client, ...list, texts);
  await todos.first();
  for (const text of ["a", "b", "c"]) {
    const [path, args] = add(text);
    await client.mutation(path, args, {
      optimisticUpdate: (store) => {
        const before = store.getQuery(fn(list[0]), list[1]) ?? [];
        store.setQuery(fn(list[0]), list[1], [...before, { _id: "soon", _creationTime: 0, text, channel: args.channel }]);
      },
    });
  }
  assert.deepEqual(todos.seen.filter((shown) => new Set(shown).size !== shown.length), [], "something was shown twice");
  for (let at = 1; at < todos.seen.length; at += 1) assert.ok(todos.seen[at].length >= todos.seen[at - 1].length, "something vanished");
  assert.deepEqual(todos.last, ["a", "b", "c"]);
});

test("queries of one socket always show one moment", async (t) => {
  // Two corners that one socket looks at, and another raises in turn: the first is never behind the second.
  const through = await relay(t);
  const [one, two] = [corner(), corner()];
  const [reader, writer] = [overSocket(t, through.url), overSocket(t)];
  const [first, second] = [follow(reader, ...one.count), follow(reader, ...two.count)];
  await until(() => first.seen.length && second.seen.length, "first values");
  const told = [];
  reader.client.addOnTransitionHandler(() => {
    const local = (args) => reader.client.localQueryResult("counter:get", args);
    told.push([local(one.count[1]), local(two.count[1])]);
  });
  for (let round = 0; round < 15; round += 1) {
    await writer.mutation(...one.raise);
    await writer.mutation(...two.raise);
  }
  await until(() => second.last === 15, "all of it");
  for (const [a, b] of told) assert.ok(a === b || a === b + 1, `${a} beside ${b}`);
  mustBeLawful(through, { settled: true });
});

test("who writes at once agrees in the end", async (t) => {
  const { list, add } = corner();
  const clients = [1, 2, 3, 4].map(() => overSocket(t));
  const views = clients.map((client) => follow(client, ...list, texts));
  await until(() => views.every((view) => view.seen.length), "first values");
  await Promise.all(clients.flatMap((client, who) => Array.from({ length: 8 }, (_, number) => client.mutation(...add(`${who}.${number}`)))));
  await until(() => views.every((view) => view.last.length === 32), "all of it everywhere");
  for (const view of views) assert.deepEqual(view.last, views[0].last);
  for (const who of [0, 1, 2, 3]) {
    assert.deepEqual(views[0].last.filter((text) => text.startsWith(`${who}.`)), Array.from({ length: 8 }, (_, number) => `${who}.${number}`));
  }
});

test("after leaving a subscription nothing comes; after joining again, what is true now", async (t) => {
  const through = await relay(t);
  const { count, raise } = corner();
  const client = overSocket(t, through.url);
  const before = follow(client, ...count);
  await before.first();
  before.leave();
  await client.mutation(...raise);
  assert.deepEqual(before.seen, [0]);
  assert.ok(through.said("server", "Transition").some((m) => m.modifications.some((change) => change.type === "QueryRemoved")));
  const after = follow(client, ...count);
  await after.first();
  assert.deepEqual(after.seen, [1]);
  mustBeLawful(through, { settled: true });
});

test("two who look at the same thing share it, and one may leave", async (t) => {
  const { count, raise } = corner();
  const client = overSocket(t);
  const [one, two] = [follow(client, ...count), follow(client, ...count)];
  await until(() => one.seen.length && two.seen.length, "first values");
  one.leave();
  await client.mutation(...raise);
  assert.deepEqual([one.seen, two.seen], [[0], [0, 1]]);
});

test("what did not change is not told again", async (t) => {
  const through = await relay(t);
  const [mine, others] = [corner(), corner()];
  const client = overSocket(t, through.url);
  const counter = follow(client, ...mine.count);
  await counter.first();
  await overHttp().mutation(...others.raise);
  await client.mutation(...others.raise);
  await pause(150);
  assert.deepEqual(counter.seen, [0]);
  const answers = through.said("server", "Transition").flatMap((m) => m.modifications).filter((change) => change.type === "QueryUpdated");
  assert.equal(answers.length, 1);
});

test("failures reach those who asked, as what they are, and the socket goes on", async (t) => {
  const through = await relay(t);
  const { raise } = corner();
  const client = overSocket(t, through.url);
  const [expected, plain, missing] = [follow(client, "errors:convex_query", {}), follow(client, "errors:plain_query", { tag: "q" }), follow(client, "no:such", {})];
  await until(() => expected.failures.length && plain.failures.length && missing.failures.length, "three failures");
  assert.ok(expected.failures[0] instanceof ConvexError);
  assert.deepEqual(expected.failures[0].data, { code: "TEAPOT", n: 7n, nested: { list: [1, null, "x"] } });
  assert.ok(!(plain.failures[0] instanceof ConvexError));
  assert.match(plain.failures[0].message, /plain failure q/);
  assert.match(missing.failures[0].message, /Could not find public function for 'no:such'/);
  for (const kind of ["mutation", "action"]) {
    await assert.rejects(soon(client[kind](fn(`errors:convex_${kind}`), {}), kind), (error) => error instanceof ConvexError && error.data.n === 7n);
    await assert.rejects(soon(client[kind](fn(`errors:plain_${kind}`), { tag: kind }), kind), (error) => !(error instanceof ConvexError) && error.message.includes(`plain failure ${kind}`));
    await assert.rejects(soon(client[kind](fn("no:such"), {}), kind), /Could not find public function/);
    await assert.rejects(soon(client[kind](fn("counter:get"), {}), kind), /Trying to execute counter:get as/);
    await assert.rejects(soon(client[kind](fn("internalFns:secret"), {}), kind), /Could not find public function/);
  }
  await client.mutation(...raise);
  assert.equal(through.lines.length, 1);
  mustBeLawful(through, { settled: true });
});

test("a query that fails for a while stays subscribed", async (t) => {
  const { name, raise } = corner();
  const client = overSocket(t);
  const even = follow(client, "errors:whenOdd", { key: name });
  await even.first();
  await client.mutation(...raise);
  await client.mutation(...raise);
  assert.deepEqual(even.order, ["value", "failure", "value"]);
  assert.deepEqual(even.failures[0].data, { odd: 1 });
  assert.deepEqual(even.seen, [0, 2]);
});

test("a mutation that fails after it wrote is seen by nobody", async (t) => {
  const { name, count } = corner();
  const client = overSocket(t);
  const counter = follow(client, ...count);
  await counter.first();
  await assert.rejects(client.mutation(fn("errors:failAfterWrite"), { key: name }));
  await pause(50);
  assert.deepEqual(counter.seen, [0]);
});

test("actions run side by side, and hold up nobody", async (t) => {
  const { raise } = corner();
  const client = overSocket(t);
  await client.mutation(...raise);
  const order = [];
  const slow = [1, 2, 3].map((a) => client.action(fn("actions:add"), { a, b: 0, delayMs: 700 }).then(() => order.push("action")));
  await client.mutation(...raise).then(() => order.push("mutation"));
  const started = performance.now();
  await Promise.all(slow);
  assert.equal(order[0], "mutation");
  assert.ok(performance.now() - started < 1400, "the actions waited for each other");
});

test("console lines of queries are printed by the client, and well formed", async (t) => {
  const { count, raise } = corner();
  const client = overSocket(t);
  const counter = follow(client, "counter:logs", count[1]);
  await counter.first();
  await client.mutation(...raise);
  await until(() => client.notes.lines.filter((line) => line.includes("the counter is at")).length === 2, "two lines");
  assert.deepEqual(client.notes.errors, []);
});

test("pages grow and move without gaps, and keep their ends over a reconnect", async (t) => {
  const through = await relay(t);
  const { name, add } = corner();
  const http = overHttp();
  for (let number = 0; number < 7; number += 1) await http.mutation(...add(number));
  const client = overSocket(t, through.url);
  let shown;
  t.after(client.onPaginatedUpdate_experimental(fn("todos:page"), { channel: name }, { initialNumItems: 3 }, (pages) => { shown = pages; }));
  await until(() => shown?.status === "CanLoadMore", "the first page");
  assert.deepEqual(texts(shown.results), ["0", "1", "2"]);
  shown.loadMore(3);
  await until(() => shown.results.length === 6 && shown.status === "CanLoadMore", "the second page");
  shown.loadMore(5);
  await until(() => shown.status === "Exhausted", "the last page");
  await http.mutation(...add(7));
  await until(() => shown.results.length === 8, "a new line on the last page");
  through.line.cut();
  await until(() => through.lines.length === 2 && through.line.frames.some((frame) => frame.message.type === "Transition"), "a new socket");
  const asked = through.line.frames.find((frame) => frame.message.type === "ModifyQuerySet").message.modifications;
  assert.ok(asked.filter((change) => typeof change.journal === "string").length >= 2, "the client gives journals back");
  await http.mutation(...add(8));
  await until(() => shown.results.length === 9, "news after the reconnect");
  assert.deepEqual(texts(shown.results), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
  mustBeLawful(through);
});

test("the transition that shows a mutation is the one that reflects it", async (t) => {
  const { count, raise } = corner();
  const client = new BaseConvexClient(ORIGIN, () => {}, { webSocketConstructor: WebSocket, logger: new Notebook(), skipConvexDeploymentUrlCheck: true, unsavedChangesWarning: false });
  t.after(() => client.close());
  const told = [];
  client.addOnTransitionHandler((transition) => told.push(transition));
  client.subscribe(...count);
  await until(() => told.length, "a first transition");
  await client.mutation(raise[0]._path ?? "counter:increment", raise[1]);
  const reflecting = told.filter((transition) => transition.reflectedMutations.length);
  assert.equal(reflecting.length, 1);
  assert.equal(reflecting[0].queries.length, 1);
  assert.deepEqual(told.map((transition) => Number(transition.timestamp)), told.map((transition) => Number(transition.timestamp)).sort((a, b) => a - b));
});

test("an idle client is connected, with nothing under way", async (t) => {
  const client = overSocket(t);
  await client.mutation(fn("counter:noop"), {});
  const state = client.connectionState();
  assert.deepEqual([state.isWebSocketConnected, state.hasInflightRequests, state.connectionRetries], [true, false, 0]);
});

test("a result of 12 MB arrives", async (t) => {
  const client = overSocket(t);
  const letters = follow(client, "values:echo_query", { value: "x".repeat(12_000_000) }, (value) => value.length);
  await until(() => letters.seen.length, "a large result", 20_000);
  assert.equal(letters.last, 12_000_000);
});

test("a client that is disabled asks for nothing", async () => {
  const client = new ConvexClient(ORIGIN, { disabled: true, skipConvexDeploymentUrlCheck: true });
  assert.equal(client.disabled, true);
  await client.close();
});
