// The product's own functions through the official client: a diary that is live.
import assert from "node:assert/strict";
import { ConvexError } from "convex/values";
import { fn, follow, overHttp, overSocket, pause, signIn, soon, test, tokenOf, unique, until } from "./people.mjs";
import { mustBeLawful, relay } from "./relay.mjs";

async function somebody(t, through) {
  const who = unique("user");
  const claims = { email: `${who}@example.test`, name: who };
  const client = overSocket(t, through?.url);
  await signIn(client, () => tokenOf(who, claims));
  return { who, client, http: overHttp(tokenOf(who, claims)) };
}

const contents = (entries) => entries.map((entry) => entry.content);

test("who signs in for the first time sees their account come into being", async (t) => {
  const { who, client } = await somebody(t);
  const profile = follow(client, "users:getUserProfile", {}, (found) => found?.user?.email ?? null);
  await profile.first();
  await client.mutation(fn("users:ensureCurrentUser"), {});
  await until(() => profile.last === `${who}@example.test`, "the profile");
});

test("an entry written anywhere is in the list at once, newest first", async (t) => {
  const through = await relay(t);
  const { client, http } = await somebody(t, through);
  const diary = follow(client, "diaries:listDiaries", {}, contents);
  await diary.first();
  await client.mutation(fn("diaries:createDiary"), { content: "Rain." });
  assert.deepEqual(diary.last, ["Rain."]);
  await pause(2);
  const { _id: id } = await http.mutation(fn("diaries:createDiary"), { content: "Sun." });
  await until(() => diary.last.length === 2, "the second entry");
  assert.deepEqual(diary.last, ["Sun.", "Rain."]);
  const entry = follow(client, "diaries:getDiary", { diaryId: id }, (found) => found?.content ?? null);
  await entry.first();
  await client.mutation(fn("diaries:updateDiary"), { diaryId: id, content: "Sun and wind." });
  assert.deepEqual([entry.last, diary.last[0]], ["Sun and wind.", "Sun and wind."]);
  await http.mutation(fn("diaries:deleteDiary"), { diaryId: id });
  await until(() => diary.last.length === 1, "the deletion");
  mustBeLawful(through);
});

test("nobody hears of another's entries", async (t) => {
  const through = await relay(t);
  const [alice, bob] = [await somebody(t, through), await somebody(t)];
  const hers = follow(alice.client, "diaries:listDiaries", {}, contents);
  await hers.first();
  const before = through.line.frames.length;
  for (const content of ["One.", "Two.", "Three."]) await bob.client.mutation(fn("diaries:createDiary"), { content });
  await pause(200);
  assert.deepEqual(hers.seen, [[]]);
  const since = through.line.frames.slice(before).filter(({ from, message }) => from === "server" && message.type === "Transition");
  assert.deepEqual(since, [], "not even an empty transition");
});

test("usage goes up as it is used, and says no when it is used up", async (t) => {
  const { client } = await somebody(t);
  const used = follow(client, "usage:getCurrentUserUsage", {}, (found) => found?.musicGenerationsUsed ?? 0);
  await used.first();
  const record = () => client.mutation(fn("usage:recordCurrentUserMusicGeneration"), {});
  await record();
  await until(() => used.last === 1, "one used");
  for (let number = 0; number < 10; number += 1) await record().catch(() => {});
  assert.ok(used.seen.at(-1) > 1);
});

test("an expected failure says what is wrong, as data", async (t) => {
  const { client } = await somebody(t);
  await assert.rejects(soon(client.mutation(fn("diaries:createDiary"), { content: "  " }), "a refusal"), (error) => error instanceof ConvexError && error.data.code === "diary_is_empty");
  await assert.rejects(soon(client.action(fn("music:startDiaryMusicGeneration"), { content: "  " }), "a refusal"), (error) => error instanceof ConvexError && error.data.code === "diary_is_empty");
  await assert.rejects(client.mutation(fn("diaries:createDiary"), { contents: "x" }), /ArgumentValidationError/);
});

test("asking for a song makes an entry and a charge, both shown at once", async (t) => {
  const { client } = await somebody(t);
  const diary = follow(client, "diaries:listDiaries", {}, contents);
  const used = follow(client, "usage:getCurrentUserUsage", {}, (found) => found?.musicGenerationsUsed ?? 0);
  await until(() => diary.order.length && used.order.length, "first values");
  for (const kind of ["action", "mutation"]) await client[kind](fn("music:startDiaryMusicGeneration"), { content: `By ${kind}.` });
  await until(() => diary.last.length === 2 && used.last === 2, "both of both");
});

test("plans are there for everybody", async (t) => {
  const plans = follow(overSocket(t), "billing:getPlans", {}, (found) => Array.isArray(found) ? found.length : Object.keys(found).length);
  await plans.first();
  assert.ok(plans.last > 0);
});
