"""What notifications there are, how many devices a person may have, and when a message is sent again. No database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, get_args

from daysong.kernel.errors import ExpectedError
from daysong.vendors.expo.answers import Failure

Kind = Literal["music_ready", "music_failed", "video_ready", "call_missed"]
Platform = Literal["ios", "android"]
State = Literal["sending", "waiting", "sent", "delivered", "failed", "lost"]

KINDS: tuple[Kind, ...] = get_args(Kind)

# Tokens of a person; a further one takes the place of the one that was registered longest ago.
MOST_TOKENS = 20
# Tokens new to an account on a day (UTC): a caller who guesses tokens, to take others' notifications, has so many.
MOST_NEW_TOKENS = 10
LONGEST_TOKEN = 150

# Older news is not sent. Expo and the phone's network keep a message for as long.
FRESH_FOR = timedelta(hours=24)
# Between tries of one message, while Expo, Apple or Google certainly have not shown it.
PAUSES = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))

RECEIPTS_AFTER = timedelta(minutes=15)
# Between looks at receipts that are not there yet. Expo keeps them for a day.
RECEIPT_PAUSES = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6))

# Ends of a call that rang, and that no person took; as in call_jobs.error_code.
MISSED_CALLS = ("no-answer", "busy", "voicemail", "screened")
MISSED_IN_A_ROW = 2


class InvalidPushToken(ExpectedError):
    """The token does not have the form of an Expo push token."""

    code = "invalid_push_token"
    default_message = "This is not an Expo push token"


class TooManyPushTokens(ExpectedError):
    """The account registered as many new tokens as it may on one day (UTC)."""

    code = "too_many_push_tokens"
    status = 429
    default_message = "Too many new devices today. Please try again tomorrow."


def is_stale(created_at: datetime, now: datetime) -> bool:
    """Return whether an occasion is too old to be told."""
    return now - created_at >= FRESH_FOR


def after_failure(
    failure: Failure, tries: int, *, created_at: datetime, now: datetime
) -> tuple[State, datetime | None]:
    """Return the state of a message that certainly was not shown after so many tries, and when it is sent again."""
    if failure == "unknown":
        return "lost", None
    if failure in {"passing", "too_often"} and tries <= len(PAUSES):
        again = now + PAUSES[tries - 1]
        if not is_stale(created_at, again):
            return "waiting", again
    return "failed", None


def is_missed_streak(missed: Sequence[bool]) -> bool:
    """Return whether the latest calls of a person, newest first, have just become two missed in a row.

    The third and later ones of a streak are not told again.
    """
    streak = next((place for place, each in enumerate(missed) if not each), len(missed))
    return streak == MISSED_IN_A_ROW
