"""When somebody is called: which days, at what time there, and when that is next. Pure, by local dates.

Times are reckoned by the time zone data that `zones.py` chooses: the package tzdata, which is pinned with our
dependencies, or a folder of newer data; not by the machine's, so that every process finds the same moment. An
occurrence belongs to a local date:

- a local time that a change of the clock skips is the first moment after the gap, be that on the next date;
- one that comes twice is the first of the two;
- a date that a zone skips altogether (Samoa had no 30 December 2011) has none.
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

# Without directories to look in, whenever reads the package tzdata. Only zones.py uses whenever besides.
whenever.reset_tzpath(())

Cadence = Literal["daily", "weekdays", "weekends", "custom"]

DAYS = 7
EVERY_DAY = 0b1111111
# Bit 0 is Sunday.
MASKS = {"daily": EVERY_DAY, "weekdays": 0b0111110, "weekends": 0b1000001}
# A weekly date may be one that its zone skips: then it is the one after it. One more, since we begin a day early.
DAYS_SEARCHED = 2 * DAYS + 2

MINUTES_OF_HOUR = 60
QUIET_FROM = 21 * MINUTES_OF_HOUR
QUIET_UNTIL = 8 * MINUTES_OF_HOUR


class InvalidTimezone(ExpectedError):
    """No name of a time zone; abbreviations are none, since they are not of one place."""

    code = "invalid_timezone"
    default_message = "Invalid timezone. Must be a valid IANA timezone (e.g., America/New_York)"


class InvalidTimeOfDay(ExpectedError):
    """No time of day."""

    code = "invalid_time_of_day"
    default_message = "Invalid time of day. Must be in HH:MM format (24h)"


class InvalidCadence(ExpectedError):
    """The days of a custom cadence are missing, or are none."""

    code = "invalid_cadence"
    default_message = "Invalid cadence configuration. Custom cadence requires daysOfWeek array with values 0-6"


class NeverDue(DaysongError):
    """No day of the week is chosen."""


class LocalTime(NamedTuple):
    """What calendar and clock show somewhere: the date, and the minutes since midnight as the clock has them."""

    date: date
    minutes: int


def mask_of(cadence: Cadence, days_of_week: Sequence[int] = ()) -> int:
    """The days of a cadence as bits, Sunday the lowest; the days listed (0 Sunday to 6) count for a custom one alone.

    InvalidCadence when a custom cadence has no day, or one that is none.
    """
    if cadence != "custom":
        return MASKS[cadence]
    if not days_of_week or not all(0 <= day < DAYS for day in days_of_week):
        raise InvalidCadence
    return functools.reduce(lambda mask, day: mask | 1 << day, days_of_week, 0)


def days_of(byday_mask: int) -> list[int]:
    """The days of a mask, Sunday being 0, in that order."""
    return [day for day in range(DAYS) if byday_mask >> day & 1]


def minutes_of(time_of_day: str) -> int:
    """The minutes since midnight of a time as HH:MM; InvalidTimeOfDay."""
    found = re.fullmatch(r"([01][0-9]|2[0-3]):([0-5][0-9])", time_of_day)
    if found is None:
        raise InvalidTimeOfDay
    return int(found[1]) * MINUTES_OF_HOUR + int(found[2])


def time_of(local_minutes: int) -> str:
    """Minutes since midnight as HH:MM."""
    hour, minute = divmod(local_minutes, MINUTES_OF_HOUR)
    return f"{hour:02}:{minute:02}"


@functools.cache
def timezones() -> frozenset[str]:
    """The names that may be chosen: those with a slash, and UTC. EST, PST and their like are no places."""
    return frozenset(name for name in whenever.available_timezones() if "/" in name or name == "UTC")


def checked_timezone(name: str) -> str:
    """The name of a time zone as it came; InvalidTimezone when it is none, or not spelled as it is."""
    if name not in timezones():
        raise InvalidTimezone
    return name


def is_known(timezone: str) -> bool:
    """Whether there still is a zone of that name: they leave the database, if rarely (US/Pacific-New did in 2020)."""
    return timezone in timezones()


@functools.cache
def _loaded(timezone: str) -> ZonedDateTime:
    """Something that keeps a zone in memory: whenever forgets those not used of late, and would reread their files."""
    return Instant.from_timestamp(0).to_tz(timezone)


def forget_zones() -> None:
    """Read zones anew from now on: the data is another one."""
    timezones.cache_clear()
    _loaded.cache_clear()


def local_time(moment: datetime, timezone: str) -> LocalTime:
    """What calendar and clock show at a moment in a time zone."""
    _loaded(timezone)
    there = Instant(moment).to_tz(timezone)
    return LocalTime(date(there.year, there.month, there.day), there.hour * MINUTES_OF_HOUR + there.minute)


def there(moment: datetime, timezone: str) -> datetime:
    """The moment as it is told in a time zone; in UTC where there is no zone of that name any more."""
    if not is_known(timezone):
        return moment
    _loaded(timezone)
    return Instant(moment).to_tz(timezone).to_fixed_offset().to_stdlib()


def is_quiet(minutes: int) -> bool:
    """Whether people are asleep at that time of day: from 21:00 until 08:00."""
    return minutes >= QUIET_FROM or minutes < QUIET_UNTIL


def next_run(*, after: datetime, timezone: str, local_minutes: int, byday_mask: int) -> datetime:
    """The first occurrence after `after`, and not at it, in UTC.

    `local_minutes` are those since midnight there, `byday_mask` has the days of the week. NeverDue when it has none.
    """
    _loaded(timezone)
    hour, minute = divmod(local_minutes, MINUTES_OF_HOUR)
    earliest = Instant(after)
    there = earliest.to_tz(timezone)
    # The one of yesterday may lie ahead, if the clock has skipped it past midnight.
    yesterday = date(there.year, there.month, there.day).toordinal() - 1
    for ordinal in range(yesterday, yesterday + DAYS_SEARCHED + 1):
        # Ordinal 7 was a Sunday.
        if byday_mask >> ordinal % DAYS & 1:
            moment = _occurrence(date.fromordinal(ordinal), hour, minute, timezone)
            if moment is not None and moment > earliest:
                return moment.to_stdlib()
    raise NeverDue


def _occurrence(day: date, hour: int, minute: int, timezone: str) -> Instant | None:
    """When it is that time on that date; None on a date that is not."""
    wanted = PlainDateTime(day.year, day.month, day.day, hour, minute)
    # Of two the first. Of a time that is skipped, one as long before the gap as that time is into it.
    moment = wanted.assume_tz(timezone, disambiguation="earlier")
    if moment.to_plain() == wanted:
        return moment.to_instant()
    while moment.to_plain() < wanted:
        following = moment.next_transition()
        if following is None:  # what was skipped has an end
            raise AssertionError(f"{wanted} neither is nor is skipped in {timezone}")
        moment = following
    on_that_day = {moment.date(), moment.subtract(seconds=1).date()}
    return moment.to_instant() if wanted.date() in on_that_day else None
