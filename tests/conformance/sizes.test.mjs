// What is too large, or cut in two: only that call fails, and the client goes on.
import assert from "node:assert/strict";
import { corner, fn, follow, overHttp, overSocket, soon, test, unique, until } from "./people.mjs";
import { mustBeLawful, relay } from "./relay.mjs";

const LARGE = "x".repeat(18_000_000);
// Text cut inside an emoji, in front and behind.
const CUT = "\ude00 rain \ud83d";
const WHOLE = "\ufffd rain \ufffd";

test("G43: an argument of 18 MB is refused, and the socket goes on without reconnecting", async (t) => {
  const through = await relay(t);
  const { count, raise } = corner();
  const client = overSocket(t, through.url);
  const counter = follow(client, ...count);
  await until(() => counter.seen.length, "a first value");
  const [mutation, next, action] = [
    client.mutation(fn("values:echo_mutation"), { value: LARGE }), client.mutation(...raise), client.action(fn("values:echo_action"), { value: LARGE }),
  ];
  await assert.rejects(soon(mutation, "the refusal of a mutation", 20_000), /too large/);
  await assert.rejects(soon(action, "the refusal of an action", 20_000), /too large/);
  assert.equal(await soon(next, "a mutation behind it", 20_000), 1);
  await until(() => counter.last === 1, "its effect");
  assert.equal(through.lines.length, 1, "it did not reconnect");
  mustBeLawful(through);
});

test("G42: text cut inside an emoji is stored with the replacement character, over the socket", async (t) => {
  const through = await relay(t);
  const client = overSocket(t, through.url);
  const channel = unique("channel");
  const list = follow(client, "todos:list", { channel }, (lines) => lines.map((line) => line.text).join());
  await until(() => list.seen.length, "an empty list");
  await soon(client.mutation(fn("todos:add"), { channel, text: CUT }), "a mutation");
  await until(() => list.last === WHOLE, "its text");
  assert.equal(await soon(client.query(fn("values:echo_query"), { value: CUT }), "a query"), WHOLE);
  assert.equal(await soon(client.action(fn("values:echo_action"), { value: CUT }), "an action"), WHOLE);
  assert.equal(through.lines.length, 1);
  mustBeLawful(through);
});

test("G42: and over HTTP", async () => {
  const channel = unique("channel");
  await overHttp().mutation(fn("todos:add"), { channel, text: CUT });
  assert.deepEqual((await overHttp().query(fn("todos:list"), { channel })).map((line) => line.text), [WHOLE]);
});
