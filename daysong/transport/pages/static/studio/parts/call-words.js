// Calls in words: when they come, why they do not, and what became of them.

export const PAUSED = {
  refused: "The person on this number said that they do not want to be called. It will not be called again; choose another number.",
  no_consent: "We called three times and nobody said yes, so we stopped. If this is your number, verify it in your account, or choose another.",
  screened: "An assistant on your phone asked who was calling and did not put us through. Let our number through, then switch the calls on again.",
  misdialed: "This number does not exist, or takes no calls. Please check its digits.",
  unknown_timezone: "This time zone is no longer known. Please choose another.",
};

/** Why a pause can be ended by saving the same settings again. */
export const CAN_RESUME = new Set(["screened", "misdialed"]);

const OUTCOMES = {
  "diary to be written": "The entry is being written.",
  no_words: "Nothing was said, so there is no entry.",
  too_short: "It was too short for an entry.",
  not_successful: "It did not become an entry.",
  "words deleted": "You had its words deleted.",
  "no report": "It ended without a report.",
  "answer to be read": "What was said is being read.",
  "answer being read": "What was said is being read.",
};
const STATES = {
  "no-answer": "There was no answer.",
  busy: "The line was busy.",
  voicemail: "A voicemail answered.",
  failed: "The call could not be made.",
};
const WAITING = {
  queued: "It waits for a free line.",
  scheduled: "Your phone is ringing.",
  started: "You are on the phone.",
};

/** Says how a call went. `job` is missing for calls to us, `session` for calls that nobody took. */
export function outcomeOf(job, session, time) {
  if (job && WAITING[job.status] && session?.state !== "completed") return WAITING[job.status];
  if (session?.state === "in-progress") return "You are on the phone.";
  if (!session || session.state !== "completed") return job?.errorMessage ?? STATES[session?.state] ?? "The call ended.";
  const talked = session.durationSec ? `You talked for ${length(session.durationSec, time)}. ` : "";
  if (session.diaryId) return `${talked}It became an entry.`;
  if (/refus/.test(session.outcome ?? "")) return `${talked}The person on the phone did not want to be called.`;
  if (/consent|unclear/.test(session.outcome ?? "")) return `${talked}Without a clear yes, nothing was kept.`;
  return `${talked}${OUTCOMES[session.outcome] ?? (session.outcome === "diary" ? "Its entry was deleted." : session.outcome ? "It did not become an entry." : "")}`.trim();
}

function length(seconds, time) {
  return seconds < 90 ? time.plural(Math.round(seconds), "second", "seconds") : time.plural(Math.round(seconds / 60), "minute", "minutes");
}

export const isLive = (job) => Boolean(WAITING[job?.status]);

/** "tomorrow, Saturday 28 November, at 20:30", as the clock in a time zone shows it. */
export function whenWords(at, zone, language) {
  const format = (options) => new Intl.DateTimeFormat(language, { timeZone: zone, ...options });
  const key = (ms) => new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(ms);
  const days = Math.round((Date.parse(key(at)) - Date.parse(key(Date.now()))) / 86_400_000);
  const clock = format({ hour: "numeric", minute: "2-digit" }).format(at);
  if (days === 0) return `today at ${clock}`;
  const day = format({ weekday: "long", day: "numeric", month: "long" }).format(at);
  return days === 1 ? `tomorrow, ${day}, at ${clock}` : `on ${day} at ${clock}`;
}

/** "in 7 hours", from now. */
export function untilWords(at, language) {
  const minutes = Math.round((at - Date.now()) / 60_000);
  const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
  if (minutes < 1) return "in a moment";
  if (minutes < 90) return relative.format(minutes, "minute");
  const hours = Math.round(minutes / 60);
  return hours < 36 ? relative.format(hours, "hour") : relative.format(Math.round(hours / 24), "day");
}

/** The name of a zone's place: "Lisbon". */
export const placeOf = (zone) => zone.slice(zone.lastIndexOf("/") + 1).replaceAll("_", " ");
