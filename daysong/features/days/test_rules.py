"""Local days, weeks and anniversaries, whatever the clocks and the leap years do."""

from __future__ import annotations

import itertools
from calendar import isleap
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.days import rules

# With half hours, three quarters, both ends of the date, changes at midnight and a skipped date.
ZONES = st.sampled_from([
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Pacific/Kiritimati", "Etc/GMT+12", "America/Asuncion", "America/Havana", "Pacific/Apia", "Africa/Casablanca",
])  # fmt: skip
BOUNDS = datetime(1972, 1, 10), datetime(2100, 1, 1)  # noqa: DTZ001 - hypothesis wants them so
MOMENTS = st.datetimes(*BOUNDS, timezones=st.just(UTC))
DATES = st.dates(date(1973, 1, 1), date(2099, 12, 31)) | st.sampled_from(
    [date(year, *day) for year in (2023, 2024, 2027, 2028) for day in ((2, 27), (2, 28), (3, 1))] + [date(2024, 2, 29)]
)


@given(MOMENTS, ZONES)
def test_a_span_includes_the_moments_of_its_local_year(moment: datetime, timezone: str) -> None:
    """In any time zone."""
    since, until = rules.span_of_year(rules.local_date(moment, timezone).year)
    assert since <= moment < until


@given(MOMENTS, MOMENTS, ZONES, st.integers(1, 53))
def test_weeks_follow_each_other_and_their_span_includes_them(
    now: datetime, moment: datetime, timezone: str, count: int
) -> None:
    """Mondays, seven days apart, the last one's week with today; also where a week has a clock change."""
    today = rules.local_date(now, timezone)
    found = rules.weeks(today, count)
    assert len(found) == count
    assert all(day.weekday() == 0 for day in found)
    assert {after - before for before, after in itertools.pairwise(found)} <= {timedelta(days=7)}
    assert found[-1] <= today < found[-1] + timedelta(days=7)
    near = now + (moment - now) % timedelta(weeks=60) - timedelta(weeks=56)
    if rules.week_start(rules.local_date(near, timezone)) in found:
        since, until = rules.span_of_weeks(now, count)
        assert since <= near < until


@given(MOMENTS, ZONES)
def test_quarters_of_an_hour_belong_to_one_local_date(moment: datetime, timezone: str) -> None:
    """So rows can be counted by them before the dates are known."""
    seconds = moment.timestamp() % 900
    begin = moment - timedelta(seconds=seconds)
    assert rules.local_date(begin, timezone) == rules.local_date(moment, timezone)


@given(MOMENTS, ZONES, st.floats(0, 0.999))
def test_a_day_lasts_until_the_next_one(now: datetime, timezone: str, share: float) -> None:
    """So results about today hold until then; where midnight is skipped, the day begins later."""
    until = rules.next_day(now, timezone)
    today = rules.local_date(now, timezone)
    assert rules.local_date(now + (until - now) * share, timezone) == today
    assert rules.local_date(until, timezone) > today


@given(DATES)
def test_each_date_is_remembered_on_one_day_of_every_later_year(day: date) -> None:
    """29 February on the 28th of a year without it; and a 29th also remembers the 28th of a year that had no 29th."""
    for years in range(1, 9):
        later = day.year + years
        around = date(later, day.month, min(day.day, 28))
        days = [around + timedelta(days=n) for n in range(-3, 4)]
        remembering = [
            each for each in days if each.year == later
            for found in itertools.islice(rules.anniversaries(each), years)
            if found.years_ago == years and day in found.dates
        ]  # fmt: skip
        if (day.month, day.day) == (2, 29):
            assert remembering == [date(later, 2, 29 if isleap(later) else 28)]
        elif (day.month, day.day) == (2, 28) and isleap(later) and not isleap(day.year):
            assert remembering == [date(later, 2, 28), date(later, 2, 29)]
        else:
            assert remembering == [day.replace(year=later)]


@given(MOMENTS, ZONES, st.integers(1, 60), st.integers(0, 24 * 60))
def test_the_span_of_the_date_in_utc_includes_what_today_remembers(
    now: datetime, timezone: str, years: int, minutes: int
) -> None:
    """Without the time zone, today is only known to a day or so."""
    today = rules.local_date(now, timezone)
    remembered = next((found for found in rules.anniversaries(today) if found.years_ago == years), None)
    spans = {
        found.years_ago: rules.span_of_anniversary(found, either_side=2)
        for found in rules.anniversaries(now.astimezone(UTC).date())
    }
    if remembered is None or remembered.dates[0].year < 1972:
        return
    for day in remembered.dates:
        moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes - 720)
        for shift in (0, 1):
            here = moment + timedelta(days=shift)
            if rules.local_date(here, timezone) == day:
                since, until = spans[years]
                assert since <= here < until


@given(DATES, ZONES, st.integers(-14 * 60, 38 * 60))
def test_the_span_of_a_date_includes_its_moments(day: date, timezone: str, minutes: int) -> None:
    """In any time zone."""
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)
    if rules.local_date(moment, timezone) == day:
        since, until = rules.span_of_day(day)
        assert since <= moment < until


@pytest.mark.parametrize("year", [rules.FIRST_YEAR, 2, 2026, rules.LAST_YEAR])
def test_the_first_and_the_last_years_have_spans(year: int) -> None:
    """No date of the arguments is out of range."""
    since, until = rules.span_of_year(year)
    assert since < until
    for day in (date(year, 1, 1), date(year, 2, 28), date(year, 12, 31)):
        for found in rules.anniversaries(day):
            since, until = rules.span_of_anniversary(found, either_side=2)
            assert since < until


@pytest.mark.parametrize(
    "text", ["", "today", "2026-02-30", "2026-2-3", "20260203", "9999-01-01", "2026-01-01T00", "٢٠٢٦-01-01"]
)
def test_a_date_is_a_day_of_the_calendar(text: str) -> None:
    """In one form, with the digits of ASCII."""
    with pytest.raises(rules.InvalidDate):
        rules.parsed(text)
    assert rules.parsed("2024-02-29") == date(2024, 2, 29)
