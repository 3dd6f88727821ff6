"""Whether this process is up, and whether it can serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
from litestar import get
from litestar.handlers import HTTPRouteHandler

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.runtime import Runtime
from daysong.transport.refusals import Refused

DATABASE_PATIENCE = 1.0
# The names of migrations that are not applied yet.
PendingMigrations = Callable[[], Awaitable[Sequence[str]]]

log = logs.get_logger("http")


def handlers(runtime: Runtime, pending_migrations: PendingMigrations | None) -> list[HTTPRouteHandler]:
    """/healthz: the process answers. /readyz: so does its database, whose schema is the one we were written for."""

    @get("/healthz", sync_to_thread=False)
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @get("/readyz")
    async def ready() -> dict[str, str]:
        try:
            async with asyncio.timeout(DATABASE_PATIENCE):
                await runtime.database.pool.fetchval("select 1")
                pending = await pending_migrations() if pending_migrations else ()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("not ready", error=logs.describe(error))
            raise Refused(503, "DatabaseUnavailable", "The database does not answer as it should.") from error
        if pending:
            raise Refused(503, "MigrationsPending", f"{len(pending)} migrations are not applied yet.")
        return {"status": "ready"}

    return [alive, ready]
