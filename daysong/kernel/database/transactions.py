"""The database: a pool, transactions retried after deadlocks, advisory locks by name, one-statement queries."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, cast

import asyncpg
import msgspec
from prometheus_client import Counter

from daysong.kernel.database.connections import BROKEN, GOING_DOWN, SET_LOCAL, Pool
from daysong.kernel.errors import DatabaseUnavailable, DaysongError, TooBusy
from daysong.kernel.monitoring import counting

T = TypeVar("T")

# Under READ COMMITTED each statement sees what is committed before it, so a transaction that holds the right lock reads
# the newest rows. SERIALIZABLE also aborts transactions that only touch the same index page, so that accounts that
# share no row fail each other (docs/decisions/0010).
Isolation = Literal["read_committed", "serializable"]

# PostgreSQL keeps notifications in the order of commits: a transaction that notifies holds a lock until its commit is
# on disk, and all others that notify wait for it. So a commit does not wait for the disk, but the next statement does:
# it commits too, behind the first, and holds no lock. Commits that come together then share one write. That statement
# must write to the log: a transaction that only has an id would neither flush it nor wait for a standby. It runs on the
# same connection, so that it fails when the server has crashed in between.
BEGIN = "begin; set local synchronous_commit = off"
BEGIN_SERIALIZABLE = "begin isolation level serializable; set local synchronous_commit = off"
FLUSH = "select pg_logical_emit_message(true, 'daysong', '')"
COMMIT = f"commit; {FLUSH}"
# An output column of a statement that `Database.mutate` runs as `one_statement`, which flushes after it. Without the
# column it waits for the disk itself.
UNFLUSHED = "set_config('synchronous_commit', 'off', true)"
# An output column with the id of the transaction.
TRANSACTION = "pg_current_xact_id()::text as transaction"

MAX_ATTEMPTS = 12
LOST = (*BROKEN, *GOING_DOWN)

ROLLBACKS = Counter(
    "daysong_mutation_rollbacks", "Transactions that were rolled back and retried", ["function", "reason"]
)


class SecondStatement(DaysongError):
    """A query without `snapshot=True` ran a second statement, which could see newer rows than the first."""


class Reader(Protocol):
    """Runs SELECTs."""

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]: ...
    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None: ...
    async def fetchval(self, sql: str, *args: Any) -> Any: ...


class Transaction(Reader, Protocol):
    """Runs any statement, inside one transaction."""

    async def execute(self, sql: str, *args: Any) -> str: ...


class Statement(NamedTuple):
    """A statement that does a whole mutation, or changes nothing.

    It is idempotent, also after it was committed or while it still runs on a lost connection.

    writes    its common table expressions: "with … as (insert …)"
    done      a query that has a row if it was done, now or before
    result    the mutation's result then
    counters  what to count then
    """

    writes: str
    done: str
    args: tuple[Any, ...]
    result: Any
    counters: tuple[Counter, ...] = ()

    @property
    def sql(self) -> str:
        """The statement. Its row, if any, has the transaction's id and UNFLUSHED."""
        return _whole(self.writes, self.done)


@functools.cache
def _whole(writes: str, done: str) -> str:
    return f"{writes} select {TRANSACTION}, {UNFLUSHED} from ({done}) done limit 1"  # noqa: S608 - constants


class OneStatement:
    """A reader of a single statement, which is a snapshot without a transaction block."""

    def __init__(self, pool: asyncpg.Pool | asyncpg.Connection) -> None:
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
    # A str is JSON already: pgqueuer shares these connections and passes encoded text. We store no bare strings.
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str.__str__).decode()


async def prepare(connection: asyncpg.Connection) -> None:
    """Have a new connection encode and decode JSON."""
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, schema="pg_catalog", encoder=_to_json, decoder=msgspec.json.decode)


async def lock(tx: Transaction, *names: str) -> None:
    """Take advisory locks by name and hold them until the transaction ends.

    For what has no row to lock yet, such as an account that is being created. Names are locked in alphabetical order,
    so that transactions with several names in common do not deadlock. Names with the same hash share a lock, which
    costs only time.
    """
    await tx.execute(
        "select pg_advisory_xact_lock(hashtextextended(name, 0)) from unnest($1::text[]) as name", sorted(set(names))
    )


@asynccontextmanager
async def savepoint(db: Reader) -> AsyncIterator[None]:
    """Open a savepoint: a failure inside leaves the rest of the snapshot usable."""
    async with cast("Any", db).transaction():
        yield


def is_closed(db: Reader) -> bool:
    """Return whether a snapshot's connection is closed."""
    return bool(cast("Any", db).is_closed())


async def _alone(work: Callable[[Transaction], Awaitable[T]], connection: asyncpg.Connection, *, durable: bool) -> T:
    """Run one statement that is its own transaction; what it did is on disk afterwards, if it is to be."""
    done = await work(connection)
    if durable:
        await connection.execute(FLUSH)
    return done


@asynccontextmanager
async def _uncommitted(connection: asyncpg.Connection, begin: str) -> AsyncIterator[None]:
    """Begin a transaction, and roll it back after an error inside. Committing it is up to the caller."""
    await connection.execute(begin)
    try:
        yield
    except BaseException:
        if not connection.is_closed():
            await connection.execute("rollback")
        raise


