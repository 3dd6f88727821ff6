from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.limits.rates import Rate, parse


def let_go(rate: Rate, arrivals: list[float]) -> list[float]:
    """When requests go that come at those times, by the arithmetic of GCRA."""
    next_at, gone = 0.0, []
    for now in arrivals:
        start = max(next_at, now)
        next_at = start + rate.interval
        gone.append(max(now, start - rate.slack))
    return gone


@given(
    most=st.integers(1, 60),
    seconds=st.integers(1, 100),
    pauses=st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=200),
)
def test_g14_a_strict_rate_holds_in_every_window(most: int, seconds: int, pauses: list[float]) -> None:
    """Whatever comes when, a vendor that counts any window of that length never counts more than the rate."""
    rate = Rate(most, seconds, strict=True)
    now, arrivals = 0.0, []
    for pause in pauses:
        now += pause
        arrivals.append(now)
    gone = let_go(rate, arrivals)
    for first in gone:
        assert sum(first <= moment < first + seconds - 1e-6 for moment in gone) <= most


def test_a_rate_that_is_not_strict_allows_all_at_once() -> None:
    """People come in bursts: all of a minute's requests may be made at its beginning."""
    gone = let_go(Rate(60, 60), [0.0] * 61)
    assert gone[:60] == [0.0] * 60
    assert gone[60] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("20/10s", Rate(20, 10)), ("480 / 1m", Rate(480, 60)), ("60/h", Rate(60, 3600)), ("5/D", Rate(5, 86_400))],
)
def test_rates_are_read_as_people_write_them(text: str, rate: Rate) -> None:
    """How many, and in how much time."""
    assert parse(text, strict=False) == rate
    assert parse("off", strict=False) is None


@pytest.mark.parametrize("text", ["", "20", "0/1s", "20/0s", "-1/s", "20/10", "20/10y", "1e3/s", "twenty/s"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """A misspelt limit must not be taken for none."""
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse(text, strict=False)
