"""Connections to PostgreSQL: how each is opened, how a dead one is noticed, and the pool that lends them.

A server may vanish without a word (a failover, a cut cable, a proxy that forgot us). What notices it:

    the kernel      TCP keepalive and TCP_USER_TIMEOUT: a peer that acknowledges nothing for about ten seconds is gone
    the pool        asks a connection that has been idle for a second for a sign of life before it lends it
    the watch       once a lent connection is out for SILENCE, a fresh one is tried: when none can be had, those are cut
    the listener    when its connection is lost (kernel/live.py), all others are replaced

A pool can be used behind PgBouncer. No setting is a startup parameter it would refuse: they are set after connecting,
or, where each transaction may run on another server connection (`transactions_only`), at the start of each transaction.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from contextlib import suppress
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from asyncpg.transaction import Transaction

from daysong.kernel import logs
from daysong.kernel.errors import DatabaseMisconfigured, DatabaseUnavailable, TooBusy

STATEMENT_TIMEOUT = "20s"
COMMAND_TIMEOUT = 25.0  # seconds until we give up on a server that does not even say that time is up
CONNECT_WITHIN = 4.0
ACQUIRE_WITHIN = 5.0
RELEASE_WITHIN = 5.0
FRESH_FOR = 1.0  # seconds after which a connection's last use proves nothing any more
SIGN_OF_LIFE = 1.5  # seconds
SILENCE = 3.0  # seconds
LONGEST_USE = 30.0  # seconds; no transaction of ours takes so long

SESSION = {
    "statement_timeout": STATEMENT_TIMEOUT,
    # A process that froze or vanished in the middle of a transaction must not hold its locks for ever.
    "idle_in_transaction_session_timeout": STATEMENT_TIMEOUT,
}
_SET_SESSION = "select " + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SESSION.items())
_SET_LOCAL = "; ".join(f"set local {name} = '{value}'" for name, value in SESSION.items())

# The kernel's patience with a peer that acknowledges nothing; names that an operating system lacks are skipped.
TCP_OPTIONS = {"TCP_KEEPIDLE": 5, "TCP_KEEPALIVE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}

# How asyncpg tells, by circumstance, that a connection is of no more use.
BROKEN = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError, DatabaseUnavailable)
GOING_DOWN = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError)
# The connection says nothing about the next one: it may be to the server that was the primary until now.
STALE = (*BROKEN, *GOING_DOWN, asyncpg.ReadOnlySQLTransactionError, TimeoutError)

log = logs.get_logger("database")


class _LocalTransaction(Transaction):  # type: ignore[misc]  # asyncpg has no types
    """A transaction that brings its settings along, for connections that keep none."""

    async def start(self) -> None:
        outermost = not self._connection.is_in_transaction()
        await super().start()
        if outermost:
            await self._connection.execute(_SET_LOCAL)


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A connection that knows when its server was last heard of."""

    transactions_only = False
    heard_at = 0.0

    def get_reset_query(self) -> str:
        # Nothing we do outlives its transaction (no SET, no LISTEN), so the pool need not ask the server to forget it:
        # that would be a round trip for every query.
        return ""

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's signature
        # The pool closes what it replaces in the background, where nobody is told that the other end is gone.
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
) -> Connection:
    """Open a connection; DatabaseUnavailable when there is no server, DatabaseMisconfigured when it lets nobody in.

    asyncpg.TooManyConnectionsError is raised as it is.
    """
    try:
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_WITHIN,
            command_timeout=command_timeout,
            statement_cache_size=statement_cache,
            connection_class=Connection,
            # PgBouncer knows these two, and keeps them right when it changes the server connection.
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
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise explained(error, url) from error
    connection.heard_at = time.monotonic()
    opened: Connection = connection
    return opened


def explained(error: Exception, url: str) -> DatabaseUnavailable:
    """Return what keeps us from connecting, in a line that says what to mend; a password is never part of it."""
    where = _place(url)
    match error:
        case socket.gaierror() if error.errno != socket.EAI_AGAIN:
            return DatabaseMisconfigured(f"DATABASE_URL: the host of {where} is not known. Is its name right?")
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return DatabaseMisconfigured(f"DATABASE_URL: {where} does not let this user in: check user and password.")
        case asyncpg.InvalidCatalogNameError():
            return DatabaseMisconfigured(f"DATABASE_URL: {where} has no such database: create it, or name another.")
        case asyncpg.InsufficientPrivilegeError():
            return DatabaseMisconfigured(
                f"DATABASE_URL: {where} gives this user too few rights: it must own the database, or its schema public."
            )
        case OSError() | asyncpg.PostgresConnectionError() | asyncpg.OperatorInterventionError():
            return DatabaseUnavailable(f"No database answers at {where} ({type(error).__name__}). Is it running?")
        case asyncpg.PostgresError():
            return DatabaseMisconfigured(f"DATABASE_URL: {where} refused the connection ({type(error).__name__}).")
        case _:
            return DatabaseMisconfigured(
                "DATABASE_URL: is no address of a database; it looks like postgresql://user:password@host:5432/name"
            )


