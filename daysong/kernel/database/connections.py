"""Connections to PostgreSQL: opening them, detecting dead ones, and the pool.

A server may vanish without closing its connections (a failover, a cut cable, a proxy that dropped state). It is
detected by:

    the kernel      TCP keepalive and TCP_USER_TIMEOUT: a peer that acknowledges nothing for about ten seconds is gone
    the pool        pings a connection that has been idle for a second before it is acquired
    the watch       when a connection has been in use for SILENCE, probes with a new one; if that fails, those in use
                    are terminated
    the listener    when its connection is lost (kernel/live.py), all others are replaced

The pool works behind PgBouncer: no setting is a startup parameter that it would reject. They are set after connecting,
or, where each transaction may run on another server connection (`transactions_only`), at the start of each transaction.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import weakref
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from asyncpg.transaction import Transaction
from prometheus_client import Counter, Gauge, Histogram

from daysong.kernel import logs
from daysong.kernel.errors import DatabaseMisconfigured, DatabaseUnavailable, DaysongError, TooBusy

STATEMENT_TIMEOUT = "20s"
COMMAND_TIMEOUT = 25.0  # seconds; longer than STATEMENT_TIMEOUT, for a server that does not report it
CONNECT_WITHIN = 4.0
ACQUIRE_WITHIN = 5.0
RELEASE_WITHIN = 5.0
FRESH_FOR = 1.0  # seconds since its last use during which a connection is not pinged
PING_TIMEOUT = 1.5  # seconds
SILENCE = 3.0  # seconds
MOST_QUERIES = 50_000  # of a connection, which is then replaced
LONGEST_USE = 30.0  # seconds; no transaction of ours takes so long

# Shorter waits are not measured: nearly all are.
WAITED = 0.001  # seconds
WAITS = Histogram(
    "daysong_pool_wait_seconds",
    "Waits for a connection of the pool that took a millisecond or more",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
EXHAUSTED = Counter("daysong_pool_exhausted", "Waits for a connection that ended without one")
SIZE = Gauge("daysong_pool_connections", "Connections of the pools of this process", ["pool", "state"])

SESSION = {
    "statement_timeout": STATEMENT_TIMEOUT,
    # A process that froze or died in the middle of a transaction must not keep its locks.
    "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT,
}
_SET_SESSION = "select " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SESSION.items())
SET_LOCAL = "; ".join(f"set local {name} = '{value}'" for name, value in SESSION.items())

# How long the kernel waits for a peer that acknowledges nothing; options the operating system lacks are skipped.
TCP_OPTIONS = {"TCP_KEEPIDLE": 5, "TCP_KEEPALIVE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}

# Errors by which asyncpg reports, depending on the circumstances, that a connection is broken.
BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError, DatabaseUnavailable)
GOING_DOWN = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError)
# Errors after which all pooled connections are replaced: they may lead to a former primary.
STALE = (*BROKEN, *GOING_DOWN, asyncpg.ReadOnlySQLTransactionError, TimeoutError)

log = logs.get_logger("database")


class StatementMisused(DaysongError):
    """A mistake in a call of a statement, such as a missing argument. The connection is intact."""


class _LocalTransaction(Transaction):  # type: ignore[misc]  # asyncpg has no types
    """A transaction that sets the session settings locally, for connections that keep none."""

    async def start(self) -> None:
        outermost = not self._connection.is_in_transaction()
        await super().start()
        if outermost:
            await self._connection.execute(SET_LOCAL)


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that records when its server last answered."""

    transactions_only = False
    heard_at = 0.0

    async def reset(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        # No session state outlives a transaction (no SET, no LISTEN); a reset would be a wasted round trip per query.
        if not self.is_clean:
            await super().reset(timeout=timeout)

    def get_reset_query(self) -> str:
        return ""

    @property
    def is_clean(self) -> bool:
        """Whether the connection is open, and neither listens, nor is in a transaction, nor cancels a query."""
        protocol = self._protocol
        return not (
            self.is_closed()
            or self._listeners
            or protocol._is_cancelling()  # noqa: SLF001
            or protocol.is_in_transaction()
            or self._top_xact is not None
        )

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        # The pool closes replaced connections in the background, where an error of a dead peer would be unhandled.
        try:
            await super().close(timeout=RELEASE_WITHIN if timeout is None else timeout)
        except OSError:
            self.terminate()

    def transaction(self, *, isolation: Any = None, readonly: bool = False, deferrable: bool = False) -> Transaction:
        if not self.transactions_only:
            return super().transaction(isolation=isolation, readonly=readonly, deferrable=deferrable)
        self._check_open()
        return _LocalTransaction(self, isolation, readonly, deferrable)


async def connect(
    url: str,
    *,
    name: str,
    command_timeout: float | None = COMMAND_TIMEOUT,
    statement_cache: int = 100,
    transactions_only: bool = False,
    setting: str = "DATABASE_URL",
) -> Connection:
    """Open a connection; errors name the `setting` that has its URL.

    Errors: DatabaseUnavailable when no server answers, DatabaseMisconfigured when it refuses the connection,
    asyncpg.TooManyConnectionsError as it is.
    """
    try:
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_WITHIN,
            command_timeout=command_timeout,
            statement_cache_size=statement_cache,
            connection_class=Connection,
            # PgBouncer tracks these two across server connections.
            server_settings={"application_name": name, "timezone": "UTC"},
        )
        try:
            _keep_alive(connection)
            if transactions_only:
                connection.transactions_only = True
            else:
                await connection.execute(_SET_SESSION)
        except BaseException:
            connection.terminate()
            raise
    except asyncpg.TooManyConnectionsError:
        raise
    # OverflowError: a port over 65535.
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, OverflowError) as error:
        raise explained(error, url, setting) from error
    connection.heard_at = time.monotonic()
    opened: Connection = connection
    return opened


