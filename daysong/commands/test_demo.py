"""When the demo's call is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from daysong.commands.demo_call import next_minute


@given(st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2036, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_call_is_due_on_the_minute_and_soon(now: datetime) -> None:
    """Not before it could be saved, and hardly more than a minute ahead."""
    due = next_minute(now)
    assert (due.second, due.microsecond) == (0, 0)
    assert timedelta(seconds=3) < due - now <= timedelta(seconds=63)
