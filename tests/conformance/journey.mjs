// What people do with the apps, from signing in to deleting the account, in the order in which they would.
import assert from "node:assert/strict";
import { ORIGIN, post, tokenOf } from "./apps.mjs";

const WORDS = "I cooked dinner with Anna and we sang old songs. Later Ben called and we walked home in the rain.";
const PIXEL = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
const only = (list) => { assert.equal(list.length, 1); return list[0]; };

/** Everything, by a new person. `pass(minutes)` lets time pass and resolves to { now, zone }: there it is noon. */
export async function journey(apps, name, number, pass) {
  const sub = `user_${name}`;
  const token = await tokenOf(sub, "Alice Example");
  const it = { name, sub, token, number, pass, apps, alice: await apps.open(token), anonymous: await apps.open() };
  for (const part of [account, photo, song, share, library, memory, video, calls, blog, goodbye]) await part(it);
}

async function account({ name, sub, alice, anonymous }) {
  const plans = await anonymous.call("billing:getPlans");
  assert.deepEqual(plans.map((plan) => plan.tier), ["free", "weekly", "monthly", "yearly"]);
  const { userId } = await alice.call("users:ensureCurrentUser");
  const profile = await alice.call("users:getUserProfile");
  assert.deepEqual([profile.user._id, profile.user.email, profile.subscription.tier], [userId, `${sub}@example.test`, "free"]);
  const chosen = { timezone: "Europe/Berlin", language: "en", showNameOnShares: true };
  assert.deepEqual(await alice.call("users:updateSettings", chosen), chosen);
  assert.deepEqual(await alice.call("users:getSettings"), chosen);
  assert.equal((await alice.call("featureFlags:getUserFlags", { userId }))["event-extraction"], true);
  assert.equal((await alice.call("billing:getCurrentUserStatus")).remainingQuota, 5);
  const [token, lost] = [`ExponentPushToken[${name}]`, `ExponentPushToken[${name}-lost]`];
  await alice.call("pushNotifications:registerPushToken", { token, platform: "ios" });
  await alice.call("pushNotifications:registerPushToken", { token: lost, platform: "android" });
  await alice.call("pushNotifications:unregisterPushToken", { token: lost });
  assert.equal(only(await alice.call("pushNotifications:getMyPushTokens")).token, token);
  assert.equal((await alice.call("pushNotifications:setPreferences", { callMissed: false })).callMissed, false);
  assert.equal((await alice.call("pushNotifications:getPreferences")).callMissed, false);
  const invited = { email: `Friend@${name.replaceAll("_", "-")}.example.com`, isAndroidInvite: true, source: "landing" };
  // From the landing page, and from within; five an hour are all that one address may leave.
  const sender = name.endsWith("http") ? anonymous : alice;
  assert.equal((await sender.call("emailNotify:addEmailNotification", invited)).toLowerCase(), invited.email.toLowerCase());
}

async function photo(it) {
  const { alice } = it;
  // The mobile app begins an entry without words, and puts the photo there.
  it.diaryId = (await alice.call("diaries:createDiary", { content: "" }))._id;
  const url = await alice.call("diaryMedia:generateUploadUrl");
  const sent = await fetch(url, { method: "POST", headers: { "Content-Type": "image/png" }, body: PIXEL });
  assert.equal(sent.status, 200);
  const { storageId } = await sent.json();
  const about = { diaryId: it.diaryId, storageId, mediaType: "photo", contentType: "image/png", fileSize: PIXEL.length };
  it.mediaId = (await alice.call("diaryMedia:createDiaryMedia", about))._id;
  const media = only(await alice.call("diaryMedia:getDiaryMedia", { diaryId: it.diaryId }));
  assert.deepEqual([media._id, media.storageId, media.fileSize], [it.mediaId, storageId, PIXEL.length]);
  const shown = await fetch(media.url);
  assert.deepEqual([shown.status, shown.headers.get("content-type")], [200, "image/png"]);
  assert.deepEqual(Buffer.from(await shown.arrayBuffer()), PIXEL);
  await alice.watch(
    "diaries:getDiary", { diaryId: it.diaryId },
    () => alice.call("diaries:updateDiary", { diaryId: it.diaryId, content: WORDS }),
    (diary) => diary.content === WORDS,
  );
}

