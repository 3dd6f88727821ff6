"""What a process counts by itself, and what it reserves."""

from __future__ import annotations

from typing import Any

import pytest

from daysong.kernel.limits.buckets import Buckets
from daysong.kernel.limits.rates import Rate
from daysong.kernel.limits.store import Reservation

pytestmark = pytest.mark.anyio


class Recorded:
    """A store that records what is reserved; it has room for `most` requests."""

    def __init__(self, most: int = 10_000) -> None:
        self.reserved: list[int] = []
        self.most = most

    async def take(self, _name: str, _key: str, rate: Rate, count: int, **_: Any) -> Reservation | None:
        if sum(self.reserved) + count > self.most:
            return None
        self.reserved.append(count)
        return Reservation(count, 0.0, rate.interval, 0.0)

    async def wait(self, *_: Any) -> float:
        return 60.0


async def taken(buckets: Buckets, count: int) -> int:
    """How many of so many requests were allowed."""
    return sum([await buckets.take("calls", "alice") == 0.0 for _ in range(count)])


async def test_the_first_requests_of_a_caller_cost_no_reservation() -> None:
    """A fiftieth of the rate is counted in memory; the reservation that follows includes it."""
    store: Any = Recorded()
    buckets = Buckets({"calls": Rate(1000, 3600)}, store)
    assert await taken(buckets, 20) == 20
    assert store.reserved == []
    assert await taken(buckets, 100) == 100
    assert store.reserved == [20 + 100]


async def test_after_a_refusal_nothing_is_allowed_without_a_reservation() -> None:
    """A caller who keeps trying gets no requests that are only counted."""
    store: Any = Recorded(most=120)
    buckets = Buckets({"calls": Rate(1000, 3600)}, store)
    assert await taken(buckets, 400) == 120
    bucket = buckets._bucket("calls", "alice")
    bucket.closed_until, bucket.good_until = 1e-9, 0.0  # as after the wait
    assert await taken(buckets, 50) == 0
    store.most = 1000
    bucket.closed_until = 1e-9
    assert await taken(buckets, 50) == 50


async def test_low_rates_are_always_reserved() -> None:
    """A rate below 50 has no part that is only counted."""
    store: Any = Recorded()
    assert await taken(Buckets({"calls": Rate(5, 600)}, store), 1) == 1
    assert store.reserved == [1]
