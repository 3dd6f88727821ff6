"""Moments only go up, whatever the clock on the wall does and whatever others have seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.time import timestamps
from daysong.kernel.time.timestamps import TOLERANCE, FromTheFuture, Timestamps

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Wall:
    """A clock that is set at will, backwards too."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time


@given(
    st.lists(st.one_of(st.just("next"), st.timedeltas(timedelta(hours=-2), timedelta(hours=2)), st.integers(0, 2**63)))
)
def test_a_moment_is_later_than_all_given_out_and_observed(steps: list[str | timedelta | int]) -> None:
    wall = Wall()
    moments = Timestamps(wall)
    latest = 0
    for step in steps:
        if isinstance(step, timedelta):
            wall.time = NOON + step
        elif isinstance(step, int):
            if step > latest and step > moments.wall() + TOLERANCE:
                with pytest.raises(FromTheFuture):
                    moments.observe(step)
            else:
                moments.observe(step)
                latest = max(latest, step)
        moment = moments.next()
        assert latest < moment <= max(latest + 1, moments.wall())
        latest = moment


@given(st.integers(0, 2**63 - 1))
def test_a_moment_survives_the_wire(moment: int) -> None:
    assert timestamps.decode(timestamps.encode(moment)) == moment


@pytest.mark.parametrize("text", ["", "AAAA", "AAAAAAAAAAA", "AAAAAAAAAIA=", "not base64!!", "AAAAAAAAAAAA"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        timestamps.decode(text)