async function song(it) {
  const { alice, diaryId } = it;
  assert.equal((await alice.call("usage:canCurrentUserGenerateMusic")).canGenerate, true);
  assert.equal((await alice.call("usage:checkUsageWithReconciliation")).remainingQuota, 5);
  const asked = { diaryId, content: WORDS, style: "folk" };
  const pending = await alice.watch("music:listPlaylistMusic", {}, async () => {
    const started = await alice.call("music:startDiaryMusicGeneration", asked);
    assert.deepEqual([started.success, started.diaryId, started.remainingQuota], [true, diaryId, 4]);
  }, ([track]) => track?.status === "pending");
  assert.equal(only(pending).diaryId, diaryId);
  // The earlier backend had it as a mutation.
  const again = await alice.call("music:startDiaryMusicGeneration", asked, "mutation");
  assert.deepEqual([again.success, again.code], [false, "ALREADY_IN_PROGRESS"]);
  const playlist = await alice.watch("music:listPlaylistMusic", {}, () => it.pass(1), ([track]) => track?.status === "ready" && track.lyricWithTime);
  it.track = only(playlist);
  for (const field of ["title", "imageUrl", "audioUrl", "duration", "lyric"]) assert.ok(it.track[field], `the song has no ${field}`);
  assert.deepEqual([it.track.diaryContent, it.track.ownershipType ?? "owned"], [WORDS, "owned"]);
  const musicId = it.track._id;
  const paginationOpts = { numItems: 10, cursor: null, id: 1 };
  assert.equal(only((await alice.call("music:pagePlaylist", { paginationOpts })).page)._id, musicId);
  assert.equal(only((await alice.call("music:pagePlaylist", { limit: 10 })).page)._id, musicId);
  const whole = await alice.call("music:getMusic", { musicId });
  assert.equal(whole.progress.stage, "ready");
  assert.ok(whole.lyricWithTime.alignedWords.length > 0);
  const part = await fetch(whole.audioUrl, { headers: { Range: "bytes=0-99" } });
  assert.deepEqual([part.status, (await part.arrayBuffer()).byteLength], [206, 100]);
  const listed = only(await alice.call("diaries:listDiaries"));
  assert.deepEqual([listed.primaryMusicId, listed.primaryMusic.status], [musicId, "ready"]);
  const tracks = await alice.call("music:listTracks", { diaryId });
  assert.deepEqual([tracks.length, tracks[0]._id, tracks[0].progress.stage], [2, musicId, "ready"]);
  const date = new Intl.DateTimeFormat("sv-SE", { timeZone: "Europe/Berlin" }).format(listed.date);
  const year = Number(date.slice(0, 4));
  assert.deepEqual(await alice.call("diaries:getCalendar", { year }), [{ date, entries: 1, songs: 1, calls: 0 }]);
  // A 29 February goes with the 28th.
  const later = `${year + 1}${date.slice(4)}`.replace("-02-29", "-02-28");
  const [memory] = await alice.call("diaries:onThisDay", { date: later });
  assert.deepEqual([memory.yearsAgo, only(memory.diaries)._id], [1, diaryId]);
  for (const page of [{ paginationOpts }, { limit: 10 }]) assert.equal(only((await alice.call("diaries:pageDiaries", page)).page)._id, diaryId);
  const told = await (await fetch(`${ORIGIN}/sandbox/expo/log`)).text();
  assert.ok(told.includes(`ExponentPushToken[${it.name}]`) && told.includes("music_ready"), "no notification of the song");
  assert.equal((await alice.call("usage:recordCurrentUserMusicGeneration")).currentUsage, 2);
  const usage = await alice.call("usage:getCurrentUserUsage");
  assert.deepEqual([usage.musicGenerationsUsed, usage.musicLimit, usage.remainingQuota], [2, 5, 3]);
  const week = only(await alice.call("usage:getUsageByWeek", { weeks: 1 }));
  assert.deepEqual([week.songs, week.entries], [2, 1]);
}

async function share(it) {
  const { alice, anonymous, track } = it;
  const link = await alice.call("sharing:createShareLink", { musicId: track._id });
  assert.ok(link.shareUrl.endsWith(`/share/${link.shareId}`));
  it.shareId = link.shareId;
  const own = await alice.call("sharing:getSharedMusic", { shareId: link.shareId });
  assert.deepEqual([own.isOwner, own.ownerClerkId], [true, it.sub]);
  const shared = await anonymous.call("sharing:getSharedMusic", { shareId: link.shareId });
  assert.deepEqual([shared.title, shared.userName, shared.isOwner, shared.ownerClerkId], [track.title, "Alice", false, undefined]);
  assert.ok(!JSON.stringify(shared).includes("Anna and we"), "another's entry is shown");
  assert.equal((await fetch(shared.audioUrl)).status, 200);
  await anonymous.call("sharing:recordShareView", { shareId: link.shareId });
  const listed = only(await alice.call("sharing:listSharedMusic"));
  assert.deepEqual([listed.shareId, listed.musicId, listed.viewCount, listed.isPrivate], [link.shareId, track._id, 1, false]);
  it.sharedMusicId = listed._id;
  const which = { sharedMusicId: listed._id };
  assert.equal((await alice.call("sharing:setSharePrivacy", { ...which, isPrivate: true })).isPrivate, true);
  assert.deepEqual(await anonymous.call("sharing:getSharedMusic", { shareId: link.shareId }), { found: false });
  assert.equal((await alice.call("sharing:toggleSharePrivacy", which)).isPrivate, false);
  const options = await alice.call("sharing:setShareOptions", { ...which, allowDownload: true });
  assert.deepEqual(options, { allowDownload: true, listed: false });
}

