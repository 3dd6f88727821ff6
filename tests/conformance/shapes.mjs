// The result of every public function: the fields that the apps read, and their types.
// A shape is the name of a type, null, [shape] for a list, or an object of fields; `?` marks one that may be left out.
// A field that is there is never null unless its shape says so. Fields without a shape are not looked at.
import assert from "node:assert/strict";

const either = (...shapes) => (value, where) => {
  const failures = [];
  for (const shape of shapes) {
    try { return like(value, shape, where); } catch (failure) { failures.push(failure.message); }
  }
  assert.fail(failures.join("; or "));
};
const orNull = (shape) => either(null, shape);
const oneOf = (...values) => (value, where) => assert.ok(values.includes(value), `${where} is ${value}, not one of ${values}`);
const mapOf = (shape) => (value, where) => {
  assert.ok(value && typeof value === "object" && !Array.isArray(value), `${where} is not an object`);
  for (const [key, one] of Object.entries(value)) like(one, shape, `${where}.${key}`);
};

/** Fail with the path of the first field of `value` that is missing or of another type. */
export function like(value, shape, where) {
  if (typeof shape === "function") return shape(value, where);
  if (shape === null) return assert.equal(value, null, `${where} is not null`);
  if (typeof shape === "string") return assert.equal(value === null ? "null" : typeof value, shape, `the type of ${where}`);
  if (Array.isArray(shape)) {
    assert.ok(Array.isArray(value), `${where} is no list`);
    return value.forEach((one, place) => like(one, shape[0], `${where}[${place}]`));
  }
  assert.ok(value && typeof value === "object" && !Array.isArray(value), `${where} is not an object`);
  for (const [field, inner] of Object.entries(shape)) {
    const name = field.replace("?", "");
    if (name in value) like(value[name], inner, `${where}.${name}`);
    else assert.ok(field.endsWith("?"), `${where}.${name} is missing`);
  }
}

const ready = oneOf("pending", "ready", "failed");
const ROW = { _id: "string", _creationTime: "number" };
const NAMED = { _id: "string", name: "string" };
const WORDS = { alignedWords: [{ word: "string", startS: "number", endS: "number" }], "waveformData?": ["number"] };
const TRACK = {
  _id: "string", status: ready, "title?": "string", "imageUrl?": "string", "audioUrl?": "string", "duration?": "number",
  "lyric?": "string", "lyricWithTime?": WORDS,
};
const DIARY = {
  ...ROW, userId: "string", "title?": "string", content: "string", date: "number", updatedAt: "number",
  "primaryMusicId?": "string", "primaryMusic?": TRACK,
};
const MUSIC = {
  ...TRACK, ...ROW, createdAt: "number", updatedAt: "number", "diaryId?": "string", "diaryDate?": "number",
  "diaryContent?": "string", "diaryTitle?": "string",
};
const LISTED = {
  ...MUSIC, userSongId: "string", ownershipType: oneOf("owned", "shared"), "addedViaShareId?": "string",
  linkedFromMusicIndex: "number", "ownerName?": "string", "isUnavailable?": "boolean",
  "unavailableReason?": oneOf("deleted", "unshared"),
};
const paged = (shape) => either(
  { page: [shape], isDone: "boolean", continueCursor: "string" }, { page: [shape], nextCursor: orNull("string") },
);
const QUOTA = {
  tier: "string", musicGenerationsUsed: "number", musicLimit: "number", remainingQuota: "number", periodStart: "number",
  periodEnd: "number",
};
const STATUS = { ...QUOTA, status: "string", isActive: "boolean" };
const ALLOWANCE = { canGenerate: "boolean", tier: "string", currentUsage: "number", limit: "number", remainingQuota: "number" };
const SETTINGS = { timezone: "string", language: "string", showNameOnShares: "boolean" };
const EVENT = {
  ...ROW, happenedAt: "number", title: "string", summary: "string", "mood?": "number", "moodWord?": "string",
  "arousal?": "number", "arousalWord?": "string", people: [NAMED],
};
const WHOLE_EVENT = {
  ...EVENT, userId: "string", diaryId: "string", "personIds?": ["string"], "tagIds?": ["string"], "anniversaryCandidate?": "boolean",
};
const TIMELINE = { ...WHOLE_EVENT, tags: ["string"], tagsDetails: [NAMED] };
const HIGHLIGHTS = { summary: "string", lastGeneratedAt: "number" };
const PERSON = {
  ...ROW, userId: "string", primaryName: "string", "altNames?": ["string"], "relationshipLabel?": "string",
  "lastMentionedAt?": "number", "interactionCount?": "number", "highlights?": HIGHLIGHTS,
};
const VIDEO = {
  _id: "string", musicId: "string", userId: "string", scriptPrompt: "string", "duration?": "number", status: ready,
  "videoUrl?": "string", createdAt: "number", updatedAt: "number", isPrimary: "boolean",
};
const KINDS = { musicReady: "boolean", musicFailed: "boolean", videoReady: "boolean", callMissed: "boolean" };
const POST = {
  ...ROW, slug: "string", title: "string", bodyMarkdown: "string", "excerpt?": "string", "publishedAt?": "number",
  author: "string", tags: ["string"], "readingTime?": "number", "canonicalUrl?": "string", "featuredImage?": "string",
  "redirectFrom?": ["string"], updatedAt: "number",
};
const SHARED = {
  found: oneOf(true), title: "string", "imageUrl?": "string", "audioUrl?": "string", "lyric?": "string",
  "lyricWithTime?": WORDS, "duration?": "number", createdAt: "number", "userName?": "string", isOwner: "boolean",
  "ownerClerkId?": "string",
};
const PRIVACY = { isPrivate: "boolean" };
const STATES = { total: "number", queued: "number", scheduled: "number", started: "number", completed: "number", failed: "number", canceled: "number" };

