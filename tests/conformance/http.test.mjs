// ConvexHttpClient, and what it relies on.
import assert from "node:assert/strict";
import { ConvexError } from "convex/values";
import { ADMIN_KEY, ISSUER, Notebook, ORIGIN, corner, fn, overHttp, test, tokenOf, unique } from "./people.mjs";
import { relay } from "./relay.mjs";
import { moment } from "./rules.mjs";

const post = (path, body, headers = {}) => fetch(ORIGIN + path, {
  method: "POST", headers: { "content-type": "application/json", ...headers }, body: typeof body === "string" ? body : JSON.stringify(body),
});
const exact = (path, args) => ({ path, args: [args], format: "convex_encoded_json" });

test("what a mutation writes, a query reads and an action may do as well", async () => {
  const { name, count, raise } = corner();
  const client = overHttp();
  assert.equal(await client.query(fn(count[0]), count[1]), 0);
  assert.equal(await client.mutation(...raise), 1);
  assert.equal(await client.action(fn("actions:incrementVia"), { key: name }), 2);
  assert.equal(await client.query(fn(count[0]), count[1]), 2);
  assert.equal(await client.mutation(fn("counter:noop"), {}), null);
});

test("mutations of one client happen in the order they were asked for", async () => {
  const { list, add } = corner();
  const client = overHttp();
  await Promise.all([..."abcdefgh"].map((letter) => client.mutation(...add(letter))));
  assert.equal((await client.query(fn(list[0]), list[1])).map((todo) => todo.text).join(""), "abcdefgh");
});

for (const kind of ["query", "mutation", "action"]) {
  test(`an expected failure of a ${kind} is a ConvexError with its data; any other is a plain Error`, async () => {
    const client = overHttp();
    await assert.rejects(client[kind](fn(`errors:convex_${kind}`), {}), (error) => {
      assert.ok(error instanceof ConvexError);
      assert.deepEqual(error.data, { code: "TEAPOT", n: 7n, nested: { list: [1, null, "x"] } });
      return true;
    });
    await assert.rejects(client[kind](fn(`errors:plain_${kind}`), { tag: "here" }), (error) => {
      assert.ok(!(error instanceof ConvexError));
      assert.match(error.message, /plain failure here/);
      return true;
    });
  });
}

test("a mutation that fails after it wrote leaves no trace", async () => {
  const { name, count } = corner();
  const client = overHttp();
  await assert.rejects(client.mutation(fn("errors:failAfterWrite"), { key: name }));
  assert.equal(await client.query(fn(count[0]), count[1]), 0);
});

test("a function's failure is HTTP 200, and only an expected one has errorData", async (t) => {
  const through = await relay(t);
  await assert.rejects(overHttp(null, through.url).query(fn("errors:convex_query"), {}));
  const [asked] = through.requests;
  assert.equal(asked.path, "/api/query");
  assert.match(asked.headers["convex-client"], /^npm-\d+\.\d+/);
  const again = await post(asked.path, asked.body);
  assert.equal(again.status, 200);
  assert.match(again.headers.get("content-type"), /^application\/json/);
  assert.ok("errorData" in (await again.json()));
  const plain = await post("/api/query", exact("errors:plain_query", {}));
  assert.equal(plain.status, 200);
  assert.ok(!("errorData" in (await plain.json())));
});

test("whole numbers are written as floats", async () => {
  const text = await (await post("/api/query", exact("values:echo_query", { value: [5, -3, 0] }))).text();
  assert.match(text, /\[5\.0,-3\.0,0\.0\]/);
});

test("arguments come bare or in an array, and a module's name may end in .js", async () => {
  const { count } = corner();
  for (const body of [{ path: count[0], args: count[1] }, { path: count[0], args: [count[1]] }, { path: "counter.js:get", args: [count[1]] }]) {
    const answer = await (await post("/api/query", { ...body, format: "json" })).json();
    assert.equal(answer.status, "success", JSON.stringify(answer));
  }
});

test("what does not exist, is of another kind or gets wrong arguments says so in the known words", async () => {
  const client = overHttp();
  await assert.rejects(client.query(fn("no:such"), {}), /Could not find public function for 'no:such'/);
  await assert.rejects(client.query(fn("counter:increment"), {}), /Trying to execute counter:increment as Query, but it is defined as Mutation/);
  await assert.rejects(client.query(fn("todos:list"), {}), /ArgumentValidationError: Object is missing the required field `channel`/);
  await assert.rejects(client.query(fn("todos:list"), { channel: "a", more: 1 }), /contains extra field `more` that is not in the validator/);
});

