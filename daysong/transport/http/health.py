"""The health checks: whether the process runs, and whether it can serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
from litestar import get
from litestar.handlers import HTTPRouteHandler

from daysong.kernel import logs
from daysong.kernel.errors import DatabaseUnavailable, DaysongError
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.time.clock_check import ClockWrong, require_agreement
from daysong.transport.refusals import Refused

TIMEOUT = 0.9  # seconds; every response comes within one second
# Returns the names of the migrations to apply.
PendingMigrations = Callable[[], Awaitable[Sequence[str]]]

log = logs.get_logger("http")


def handlers(runtime: Runtime, pending_migrations: PendingMigrations | None) -> list[HTTPRouteHandler]:
    """Return /healthz (the process runs) and /readyz (the database is writable, migrated, and its clock agrees)."""
    readiness = Readiness(runtime, pending_migrations)

    @get("/healthz", sync_to_thread=False)
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz")
    async def ready() -> dict[str, str]:
        await readiness.require()
        return {"status": "ready"}

    return [alive, ready]


class Readiness:
    """Checks the database with a timeout; concurrent requests share one check."""

    def __init__(self, runtime: Runtime, pending_migrations: PendingMigrations | None) -> None:
        self._runtime = runtime
        self._pending_migrations = pending_migrations
        self._running: asyncio.Task[Sequence[str]] | None = None

    async def require(self) -> None:
        """Return when this process can serve. Errors: Refused (503), with the reason."""
        if self._runtime.is_draining:
            raise Refused(503, "ServiceUnavailable", "This server is about to stop.")
        try:
            pending = await self.check()
        except ClockWrong as error:
            log.error("not ready", reason=str(error))  # noqa: TRY400 - not a bug
            raise Refused(503, "ClockWrong", "The clocks of this machine and of its database disagree.") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("not ready", error=logs.describe(error))
            raise Refused(503, "DatabaseUnavailable", "The database does not answer as it should.") from error
        if pending:
            raise Refused(503, "MigrationsPending", f"{len(pending)} migrations are not applied yet.")

    async def check(self) -> Sequence[str]:
        """Return the migrations to apply. Errors: TimeoutError, or the error of the database."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._query())
        # Another request may begin the next check before this one is resumed.
        running = self._running
        # Not wait_for: a query on a dead connection does not end as soon as it is canceled.
        done, _ = await asyncio.wait({running}, timeout=TIMEOUT)
        if not done:
            running.add_done_callback(_ignore_error)
            raise TimeoutError
        return running.result()

    async def _query(self) -> Sequence[str]:
        database = self._runtime.database
        async with database.pool.acquire(timeout=TIMEOUT) as connection:
            read_only = await connection.fetchval(
                "select pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool", timeout=TIMEOUT
            )
            await require_agreement(connection, self._runtime.clock)
        if read_only:
            # The connection may be older than the change: the next check gets a new one.
            await database.renew()
            raise DatabaseUnavailable("the database is read-only")
        return await self._pending_migrations() if self._pending_migrations else ()


def _ignore_error(check: asyncio.Task[Sequence[str]]) -> None:
    if not check.cancelled():
        check.exception()
