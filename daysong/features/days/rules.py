"""Local days, weeks and anniversaries of a user. Pure.

`moment` is a UTC time; a local date is that of a time zone at this moment, so days have 23 to 25 hours where clocks
change. Zones are those of `phone_calls/schedule/calendar.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from daysong.features.phone_calls.schedule.calendar import DAYS, EVERY_DAY, is_known, local_time, next_run
from daysong.kernel.errors import ExpectedError

DAY = timedelta(days=1)
WEEK = timedelta(days=DAYS)
# Local time differs from UTC by at most 14 hours; with a clock change, two moments of one local day do by 25 hours.
NEAR = timedelta(hours=27)
UNKNOWN_ZONE = "UTC"
MOST_YEARS_AGO = 100
FIRST_YEAR, LAST_YEAR = 1, 9998
EARLIEST = datetime.min.replace(tzinfo=UTC)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LEAP_DAY, _DAY_BEFORE = (2, 29), (2, 28)


class InvalidDate(ExpectedError):
    """The text is no date of the calendar."""

    code = "invalid_date"
    default_message = "Invalid date. Must be a date as YYYY-MM-DD"


class Span(NamedTuple):
    """The moments from `since` to before `until`."""

    since: datetime
    until: datetime


class Anniversary(NamedTuple):
    """The dates of an earlier year that are remembered on a day."""

    years_ago: int
    dates: tuple[date, ...]


def zone_of(timezone: str) -> str:
    """Return the time zone, or UTC when it no longer exists."""
    return timezone if is_known(timezone) else UNKNOWN_ZONE


def local_date(moment: datetime, timezone: str) -> date:
    """Return the local date of a moment."""
    return local_time(moment, timezone).date


def next_day(now: datetime, timezone: str) -> datetime:
    """Return when the next local date begins."""
    return next_run(after=now, timezone=timezone, local_minutes=0, byday_mask=EVERY_DAY)


def parsed(text: str) -> date:
    """Return the date of a text as YYYY-MM-DD. Errors: InvalidDate."""
    try:
        found = date.fromisoformat(text) if _DATE.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None or not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise InvalidDate
    return found


def _utc(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _back(moment: datetime, by: timedelta) -> datetime:
    return max(moment, EARLIEST + by) - by


def span_of_year(year: int) -> Span:
    """Return moments that include a local year, whatever the time zone."""
    return Span(_back(datetime(year, 1, 1, tzinfo=UTC), DAY), datetime(year + 1, 1, 1, tzinfo=UTC) + DAY)


def span_of_weeks(now: datetime, count: int) -> Span:
    """Return moments that include the current local week and those before it, `count` in all, in any time zone."""
    return Span(now - count * WEEK - NEAR, now + WEEK + NEAR)


def week_start(day: date) -> date:
    """Return the Monday of a date's week."""
    return day - timedelta(days=day.weekday())


def weeks(today: date, count: int) -> list[date]:
    """Return the Mondays of the current week and those before it, `count` in all, the oldest first."""
    last = week_start(today)
    return [last - n * WEEK for n in reversed(range(count))]


def anniversaries(day: date) -> Iterator[Anniversary]:
    """Yield the dates that are remembered on a day, the latest year first.

    29 February goes with the 28th in a year without it: the 28th of such a year remembers both dates, and a 29th
    remembers the 28th of a year that had no 29th.
    """
    for years_ago in range(1, min(MOST_YEARS_AGO, day.year - FIRST_YEAR) + 1):
        year = day.year - years_ago
        same = _date(year, day.month, day.day)
        if same is None:
            yield Anniversary(years_ago, (date(year, *_DAY_BEFORE),))
            continue
        leap_day = None
        if (day.month, day.day) == _DAY_BEFORE and _date(day.year, *_LEAP_DAY) is None:
            leap_day = _date(year, *_LEAP_DAY)
        yield Anniversary(years_ago, (same,) if leap_day is None else (same, leap_day))


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def span_of_day(day: date) -> Span:
    """Return moments that include a local date, whatever the time zone."""
    midnight = _utc(day)
    return Span(_back(midnight, timedelta(hours=14)), midnight + DAY + timedelta(hours=13))


def span_of_anniversary(anniversary: Anniversary, *, either_side: int = 0) -> Span:
    """Return moments that include the dates of an anniversary, in any time zone.

    `either_side` adds days. With two, the span of the date in UTC includes the anniversaries of today in any zone: that
    differs by one day, and by two where one of the years has no 29 February.
    """
    around = timedelta(days=either_side)
    since = span_of_day(anniversary.dates[0]).since
    until = span_of_day(anniversary.dates[-1]).until
    return Span(_back(since, around), until + around)