async def close_pool(pool: asyncpg.Pool) -> None:
    """Close all connections, after waiting up to ten seconds for those in use."""
    try:
        await asyncio.wait_for(pool.close(), timeout=10)
    except TimeoutError:
        pool.terminate()


class Database:
    """A pool of connections to one PostgreSQL server; see kernel/database/connections.py."""

    def __init__(
        self, url: str, *, max_connections: int = 16, statement_cache: int = 100, transactions_only: bool = False
    ) -> None:
        """`transactions_only`: a pooler in front may run each transaction on another server connection."""
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
        """Connect. Errors: DatabaseUnavailable when the server cannot be reached or refuses the connection."""
        pool = Pool(
            self._url,
            name="daysong",
            min_size=1,
            max_size=self._max_connections,
            init=prepare,
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
        """Close all connections, after waiting up to ten seconds for those in use."""
        pool, self._pool = self._pool, None
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if pool is not None:
            await close_pool(pool)

    async def renew(self) -> None:
        """Replace every connection when it is next idle, since the server may be gone or demoted."""
        if self._pool is not None:
            await self._pool.expire_connections()

    async def empty(self) -> None:
        """Truncate all tables except `schema_migrations`, and those that refuse it. For tests and test mode."""
        async with self.pool.acquire() as connection, connection.transaction():
            tables = await connection.fetch(
                """select oid::regclass::text as name from pg_class
                   where relnamespace = current_schema()::regnamespace and relkind = 'r'
                         and relname <> 'schema_migrations'
                         and not exists (select from pg_trigger where tgrelid = pg_class.oid and tgtype & 32 <> 0)"""
            )
            await connection.execute(f"truncate {', '.join(row['name'] for row in tables)} cascade")
            # TRUNCATE fires no row triggers.
            await connection.execute("select pg_notify('daysong_live', '*')")

    def one_statement(self) -> OneStatement:
        """Return a reader for a query of one statement."""
        return OneStatement(self.pool)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        """Open a reader whose statements all see the same snapshot (REPEATABLE READ)."""
        async with (
            self.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    def _begin(self, isolation: Isolation) -> str:
        begin = BEGIN if isolation == "read_committed" else BEGIN_SERIALIZABLE
        return f"{begin}; {SET_LOCAL}" if self._transactions_only else begin

    async def mutate(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        isolation: Isolation = "read_committed",
        one_statement: bool = False,
        durable: bool = True,
        name: str = "",
    ) -> T:
        """Run `work` in a transaction, and retry it from the start after a deadlock or serialization failure.

        `work` may run several times and must not do anything that a rollback does not undo. Errors: TooBusy after
        MAX_ATTEMPTS, DatabaseUnavailable when nothing was done for want of a database; any other of LOST when it may
        have been.

        With `one_statement`, `work` is a single idempotent statement, which outputs UNFLUSHED: it needs no transaction
        block, which saves two round trips, and is retried after a lost connection although it may have been committed.
        What is not `durable` may be lost if the server crashes within a second. `name` is the function that metrics
        name.
        """
        in_doubt: list[Exception] = []
        try:
            return await self._mutate(
                work, isolation, in_doubt, one_statement=one_statement, durable=durable, name=name
            )
        except (DatabaseUnavailable, TooBusy) as error:
            # They say that nothing was changed, so that clients try again; an earlier attempt may have been committed.
            if in_doubt:
                raise in_doubt[-1] from error
            raise

    async def _mutate(
        self, work: Callable[[Transaction], Awaitable[T]], isolation: Isolation, in_doubt: list[Exception], *,
        one_statement: bool, durable: bool, name: str,
    ) -> T:  # fmt: skip
        lost: Exception | None = None
        for attempt in range(MAX_ATTEMPTS):
            connected = committing = False
            lost = None
            try:
                async with self.pool.acquire() as connection:
                    connected = True
                    if one_statement and not self._transactions_only:
                        committing = True
                        return await _alone(work, connection, durable=durable)
                    async with _uncommitted(connection, self._begin(isolation)):
                        with counting.uncommitted() as counted:
                            result = await work(connection)
                    committing = True
                    await connection.execute(COMMIT if durable else "commit")
            except (asyncpg.SerializationError, asyncpg.DeadlockDetectedError) as error:
                ROLLBACKS.labels(name, type(error).__name__).inc()
            except asyncpg.ReadOnlySQLTransactionError as error:
                # The connection may date from when the server was a standby or in maintenance: retry once on a new one.
                if attempt:
                    raise DatabaseUnavailable("The database cannot be written at the moment.") from error
            except LOST as error:
                # Before COMMIT everything is rolled back with the connection, so a retry is safe.
                if (committing and not one_statement) or not connected:
                    raise
                lost = error
                in_doubt += [error] if committing else []
            else:
                counting.commit(counted)
                return result
            # Full jitter, so that conflicting transactions do not retry at the same moment.
            await asyncio.sleep(random.uniform(0, min(0.5, 0.005 * 2**attempt)))  # noqa: S311
        if lost is not None:
            # Behind a pooler, connections can be had while its server is away.
            raise DatabaseUnavailable("The database connection was lost again and again.") from lost
        raise TooBusy("Too many changes to the same data at once. Please try again.")