export const RESULTS = {
  "users:ensureCurrentUser": { userId: "string" },
  "users:getUserProfile": orNull({
    user: { _id: "string", "name?": "string", "email?": "string" },
    subscription: orNull({ ...STATUS, productId: "string" }),
    callSettings: orNull({
      _id: "string", phoneE164: "string", timezone: "string", timeOfDay: "string", cadence: "string", "daysOfWeek?": ["number"],
      active: "boolean", consent: "string", "pausedReason?": "string", minutesUsed: "number", minutesLimit: "number",
    }),
  }),
  "users:getSettings": SETTINGS,
  "users:updateSettings": SETTINGS,
  "users:deleteAccount": { success: "boolean", "clerkId?": "string" },
  "billing:getPlans": [{ tier: "string", musicLimit: "number", periodDays: orNull("number"), price: "number" }],
  "billing:getCurrentUserStatus": STATUS,
  "usage:getCurrentUserUsage": QUOTA,
  "usage:canCurrentUserGenerateMusic": ALLOWANCE,
  "usage:checkUsageWithReconciliation": { ...ALLOWANCE, reconciled: "boolean" },
  "usage:recordCurrentUserMusicGeneration": {
    success: "boolean", "code?": "string", "reason?": "string", currentUsage: "number", limit: "number", remainingQuota: "number", tier: "string",
  },
  "usage:getUsageByWeek": [{ weekStart: "string", songs: "number", minutes: "number", entries: "number" }],
  "diaries:createDiary": { _id: "string" },
  "diaries:updateDiary": { _id: "string", updatedAt: "number" },
  "diaries:deleteDiary": null,
  "diaries:listDiaries": [DIARY],
  "diaries:pageDiaries": paged(DIARY),
  "diaries:getDiary": orNull({ ...DIARY, events: [{ ...EVENT, tags: [NAMED] }] }),
  "diaries:getCalendar": [{ date: "string", entries: "number", songs: "number", calls: "number" }],
  "diaries:onThisDay": [{ yearsAgo: "number", diaries: [DIARY] }],
  "diaryMedia:generateUploadUrl": "string",
  "diaryMedia:createDiaryMedia": { _id: "string" },
  "diaryMedia:getDiaryMedia": [{
    _id: "string", diaryId: "string", userId: "string", storageId: "string", mediaType: oneOf("photo", "video"),
    contentType: "string", fileSize: "number", url: "string",
  }],
  "diaryMedia:deleteDiaryMedia": null,
  "events:getEvent": orNull({ ...WHOLE_EVENT, tags: [NAMED] }),
  "events:updateEvent": null,
  "memory/events:getTimelineEvents": [TIMELINE],
  "memory/people:listPeople": [PERSON],
  "memory/people:getPersonDetail": orNull({ person: PERSON, recentEvents: [TIMELINE] }),
  "memory/people:updatePerson": null,
  "memory/people:mergePeople": null,
  "memory/people:generatePersonHighlight": HIGHLIGHTS,
  "memory/tags:listTags": [{ ...NAMED, displayName: "string", eventCount: "number", "lastUsedAt?": "number" }],
  "music:startDiaryMusicGeneration": {
    diaryId: "string", success: "boolean", "code?": "string", "reason?": "string", "remainingQuota?": "number",
  },
  "music:listPlaylistMusic": [LISTED],
  "music:pagePlaylist": paged(LISTED),
  "music:getMusic": orNull({ ...MUSIC, progress: { stage: "string", updatedAt: "number", "reason?": "string" } }),
  "music:listTracks": [{ ...MUSIC, progress: { stage: "string", updatedAt: "number", "reason?": "string" } }],
  "music:getPlaylistOwnerNames": mapOf("string"),
  "music:softDeleteMusic": null,
  "userSongs:addFromShare": { success: "boolean", "alreadyAdded?": "boolean" },
  "userSongs:isShareInLibrary": "boolean",
  "userSongs:removeFromLibrary": null,
  "videoActions:startVideoGeneration": {
    success: "boolean", "videoId?": "string", "code?": "string", "reason?": "string", "remainingQuota?": "number",
  },
  "videos:listVideosForMusic": [VIDEO],
  "videos:getVideo": orNull(VIDEO),
  "videos:setAsPrimaryVideo": null,
  "videos:deleteVideo": null,
  "sharing:createShareLink": { shareId: "string", shareUrl: "string" },
  "sharing:getSharedMusic": either({ found: oneOf(false) }, SHARED),
  "sharing:recordShareView": null,
  "sharing:listSharedMusic": [{
    _id: "string", musicId: "string", shareId: "string", shareUrl: "string", viewCount: "number", isPrivate: "boolean",
    createdAt: "number", updatedAt: "number",
    music: {
      _id: "string", status: ready, "title?": "string", "imageUrl?": "string", "audioUrl?": "string", "duration?": "number",
      "lyric?": "string", createdAt: "number", "diaryId?": "string", "diaryDate?": "number", "diaryContent?": "string",
    },
  }],
  "sharing:setSharePrivacy": PRIVACY,
  "sharing:toggleSharePrivacy": PRIVACY,
  "sharing:setShareOptions": { allowDownload: "boolean", listed: "boolean" },
  "sharing:revokeShare": null,
  "callSettings:upsertCallSettings": { settingsId: "string", updated: "boolean" },
  "callSettings:getNextCall": orNull({ "at?": "number", timezone: "string", "pausedReason?": "string", minutesLeft: "number" }),
  "callSettings:sendTestCall": { callJobId: "string" },
  "callJobs:getCallJobs": [{
    ...ROW, userId: "string", callSettingsId: "string", scheduledForUTC: "number", attempts: "number", updatedAt: "number",
    status: oneOf("queued", "scheduled", "started", "completed", "failed", "canceled"), "vapiCallId?": "string",
  }],
  "callJobs:getCallJobStats": { ...STATES, "lastError?": "string", "lastErrorAt?": "number" },
  "callJobs:getCallSessions": [{
    ...ROW, userId: "string", vapiCallId: "string", state: "string", "callJobId?": "string", "startedAt?": "number",
    "endedAt?": "number", "durationSec?": "number", "endedReason?": "string", "diaryId?": "string",
  }],
  "callJobs:getDashboardStats": { totalCalls: "number", activeDaysThisMonth: "number" },
  "callJobs:deleteCallSession": null,
  "featureFlags:getUserFlags": mapOf("boolean"),
  "emailNotify:addEmailNotification": "string",
  "blog:listPublished": [POST],
  "blog:listRecent": [POST],
  "blog:listByTag": [POST],
  "blog:getBySlug": orNull(POST),
  "blog:getDraftByPreviewToken": orNull(POST),
  "blog:incrementViewCount": null,
  "pushNotifications:registerPushToken": null,
  "pushNotifications:unregisterPushToken": null,
  "pushNotifications:getMyPushTokens": [{ _id: "string", token: "string", platform: oneOf("ios", "android"), createdAt: "number", updatedAt: "number" }],
  "pushNotifications:setPreferences": KINDS,
  "pushNotifications:getPreferences": KINDS,
};