async function library(it) {
  const { alice, shareId, track } = it;
  const bob = await it.apps.open(await tokenOf(`${it.sub}_friend`, "Bob Example"));
  await bob.call("users:ensureCurrentUser");
  assert.equal(await bob.call("userSongs:isShareInLibrary", { shareId }), false);
  const songs = await bob.watch(
    "music:listPlaylistMusic", {}, () => bob.call("userSongs:addFromShare", { shareId }), (list) => list.length === 1,
  );
  assert.equal((await bob.call("userSongs:addFromShare", { shareId })).alreadyAdded, true);
  assert.equal(await bob.call("userSongs:isShareInLibrary", { shareId }), true);
  const [kept] = songs;
  assert.deepEqual(
    [kept.title, kept.ownershipType, kept.addedViaShareId, kept.linkedFromMusicIndex, kept.ownerName],
    [track.title, "shared", shareId, 0, "Alice"],
  );
  assert.deepEqual([kept.diaryContent, kept.diaryId, typeof kept.userSongId], [undefined, undefined, "string"]);
  assert.deepEqual(Object.values(await bob.call("music:getPlaylistOwnerNames")), ["Alice"]);
  const closed = await bob.watch(
    "music:listPlaylistMusic", {}, () => alice.call("sharing:revokeShare", { sharedMusicId: it.sharedMusicId }),
    ([song]) => song?.isUnavailable,
  );
  assert.deepEqual([closed[0].unavailableReason, closed[0].audioUrl, closed[0].lyric], ["unshared", undefined, undefined]);
  assert.deepEqual(await alice.call("sharing:listSharedMusic"), []);
  await bob.call("userSongs:removeFromLibrary", { userSongId: kept.userSongId });
  assert.deepEqual(await bob.call("music:listPlaylistMusic"), []);
}

async function memory({ alice, diaryId }) {
  const events = await alice.call("memory/events:getTimelineEvents", { limit: 10 });
  assert.ok(events.length > 0 && events.every((event) => event.diaryId === diaryId && event.tagsDetails.length > 0));
  const { happenedAt: start, _id: eventId } = events[0];
  assert.equal((await alice.call("memory/events:getTimelineEvents", { range: { start, end: start + 1 } })).length, events.length);
  assert.equal((await alice.call("diaries:getDiary", { diaryId })).events.length, events.length);
  const change = { eventId, title: "Dinner", summary: "We cooked.", mood: 2, arousal: 3, tags: ["Food"], peopleNames: ["Anna", "Annie"] };
  await alice.watch(
    "events:getEvent", { eventId }, () => alice.call("events:updateEvent", change), (event) => event.title === "Dinner",
  );
  const event = await alice.call("events:getEvent", { eventId });
  assert.deepEqual([event.mood, typeof event.moodWord, event.people.map((one) => one.name)], [2, "string", ["Anna", "Annie"]]);
  assert.equal(event.tags[0].name.toLowerCase(), "food");
  assert.ok((await alice.call("memory/tags:listTags")).some((tag) => tag.displayName.toLowerCase() === "food" && tag.eventCount === 1));
  const people = await alice.call("memory/people:listPeople");
  const [anna, annie] = ["Anna", "Annie"].map((name) => people.find((person) => person.primaryName === name)?._id);
  await alice.call("memory/people:mergePeople", { personId: annie, intoPersonId: anna });
  await alice.call("memory/people:updatePerson", { personId: anna, relationshipLabel: "sister", altNames: ["Annie", "Ann"] });
  const { person, recentEvents } = await alice.call("memory/people:getPersonDetail", { personId: anna });
  assert.deepEqual([person.primaryName, person.relationshipLabel, person.interactionCount, recentEvents[0]._id], ["Anna", "sister", 1, eventId]);
  assert.ok((await alice.call("memory/people:generatePersonHighlight", { personId: anna })).summary.includes("Anna"));
}

