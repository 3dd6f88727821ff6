from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.time.clock import EPOCH, CurrentClock, MovableClock, SystemClock, from_ms, ms_sql, to_ms, using

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 - strategy's


def test_the_system_clock_tells_aware_utc() -> None:
    """No naive time comes from it, and no other zone."""
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert SystemClock().now() >= now


def test_a_movable_clock_stands_still_until_it_is_moved() -> None:
    """Forward to a moment, or by a while."""
    clock = MovableClock(NOW)
    assert clock.now() == clock.now() == NOW
    clock.move_to(NOW + timedelta(days=1))
    clock.forward(timedelta(seconds=1))
    assert clock.now() == NOW + timedelta(days=1, seconds=1)


def test_a_movable_clock_never_goes_back() -> None:
    """A moment that is past leaves it where it is."""
    clock = MovableClock(NOW)
    clock.move_to(NOW - timedelta(hours=1))
    assert clock.now() == NOW


def test_the_wire_counts_milliseconds_since_the_epoch() -> None:
    """As JavaScript's Date does."""
    assert to_ms(EPOCH) == 0
    assert to_ms(datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)) == 1e12
    assert to_ms(NOW + timedelta(microseconds=500)) == to_ms(NOW) + 0.5


@given(moments.map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)))
def test_milliseconds_come_back_exactly(moment: datetime) -> None:
    """A time that went over the wire is the same time."""
    assert from_ms(to_ms(moment)) == moment


@pytest.mark.anyio
async def test_postgresql_computes_the_same_milliseconds(database_url: str) -> None:
    """To the last bit: random microseconds of many years, around the epoch, and where the way to compute changes."""
    chosen = random.Random(7)  # noqa: S311 - a test's
    edges = [
        EPOCH,
        datetime(1900, 1, 1, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime(2100, 1, 1, tzinfo=UTC),
    ]
    times = [edge + timedelta(microseconds=step) for edge in edges for step in (-1000, -999, -1, 0, 1, 7, 500, 999)]
    for first, last in ((1, 9998), (1900, 2100), (1969, 1971), (2020, 2040), (2090, 2099)):
        since = datetime(first, 1, 1, tzinfo=UTC)
        span = (datetime(last + 1, 1, 1, tzinfo=UTC) - since) // timedelta(microseconds=1)
        times += [since + timedelta(microseconds=chosen.randrange(span)) for _ in range(2_000)]
    connection = await asyncpg.connect(database_url)
    try:
        found = await connection.fetchval(
            f"select array_agg({ms_sql('time')} order by n) from unnest($1::timestamptz[]) with ordinality t (time, n)",  # noqa: S608
            [*times, None],
        )
    finally:
        await connection.close()
    assert found == [*map(to_ms, times), None]
    assert {type(milliseconds) for milliseconds in found} == {float, type(None)}


@pytest.mark.parametrize("milliseconds", [1e20, -1e20, 1e308, math.inf, -math.inf, math.nan])
def test_what_is_no_date_is_refused(milliseconds: float) -> None:
    """A number no calendar has, or none at all."""
    with pytest.raises(OverflowError):
        from_ms(milliseconds)


@pytest.mark.anyio
async def test_a_replaced_clock_is_seen_inside_alone() -> None:
    """Tasks that start inside keep it; the code outside, and tasks that run beside, have the app's clock."""
    outside, inside = datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    current = CurrentClock(MovableClock(outside))

    async def now() -> datetime:
        return current.now()

    with using(MovableClock(inside)):
        assert current.now() == inside
        with using(None):
            assert current.now() == inside
        started = asyncio.create_task(now())
    assert current.now() == outside
    assert await started == inside
