"""How far a standby is behind, by the positions of the primary."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from daysong.kernel.database.replica import Lag


def test_an_idle_primary_is_no_lag() -> None:
    """The position stays the same, and the standby has it: it is up to date at each measurement."""
    lag = Lag()
    for moment in (1.0, 2.0, 3.0):
        lag.primary_at(moment, 100)
        lag.replayed(100)
        assert lag.reached == moment


def test_a_standby_that_lost_its_primary_falls_behind() -> None:
    """It has replayed all that it received, and counts as behind from the first position that it does not have."""
    lag = Lag()
    for moment, wal in ((1.0, 100), (2.0, 100), (3.0, 101), (4.0, 150)):
        lag.primary_at(moment, wal)
        lag.replayed(100)
    assert lag.reached == 2.0
    lag.replayed(149)
    assert lag.reached == 3.0


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), max_size=30))
def test_the_standby_has_all_of_the_moment_that_it_has_reached(steps: list[tuple[int, int]]) -> None:
    """Whatever is written and replayed: nothing from before that moment is missing."""
    lag, wal, replayed = Lag(), 0, 0
    positions: list[tuple[float, int]] = []
    for moment, (written, behind) in enumerate(steps):
        wal += written
        positions.append((float(moment), wal))
        lag.primary_at(float(moment), wal)
        replayed = max(replayed, wal - behind)
        lag.replayed(replayed)
        reached = [at for at, position in positions if position <= replayed]
        assert lag.reached == (reached[-1] if reached else float("-inf"))
