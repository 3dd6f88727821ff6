// Every kind of value, both ways, over HTTP and over the socket.
import assert from "node:assert/strict";
import { convexToJson, jsonToConvex } from "convex/values";
import { fn, follow, overHttp, overSocket, test } from "./people.mjs";

const bytes = (...numbers) => new Uint8Array(numbers).buffer;
const VALUES = {
  null: null,
  true: true,
  "whole numbers": [0, 1, -1, 2 ** 31, 2 ** 53, -(2 ** 53), 1e21],
  fractions: [0.1, -2.5, 5e-324, Number.MAX_VALUE, Number.EPSILON],
  "numbers JSON has not": [NaN, Infinity, -Infinity, -0],
  "64-bit integers": [0n, 7n, -1n, 2n ** 63n - 1n, -(2n ** 63n)],
  bytes: [bytes(), bytes(0), bytes(255, 0, 128, 7), new Uint8Array(70_000).fill(9).buffer],
  text: ["", "Grüße, 世界 🎵", "\u0000 inside", "\u2028\u2029", '"\\/\b\f\n\r\t', "👩‍👩‍👧", "x".repeat(100_000)],
  "nested things": { a: [{ b: [[]] }, {}], _id: "x", _creationTime: 1.5, "odd name ~ here": null, "": 1 },
  "many things": Array.from({ length: 8000 }, (_, number) => number),
  "sixty levels": Array.from({ length: 58 }).reduce((inner) => [inner], "deep"),
  "things that look like encodings": { a: { integer: "AAA=" }, value: "$integer" },
};
const same = (one, other) => assert.deepEqual(convexToJson(one), convexToJson(other));

for (const [what, value] of Object.entries(VALUES)) {
  test(`${what}: unchanged over HTTP and over the socket`, async (t) => {
    const [http, socket] = [overHttp(), overSocket(t)];
    for (const client of [http, socket]) {
      for (const kind of ["query", "mutation", "action"]) same(await client[kind](fn(`values:echo_${kind}`), { value }), value);
    }
    const followed = follow(socket, "values:echo_query", { value: [value] });
    await followed.first();
    assert.deepEqual(followed.failures, []);
    same(followed.last, [value]);
  });
}

test("what is left undefined is not there, which is something else than null", async (t) => {
  const socket = overSocket(t);
  const back = await socket.mutation(fn("values:echo_mutation"), { value: { gone: undefined, none: null } });
  assert.deepEqual(back, { none: null });
});

test("the encoding is the one the clients decode", () => {
  assert.deepEqual(jsonToConvex(convexToJson(VALUES["64-bit integers"])), VALUES["64-bit integers"]);
});
