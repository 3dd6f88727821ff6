"""Reads on a standby of the database (DATABASE_REPLICA_URL), which never show less than they may.

A read is of one of two kinds:

    current   shows all that was acknowledged before it began: the primary is asked for the end of its log, and the
              standby is read once it has replayed that. Reads that begin together share the question.
    lagging   may be DATABASE_REPLICA_MAX_LAG behind the primary.

Positions in the log of a primary and of a standby can only be compared while the standby follows that primary. After a
failover it may have replayed more of the former primary's log than the new one has. So each timeline of the primary has
a random token in the table `primary_timeline`, and a standby without that token is not read.

In the background each process measures how far the standby is behind. A read goes to the primary when the standby is
too far behind, is away, was promoted, or fails; callers do not notice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
from prometheus_client import Counter, Gauge

from daysong.kernel import logs
from daysong.kernel.database.connections import BROKEN, Pool, StatementMisused, connect, host_of
from daysong.kernel.database.transactions import Database, OneStatement, Reader, close_pool, prepare
from daysong.kernel.errors import DatabaseUnavailable, DaysongError, TooBusy

T = TypeVar("T")
Work = Callable[[Reader], Awaitable[T]]

SETTING = "DATABASE_REPLICA_URL"

CHECK_WITHIN = 1.0  # seconds, for a measurement
CATCH_UP_WITHIN = 0.05  # seconds that a read waits for the standby
CURRENT_WITHIN, LAGGING_WITHIN = 2.0, 15.0  # seconds, after which the primary is read
LONGEST_INTERVAL = 0.5  # seconds between two measurements

# The end of what a crash of the primary cannot lose, and the timeline. Transactions are acknowledged after that.
POSITION_SQL = "select substr(pg_walfile_name(wal), 1, 8) as timeline, wal from pg_current_wal_flush_lsn() as wal"
PRIMARY_SQL = f"""
    select wal, timeline, (select system_identifier from pg_control_system()) as system,
           current_setting('synchronous_commit') <> 'off' as waits_for_disk,
           (select token from primary_timeline t where t.timeline = p.timeline) as token
    from ({POSITION_SQL}) p"""  # noqa: S608 - constants
# Written on the primary, so it is in the log behind the beginning of the timeline.
MARK_SQL = """
    insert into primary_timeline (timeline, token)
    select substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8), gen_random_uuid()
    on conflict (id) do update set timeline = excluded.timeline, token = excluded.token
    where primary_timeline.timeline <> excluded.timeline"""
STANDBY_SQL = """
    select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() end as wal,
           (select token from primary_timeline) as token"""
SYSTEM_SQL = "select system_identifier from pg_control_system()"

LAG = Gauge("daysong_replica_lag_seconds", "How far the replica is behind the primary", ["address"])
USED = Gauge("daysong_replica_used", "Whether reads that may go to the replica do", ["address"])
READS = Counter("daysong_replica_reads", "Reads that may go to the replica, by where they went", ["name", "place"])

log = logs.get_logger("database")


class NotUsable(DaysongError):
    """The standby must not be read now; the text says why."""


# After these, the primary is read.
FAILURES = (OSError, asyncpg.PostgresError, *BROKEN, StatementMisused, TooBusy, NotUsable)
# These fail one query, for conflicts with what is replayed; others go on.
CANCELED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.QueryCanceledError)


class Position(NamedTuple):
    """How much log the primary has written, and on which timeline."""

    timeline: str
    wal: int


class Positions:
    """Asks the primary for its position; reads that begin while it is asked share the next answer."""

    def __init__(self, primary: Database) -> None:
        self._primary = primary
        self._asking: asyncio.Task[Position] | None = None
        self._next: asyncio.Task[Position] | None = None

    async def newest(self) -> Position:
        """Return a position that is not before the end of any transaction acknowledged until now."""
        if self._next is None:
            self._next = asyncio.create_task(self._ask(self._asking))
        return await asyncio.shield(self._next)

    async def _ask(self, before: asyncio.Task[Position] | None) -> Position:
        if before is not None:
            await asyncio.wait({before})
        # From here on the answer may miss what is acknowledged.
        self._asking, self._next = self._next, None
        if self._asking is not None:
            self._asking.add_done_callback(_ignore_error)
        return Position(*await self._primary.pool.fetchrow(POSITION_SQL))


class Lag:
    """How far a standby is behind, by positions of the primary at known moments. An idle primary is no lag."""

    def __init__(self) -> None:
        self._positions: deque[tuple[float, int]] = deque(maxlen=256)
        # The latest moment whose position the standby has reached.
        self.reached = float("-inf")

    def primary_at(self, moment: float, wal: int) -> None:
        """Record that the primary was at `wal` at that moment, or later."""
        self._positions.append((moment, wal))

    def replayed(self, wal: int) -> None:
        """Record that the standby has replayed up to `wal`."""
        while self._positions and self._positions[0][1] <= wal:
            self.reached = self._positions.popleft()[0]

    def forget(self) -> None:
        """Drop all positions: those of another timeline say nothing."""
        self._positions.clear()
        self.reached = float("-inf")


class Replica:
    """A pool of connections to a standby of the primary; see the text above."""

    def __init__(
        self, url: str, primary: Database, *, max_lag: float, max_connections: int = 16, statement_cache: int = 100
    ) -> None:
        self._url = url
        self._primary = primary
        self._max_lag = max_lag
        self._interval = min(LONGEST_INTERVAL, max_lag / 4)
        self._max_connections = max_connections
        self._statement_cache = statement_cache
        self._positions = Positions(primary)
        self._lag = Lag()
        self._timeline, self._token, self._system = "", UUID(int=0), 0
        self._is_used: bool | None = None
        self._retry_at = float("-inf")
        self._pool: Pool | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._address = host_of(url)

    @property
    def pool(self) -> Pool:
        """The open pool."""
        if self._pool is None:
            raise NotUsable("it is not open")
        return self._pool

    async def open(self) -> None:
        """Begin to measure. A replica that is away is waited for in the background."""
        self._pool = Pool(
            self._url,
            name="replica",
            min_size=0,
            max_size=self._max_connections,
            init=_prepare,
            statement_cache=self._statement_cache,
            setting=SETTING,
        )
        await self._pool
        await self.check()
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._pool.watch())]

    async def close(self) -> None:
        """Close all connections."""
        pool, self._pool, self._is_used = self._pool, None, False
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if pool is not None:
            await close_pool(pool)

    async def read(self, name: str, work: Work[T], *, may_lag: bool = False) -> T:
        """Run `work`, a single statement, on the replica, or else on the primary; metrics call it `name`.

        It shows all that was acknowledged before the call, unless it `may_lag`. `work` may be run twice.
        """
        if self._is_usable(may_lag=may_lag):
            reading = self._lagging(work) if may_lag else self._current(work)
            try:
                result = await _within(reading, LAGGING_WITHIN if may_lag else CURRENT_WITHIN)
            except FAILURES as error:
                if not isinstance(error, CANCELED):
                    self._retry_at = time.monotonic() + self._interval
            else:
                READS.labels(name, "replica").inc()
                return result
        READS.labels(name, "primary").inc()
        return await work(self._primary.one_statement())

    def _is_usable(self, *, may_lag: bool) -> bool:
        now = time.monotonic()
        is_near = not may_lag or now - self._lag.reached <= self._max_lag
        return bool(self._is_used) and is_near and now >= self._retry_at

    async def _lagging(self, work: Work[T]) -> T:
        async with self.pool.acquire() as connection:
            return await work(OneStatement(connection))

    async def _current(self, work: Work[T]) -> T:
        position = await self._positions.newest()
        if position.timeline != self._timeline:
            raise NotUsable("the primary is on another timeline")
        async with self.pool.acquire() as connection:
            # On the connection of the read: others may lead to another standby.
            await self._catch_up(connection, position.wal)
            return await work(OneStatement(connection))

    async def _catch_up(self, connection: Any, wal: int) -> None:
        deadline, pause = time.monotonic() + CATCH_UP_WITHIN, 0.001
        while True:
            standby = await connection.fetchrow(STANDBY_SQL)
            if standby["wal"] is None or standby["token"] != self._token:
                raise NotUsable("it does not follow the primary")
            if standby["wal"] >= wal:
                return
            if time.monotonic() > deadline:
                raise NotUsable("it is behind")
            await asyncio.sleep(pause)
            pause *= 2

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.check()

    async def check(self) -> None:
        """Measure the lag, and decide whether the replica is used."""
        asked_at, why = time.monotonic(), ""
        try:
            await _within(self._measure(asked_at), CHECK_WITHIN)
        except TimeoutError:
            why = f"no measurement within {CHECK_WITHIN:.0f} second"
        except (NotUsable, DatabaseUnavailable) as error:
            why = str(error)
        except FAILURES as error:
            why = logs.describe(error)
        lag = 0.0 if self._lag.reached == asked_at else time.monotonic() - self._lag.reached
        if lag != float("inf"):
            LAG.labels(self._address).set(lag)
        # Used again only when it is well below the limit, so that it is not decided anew each second.
        if not why and lag > (self._max_lag if self._is_used else self._max_lag / 2):
            why = f"it is {lag:.1f} seconds behind"
        self._decide(why)

    async def _measure(self, asked_at: float) -> None:
        primary = await self._primary.pool.fetchrow(PRIMARY_SQL)
        if not primary["waits_for_disk"]:
            raise NotUsable("the primary acknowledges transactions before they are on disk: synchronous_commit is off")
        if primary["token"] is None:
            await self._primary.mutate(lambda tx: tx.execute(MARK_SQL), name="replica")
            raise NotUsable("the primary is on a new timeline")
        if (primary["timeline"], primary["token"]) != (self._timeline, self._token):
            self._lag.forget()
            self._timeline, self._token = primary["timeline"], primary["token"]
        self._lag.primary_at(asked_at, primary["wal"])
        async with self.pool.acquire() as connection:
            standby = await connection.fetchrow(STANDBY_SQL)
            if await connection.fetchval(SYSTEM_SQL) != primary["system"]:
                raise NotUsable("it is a standby of another server")
        if standby["wal"] is None:
            raise NotUsable("it is no standby")
        if standby["token"] != self._token:
            raise NotUsable("it does not follow the primary")
        self._lag.replayed(standby["wal"])

    def _decide(self, why: str) -> None:
        is_used = not why
        if is_used != self._is_used:
            if is_used:
                log.info("replica used", address=self._address)
            else:
                log.warning("replica not used", address=self._address, why=why)
        self._is_used = is_used
        USED.labels(self._address).set(is_used)


async def _prepare(connection: asyncpg.Connection) -> None:
    await prepare(connection)
    # A standby refuses writes by itself, but one that was promoted does not.
    await connection.execute("select set_config('default_transaction_read_only', 'on', false)")


async def inspect(primary: asyncpg.Connection, url: str, *, patience: float) -> str:
    """Say how the replica at `url` is.

    Errors: DatabaseUnavailable, NotUsable, and another DaysongError for a standby of another server.
    """
    standby = await connect(url, name="daysong doctor", statement_cache=0, setting=SETTING)
    try:
        version = str(await standby.fetchval("show server_version")).split()[0]
        if not await standby.fetchval("select pg_is_in_recovery()"):
            raise NotUsable(f"PostgreSQL {version} at {host_of(url)} is no standby")
        if await standby.fetchval(SYSTEM_SQL) != await primary.fetchval(SYSTEM_SQL):
            raise DaysongError(f"{SETTING}: {host_of(url)} is a standby of another server than DATABASE_URL")
        began = time.monotonic()
        _, wal = await primary.fetchrow(POSITION_SQL)
        while (behind := wal - await standby.fetchval("select pg_last_wal_replay_lsn()")) > 0:
            if time.monotonic() - began > patience:
                raise NotUsable(f"{host_of(url)} is over {patience:.0f} seconds behind, by {behind} bytes of log")
            await asyncio.sleep(0.01)
        return f"PostgreSQL {version}, a standby of the primary, {time.monotonic() - began:.2f} seconds behind"
    finally:
        await standby.close()


async def _within(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Return the result of `work`. Errors: TimeoutError.

    Not wait_for: a query on a dead connection does not end as soon as it is canceled.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except BaseException:
        task.add_done_callback(_ignore_error)
        task.cancel()
        raise
    if not done:
        task.add_done_callback(_ignore_error)
        task.cancel()
        raise TimeoutError
    return task.result()


def _ignore_error(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
