"""When the next call is due: on every chosen day, once, whatever the clocks there do."""

from __future__ import annotations

import itertools
import zlib
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import whenever
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.schedule import calendar
from daysong.features.phone_calls.schedule.calendar import (
    EVERY_DAY,
    InvalidCadence,
    InvalidTimeOfDay,
    InvalidTimezone,
    NeverDue,
    is_quiet,
    local_time,
    mask_of,
    minutes_of,
    next_run,
    time_of,
)
from rehearsal.calls.calendar_oracle import Walk, check, moment, zones

FRIDAYS = 1 << 5
ZONES = zones()
SHARDS = 4
LIGHT_MASKS = (EVERY_DAY, 0b0000001, 0b0001000, 0b0111110)


def due(after: str, timezone: str, time: str, mask: int = EVERY_DAY) -> str:
    """The next run as text, both in the clock there."""
    moment = whenever.PlainDateTime(after).assume_tz(timezone).to_stdlib().astimezone(UTC)
    found = next_run(after=moment, timezone=timezone, local_minutes=minutes_of(time), byday_mask=mask)
    return whenever.Instant(found).to_tz(timezone).to_plain().format_iso(unit="minute")


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_zone_calls_once_on_each_day_as_a_clock_on_its_wall_would(shard: int) -> None:
    """One year of each, chosen by its name, against a clock read minute by minute. All: script/sweep-calendar."""
    changes = 0
    for names in ZONES[shard::SHARDS]:
        year = 2020 + zlib.crc32(names[0].encode()) % 16
        tally = check(names, date(year, 1, 1), date(year, 12, 31), masks=LIGHT_MASKS, times=[1170])
        changes += tally.changes
    assert changes > 20


@pytest.mark.parametrize(
    ("timezone", "year", "day"),
    [
        ("Pacific/Apia", 2011, date(2011, 12, 30)),
        ("Pacific/Fakaofo", 2011, date(2011, 12, 30)),
        ("Pacific/Kwajalein", 1993, date(1993, 8, 21)),
        ("Pacific/Kiritimati", 1994, date(1994, 12, 31)),
    ],
)
def test_a_date_that_a_zone_skips_has_no_call(timezone: str, year: int, day: date) -> None:
    """No second call is made on the date after it; a call on that weekday alone waits another week."""
    check([timezone], date(year - 1, 12, 20), date(year + 1, 1, 20), masks=range(1, 128), times=[0, 600, 1439])
    weekday = 1 << day.isoweekday() % 7
    before, after = (day + timedelta(days=days) for days in (-7, 7))
    assert due(f"{before}T10:00", timezone, "10:00", weekday) == f"{after}T10:00"
    assert due(f"{day - timedelta(days=1)}T20:00", timezone, "20:00") == f"{day + timedelta(days=1)}T20:00"


@pytest.mark.parametrize(
    ("timezone", "year"),
    [
        ("America/St_Johns", 2009),  # at one minute past midnight, back into the day before
        ("Africa/Casablanca", 2016),  # four changes a year
        ("Africa/Cairo", 2014),
        ("America/Sao_Paulo", 2017),
        ("Asia/Pyongyang", 2018),  # half an hour, for good
        ("America/Caracas", 2016),
        ("Europe/Volgograd", 2018),
        ("Antarctica/Casey", 2010),  # three hours
        ("Antarctica/Troll", 2010),  # two
    ],
)
def test_what_clocks_have_done_before_they_may_do_again(timezone: str, year: int) -> None:
    """Odd changes of the past."""
    tally = check([timezone], date(year, 1, 1), date(year, 12, 31), masks=LIGHT_MASKS, times=[0, 1170])
    assert tally.changes


