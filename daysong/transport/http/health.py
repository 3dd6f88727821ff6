"""Whether this process is up, and whether it can serve."""

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

PATIENCE = 0.9  # seconds; every request is answered within one
# The names of migrations that are not applied yet.
PendingMigrations = Callable[[], Awaitable[Sequence[str]]]

log = logs.get_logger("http")


def handlers(runtime: Runtime, pending_migrations: PendingMigrations | None) -> list[HTTPRouteHandler]:
    """/healthz: the process answers. /readyz: so does its database, may be written, and has our schema and our time."""
    readiness = _Readiness(runtime, pending_migrations)

    @get("/healthz", sync_to_thread=False)
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz")
    async def ready() -> dict[str, str]:
        try:
            pending = await readiness.ask()
        except ClockWrong as error:
            log.error("not ready", why=str(error))  # noqa: TRY400 - no error of a program
            raise Refused(503, "ClockWrong", "The clocks of this machine and of its database disagree.") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("not ready", error=logs.describe(error))
            raise Refused(503, "DatabaseUnavailable", "The database does not answer as it should.") from error
        if pending:
            raise Refused(503, "MigrationsPending", f"{len(pending)} migrations are not applied yet.")
        return {"status": "ready"}

    return [alive, ready]


class _Readiness:
    """Asks the database, one question at a time however many ask, and gives up on an answer that is late."""

    def __init__(self, runtime: Runtime, pending_migrations: PendingMigrations | None) -> None:
        self._runtime = runtime
        self._pending_migrations = pending_migrations
        self._asking: asyncio.Task[Sequence[str]] | None = None

    async def ask(self) -> Sequence[str]:
        """Return the migrations that are not applied yet; TimeoutError, or whatever the database fails by."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._look())
        # Not wait_for: a question to a dead connection does not end as soon as it is given up.
        done, _ = await asyncio.wait({self._asking}, timeout=PATIENCE)
        if not done:
            self._asking.add_done_callback(_ignore)
            raise TimeoutError
        return self._asking.result()

    async def _look(self) -> Sequence[str]:
        database = self._runtime.database
        async with database.pool.acquire(timeout=PATIENCE) as connection:
            read_only = await connection.fetchval(
                "select pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool", timeout=PATIENCE
            )
            await require_agreement(connection, self._runtime.clock)
        if read_only:
            # The connection may be an old one: the next question is put to a new one.
            await database.renew()
            raise DatabaseUnavailable("the database is read-only")
        return await self._pending_migrations() if self._pending_migrations else ()


def _ignore(asking: asyncio.Task[Sequence[str]]) -> None:
    if not asking.cancelled():
        asking.exception()
