"""Compute the occurrences of calls from a local clock read minute by minute, and compare the calendar with them.

The oracle knows nothing of gaps, folds and offsets: it walks from minute to minute, reads the local clock (the standard
library's zoneinfo on the pinned database), and notes when each local minute is first seen. A local minute that is never
seen was skipped: the first minute seen after it takes its place. A date without any minute does not occur.
"""

from __future__ import annotations

import functools
import importlib.resources
import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from daysong.features.phone_calls.schedule import calendar

HOUR = 60
DAY = 24 * HOUR
WEEK = 7
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
MICROSECOND = timedelta(microseconds=1)

# A comparison covers this many days before and after a change of the clock, so that each weekday is on both sides.
DAYS_AROUND = 8


@functools.cache
def pinned(timezone: str) -> ZoneInfo:
    """Return a zone from the package tzdata, as the standard library reads it."""
    file = importlib.resources.files("tzdata").joinpath("zoneinfo", *timezone.split("/"))
    with file.open("rb") as data:
        return ZoneInfo.from_file(data, key=timezone)


def moment(minute: int) -> datetime:
    """Return the datetime of a minute since 1970."""
    return EPOCH + timedelta(minutes=minute)


def offset(zone: ZoneInfo, minute: int) -> int:
    """Return by how many minutes local time is ahead of UTC at a minute since 1970."""
    ahead = datetime.fromtimestamp(minute * 60, zone).utcoffset()
    assert ahead is not None
    return _whole_minutes(ahead)


@functools.cache
def _whole_minutes(ahead: timedelta) -> int:
    minutes, rest = divmod(ahead, timedelta(minutes=1))
    assert not rest, "the oracle walks by whole minutes"
    return minutes


class Walk:
    """A zone's clock, read at every minute from one date to another, and three days beyond each.

    changes  the first minute (since 1970) after each change of the clock
    """

    def __init__(self, timezone: str, first: date, last: date) -> None:
        self.zone = pinned(timezone)
        self.first, self.last = first.toordinal() - EPOCH_ORDINAL, last.toordinal() - EPOCH_ORDINAL
        start, end = (self.first - 3) * DAY, (self.last + 4) * DAY
        shown = np.arange(start, end)
        self.changes: list[int] = []
        before = offset(self.zone, start)
        for hour in range(start, end, HOUR):
            after = offset(self.zone, hour + HOUR)
            shown[hour - start : hour - start + HOUR] += before
            if before != after:
                self._look_closely(shown, start, hour)
            before = after
        self._base = int(shown.min())
        seen = np.full(int(shown.max()) - self._base + 1, -1)
        # From last to first, so that the first one stays.
        seen[shown[::-1] - self._base] = np.arange(end - 1, start - 1, -1)
        self._was_seen = seen >= 0
        places = np.where(self._was_seen, np.arange(len(seen)), len(seen))
        next_seen = np.minimum.accumulate(places[::-1])[::-1]
        self._moments = seen[next_seen]

    def _look_closely(self, shown: np.ndarray[Any, Any], start: int, hour: int) -> None:
        last = offset(self.zone, hour)
        for minute in range(hour, hour + HOUR + 1):
            ahead = offset(self.zone, minute)
            if minute < hour + HOUR:
                shown[minute - start] = minute + ahead
            if ahead != last:
                self.changes.append(minute)
            last = ahead

    def occurrences(self, local_minutes: int, first: int, last: int) -> list[tuple[int, int]]:
        """Return the existing dates (days since 1970) in a range, each with its minute since 1970."""
        found = []
        for day in range(max(first, self.first), min(last, self.last) + 1):
            midnight = day * DAY - self._base
            if self._was_seen[midnight : midnight + DAY].any():
                found.append((day, int(self._moments[midnight + local_minutes])))
        return found


class Tally(NamedTuple):
    """Counts of what was compared."""

    zones: int = 0
    changes: int = 0
    calls: int = 0

    def plus(self, other: Tally) -> Tally:
        """Return the sum of both."""
        return Tally(self.zones + other.zones, self.changes + other.changes, self.calls + other.calls)


class Disagreement(AssertionError):
    """The calendar and the local clock differ."""


def compare(timezone: str, occurrences: list[tuple[int, int]], local_minutes: int, masks: Iterable[int]) -> int:
    """Step from each occurrence to the next; return the number of calls to the calendar. Raises Disagreement.

    It is called at each occurrence; for an every-day mask, also just before the next one.
    """
    calls = 0
    weekdays = [(1 << (day + EPOCH_ORDINAL) % WEEK, moment(minute)) for day, minute in occurrences]
    for mask in masks:
        due = [when for weekday, when in weekdays if mask & weekday]
        for this, following in itertools.pairwise(due):
            for after in (this, following - MICROSECOND) if mask == calendar.EVERY_DAY else (this,):
                found = calendar.next_run(after=after, timezone=timezone, local_minutes=local_minutes, byday_mask=mask)
                if found != following:
                    raise Disagreement(f"{timezone} {local_minutes} {mask:07b} after {after}: {found}, not {following}")
                calls += 1
    return calls


def times_around(walk: Walk, change: int) -> list[int]:
    """Return the times of day a change of the clock may affect: its own, before and after it, and those between."""
    before, after = change - 1 + offset(walk.zone, change - 1), change + offset(walk.zone, change)
    first, last = min(before + 1, after), max(before + 1, after)
    troubled = {first - 1, first, first + 1, (first + last) // 2, last - 1, last, last + 1}
    return sorted({time % DAY for time in troubled} | {0, DAY - 1})


def check(
    timezones: Sequence[str], first: date, last: date, *, masks: Sequence[int], times: Sequence[int]
) -> Tally:  # fmt: skip
    """Compare the calendar with the clock: each day, every mask for two weeks and around every change.

    The names are aliases of one zone: for all but the first, only a few days are compared. Raises Disagreement.
    """
    walk = Walk(timezones[0], first, last)
    calls = 0
    for time in times:
        calls += compare(timezones[0], walk.occurrences(time, walk.first, walk.last), time, [calendar.EVERY_DAY])
        # Two weeks and a day contain every weekday twice.
        calls += compare(timezones[0], walk.occurrences(time, walk.first, walk.first + 14), time, masks)
    for change in walk.changes:
        day = change // DAY
        for time in times_around(walk, change):
            near = walk.occurrences(time, day - DAYS_AROUND, day + DAYS_AROUND)
            calls += compare(timezones[0], near, time, masks)
    for name in timezones[1:]:
        middle = walk.changes[-1] // DAY if walk.changes else walk.first + DAYS_AROUND
        near = walk.occurrences(times[0], middle - DAYS_AROUND, middle + DAYS_AROUND)
        calls += compare(name, near, times[0], masks)
    return Tally(len(timezones), len(walk.changes), calls)


def zones() -> list[list[str]]:
    """Return every zone with its aliases, including zones that users cannot choose."""
    folder = importlib.resources.files("tzdata")
    found: dict[bytes, list[str]] = {}
    for name in sorted(folder.joinpath("zones").read_text().split()):
        found.setdefault(folder.joinpath("zoneinfo", *name.split("/")).read_bytes(), []).append(name)
    return list(found.values())