test("a request that is none is refused with a code and words", async () => {
  for (const body of ["{", "[]", JSON.stringify({ ...exact("counter:get", {}), format: "yaml" }), JSON.stringify(exact("values:echo_query", { value: { $integer: "AA==" } }))]) {
    const answer = await post("/api/query", body);
    assert.equal(answer.status, 400, body);
    const { code, message } = await answer.json();
    assert.match(code, /^[A-Z]\w+$/);
    assert.equal(typeof message, "string");
  }
});

test("a good token tells who is calling; a bad one is 401 for the whole request", async () => {
  const who = unique("user");
  assert.equal(await overHttp().query(fn("auth:whoami"), {}), null);
  assert.equal(await overHttp(tokenOf(who)).query(fn("auth:whoami"), {}), who);
  const past = Date.now() / 1000 - 7200;
  const bad = { garbage: "x.y.z", forged: tokenOf(who, { forged: true }), expired: tokenOf(who, { issuedAt: past, lasts: 60 }), "for others": tokenOf(who, { aud: "others" }), "from others": tokenOf(who, { iss: "https://elsewhere.example.test" }) };
  for (const [why, token] of Object.entries(bad)) {
    const answer = await post("/api/query", exact("auth:whoami", {}), { authorization: `Bearer ${token}` });
    assert.equal(answer.status, 401, why);
    const { code } = await answer.json();
    await assert.rejects(overHttp(token).query(fn("auth:whoami"), {}), (error) => error.message.includes(code));
  }
});

test("an identity has the names the clients' users know, and nothing that every new token changes", async () => {
  const who = unique("user");
  const token = tokenOf(who, { email: "a@example.test", email_verified: true, given_name: "A", picture: "https://p.example.test", phone_number: "+1", zoneinfo: "Asia/Tokyo", org_id: "o1", fva: [1, -1] });
  const told = await overHttp(token).query(fn("auth:identity"), {});
  assert.deepEqual(told, { tokenIdentifier: `${ISSUER}|${who}`, issuer: ISSUER, subject: who, email: "a@example.test", emailVerified: true, givenName: "A", pictureUrl: "https://p.example.test", phoneNumber: "+1", timezone: "Asia/Tokyo", org_id: "o1" });
});

test("internal functions are for the admin key, which may also act as somebody", async () => {
  await assert.rejects(overHttp().query(fn("internalFns:secret"), {}), /Could not find public function/);
  await assert.rejects(overHttp(tokenOf("alice")).query(fn("internalFns:secret"), {}), /Could not find public function/);
  const admin = overHttp();
  admin.setAdminAuth(ADMIN_KEY);
  assert.equal(await admin.query(fn("internalFns:secret"), {}), "internal-ok");
  assert.equal(await admin.function("internalFns:secret", undefined, {}), "internal-ok");
  admin.setAdminAuth(ADMIN_KEY, { subject: "Zoë", issuer: ISSUER });
  assert.equal(await admin.query(fn("auth:whoami"), {}), "Zoë");
  admin.setAdminAuth("another-key");
  await assert.rejects(admin.query(fn("internalFns:secret"), {}), /BadDeployKey/);
});

test("a consistent query reads at a moment of the one clock, which only goes on", async () => {
  const { count, raise } = corner();
  const client = overHttp();
  await client.mutation(...raise);
  assert.equal(await client.consistentQuery(fn(count[0]), count[1]), 1);
  const stamp = async () => moment((await (await post("/api/query_ts", "")).json()).ts);
  const first = await stamp();
  assert.ok(first > 0n && (await stamp()) >= first);
});

test("a console line is printed by the client, and well formed", async () => {
  const { count } = corner();
  const notes = new Notebook();
  await overHttp(null, ORIGIN, notes).query(fn("counter:logs"), count[1]);
  assert.deepEqual(notes.errors, []);
  assert.ok(notes.lines.some((line) => line.includes("[LOG]") && line.includes("the counter is at 0")), notes.lines.join());
});

test("browsers of any origin may call, and may read refusals too", async () => {
  const origin = "https://app.example.test";
  const asked = "authorization,content-type,convex-client";
  const before = await fetch(`${ORIGIN}/api/query`, { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": asked } });
  assert.ok(before.ok);
  for (const name of asked.split(",")) assert.ok(before.headers.get("access-control-allow-headers").toLowerCase().includes(name));
  for (const answer of [before, await post("/api/query", exact("counter:get", {}), { origin }), await post("/api/query", "{", { origin }), await post("/api/query", exact("counter:get", {}), { origin, authorization: "Bearer x" })]) {
    assert.ok(["*", origin].includes(answer.headers.get("access-control-allow-origin")), String(answer.status));
  }
});
