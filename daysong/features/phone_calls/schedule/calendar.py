"""The schedule of a user's calls: weekdays, local time, and the next occurrence. Pure, computed by local dates.

Times are computed with the time zone data that `zones.py` chooses: the package tzdata, which is pinned with our
dependencies, or a folder of newer data; never the machine's, so that every process finds the same moment. An
occurrence belongs to a local date:

- a local time skipped by a clock change becomes the first moment after the gap, even on the next date;
- a local time that occurs twice means the first of the two;
- a date that a zone skips entirely (Samoa had no 30 December 2011) has no occurrence.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Literal, NamedTuple

import whenever
from whenever import Instant, PlainDateTime, ZonedDateTime

from daysong.kernel.errors import DaysongError, ExpectedError

# With an empty search path, whenever reads the package tzdata. Besides this file, only zones.py uses whenever.
whenever.reset_tzpath(())

Cadence = Literal["daily", "weekdays", "weekends", "custom"]

DAYS = 7
EVERY_DAY = 0b1111111
# Bit 0 is Sunday.
MASKS = {"daily": EVERY_DAY, "weekdays": 0b0111110, "weekends": 0b1000001}
# Two weeks, since a zone may skip the date of a weekly call. One more day, since the search begins yesterday.
DAYS_SEARCHED = 2 * DAYS + 2

MINUTES_OF_HOUR = 60
QUIET_FROM = 21 * MINUTES_OF_HOUR
QUIET_UNTIL = 8 * MINUTES_OF_HOUR


class InvalidTimezone(ExpectedError):
    """The name is no IANA time zone. Abbreviations such as EST are refused: they do not name one place."""

    code = "invalid_timezone"
    default_message = "Invalid timezone. Must be a valid IANA timezone (e.g., America/New_York)"


class InvalidTimeOfDay(ExpectedError):
    """The text is no time of day as HH:MM."""

    code = "invalid_time_of_day"
    default_message = "Invalid time of day. Must be in HH:MM format (24h)"


class InvalidCadence(ExpectedError):
    """A custom cadence has no days, or days outside 0-6."""

    code = "invalid_cadence"
    default_message = "Invalid cadence configuration. Custom cadence requires daysOfWeek array with values 0-6"


class NeverDue(DaysongError):
    """The mask of weekdays is empty."""


class LocalTime(NamedTuple):
    """A local date, and the minutes since midnight on the local clock."""

    date: date
    minutes: int


def mask_of(cadence: Cadence, days_of_week: Sequence[int] = ()) -> int:
    """Return the weekdays of a cadence as bits, Sunday the lowest.

    `days_of_week` (0 Sunday to 6 Saturday) is used for a custom cadence only; InvalidCadence when it is empty or out
    of range.
    """
    if cadence != "custom":
        return MASKS[cadence]
    if not days_of_week or not all(0 <= day < DAYS for day in days_of_week):
        raise InvalidCadence
    return functools.reduce(lambda mask, day: mask | 1 << day, days_of_week, 0)


def days_of(byday_mask: int) -> list[int]:
    """Return the weekdays of a mask in order, Sunday being 0."""
    return [day for day in range(DAYS) if byday_mask >> day & 1]


def minutes_of(time_of_day: str) -> int:
    """Return the minutes since midnight of a time as HH:MM; InvalidTimeOfDay."""
    found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", time_of_day)
    if found is None:
        raise InvalidTimeOfDay
    return int(found[1]) * MINUTES_OF_HOUR + int(found[2])


def time_of(local_minutes: int) -> str:
    """Format minutes since midnight as HH:MM."""
    hour, minute = divmod(local_minutes, MINUTES_OF_HOUR)
    return f"{hour:02}:{minute:02}"


@functools.cache
def timezones() -> frozenset[str]:
    """Return the time zones a user may choose: names with a slash, and UTC. EST, PST and the like name no place."""
    return frozenset(name for name in whenever.available_timezones() if "/" in name or name == "UTC")


def checked_timezone(name: str) -> str:
    """Return the name unchanged; InvalidTimezone when it is unknown or spelled differently."""
    if name not in timezones():
        raise InvalidTimezone
    return name


def is_known(timezone: str) -> bool:
    """Return whether the zone exists. Zones are removed from the data, if rarely (US/Pacific-New was in 2020)."""
    return timezone in timezones()


@functools.cache
def _loaded(timezone: str) -> ZonedDateTime:
    """Keep a zone in memory: whenever evicts zones that were not used recently, and would read their files again."""
    return Instant.from_timestamp(0).to_tz(timezone)


def forget_zones() -> None:
    """Clear the caches of zones after the data has been replaced."""
    timezones.cache_clear()
    _loaded.cache_clear()


def local_time(moment: datetime, timezone: str) -> LocalTime:
    """Return the local date and time of a moment in a time zone."""
    _loaded(timezone)
    there = Instant(moment).to_tz(timezone)
    return LocalTime(date(there.year, there.month, there.day), there.hour * MINUTES_OF_HOUR + there.minute)


def local_datetime(moment: datetime, timezone: str) -> datetime:
    """Return the moment as a datetime of the time zone; in UTC when the zone no longer exists."""
    if not is_known(timezone):
        return moment
    _loaded(timezone)
    return Instant(moment).to_tz(timezone).to_fixed_offset().to_stdlib()


def is_quiet(minutes: int) -> bool:
    """Return whether a local time is in the quiet hours, 21:00 to 08:00."""
    return minutes >= QUIET_FROM or minutes < QUIET_UNTIL


def next_run(*, after: datetime, timezone: str, local_minutes: int, byday_mask: int) -> datetime:
    """Return the first occurrence strictly after `after`, in UTC.

    `local_minutes` counts from local midnight, `byday_mask` has the weekdays. NeverDue when the mask is empty.
    """
    _loaded(timezone)
    hour, minute = divmod(local_minutes, MINUTES_OF_HOUR)
    earliest = Instant(after)
    there = earliest.to_tz(timezone)
    # Yesterday's occurrence may still lie ahead, when a clock change moved it past midnight.
    yesterday = date(there.year, there.month, there.day).toordinal() - 1
    for ordinal in range(yesterday, yesterday + DAYS_SEARCHED + 1):
        # Ordinal 7 was a Sunday.
        if byday_mask >> ordinal % DAYS & 1:
            moment = _occurrence(date.fromordinal(ordinal), hour, minute, timezone)
            if moment is not None and moment > earliest:
                return moment.to_stdlib()
    raise NeverDue


def _occurrence(day: date, hour: int, minute: int, timezone: str) -> Instant | None:
    """Return the moment of a local time on a date; None on a date that the zone skips."""
    wanted = PlainDateTime(day.year, day.month, day.day, hour, minute)
    # The first of two; for a skipped time, a moment as long before the gap as that time is into it.
    moment = wanted.assume_tz(timezone, disambiguation="earlier")
    if moment.to_plain() == wanted:
        return moment.to_instant()
    while moment.to_plain() < wanted:
        following = moment.next_transition()
        if following is None:  # every gap ends with a transition
            raise AssertionError(f"{wanted} neither is nor is skipped in {timezone}")
        moment = following
    on_that_day = {moment.date(), moment.subtract(seconds=1).date()}
    return moment.to_instant() if wanted.date() in on_that_day else None
