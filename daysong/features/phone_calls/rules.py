"""Who may be called, when and how often; and the status steps of a call. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from daysong.features.phone_calls.schedule.calendar import is_quiet, local_time

Status = Literal["queued", "scheduled", "started", "completed", "failed", "canceled"]

# A status moves along these steps and no others; the last three are final.
STEPS: Mapping[Status, frozenset[Status]] = {
    "queued": frozenset({"scheduled", "started", "completed", "failed", "canceled"}),
    "scheduled": frozenset({"started", "completed", "failed", "canceled"}),
    "started": frozenset({"completed", "failed", "canceled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "canceled": frozenset(),
}

MOST_TRIES = 3  # without consent, in all
BETWEEN_TRIES = timedelta(hours=20)  # and on another date; less than a day, since clock changes move calls
MOST_DIALS_OF_A_NUMBER = 3  # per day in UTC, which does not depend on the chosen time zone
MOST_DIALS_OF_A_PERSON = 5  # the same, over all numbers of an account
MOST_TEST_CALLS = 3
# Calls that only a call-screening assistant took do not count as tries, up to this number per account and time.
MOST_SCREENED = 7
SCREENED_WITHIN = timedelta(days=30)

MOST_ATTEMPTS = 3  # at placing one call, after temporary rejections
ATTEMPT_PAUSE = timedelta(seconds=20)

# A report arrives seconds after a call has ended; after this time it is lost, or the call is long.
REPORT_OVERDUE = timedelta(minutes=20)
# After this time a call is closed, whatever its state at VAPI.
LONGEST_CALL = timedelta(minutes=90)

EVERYWHERE = "*"

UNKNOWN_TIMEZONE = "unknown_timezone"

# Why no call was made, as shown to the user.
REASONS: Mapping[str, str] = {
    "missed": "It was too late for this call.",
    "quiet_hours": "It had become too late in the evening for this call.",
    "switched_off": "Calls are switched off.",
    "suspended": "This account is locked.",
    UNKNOWN_TIMEZONE: "The time zone of these settings is not known any more. Please choose another.",
    "refused": "The person on this number does not want to be called.",
    "no_consent": "The person on this number has not agreed to be called.",
    "tried_today": "This number was called today, without consent to be called yet.",
    "number_busy": "This number was called as often as it may be on one day.",
    "too_many_calls": "You were called as often as may be on one day.",
    "daily_limit": "Today's limit of calls is reached. The next call comes as planned.",
    "country_not_called": "Numbers in this country are called only once you have verified them in your account.",
    "no_minutes": "You have used all your minutes of this period.",
    "all_calls_made": "No more calls can be made today.",
    "not_configured": "Calls are not available at the moment.",
    "lines_busy": "All lines were taken.",
    "misdialed": "There is no such number, or it takes no calls. Please check its digits.",
    "lost": "The call could not be confirmed.",
    "no_report": "This call ended without a report.",
    "no-answer": "There was no answer.",
    "busy": "The line was busy.",
    "voicemail": "A voicemail answered.",
    "screened": "An assistant on this phone asked who is calling, and did not put the call through. "
    "Please let our number through.",
    "failed": "The call could not be made.",
}


class Number(NamedTuple):
    """The state of a number, for all accounts that name it."""

    refused: bool = False
    tries: int = 0
    last_try_at: datetime | None = None
    last_try_on: date | None = None
    dials: int = 0
    dialled_on: date | None = None

    def dials_on(self, day: date) -> int:
        """Return how often it was dialed on that day (UTC)."""
        return self.dials if self.dialled_on == day else 0


def is_late(due: datetime, now: datetime, latest: timedelta) -> bool:
    """Return whether a call due at `due` is too late to be made."""
    return now - due > latest


def hour_forbids(now: datetime, timezone: str, chosen_minutes: int) -> bool:
    """Return whether it is a quiet hour in the time zone, unless the user chose a quiet hour."""
    return is_quiet(local_time(now, timezone).minutes) and not is_quiet(chosen_minutes)


def number_forbids(number: Number, *, agreed: bool, now: datetime, timezone: str) -> str | None:
    """Return why a number may not be dialed now, as a code of REASONS; None when it may."""
    if number.refused:
        return "refused"
    if number.dials_on(now.date()) >= MOST_DIALS_OF_A_NUMBER:
        return "number_busy"
    if agreed:
        return None
    if number.tries >= MOST_TRIES:
        return "no_consent"
    if number.last_try_at is not None and (
        now - number.last_try_at < BETWEEN_TRIES or local_time(now, timezone).date == number.last_try_on
    ):
        return "tried_today"
    return None


def country_forbids(country: str | None, countries: Collection[str]) -> str | None:
    """Return why an unproved number of that country may not be dialed; None when it may. `*` allows every country."""
    return None if EVERYWHERE in countries or (country is not None and country in countries) else "country_not_called"


def dialled(number: Number, *, agreed: bool, now: datetime, timezone: str) -> Number:
    """Return the state of a number after a dial."""
    number = number._replace(dials=number.dials_on(now.date()) + 1, dialled_on=now.date())
    if agreed:
        return number
    return number._replace(tries=number.tries + 1, last_try_at=now, last_try_on=local_time(now, timezone).date)
