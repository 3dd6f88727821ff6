// Signing in and out on a living socket.
import assert from "node:assert/strict";
import { ADMIN_KEY, ISSUER, corner, fn, follow, overSocket, pause, signIn, soon, test, tokenOf, unique, until } from "./people.mjs";
import { dial } from "./raw.mjs";
import { mustBeLawful, relay } from "./relay.mjs";

const whoami = (client) => follow(client, "auth:whoami", {});

test("who signs in is known to queries, mutations and actions, on one socket", async (t) => {
  const through = await relay(t);
  const who = unique("user");
  const client = overSocket(t, through.url);
  const me = whoami(client);
  await me.first();
  await signIn(client, () => tokenOf(who));
  await until(() => me.last === who, "the subject");
  assert.equal(await client.mutation(fn("auth:whoamiMutation"), {}), who);
  assert.equal(await client.action(fn("auth:whoamiAction"), {}), who);
  assert.deepEqual(me.seen, [null, who]);
  assert.equal(through.lines.length, 1);
  await pause(100);
  mustBeLawful(through, { settled: true });
});

test("signing in is confirmed without any query", async (t) => {
  const who = unique("user");
  await signIn(overSocket(t), () => tokenOf(who));
});

test("the fresh token after the first is another Authenticate, and changes nothing that is shown", async (t) => {
  const through = await relay(t);
  const who = unique("user");
  const asked = [];
  const client = overSocket(t, through.url);
  await signIn(client, ({ forceRefreshToken }) => { asked.push(forceRefreshToken); return tokenOf(who); });
  const me = whoami(client);
  await until(() => through.said("server", "Transition").some((m) => m.endVersion.identity === 2), "identity 2");
  assert.deepEqual(asked, [false, true]);
  await me.first();
  await pause(100);
  assert.deepEqual(me.seen, [who]);
  mustBeLawful(through, { settled: true });
});

test("switching users and signing out re-runs all queries in the transition that says so", async (t) => {
  const through = await relay(t);
  const [alice, bob] = [unique("alice"), unique("bob")];
  const client = overSocket(t, through.url);
  const me = whoami(client);
  await me.first();
  for (const who of [alice, bob]) {
    const token = tokenOf(who);
    await signIn(client, () => token);
    await until(() => me.last === who, who);
  }
  client.client.clearAuth();
  await until(() => me.last === null, "nobody");
  assert.deepEqual(me.seen, [null, alice, bob, null]);
  assert.equal(through.lines.length, 1);
  mustBeLawful(through, { settled: true });
});

test("sockets of different people never mix", async (t) => {
  const people = Array.from({ length: 6 }, (_, number) => (number ? unique(`user${number}`) : null));
  const views = await Promise.all(people.map(async (who) => {
    const client = overSocket(t);
    if (who) await signIn(client, () => tokenOf(who));
    return whoami(client);
  }));
  await until(() => views.every((view) => view.seen.length), "all values");
  assert.deepEqual(views.map((view) => view.seen), people.map((who) => [who]));
});

test("a token that is never good: told so, and nobody from then on", async (t) => {
  const through = await relay(t);
  const client = overSocket(t, through.url);
  const me = whoami(client);
  await me.first();
  const told = [];
  client.setAuth(async () => tokenOf("mallory", { forged: true }), (ok) => told.push(ok));
  await until(() => told.length, "a verdict", 15_000);
  assert.deepEqual(told, [false]);
  const refusals = through.said("server", "AuthError");
  assert.ok(refusals.length > 0 && refusals.every((m) => m.authUpdateAttempted === true));
  assert.equal(await soon(client.mutation(fn("auth:whoamiMutation"), {}), "a mutation as nobody"), null);
  assert.ok(!me.seen.includes("mallory"));
  mustBeLawful(through);
});

for (const [what, bad] of [["garbage", () => "garbage"], ["an expired token", (who) => tokenOf(who, { issuedAt: Date.now() / 1000 - 7200, lasts: 60 })]]) {
  test(`${what} first, a good token when asked again: signed in`, async (t) => {
    const who = unique("user");
    const client = overSocket(t);
    await signIn(client, ({ forceRefreshToken }) => (forceRefreshToken ? tokenOf(who) : bad(who)));
    const me = whoami(client);
    await until(() => me.last === who, "the subject");
  });
}

test("no token: not signed in, and otherwise well", async (t) => {
  const client = overSocket(t);
  const told = [];
  client.setAuth(async () => null, (ok) => told.push(ok));
  const me = whoami(client);
  await until(() => told.length && me.seen.length, "a verdict and a value");
  assert.deepEqual([told, me.seen], [[false], [null]]);
});