async function video({ alice, pass, track }) {
  const musicId = track._id;
  let videoId;
  const videos = await alice.watch("videos:listVideosForMusic", { musicId }, async () => {
    const started = await alice.call("videoActions:startVideoGeneration", { musicId });
    assert.deepEqual([started.success, started.remainingQuota], [true, 0]);
    videoId = started.videoId;
    await pass(0);
  }, ([found]) => found?.status === "ready");
  const made = only(videos);
  assert.deepEqual([made._id, made.musicId, "kieTaskId" in made], [videoId, musicId, false]);
  assert.ok(made.videoUrl && made.duration > 0);
  await alice.call("videos:setAsPrimaryVideo", { videoId });
  assert.equal((await alice.call("videos:getVideo", { videoId })).isPrimary, true);
  await alice.call("videos:deleteVideo", { videoId });
  assert.equal(await alice.call("videos:getVideo", { videoId }), null);
}

async function calls({ alice, number, pass }) {
  const { zone: timezone } = await pass(0);
  await post("/sandbox/vapi/people", { number, answers: "talks" });
  const wanted = { phoneE164: number, timezone, timeOfDay: "20:00", cadence: "custom", daysOfWeek: [0, 6], active: true };
  assert.equal((await alice.call("callSettings:upsertCallSettings", wanted)).updated, false);
  const saved = await alice.call("callSettings:upsertCallSettings", { ...wanted, cadence: "daily", daysOfWeek: undefined });
  assert.equal(saved.updated, true);
  const { callSettings } = await alice.call("users:getUserProfile");
  assert.deepEqual([callSettings._id, callSettings.phoneE164, callSettings.consent], [saved.settingsId, number, "unknown"]);
  assert.equal((await alice.call("callSettings:getNextCall")).timezone, timezone);
  let jobId;
  const jobs = await alice.watch("callJobs:getCallJobs", { limit: 10 }, async () => {
    jobId = (await alice.call("callSettings:sendTestCall")).callJobId;
    await pass(0);
  }, ([job]) => job?.status === "completed");
  assert.equal(only(jobs)._id, jobId);
  assert.equal(only(await alice.call("callJobs:getCallJobs", { status: "completed" })).callSettingsId, saved.settingsId);
  const stats = await alice.call("callJobs:getCallJobStats", { limit: 100 });
  assert.deepEqual([stats.total, stats.completed, stats.failed], [1, 1, 0]);
  const session = only(await alice.call("callJobs:getCallSessions", { limit: 10 }));
  assert.deepEqual([session.callJobId, session.state], [jobId, "completed"]);
  assert.ok(session.durationSec > 0);
  assert.equal((await alice.call("callJobs:getDashboardStats")).totalCalls, 1);
  await alice.call("callJobs:deleteCallSession", { sessionId: session._id });
}

async function blog({ alice, anonymous, apps, name, pass }) {
  const write = apps.author();
  const [title, tag] = [`A post for ${name}`, `Tag ${name}`];
  const draft = await write("blog:createDraft", { title, bodyMarkdown: "# Hello\n\nText.", excerpt: "Hello", tags: [tag] });
  const { previewToken, slug, _id: postId } = draft;
  assert.equal((await anonymous.call("blog:getDraftByPreviewToken", { previewToken }))._id, postId);
  await anonymous.watch("blog:listPublished", {}, () => write("blog:publish", { postId }), (posts) => posts.some((one) => one._id === postId));
  assert.equal(await anonymous.call("blog:getDraftByPreviewToken", { previewToken }), null);
  assert.equal((await anonymous.call("blog:listRecent", { limit: 1 }))[0]._id, postId);
  assert.equal(only(await alice.call("blog:listByTag", { tag })).title, title);
  const found = await anonymous.call("blog:getBySlug", { slug });
  assert.deepEqual([found._id, found.tags, typeof found.publishedAt], [postId, [tag], "number"]);
  const { now } = await pass(0);
  await anonymous.call("blog:incrementViewCount", { postId, date: new Date(now).toISOString().slice(0, 10) });
}

async function goodbye({ alice, diaryId, mediaId, pass, sub, track }) {
  await alice.call("diaryMedia:deleteDiaryMedia", { mediaId });
  assert.deepEqual(await alice.call("diaryMedia:getDiaryMedia", { diaryId }), []);
  await alice.call("music:softDeleteMusic", { musicId: track._id });
  assert.ok((await alice.call("music:listPlaylistMusic")).every((song) => song._id !== track._id));
  await alice.call("diaries:deleteDiary", { diaryId });
  assert.equal(await alice.call("diaries:getDiary", { diaryId }), null);
  assert.deepEqual(await alice.call("users:deleteAccount"), { success: true, clerkId: sub });
  await pass(0);
  assert.equal(await alice.call("users:getUserProfile"), null);
}