def _place(url: str) -> str:
    try:
        address = urlsplit(url)
        host, port = address.hostname, address.port
    except ValueError:
        return "the database"
    return f"{host}:{port or 5432}" if host else "the database"


def _keep_alive(connection: asyncpg.Connection) -> None:
    """Have the kernel notice a peer that is gone."""
    transport = connection._transport.get_extra_info("socket")  # noqa: SLF001 - asyncpg has no option for it
    if transport is None or transport.family == socket.AF_UNIX:
        return
    # A duplicate of the descriptor is the same socket, and has all methods, which uvloop's object has not.
    with socket.socket(fileno=os.dup(transport.fileno())) as real:
        real.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in TCP_OPTIONS.items():
            if option := getattr(socket, name, None):
                with suppress(OSError):
                    real.setsockopt(socket.IPPROTO_TCP, option, value)


class Pool(asyncpg.Pool):  # type: ignore[misc]  # asyncpg has no types
    """A pool that lends only living connections, makes nobody wait long, and forgets those of a server that is gone.

    TooBusy when none is free within five seconds; DatabaseUnavailable when none can be opened.
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
    ) -> None:
        async def opening(*_: Any, **__: Any) -> Connection:
            return await connect(
                url, name=name, statement_cache=statement_cache, transactions_only=transactions_only
            )  # fmt: skip

        super().__init__(
            url, connect=opening, min_size=min_size, max_size=max_size, max_queries=50_000, init=init,
            max_inactive_connection_lifetime=300.0, loop=None, connection_class=Connection,
            record_class=asyncpg.Record,
        )  # fmt: skip
        self._probe = opening
        self._lent: dict[Any, float] = {}

    def acquire(self, *, timeout: float | None = None) -> _Lending:
        """Borrow a connection: `async with pool.acquire() as connection`."""
        return _Lending(self, timeout)

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's signature
        deadline = time.monotonic() + (ACQUIRE_WITHIN if timeout is None else timeout)
        while True:
            left = deadline - time.monotonic()
            try:
                lent = await super()._acquire(max(left, 0.001))
            except TimeoutError:
                raise TooBusy("The database is busy. Please try again.") from None
            except asyncpg.TooManyConnectionsError as error:
                # One of our own may come back, or somebody else's may be closed.
                if left <= 0:
                    raise TooBusy("The database has no connection to spare. Please try again.") from error
                await asyncio.sleep(min(left, random.uniform(0.02, 0.1)))  # noqa: S311
                continue
            lent._holder._timeout = RELEASE_WITHIN  # noqa: SLF001 - else it would be what was left to wait
            if await self._lives(lent):
                self._lent[lent] = time.monotonic()
                return lent

    async def _lives(self, lent: Any) -> bool:
        connection: Connection = lent._con  # noqa: SLF001
        if time.monotonic() - connection.heard_at <= FRESH_FOR:
            return True
        try:
            await connection.execute("select 1", timeout=SIGN_OF_LIFE)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            log.warning("a pooled connection is dead", error=logs.describe(error))
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
        """Take a connection back."""
        self._lent.pop(connection, None)
        await super().release(connection, timeout=timeout)

    async def watch(self) -> None:
        """Cut lent connections whose server has fallen silent; runs until it is cancelled."""
        while True:
            await asyncio.sleep(SILENCE)
            now = time.monotonic()
            overdue = [lent for lent, since in self._lent.items() if now - since > SILENCE]
            if overdue and not await self._answers():
                await self.expire_connections()
                self._cut(overdue, "the database has fallen silent")
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
                log.warning("connection cut", why=why)
                lent._con.terminate()  # noqa: SLF001


class _Lending:
    """A connection on loan, for `async with` or `await`."""

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
        if isinstance(error, STALE):
            await self._pool.expire_connections()
        elif lent._con is not None:  # noqa: SLF001
            lent._con.heard_at = time.monotonic()  # noqa: SLF001
        try:
            await self._pool.release(lent)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # It is closed by now. What went wrong before that is what counts.
            if error is None:
                raise
