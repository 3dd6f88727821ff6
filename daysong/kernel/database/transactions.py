"""The database: a pool, transactions that are run again when they lose a race, locks by name, one-statement queries."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, Protocol, TypeVar, cast

import asyncpg
import msgspec
from prometheus_client import Counter

from daysong.kernel.database.connections import BROKEN, GOING_DOWN, Pool
from daysong.kernel.errors import DatabaseUnavailable, DaysongError, TooBusy

T = TypeVar("T")

# Of a transaction that writes. Under READ COMMITTED each statement sees what is committed by then, so a transaction
# that holds the right lock reads the newest. SERIALIZABLE also undoes transactions that only touched the same index
# page, so that people who share no row fail each other (docs/decisions/0010).
Isolation = Literal["read_committed", "serializable"]

MAX_ATTEMPTS = 12
LOST = (*BROKEN, *GOING_DOWN)

ROLLBACKS = Counter("daysong_mutation_rollbacks", "Transactions that lost a race and were run again", ["reason"])


class SecondStatement(DaysongError):
    """A query without `snapshot=True` ran a second statement, which might see another moment than the first."""


class Reader(Protocol):
    """Runs SELECTs."""

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]: ...
    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None: ...
    async def fetchval(self, sql: str, *args: Any) -> Any: ...


class Transaction(Reader, Protocol):
    """Runs any statement, inside one transaction."""

    async def execute(self, sql: str, *args: Any) -> str: ...


class OneStatement:
    """A reader good for a single statement, which needs no transaction block to see one moment."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._used = False

    def _use(self) -> None:
        if self._used:
            raise SecondStatement("a query runs one statement; declare snapshot=True for more")
        self._used = True

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """All rows."""
        self._use()
        rows: list[asyncpg.Record] = await self._pool.fetch(sql, *args)
        return rows

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        """The first row, or None."""
        self._use()
        return await self._pool.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        """The first column of the first row, or None."""
        self._use()
        return await self._pool.fetchval(sql, *args)


def _to_json(value: Any) -> str:
    # Text is JSON already: pgqueuer, which shares these connections, hands it over so. We store no bare strings.
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str.__str__).decode()


async def _prepare(connection: asyncpg.Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=_to_json, decoder=msgspec.json.decode)


async def lock(tx: Transaction, *names: str) -> None:
    """Wait for the locks of these names and hold them until the transaction ends.

    For what no row stands for yet, such as an account that is about to be made. Names are taken in alphabetical order,
    so that two transactions with several names in common do not deadlock. Two names of one hash share a lock, which
    costs time and nothing else.
    """
    await tx.execute(
        "select pg_advisory_xact_lock(hashtextextended(name, 0)) from unnest($1::text[]) as name", sorted(set(names))
    )


@asynccontextmanager
async def savepoint(db: Reader) -> AsyncIterator[None]:
    """A part of a snapshot whose failure leaves the rest of it usable."""
    async with cast("Any", db).transaction():
        yield


def is_closed(db: Reader) -> bool:
    """Whether a snapshot's connection is gone."""
    return bool(cast("Any", db).is_closed())


async def close_pool(pool: asyncpg.Pool) -> None:
    """Close all connections; those still at work are waited for, not longer than ten seconds."""
    try:
        await asyncio.wait_for(pool.close(), timeout=10)
    except TimeoutError:
        pool.terminate()


class Database:
    """A pool of connections to one PostgreSQL, opened and watched as kernel/database/connections.py says."""

    def __init__(
        self, url: str, *, max_connections: int = 16, statement_cache: int = 100, transactions_only: bool = False
    ) -> None:
        """`transactions_only` says that a pooler in front may run each transaction on another server connection."""
        self._url = url
        self._max_connections = max_connections
        self._statement_cache = statement_cache
        self._transactions_only = transactions_only
        self._pool: Pool | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def pool(self) -> Pool:
        """The open pool."""
        if self._pool is None:
            raise DaysongError("the database is not open")
        return self._pool

    async def open(self) -> None:
        """Connect; DatabaseUnavailable when the server cannot be reached, or lets nobody in."""
        pool = Pool(
            self._url,
            name="daysong",
            min_size=1,
            max_size=self._max_connections,
            init=_prepare,
            statement_cache=self._statement_cache,
            transactions_only=self._transactions_only,
        )
        try:
            await pool
        except asyncpg.TooManyConnectionsError as error:
            raise DatabaseUnavailable("The database has no connection to spare.") from error
        self._pool = pool
        self._watching = asyncio.create_task(pool.watch())

    async def close(self) -> None:
        """Let go of all connections; those still at work are waited for, not longer than ten seconds."""
        pool, self._pool = self._pool, None
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if pool is not None:
            await close_pool(pool)

    async def renew(self) -> None:
        """Replace every connection, each when it is next idle: the server behind them may be gone or demoted."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def empty(self) -> None:
        """Delete every row of every table, except what migrations keep. For tests and test mode."""
        async with self.pool.acquire() as connection, connection.transaction():
            tables = await connection.fetch(
                """select oid::regclass::text as name from pg_class
                   where relnamespace = current_schema()::regnamespace and relkind = 'r'
                         and relname <> 'schema_migrations'"""
            )
            await connection.execute(f"truncate {', '.join(row['name'] for row in tables)} cascade")
            # Triggers tell nobody of a truncate.
            await connection.execute("select pg_notify('daysong_live', '*')")

    def one_statement(self) -> OneStatement:
        """A reader for a query that needs only one statement."""
        return OneStatement(self.pool)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """A reader whose statements all see the same moment."""
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def mutate(
        self, work: Callable[[Transaction], Awaitable[T]], *, isolation: Isolation = "read_committed"
    ) -> T:
        """Run `work` in a transaction; again, from the start, when it is undone by a deadlock or a lost race.

        Raises TooBusy when it keeps losing. `work` may run several times and must not do anything that a rollback
        does not undo.
        """
        for attempt in range(MAX_ATTEMPTS):
            connected = committing = False
            try:
                async with self.pool.acquire() as connection:
                    connected = True
                    async with connection.transaction(isolation=isolation):
                        result = await work(connection)
                        committing = True
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
                ROLLBACKS.labels(type(error).__name__).inc()
            except asyncpg.ReadOnlySQLTransactionError as error:
                # A connection from a time when the server was a standby, or in maintenance: a new one may do better.
                if attempt:
                    raise DatabaseUnavailable("The database cannot be written at the moment.") from error
            except LOST:
                # Whatever was done before COMMIT is undone with its connection: another one will do.
                if committing or not connected:
                    raise
            else:
                return result
            # Full jitter: losers of one race must not meet again at the same moment.
            await asyncio.sleep(random.uniform(0, min(0.5, 0.005 * 2**attempt)))  # noqa: S311
        raise TooBusy("Too many changes to the same data at once. Please try again.")