def explained(error: Exception, url: str, setting: str = "DATABASE_URL") -> DatabaseUnavailable:
    """Return an error that says why connecting failed and what to fix; it never contains the password."""
    where = host_of(url)
    match error:
        case socket.gaierror() if error.errno != socket.EAI_AGAIN:
            return DatabaseMisconfigured(f"{setting}: the host of {where} is not known. Is its name right?")
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return DatabaseMisconfigured(f"{setting}: {where} does not let this user in: check user and password.")
        case asyncpg.InvalidCatalogNameError():
            return DatabaseMisconfigured(f"{setting}: {where} has no such database: create it, or name another.")
        case asyncpg.InsufficientPrivilegeError():
            return DatabaseMisconfigured(
                f"{setting}: {where} gives this user too few rights: it must own the database, or its schema public."
            )
        case OSError() | asyncpg.PostgresConnectionError() | asyncpg.OperatorInterventionError():
            return DatabaseUnavailable(f"No database answers at {where} ({type(error).__name__}). Is it running?")
        case asyncpg.PostgresError():
            return DatabaseMisconfigured(f"{setting}: {where} refused the connection ({type(error).__name__}).")
        case _:
            return DatabaseMisconfigured(
                f"{setting}: is no address of a database; it looks like postgresql://user:password@host:5432/name"
            )


def host_of(url: str) -> str:
    """Return host and port of a database's URL."""
    try:
        address = urlsplit(url)
        host, port = address.hostname, address.port
    except ValueError:
        return "the database"
    return f"{host}:{port or 5432}" if host else "the database"


def _keep_alive(connection: asyncpg.Connection) -> None:
    """Set the TCP options by which the kernel detects a dead peer."""
    transport = connection._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg has no option for it
    if transport is None or transport.family == socket.AF_UNIX:
        return
    # A duplicate of the descriptor is the same socket; uvloop's object lacks setsockopt.
    with socket.socket(fileno=os.dup(transport.fileno())) as real:
        real.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in TCP_OPTIONS.items():
            if option := getattr(socket, name, None):
                with suppress(OSError):
                    real.setsockopt(socket.IPPROTO_TCP, option, value)


# The open pools of this process by name, for metrics.
_pools: dict[str, weakref.WeakSet[Pool]] = {}