@pytest.mark.parametrize("day", range(7))
@pytest.mark.parametrize("timezone", ["UTC", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"])
def test_f29_a_cadence_of_one_day_is_due_again_in_a_week(timezone: str, day: int) -> None:
    """Also when asked at the due moment itself, or after that day's time."""
    first = next_run(
        after=datetime(2026, 11, 23, 12, 0, tzinfo=UTC), timezone=timezone, local_minutes=1170, byday_mask=1 << day
    )
    for late in (timedelta(0), timedelta(seconds=1), timedelta(hours=3)):
        again = next_run(after=first + late, timezone=timezone, local_minutes=1170, byday_mask=1 << day)
        assert again - first == timedelta(days=7)
        assert local_time(again, timezone).minutes == 1170


@pytest.mark.parametrize("time", ["23:15", "23:30", "23:45", "23:59"])
@pytest.mark.parametrize(
    ("timezone", "change"),
    [
        ("America/New_York", "2026-03-08"),
        ("Europe/London", "2026-03-29"),
        ("Australia/Sydney", "2026-10-04"),
        ("Africa/Casablanca", "2026-03-22"),
    ],
)
def test_f30_late_calls_are_not_skipped_when_the_clock_goes_forward(timezone: str, change: str, time: str) -> None:
    """A day of 23 hours has a late evening, too."""
    dates = [date.fromisoformat(change) + timedelta(days=days) for days in (-1, 0, 1)]
    short = Walk(timezone, dates[0], dates[-1]).changes
    assert len(short) == 1, "the clock there does not change on that day any more: choose another"
    for before, after in itertools.pairwise(dates):
        assert due(f"{before}T{time}", timezone, time) == f"{after}T{time}"


@pytest.mark.parametrize(
    ("timezone", "time", "after", "expected"),
    [
        # Midnight is skipped: not an hour before it, on the evening before.
        ("America/Santiago", "00:00", "2026-09-05T12:00", "2026-09-06T01:00"),
        ("America/Santiago", "00:30", "2026-09-05T12:00", "2026-09-06T01:00"),
        ("America/Santiago", "01:00", "2026-09-05T12:00", "2026-09-06T01:00"),
        ("Africa/Cairo", "00:15", "2026-04-23T12:00", "2026-04-24T01:00"),
        ("Asia/Beirut", "00:00", "2026-03-28T12:00", "2026-03-29T01:00"),
        # The first moment after the gap, neither before it nor as long after it.
        ("America/New_York", "02:30", "2026-03-07T12:00", "2026-03-08T03:00"),
        ("America/New_York", "02:00", "2026-03-07T12:00", "2026-03-08T03:00"),
        ("Australia/Lord_Howe", "02:15", "2026-10-03T12:00", "2026-10-04T02:30"),
        # The last hour of a date is skipped: the first moment of the next date, and that date's own call as well.
        ("America/Nuuk", "23:30", "2026-03-28T12:00", "2026-03-29T00:00"),
        ("America/Nuuk", "23:30", "2026-03-29T00:00", "2026-03-29T23:30"),
    ],
)
def test_f30_a_time_that_is_skipped_is_the_first_moment_after(
    timezone: str, time: str, after: str, expected: str
) -> None:
    """The clock jumps over it: then as soon as it has."""
    assert due(after, timezone, time) == expected


@pytest.mark.parametrize(
    ("timezone", "time", "first", "apart"),
    [
        ("America/New_York", "01:30", datetime(2026, 11, 1, 5, 30, tzinfo=UTC), 60),
        ("Australia/Lord_Howe", "01:45", datetime(2026, 4, 4, 14, 45, tzinfo=UTC), 30),
        ("America/Santiago", "23:30", datetime(2026, 4, 5, 2, 30, tzinfo=UTC), 60),
    ],
)
def test_a_time_that_comes_twice_is_the_first_of_the_two(
    timezone: str, time: str, first: datetime, apart: int
) -> None:  # fmt: skip
    """At the second no call is made: the next one is tomorrow's."""
    minutes = minutes_of(time)
    again = first + timedelta(minutes=apart)
    assert local_time(first, timezone) == local_time(again, timezone)
    before = first - timedelta(hours=3)
    assert next_run(after=before, timezone=timezone, local_minutes=minutes, byday_mask=EVERY_DAY) == first
    for after in (first, first + timedelta(minutes=1), again):
        found = next_run(after=after, timezone=timezone, local_minutes=minutes, byday_mask=EVERY_DAY)
        assert found > again + timedelta(hours=20)


CHOSEN = st.sampled_from(sorted(calendar.timezones()))
MOMENTS = st.datetimes(datetime(2020, 1, 2), datetime(2035, 12, 1), timezones=st.just(UTC))  # noqa: DTZ001 - see timezones
MINUTES = st.integers(0, 1439)
MASKS = st.integers(1, 127)


@given(MOMENTS, CHOSEN, MINUTES, MASKS)
def test_the_next_one_is_ahead_and_on_a_chosen_day(after: datetime, timezone: str, minutes: int, mask: int) -> None:
    """After the moment asked about, at most a week and a day away, and at its time unless that was skipped."""
    found = next_run(after=after, timezone=timezone, local_minutes=minutes, byday_mask=mask)
    assert after < found <= after + timedelta(days=8)
    assert found.tzinfo is UTC
    there = local_time(found, timezone)
    if there.minutes == minutes:
        assert mask >> there.date.isoweekday() % 7 & 1
    else:
        # No clock has shown it in the hours before.
        hours = [local_time(found - timedelta(minutes=back), timezone).minutes for back in range(1, 61)]
        assert minutes not in hours


@given(MOMENTS, CHOSEN, MINUTES, MASKS, st.integers(0, 2**40))
def test_nothing_lies_between_a_moment_and_its_next_one(
    after: datetime, timezone: str, minutes: int, mask: int, later: int
) -> None:
    """Asked at any moment in between, the answer is the same."""
    found = next_run(after=after, timezone=timezone, local_minutes=minutes, byday_mask=mask)
    between = after + timedelta(microseconds=later % ((found - after) // timedelta(microseconds=1)))
    assert next_run(after=between, timezone=timezone, local_minutes=minutes, byday_mask=mask) == found


@given(MOMENTS, CHOSEN, MINUTES, MASKS, MASKS)
def test_more_days_are_never_later(after: datetime, timezone: str, minutes: int, mask: int, other: int) -> None:
    """What two sets of days have together is due when the first of them is."""
    ask: dict[str, Any] = {"after": after, "timezone": timezone, "local_minutes": minutes}
    assert next_run(**ask, byday_mask=mask | other) == min(
        next_run(**ask, byday_mask=mask), next_run(**ask, byday_mask=other)
    )


def test_without_a_day_nothing_is_due() -> None:
    """An error is raised instead of an endless search."""
    with pytest.raises(NeverDue):
        next_run(after=moment(0), timezone="UTC", local_minutes=0, byday_mask=0)


def test_times_are_reckoned_by_the_pinned_database() -> None:
    """Not by the machine's, which may be years old."""
    assert whenever.get_tzpath() == ()


def test_the_oracle_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A calendar that adds 24 hours, or calls as long after a gap as the time is into it, does not pass."""

    def adding_a_day(*, after: datetime, timezone: str, local_minutes: int, byday_mask: int) -> datetime:
        there = whenever.Instant(after).to_tz(timezone).to_plain()
        moment = there.replace(hour=local_minutes // 60, minute=local_minutes % 60, second=0, nanosecond=0)
        found = moment.assume_tz(timezone, disambiguation="compatible").to_instant()
        while found <= whenever.Instant(after):
            found = found.add(hours=24)
        return found.to_stdlib()

    def compatible(*, after: datetime, timezone: str, local_minutes: int, byday_mask: int) -> datetime:
        day = whenever.Instant(after).to_tz(timezone).date()
        time = whenever.Time(local_minutes // 60, local_minutes % 60)
        while True:
            found = day.at(time).assume_tz(timezone, disambiguation="compatible").to_instant()
            if found > whenever.Instant(after):
                return found.to_stdlib()
            day = day.add(days=1)

    for wrong in (adding_a_day, compatible):
        monkeypatch.setattr(calendar, "next_run", wrong)
        with pytest.raises(AssertionError):
            check(["America/New_York"], date(2026, 1, 1), date(2026, 12, 31), masks=[EVERY_DAY], times=[150])


def test_cadences_are_days_of_the_week() -> None:
    """Sunday is the lowest bit."""
    assert (mask_of("daily"), mask_of("weekdays"), mask_of("weekends")) == (0b1111111, 0b0111110, 0b1000001)
    assert mask_of("custom", [5, 0, 5]) == 0b0100001
    assert mask_of("daily", [3]) == 0b1111111
    assert calendar.days_of(0b0100001) == [0, 5]


@pytest.mark.parametrize("days", [[], [7], [-1], [0, 1, 2, 3, 4, 5, 6, 7]], ids=repr)
def test_a_custom_cadence_needs_days_that_are_days(days: list[int]) -> None:
    """From 0 to 6."""
    with pytest.raises(InvalidCadence) as refused:
        mask_of("custom", days)
    assert refused.value.message == (
        "Invalid cadence configuration. Custom cadence requires daysOfWeek array with values 0-6"
    )


@given(MINUTES)
def test_times_of_day_are_read_as_they_are_written(minutes: int) -> None:
    """HH:MM, of 24 hours."""
    assert minutes_of(time_of(minutes)) == minutes


@pytest.mark.parametrize("text", ["", "24:00", "7:30", "07:60", "0730", "07:30:00", "07:30\n", " 07:30", "٠٧:٣٠", "am"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    """It is not guessed at."""
    with pytest.raises(InvalidTimeOfDay) as refused:
        minutes_of(text)
    assert refused.value.message == "Invalid time of day. Must be in HH:MM format (24h)"


@pytest.mark.parametrize(
    "name",
    ["EST", "PST", "GMT", "EST5EDT", "Japan", "", "america/new_york", "America/Nowhere", "../etc/passwd", "+05:30"],
)
def test_what_is_no_place_is_no_timezone(name: str) -> None:
    """Abbreviations, offsets, files, other spellings."""
    with pytest.raises(InvalidTimezone) as refused:
        calendar.checked_timezone(name)
    assert refused.value.message == "Invalid timezone. Must be a valid IANA timezone (e.g., America/New_York)"


@pytest.mark.parametrize("name", ["UTC", "America/New_York", "Asia/Calcutta", "America/Argentina/Buenos_Aires"])
def test_places_are_timezones(name: str) -> None:
    """Under their old names, too."""
    assert calendar.checked_timezone(name) == name


def test_nights_are_quiet() -> None:
    """From nine in the evening until eight in the morning."""
    quiet = [minutes for minutes in range(1440) if is_quiet(minutes)]
    assert quiet == [*range(480), *range(1260, 1440)]


def test_a_moment_is_told_as_it_is_there() -> None:
    """And in UTC where the zone has left the database."""
    noon = datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    assert calendar.local_datetime(noon, "Asia/Kolkata").isoformat() == "2026-07-01T17:30:00+05:30"
    assert calendar.local_datetime(noon, "US/Pacific-New") == noon
