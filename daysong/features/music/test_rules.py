"""A generation's steps and deadlines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from daysong.features.music.rules import (
    ANSWER_LOST,
    COMPOSING_DEADLINE,
    FIRST_POLL_PAUSE,
    LIVE,
    LONGEST_POLL_PAUSE,
    STEPS,
    UNNAMED_DEADLINE,
    WRITING_DEADLINE,
    Status,
    is_gift,
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


@given(st.timedeltas(timedelta(0), timedelta(days=400)), st.timedeltas(timedelta(0), timedelta(days=1)), st.booleans())
def test_g74_a_song_is_overdue_from_its_deadline_on(age: timedelta, writing: timedelta, named: bool) -> None:
    """To the moment: an hour without an order, half an hour at Suno, five minutes where no task is known."""

    def overdue(status: Status) -> bool:
        began = NOW - age
        return is_overdue(status, created_at=began - writing, composing_since=began, named=named, now=NOW)

    assert overdue("composing") == (age >= (COMPOSING_DEADLINE if named else UNNAMED_DEADLINE))
    assert overdue("queued") == overdue("writing") == (age + writing >= WRITING_DEADLINE)
    assert not any(overdue(status) for status in STEPS if status not in LIVE)


@given(st.sampled_from(sorted(STEPS)), st.sampled_from([None, ANSWER_LOST, "too_late", "suno_500"]))
def test_g74_only_a_failure_for_want_of_an_answer_can_become_a_gift(status: Status, code: str | None) -> None:
    """Every other end is final."""
    assert is_gift(status, code) == ((status, code) == ("failed", "answer_lost"))
