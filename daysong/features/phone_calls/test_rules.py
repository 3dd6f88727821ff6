"""Who may be rung, when and how often."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.rules import (
    MOST_DIALS_OF_A_NUMBER,
    MOST_TRIES,
    REASONS,
    STEPS,
    Number,
    dialled,
    hour_forbids,
    is_late,
    number_forbids,
)
from daysong.features.phone_calls.schedule.calendar import is_quiet

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ZONES = ["America/New_York", "Europe/Berlin", "Asia/Kolkata", "Pacific/Kiritimati", "America/Santiago", "UTC"]
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001
pauses = st.integers(0, 40 * 60).map(lambda minutes: timedelta(minutes=minutes))


def test_no_step_leads_out_of_an_end() -> None:
    """What is over stays so, and every step leads to a status there is."""
    assert {status for status, following in STEPS.items() if not following} == {"completed", "failed", "canceled"}
    assert {to for following in STEPS.values() for to in following} <= STEPS.keys()


@given(start=moments, waits=st.lists(pauses, max_size=30), zones=st.lists(st.sampled_from(ZONES), min_size=30))
def test_f32_a_stranger_is_rung_once_a_day_and_three_times_in_all(
    start: datetime, waits: list[timedelta], zones: list[str]
) -> None:
    """However often it is asked for, and whatever zones the accounts say they are in."""
    number, now, rung = Number(), start, []
    for wait, zone in zip(waits, zones, strict=False):
        now += wait
        if number_forbids(number, agreed=False, now=now, timezone=zone) is None:
            number = dialled(number, agreed=False, now=now, timezone=zone)
            rung.append(now)
    assert len(rung) <= MOST_TRIES
    assert all(later - sooner >= timedelta(hours=20) for sooner, later in itertools.pairwise(rung))


@given(start=moments, zone=st.sampled_from(ZONES), minutes=st.integers(0, 1439))
def test_a_daily_call_to_somebody_who_has_not_agreed_yet_is_tried_three_days_running(
    start: datetime, zone: str, minutes: int
) -> None:
    """Clock changes make a day of 23 hours, which is a day all the same."""
    local = start.astimezone(ZoneInfo(zone)).replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0)
    number = Number()
    told = []
    for day in range(4):
        now = (local + timedelta(days=day)).astimezone(UTC)
        told.append(number_forbids(number, agreed=False, now=now, timezone=zone))
        if told[-1] is None:
            number = dialled(number, agreed=False, now=now, timezone=zone)
    # A time that the clocks skip may fall on the next date, or repeat the one before: then a day is left out.
    if told[:3] == [None, None, None]:
        assert told[3] == "no_consent"
    else:
        assert "tried_today" in told


@given(start=moments, waits=st.lists(pauses, max_size=60), agreed=st.lists(st.booleans(), min_size=60, max_size=60))
def test_f32_no_number_is_dialled_more_than_three_times_on_a_day(
    start: datetime, waits: list[timedelta], agreed: list[bool]
) -> None:
    """Over all accounts, with consent or without."""
    number, now = Number(), start
    days: dict[date, int] = {}
    for wait, agrees in zip(waits, agreed, strict=False):
        now += wait
        if number_forbids(number, agreed=agrees, now=now, timezone="UTC") is None:
            number = dialled(number, agreed=agrees, now=now, timezone="UTC")
            days[now.date()] = days.get(now.date(), 0) + 1
    assert all(count <= MOST_DIALS_OF_A_NUMBER for count in days.values())


def test_a_refusal_goes_before_everything() -> None:
    """Also for who once had agreed."""
    for agreed in (True, False):
        assert number_forbids(Number(refused=True), agreed=agreed, now=NOON, timezone="UTC") == "refused"


@pytest.mark.parametrize(
    ("clock", "quiet"),
    [("20:59", False), ("21:00", True), ("23:59", True), ("00:00", True), ("07:59", True), ("08:00", False)],
)
def test_f31_nine_in_the_evening_to_eight_in_the_morning_is_quiet(clock: str, quiet: bool) -> None:
    """To the minute, by the clock there."""
    hour, minute = map(int, clock.split(":"))
    assert is_quiet(hour * 60 + minute) is quiet
    now = datetime(2026, 7, 1, hour, minute, tzinfo=ZoneInfo("Asia/Kolkata")).astimezone(UTC)
    assert hour_forbids(now, "Asia/Kolkata", 20 * 60) is quiet
    assert not hour_forbids(now, "Asia/Kolkata", 22 * 60), "who chose the evening is called in the evening"


def test_f31_half_an_hour_late_is_too_late() -> None:
    """The latest moment is the last one."""
    latest = timedelta(minutes=30)
    assert not is_late(NOON, NOON + latest, latest)
    assert is_late(NOON, NOON + latest + timedelta(seconds=1), latest)


def test_every_reason_is_a_sentence() -> None:
    """People read them."""
    assert all(text.endswith(".") and text[0].isupper() for text in REASONS.values())
