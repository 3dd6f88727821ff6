// Errors as people read them: what happened, and what they can do. Codes are for programs.

const WORDS = {
  usage_limit_reached: ({ renews }) => `You have used the songs of this period.${renews ? ` They renew on ${renews}.` : ""}`,
  daily_limit_reached: () => "A lot of songs were made today. Please try again tomorrow; your words are saved.",
  already_in_progress: () => "A song is already being made from this entry.",
  rate_limited: () => "That was a little too fast. Please wait a moment and try again.",
  unauthorized: () => "Please sign in again.",
  connection_lost: () => "The connection was lost. Please check whether it went through, and try again.",
  diary_is_empty: () => "Write a few words first.",
  diary_too_long: () => "This is longer than an entry can be: 50,000 characters. Please save it as two.",
  diary_not_found: () => "This entry is no longer there.",
  music_not_found: () => "This song is no longer there.",
  share_link_not_found: () => "This song is no longer shared.",
  library_full: () => "Your playlist is full. Please remove a song first.",
  music_not_available: () => "This song is not available right now.",
};

/** Returns the sentence for an error, or for the `code` of a result; `more` fills its gaps. */
export function inWords(error, more = {}) {
  const code = String(error?.code ?? "").toLowerCase();
  if (WORDS[code]) return WORDS[code](more);
  // Other expected failures have a message for people; anything else has not.
  if (error?.code && error.code !== "failed" && error.message) return error.message;
  return "Something went wrong on our side. Please try again in a little while.";
}
