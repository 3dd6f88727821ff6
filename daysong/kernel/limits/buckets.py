"""Inbound rate limits over all processes, which cost most requests no statement.

A process counts a caller's requests in memory until they are a fiftieth of a rate within a tenth of its time. Then it
reserves them and a tenth of the rate in PostgreSQL, and allows that many without asking again. After a refusal it asks
again when the rate may allow a request. So a rate is exact except for what processes have counted or reserved.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping

import asyncpg
from prometheus_client import Counter

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.limits.rates import Rate
from daysong.kernel.limits.store import RateStore

PART = 10
# The share of a rate that is only counted in memory; none of rates below 50.
COUNTED_PART = 50
# Buckets kept in memory by one process; an evicted one is read from the database again.
MOST_KNOWN = 50_000

REFUSED = Counter("daysong_limited_total", "Requests that were refused or delayed by a limit", ["limit"])

log = logs.get_logger("limits")


class _Bucket:
    """What this process knows of one caller; times are of `time.monotonic`.

    left          requests that are allowed until `good_until`
    counted       those of them that were not reserved: the next reservation includes the ones that were used
    closed_until  until when the bucket is empty; 0 since the last reservation
    """

    __slots__ = ("closed_until", "counted", "good_until", "left", "lock")

    def __init__(self) -> None:
        self.left = 0
        self.counted = 0
        self.good_until = 0.0
        self.closed_until = 0.0
        self.lock = asyncio.Lock()


class Buckets:
    """The buckets of this process, by limit and key. Keys are keyed hashes, never addresses or names."""

    def __init__(self, rates: Mapping[str, Rate], store: RateStore) -> None:
        self._rates = rates
        self._store = store
        self._known: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def takes(self, name: str, key: str, count: int = 1) -> bool:
        """Take `count` from a caller's bucket if this process may allow it by itself; False when `take` has to."""
        bucket = self._known.get((name, key))
        # As in `_served`, for all but the first requests of a caller in a tenth of a rate's time.
        if bucket is not None and bucket.left >= count and time.monotonic() <= bucket.good_until:
            bucket.left -= count
            return True
        rate = self._rates.get(name)
        return rate is None or self._served(self._bucket(name, key), rate, count)

    async def take(self, name: str, key: str, count: int = 1) -> float:
        """Take `count` from a caller's bucket; return 0, or the number of seconds to wait.

        A limit that is off allows every request, as does an unreachable database.
        """
        rate = self._rates.get(name)
        if rate is None:
            return 0.0
        bucket = self._bucket(name, key)
        if self._served(bucket, rate, count):
            return 0.0
        if wait := self._closed(bucket):
            return wait
        async with bucket.lock:
            # Another request of the same caller may have made a reservation meanwhile.
            if self._served(bucket, rate, count):
                return 0.0
            if wait := self._closed(bucket):
                return wait
            try:
                return await self._reserve(name, key, rate, bucket, min(count, rate.most))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
                log.warning("limit not known", limit=name, error=logs.describe(error))
                return 0.0

    def closed(self, name: str, key: str) -> float:
        """Return for how many seconds the bucket is known to be empty; 0 when it may not be."""
        bucket = self._known.get((name, key))
        return 0.0 if bucket is None else self._closed(bucket)

    async def _reserve(self, name: str, key: str, rate: Rate, bucket: _Bucket, count: int) -> float:
        used, ahead = max(0, bucket.counted - bucket.left), max(count, rate.most // PART)
        reserved = await self._store.take(name, key, rate, used + ahead)
        now = time.monotonic()
        if reserved is None:
            wait = max(rate.interval * count, await self._store.wait(name, key, rate), 0.05)
            bucket.left, bucket.closed_until = 0, now + wait
            REFUSED.labels(name).inc()
            log.info("limit reached", limit=name)
            return wait
        bucket.left, bucket.counted, bucket.closed_until = ahead - count, 0, 0.0
        bucket.good_until = now + rate.seconds / PART
        return 0.0

    def _bucket(self, name: str, key: str) -> _Bucket:
        known = self._known
        bucket = known.get((name, key))
        if bucket is None:
            bucket = known[name, key] = _Bucket()
            if len(known) > MOST_KNOWN:
                known.popitem(last=False)
        else:
            known.move_to_end((name, key))
        return bucket

    def _closed(self, bucket: _Bucket) -> float:
        return max(0.0, bucket.closed_until - time.monotonic())

    def _served(self, bucket: _Bucket, rate: Rate, count: int) -> bool:
        now = time.monotonic()
        if now > bucket.good_until:
            # After a refusal nothing is allowed before the next reservation, which includes what was counted.
            if bucket.closed_until:
                return False
            bucket.left = bucket.counted = rate.most // COUNTED_PART
            bucket.good_until = now + rate.seconds / PART
        if bucket.left < count:
            return False
        bucket.left -= count
        return True
