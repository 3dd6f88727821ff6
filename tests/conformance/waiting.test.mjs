// What takes real time: silence, and tokens that run out. All at once, so that it takes it only once.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { corner, follow, overSocket, pause, signIn, soon, tokenOf, unique, until } from "./people.mjs";
import { dial } from "./raw.mjs";
import { mustBeLawful, relay } from "./relay.mjs";

describe("in time", { concurrency: true, timeout: 45_000 }, () => {
  it("an idle socket hears something at least every 25 seconds", async (t) => {
    const raw = (await dial(t)).connect().ask(0);
    await raw.taken(1);
    await raw.hearA("Ping", 25_000);
  });

  it("a token that runs out on a living socket: AuthError, a fresh one, and the mutation happens once", async (t) => {
    const through = await relay(t);
    const who = unique("user");
    const { count, raise } = corner();
    const issuedAt = Math.floor(Date.now() / 1000) - 3597;
    const dying = tokenOf(who, { issuedAt, lasts: 3600 });
    let asked = 0;
    const client = overSocket(t, through.url);
    await signIn(client, () => (asked++ < 2 ? dying : tokenOf(who)));
    const [me, counter] = [follow(client, "auth:whoami", {}), follow(client, ...count)];
    await until(() => me.seen.length && counter.seen.length, "first values");
    await pause((issuedAt + 3600) * 1000 - Date.now() + 300);
    assert.equal(await soon(client.mutation(...raise), "a mutation after the end", 15_000), 1);
    await until(() => counter.last === 1, "its effect");
    assert.deepEqual(new Set(me.seen), new Set([who]), "never shown as nobody");
    const told = through.said("server", "AuthError");
    assert.ok(told.length > 0 && told.every((m) => m.authUpdateAttempted === false && Number.isInteger(m.baseVersion)));
    mustBeLawful(through);
  });

  it("a token that has run out gets no news of anybody's", async (t) => {
    const who = unique("user");
    const { count, name } = corner();
    const raw = (await dial(t)).connect().be(0, tokenOf(who, { lasts: 2 })).ask(0, { 0: count });
    await raw.taken(1);
    await pause(2500);
    const other = (await dial(t)).connect();
    await other.mutate(0, "counter:increment", { key: name }).hearA("MutationResponse");
    const { authUpdateAttempted, baseVersion } = await raw.hearA("AuthError", 20_000);
    assert.deepEqual([authUpdateAttempted, baseVersion], [false, 1]);
    await raw.end();
    assert.ok(!raw.frames.some(({ message }) => message.modifications?.some((change) => change.value === 1)));
  });

  it("a client refreshes a short token by itself, on the same socket, and is shown nothing twice", async (t) => {
    const through = await relay(t);
    const who = unique("user");
    const client = overSocket(t, through.url, { authRefreshTokenLeewaySeconds: 2 });
    await signIn(client, () => tokenOf(who, { lasts: 5 }));
    const me = follow(client, "auth:whoami", {});
    await until(() => through.said("client", "Authenticate").length >= 4, "two refreshes", 15_000);
    await pause(200);
    assert.equal(through.lines.length, 1);
    assert.deepEqual(me.seen, [who]);
    assert.deepEqual(through.said("server", "AuthError"), []);
    mustBeLawful(through, { settled: true });
  });
});
