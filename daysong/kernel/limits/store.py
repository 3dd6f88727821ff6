"""Rates in PostgreSQL: one row per limit and key, one statement per reservation.

Every statement commits by itself, so a row is never locked for longer than one statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from daysong.kernel.database.transactions import Database
from daysong.kernel.limits.rates import Rate

# Seconds; a longer pause requested by a vendor is cut to this.
LONGEST_HOLD = 900.0

_SECONDS = "extract(epoch from {} - clock_timestamp())::float8"
# After a pause requests are spaced one by one, without a burst.
_START = "greatest(r.next_at, clock_timestamp(), r.held_until + make_interval(secs => $5))"

_TAKE_SQL = f"""
    insert into rate_limits as r (name, key, next_at)
    values ($1, $2, clock_timestamp() + make_interval(secs => $3::float8))
    on conflict (name, key) do update set next_at = {_START} + make_interval(secs => $3)
      where {_START} <= clock_timestamp() + make_interval(secs => $4::float8 + $5::float8)
    returning {_SECONDS.format("r.next_at")} as next, {_SECONDS.format("r.overflow_at")} as overflow"""  # noqa: S608

_WAIT_SQL = f"""
    select {_SECONDS.format("greatest(r.next_at - make_interval(secs => $3), r.held_until)")}
    from rate_limits r where name = $1 and key = $2"""  # noqa: S608

_OVERFLOW_SQL = f"""
    update rate_limits r set overflow_at = greatest(
        r.overflow_at, r.next_at - make_interval(secs => $3), r.held_until,
        clock_timestamp() + make_interval(secs => $4)) + make_interval(secs => $5)
    where name = $1 and key = $2
    returning {_SECONDS.format("r.overflow_at")}"""  # noqa: S608

_HOLD_SQL = """
    insert into rate_limits as r (name, key, next_at, held_until)
    values ($1, '', clock_timestamp(), clock_timestamp() + make_interval(secs => $2::float8))
    on conflict (name, key) do update set held_until = greatest(r.held_until, excluded.held_until)"""


class Reservation(NamedTuple):
    """When each of `size` reserved requests may be sent, and until when deferred ones return, in seconds from now.

    The first may be sent at `first`, which may be past, and each further one an `interval` later.
    """

    size: int
    first: float
    interval: float
    overflow: float

    @property
    def waits(self) -> Iterator[float]:
        """Yield the seconds until each request may be sent: one by one, since bytes are reserved by the million."""
        return (self.wait(place) for place in range(self.size))

    def wait(self, place: int) -> float:
        """Return the seconds until the request of that place may be sent."""
        return max(0.0, self.first + place * self.interval)


class RateStore:
    """The rows of `rate_limits`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(
        self, name: str, key: str, rate: Rate, count: int = 1, *, patience: float = 0.0
    ) -> Reservation | None:
        """Reserve `count` requests; None when the first would have to wait more than `patience` seconds."""
        interval, slack = rate.interval, rate.slack
        row = await self._database.pool.fetchrow(_TAKE_SQL, name, key, count * interval, patience, slack)
        if row is None:
            return None
        # next_at lies after all of them; the first is `count` intervals before it.
        first = row["next"] - count * interval - slack
        return Reservation(count, first, interval, row["overflow"])

    async def wait(self, name: str, key: str, rate: Rate) -> float:
        """Return the seconds until the next request is allowed."""
        seconds: float | None = await self._database.pool.fetchval(_WAIT_SQL, name, key, rate.slack)
        return max(0.0, seconds or 0.0)

    async def is_held(self, name: str) -> bool:
        """Return whether a pause requested by the vendor is in force."""
        held: bool | None = await self._database.pool.fetchval(
            "select held_until > clock_timestamp() from rate_limits where name = $1 and key = ''", name
        )
        return bool(held)

    async def overflow(self, name: str, rate: Rate, patience: float) -> float:
        """Return the seconds after which a deferred request returns; each gets a moment of its own."""
        seconds: float | None = await self._database.pool.fetchval(
            _OVERFLOW_SQL, name, "", rate.slack, patience, rate.interval
        )
        return max(patience, seconds or 0.0)

    async def hold(self, name: str, seconds: float) -> None:
        """Pause requests to the vendor for that many seconds."""
        await self._database.pool.execute(_HOLD_SQL, name, min(seconds, LONGEST_HOLD))
