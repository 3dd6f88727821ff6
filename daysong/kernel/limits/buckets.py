"""Inbound: how often a caller may ask, over all processes, for one cheap statement or none.

A process reserves in PostgreSQL a tenth of a rate at once, and lets so many requests through without asking again; once
it is refused, it asks again when there may be something to get. So the rate holds but for what processes have reserved.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

import asyncpg
from prometheus_client import Counter

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.limits.rates import Rate
from daysong.kernel.limits.store import RateStore

PART = 10
# Callers that a process knows about; those it forgets are asked about anew.
MOST_KNOWN = 50_000

REFUSED = Counter("daysong_limited_total", "Requests that were refused or delayed by a limit", ["limit"])

log = logs.get_logger("limits")


class _Bucket:
    """What this process has reserved for one caller, by the loop's clock."""

    __slots__ = ("closed_until", "good_until", "left", "lock")

    def __init__(self) -> None:
        self.left = 0
        self.good_until = 0.0
        self.closed_until = 0.0
        self.lock = asyncio.Lock()


class Buckets:
    """The callers of this process, by limit and key. Keys are keyed hashes: nobody's address or name."""

    def __init__(self, rates: Mapping[str, Rate], store: RateStore) -> None:
        self._rates = rates
        self._store = store
        self._known: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    async def take(self, name: str, key: str, count: int = 1) -> float:
        """Take `count` from the caller's bucket: 0, or after how many seconds to ask again.

        A limit that is off lets everybody through, as does a database that does not answer.
        """
        rate = self._rates.get(name)
        if rate is None:
            return 0.0
        bucket = self._bucket(name, key)
        if (wait := self._closed(bucket)) or self._served(bucket, count):
            return wait
        async with bucket.lock:
            # Another request of the same caller's may have reserved meanwhile.
            if (wait := self._closed(bucket)) or self._served(bucket, count):
                return wait
            try:
                return await self._reserve(name, key, rate, bucket, min(count, rate.most))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
                log.warning("limit not known", limit=name, error=logs.describe(error))
                return 0.0

    def closed(self, name: str, key: str) -> float:
        """For how many seconds, as far as this process knows, nothing is to be got; 0 if something may be."""
        bucket = self._known.get((name, key))
        return 0.0 if bucket is None else self._closed(bucket)

    async def _reserve(self, name: str, key: str, rate: Rate, bucket: _Bucket, count: int) -> float:
        wanted = max(count, rate.most // PART)
        reserved = await self._store.take(name, key, rate, wanted)
        now = asyncio.get_running_loop().time()
        if reserved is None:
            wait = max(rate.interval * count, await self._store.wait(name, key, rate), 0.05)
            bucket.left, bucket.closed_until = 0, now + wait
            REFUSED.labels(name).inc()
            log.info("limit reached", limit=name)
            return wait
        bucket.left, bucket.good_until = wanted - count, now + rate.seconds / PART
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
        return max(0.0, bucket.closed_until - asyncio.get_running_loop().time())

    def _served(self, bucket: _Bucket, count: int) -> bool:
        if bucket.left < count or asyncio.get_running_loop().time() > bucket.good_until:
            return False
        bucket.left -= count
        return True