class Pool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """A pool that checks connections before use, limits waiting, and drops connections to a server that is gone.

    Errors of acquiring: TooBusy when none is free within five seconds, DatabaseUnavailable when none can be opened.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        min_size: int,
        max_size: int,
        init: Any = None,
        statement_cache: int = 100,
        transactions_only: bool = False,
        setting: str = "DATABASE_URL",
    ) -> None:
        async def opening(*_: Any, **__: Any) -> Connection:
            return await connect(
                url, name=name, statement_cache=statement_cache, transactions_only=transactions_only, setting=setting
            )  # fmt: skip

        super().__init__(
            url, connect=opening, min_size=min_size, max_size=max_size, max_queries=MOST_QUERIES, init=init,
            max_inactive_connection_lifetime=300.0, loop=None, connection_class=Connection,
            record_class=asyncpg.Record,
        )  # fmt: skip
        self._probe = opening
        self._lent: dict[Any, float] = {}
        of_name = _pools.setdefault(name, weakref.WeakSet())
        of_name.add(self)
        SIZE.labels(name, "open").set_function(lambda: sum(pool.get_size() for pool in of_name))
        SIZE.labels(name, "in_use").set_function(lambda: sum(len(pool._lent) for pool in of_name))  # noqa: SLF001

    def acquire(self, *, timeout: float | None = None) -> _Lending:
        """Acquire a connection: `async with pool.acquire() as connection`."""
        return _Lending(self, timeout)

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's signature
        began = time.monotonic()
        deadline = began + (ACQUIRE_WITHIN if timeout is None else timeout)
        while True:
            left = deadline - time.monotonic()
            try:
                # With a free connection there is nothing to wait for, and a timer would be wasted.
                lent = await super()._acquire(None if self._queue.qsize() else max(left, 0.001))
            except TimeoutError:
                EXHAUSTED.inc()
                raise TooBusy("The database is busy. Please try again.") from None
            except asyncpg.TooManyConnectionsError as error:
                # The server's limit is reached: a connection of this or another process may become free.
                if left <= 0:
                    EXHAUSTED.inc()
                    raise TooBusy("The database has no connection to spare. Please try again.") from error
                await asyncio.sleep(min(left, random.uniform(0.02, 0.1)))  # noqa: S311
                continue
            lent._holder._timeout = RELEASE_WITHIN  # noqa: SLF001 - else it is the remaining time to acquire
            if await self._is_alive(lent):
                self._lent[lent] = now = time.monotonic()
                if now - began >= WAITED:
                    WAITS.observe(now - began)
                return lent

    async def _is_alive(self, lent: Any) -> bool:
        connection: Connection = lent._con  # noqa: SLF001
        if time.monotonic() - connection.heard_at <= FRESH_FOR:
            return True
        try:
            await connection.execute("select 1", timeout=PING_TIMEOUT)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("pooled connection was dead", error=logs.describe(error))
            connection.terminate()
            await super().release(lent)
            await self.expire_connections()
            return False
        except BaseException:
            connection.terminate()
            await super().release(lent)
            raise
        return True

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        """Return a connection to the pool."""
        self._lent.pop(connection, None)
        own, holder = connection._con, connection._holder  # noqa: SLF001
        if (
            own is not None
            and own.is_clean
            and holder._generation == self._generation  # noqa: SLF001
            and own._protocol.queries_count < MOST_QUERIES  # noqa: SLF001
        ):
            # asyncpg would start a task, so that nothing cancels it; but this awaits nothing.
            own._on_release()  # noqa: SLF001
            await holder.release(None)
        else:
            await super().release(connection, timeout=timeout)

    async def watch(self) -> None:
        """Terminate connections in use whose server no longer answers; runs until canceled."""
        while True:
            await asyncio.sleep(SILENCE)
            now = time.monotonic()
            overdue = [lent for lent, since in self._lent.items() if now - since > SILENCE]
            if overdue and not await self._answers():
                await self.expire_connections()
                self._cut(overdue, "the database does not answer")
            else:
                too_long = [lent for lent in overdue if now - self._lent.get(lent, now) > LONGEST_USE]
                self._cut(too_long, "it was in use for too long")

    async def _answers(self) -> bool:
        try:
            connection = await self._probe()
        except asyncpg.TooManyConnectionsError:
            return True
        except (DatabaseUnavailable, OSError, asyncpg.PostgresError):
            return False
        connection.terminate()
        return True

    def _cut(self, overdue: list[Any], why: str) -> None:
        for lent in overdue:
            if lent in self._lent and lent._con is not None:  # noqa: SLF001
                log.warning("connection terminated", why=why)
                lent._con.terminate()  # noqa: SLF001


class _Lending:
    """A connection being acquired, for `async with` or `await`."""

    __slots__ = ("_lent", "_pool", "_timeout")

    def __init__(self, pool: Pool, timeout: float | None) -> None:
        self._pool = pool
        self._timeout = timeout
        self._lent: Any = None

    def __await__(self) -> Any:
        return self._pool._acquire(self._timeout).__await__()  # noqa: SLF001

    async def __aenter__(self) -> Any:
        self._lent = await self._pool._acquire(self._timeout)  # noqa: SLF001
        return self._lent

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lent, self._lent = self._lent, None
        # asyncpg has one class for a broken connection and for a call that does not fit its statement.
        is_misused = isinstance(error, asyncpg.InterfaceError) and lent._con is not None and not lent.is_closed()  # noqa: SLF001
        if isinstance(error, STALE) and not is_misused:
            await self._pool.expire_connections()
        elif lent._con is not None:  # noqa: SLF001
            lent._con.heard_at = time.monotonic()  # noqa: SLF001
        try:
            await self._pool.release(lent)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # The connection is closed by now; an earlier error takes precedence.
            if error is None:
                raise
        if is_misused:
            raise StatementMisused("A statement and its arguments do not fit.") from error