test("after a cut, a signed-in client is never shown what nobody would see", async (t) => {
  const through = await relay(t);
  const who = unique("user");
  const token = tokenOf(who);
  const client = overSocket(t, through.url);
  await signIn(client, () => token);
  const me = whoami(client);
  await me.first();
  through.line.cut();
  await until(() => through.lines.length === 2 && through.line.frames.some((frame) => frame.message.type === "Transition"), "a new socket");
  const types = through.line.frames.filter((frame) => frame.from === "client").map((frame) => frame.message.type);
  assert.deepEqual(types.slice(0, 3), ["Connect", "Authenticate", "ModifyQuerySet"]);
  await pause(150);
  // The client shows what it has again when it is back; what matters is that it never shows null.
  assert.deepEqual(new Set(me.seen), new Set([who]));
  mustBeLawful(through, { settled: true });
});

test("with expectAuth nothing is asked before the token is there", async (t) => {
  const through = await relay(t);
  const who = unique("user");
  const client = overSocket(t, through.url, { expectAuth: true });
  const me = whoami(client);
  await pause(200);
  assert.deepEqual(me.order, []);
  const token = tokenOf(who);
  await signIn(client, () => token);
  await me.first();
  assert.deepEqual(me.seen, [who]);
  mustBeLawful(through, { settled: true });
});

test("a mutation that waits for the token runs as who it is about", async (t) => {
  const who = unique("user");
  const client = overSocket(t);
  const signedIn = signIn(client, async () => { await pause(120); return tokenOf(who); });
  const asked = client.mutation(fn("auth:whoamiMutation"), {});
  await signedIn;
  assert.equal(await soon(asked, "the mutation"), who);
});

test("setAuth twice in a row, as remounts do, ends with the second", async (t) => {
  const through = await relay(t);
  const [first, second] = [unique("first"), unique("second")];
  const client = overSocket(t, through.url);
  client.setAuth(async () => tokenOf(first), () => {});
  await signIn(client, () => tokenOf(second));
  const me = whoami(client);
  await until(() => me.last === second, "the second");
  assert.equal(await client.mutation(fn("auth:whoamiMutation"), {}), second);
  mustBeLawful(through);
});

test("the admin key opens internal functions, and may act as somebody", async (t) => {
  const through = await relay(t);
  const admin = overSocket(t, through.url);
  admin.setAdminAuth(ADMIN_KEY);
  const secret = follow(admin, "internalFns:secret", {});
  await secret.first();
  assert.deepEqual(secret.seen, ["internal-ok"]);
  const acting = overSocket(t, through.url);
  acting.setAdminAuth(ADMIN_KEY, { subject: "acted", issuer: ISSUER });
  const me = whoami(acting);
  await until(() => me.last === "acted", "the acted one");
  mustBeLawful(through, { settled: true });
});

test("a wrong admin key is refused as a token is", async (t) => {
  const raw = (await dial(t)).connect();
  raw.say({ type: "Authenticate", tokenType: "Admin", value: "another-key", baseVersion: 0 });
  const { baseVersion, authUpdateAttempted } = await raw.hearA("AuthError");
  assert.deepEqual([baseVersion, authUpdateAttempted], [0, true]);
  await raw.end();
});

for (const name of ["impersonating", "acting_as"]) {
  test(`an admin acts as somebody by ${name}`, async (t) => {
    const raw = (await dial(t)).connect();
    raw.say({ type: "Authenticate", tokenType: "Admin", value: ADMIN_KEY, baseVersion: 0, [name]: { subject: "s1", issuer: "https://i.example.test" } });
    const { modifications } = await raw.ask(0, { 0: ["auth:whoami", {}] }).taken(1);
    assert.equal(modifications[0].value, "s1");
  });
}

test("Authenticate and queries in one burst: no answer is nobody's", async (t) => {
  const who = unique("user");
  const raw = (await dial(t)).connect().be(0, tokenOf(who)).ask(0, { 0: ["auth:whoami", {}] });
  const { modifications, endVersion } = await raw.taken(1);
  assert.deepEqual([modifications[0].value, endVersion.identity], [who, 1]);
});

test("the transition that takes in an identity has its results", async (t) => {
  const raw = (await dial(t)).connect().ask(0, { 0: ["auth:whoami", {}] });
  await raw.taken(1);
  for (const [number, who] of [unique("a"), unique("b"), null].entries()) {
    const { modifications } = await raw.be(number, who && tokenOf(who)).transition((m) => m.endVersion.identity === number + 1);
    assert.deepEqual(modifications.map((change) => change.value), [who]);
  }
});

test("a refused token ends the socket, and nothing queued behind it runs", async (t) => {
  const place = corner();
  const raw = (await dial(t)).connect().be(0, null);
  await raw.transition((m) => m.endVersion.identity === 1);
  raw.be(1, tokenOf("mallory", { forged: true })).mutate(0, "counter:increment", { key: place.name });
  const { baseVersion, authUpdateAttempted } = await raw.hearA("AuthError");
  assert.deepEqual([baseVersion, authUpdateAttempted], [1, true]);
  const { code } = await raw.end();
  assert.ok([1000, 1005].includes(code), String(code));
  assert.ok(!raw.frames.some((frame) => frame.message.type === "MutationResponse"));
  const after = (await dial(t)).connect().ask(0, { 0: place.count });
  assert.equal((await after.taken(1)).modifications[0].value, 0);
});
