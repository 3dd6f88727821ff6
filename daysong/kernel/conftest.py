"""A kernel on a real database for its tests: small modules, a movable clock, two tables to write to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec
import pytest

from daysong.kernel.database.transactions import Database
from daysong.kernel.functions.context import SYSTEM, Caller
from daysong.kernel.functions.declarations import Handler, NoArgs
from daysong.kernel.functions.registry import Module, Registry
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.queue import Cron, Job, Queue
from daysong.kernel.jobs.worker import Worker
from daysong.kernel.settings import Settings, load
from daysong.kernel.time.clock import Clock, MovableClock

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PATIENCE = 20  # seconds a test waits for what must happen

TABLES = """
create table tally (name text primary key, count integer not null);
create table notes (id bigint generated always as identity primary key, text text not null);
"""


def settings() -> Settings:
    """Return minimal valid settings."""
    return load(
        {
            "SITE_URL": "https://daysong.test",
            "DAYSONG_ADMIN_KEY": "an-admin-key-for-tests",
            "DAYSONG_HASH_KEY": "a-hash-key-for-tests",
            "OPENAI_API_KEY": "none",
            "SUNO_API_KEY": "none",
            "CLERK_FRONTEND_API_URL": "https://clerk.daysong.test",
        }
    )


class Kernel:
    """A whole kernel, with shortcuts for calls and queries."""

    def __init__(
        self,
        url: str,
        *modules: Module,
        clock: Clock | None = None,
        services: Mapping[type, Any] | None = None,
        max_connections: int = 20,
    ) -> None:
        self.url = url
        self.clock = MovableClock(NOW)
        self.registry = Registry(modules)
        self.database = Database(url, max_connections=max_connections)
        self.queue = Queue(self.registry, self.database)
        self.runtime = Runtime(
            settings=settings(),
            registry=self.registry,
            database=self.database,
            queue=self.queue,
            clock=clock or self.clock,
            services=services or {},
        )

    def worker(self, *timetable: Cron, **options: Any) -> Worker:
        """Return a worker of this kernel."""
        return Worker(self.runtime, timetable, **options)

    async def call(self, handler: Handler, args: msgspec.Struct | None = None, *, caller: Caller = SYSTEM) -> Any:
        """Call a function as its transport would."""
        return await self.runtime.call(self.registry.of(handler), args or NoArgs(), caller)

    async def drain(self, *timetable: Cron, until: datetime | None = None) -> int:
        """Run due jobs, and with `until` the crons before it; moves the clock."""
        return await self.worker(*timetable).drain(until=until, clock=self.clock)

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """Return committed rows."""
        return await self.database.pool.fetch(sql, *args)  # type: ignore[no-any-return]

    async def value(self, sql: str, *args: Any) -> Any:
        """Return one committed value."""
        return await self.database.pool.fetchval(sql, *args)

    async def notes(self) -> list[str]:
        """Return the texts of the table `notes`, in order."""
        return [row["text"] for row in await self.fetch("select text from notes order by id")]

    async def job(self) -> asyncpg.Record:
        """Return the only job."""
        (row,) = await self.fetch("select * from jobs")
        return row

    async def ticket(self) -> str:
        """Return the payload of the only job's queue row."""
        return str(await self.value("select id || ':' || ticket from jobs"))

    async def claim(self) -> Job:
        """Claim the only job, as a worker does with its queue row."""
        job = await self.queue.claim(await self.ticket(), self.clock.now())
        assert job is not None
        return job

    async def until(self, sql: str, *args: Any) -> None:
        """Wait until a statement returns true, at most PATIENCE seconds."""
        await until(lambda: self.value(sql, *args))


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait until a condition holds, at most PATIENCE seconds."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.02)


MakeKernel = Callable[..., Awaitable[Kernel]]


@pytest.fixture
async def make_kernel(anyio_backend: str, database_url: str) -> AsyncIterator[MakeKernel]:
    """Build a kernel of some modules: `await make_kernel(module)`; options go to Kernel. All share one database."""
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(database_url)
        stack.push_async_callback(connection.close)
        await connection.execute("drop table if exists tally, notes;" + TABLES)
        stack.push_async_callback(connection.execute, "drop table tally, notes")

        async def make(*modules: Module, **options: Any) -> Kernel:
            kernel = Kernel(database_url, *modules, **options)
            await kernel.database.open()
            stack.push_async_callback(kernel.database.close)
            return kernel

        yield make
