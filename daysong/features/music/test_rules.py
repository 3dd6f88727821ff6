"""A generation's steps and deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from daysong.features.music.rules import (
    COMPOSING_DEADLINE,
    FIRST_POLL_PAUSE,
    LIVE,
    LONGEST_POLL_PAUSE,
    STEPS,
    Status,
    is_overdue,
    poll_pause,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)


@given(st.lists(st.sampled_from(sorted(STEPS))))
def test_whatever_is_tried_a_generation_goes_forward_and_ends_once(tried: list[Status]) -> None:
    """Steps that are not allowed change nothing; no status comes twice; nothing follows an end."""
    been: list[Status] = ["queued"]
    for status in tried:
        if status in STEPS[been[-1]]:
            been.append(status)
    assert len(set(been)) == len(been)
    assert [status for status in been[:-1] if status not in LIVE] == []


def test_a_song_may_fail_and_be_canceled_as_long_as_it_is_not_over() -> None:
    """Ready comes only from composing."""
    assert LIVE == ("queued", "writing", "composing")
    assert all({"failed", "canceled"} <= STEPS[status] for status in LIVE)
    assert [status for status, following in STEPS.items() if "ready" in following] == ["composing"]


@given(st.integers(0, 10**6))
def test_suno_is_asked_ever_more_seldom_within_bounds(polls: int) -> None:
    """From half a minute to five."""
    assert FIRST_POLL_PAUSE <= poll_pause(polls) <= poll_pause(polls + 1) <= LONGEST_POLL_PAUSE


@given(st.timedeltas(timedelta(0), timedelta(days=400)))
def test_a_song_is_overdue_from_its_deadline_on(age: timedelta) -> None:
    """To the moment."""
    assert is_overdue(NOW - age, NOW) == (age >= COMPOSING_DEADLINE)
