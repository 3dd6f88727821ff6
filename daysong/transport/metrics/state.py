"""Gauges of what the database holds: the queue, crons, open work, costs, sizes.

Any process has them, and each has the same, so over several instances they are combined by `max`. The statements read
partial indexes of open rows; they run when metrics are requested, at most every ten seconds, and those of sizes every
ten minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import version
from typing import Any

import asyncpg
from prometheus_client.core import GaugeMetricFamily

from daysong.kernel import logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.queue import Cron
from daysong.kernel.parts import PARTS

FRESH_FOR = 10.0  # seconds
SIZES_FRESH_FOR = 600.0
PATIENCE = 3.0  # seconds for all statements; those of sizes get as much again

_JOBS_SQL = """
    select function, count(*) filter (where status = 'queued' and due_at <= $1) as due,
           count(*) filter (where status = 'queued' and due_at > $1) as scheduled,
           count(*) filter (where status = 'running') as running,
           coalesce(extract(epoch from $1 - min(due_at) filter (where status = 'queued' and due_at <= $1)), 0) as oldest
    from jobs where finished_at is null group by function"""
_DEAD_SQL = (
    "select function, count(*) as dead from jobs where status = 'dead' and last_error is not null group by function"
)
# The newest run of each cron that is done: its key is `name@tick`, so one index entry is read.
_CRONS_SQL = """
    select c.name, last.due_at
    from unnest($1::text[]) as c (name)
    left join lateral (
        select j.due_at from jobs j
        where j.unique_key >= c.name || '@' and j.unique_key < c.name || 'A' and j.status = 'done'
          and j.unique_key like c.name || '@%'
        order by j.unique_key desc limit 1) last on true"""
# What is under way, by status, with the age of the oldest.
_OPEN_SQL = """
    select 'song' as kind, status, count(*) as count, min(created_at) as oldest from generations
    where status in ('queued', 'writing', 'composing') group by status
    union all
    select 'video', status, count(*), min(created_at) from music_videos
    where status in ('queued', 'writing', 'rendering') group by status
    union all
    select 'call', 'queued', count(*), min(scheduled_for) from call_jobs where status = 'queued' and asked_at is null
    union all
    select 'call', 'unreported', count(*), min(asked_at) from call_jobs
    where asked_at is not null and reported_at is null
    union all
    select 'erasure', 'open', count(*), min(deleted_at) from users where deleted_at is not null"""
_WEBHOOKS_SQL = """
    select vendor, count(*) as count, min(received_at) as oldest from webhook_events
    where handled_at is null group by vendor"""
_COSTS_SQL = "select vendor, amount from budget_days where day = $1"
_CONNECTIONS_SQL = """
    select count(*) as used, current_setting('max_connections')::int as most from pg_stat_activity
    where backend_type = 'client backend'"""
_TABLES_SQL = """
    select relname as name, pg_total_relation_size(oid) as bytes, greatest(reltuples, 0)::bigint as rows from pg_class
    where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p')"""
_FILES_SQL = """
    select split_part(content_type, '/', 1) as kind, count(*) as files, coalesce(sum(size), 0)::bigint as bytes
    from files group by 1"""

# Name, meaning and labels of each.
GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "daysong_info": ("1, with the version of this process", ("version",)),
    "daysong_part_on": ("Whether a part is on", ("part",)),
    "daysong_sandbox_on": ("1 while vendors are played by the sandbox in production", ()),
    "daysong_database_up": ("Whether the database has answered", ()),
    "daysong_queue_jobs": ("Jobs by state: due, scheduled for later, running, dead", ("function", "state")),
    "daysong_queue_oldest_seconds": ("How long the oldest job has been due", ("function",)),
    "daysong_cron_lag_seconds": (
        "How long the next run of a cron has been due: after the last that is done, or since this process began",
        ("cron",),
    ),
    "daysong_open": ("Songs, videos, calls and erasures under way, by status", ("kind", "status")),
    "daysong_open_oldest_seconds": ("Age of the oldest of them", ("kind", "status")),
    "daysong_webhooks_unhandled": ("Stored events that are not handled", ("vendor",)),
    "daysong_webhooks_oldest_seconds": ("Age of the oldest of them", ("vendor",)),
    "daysong_cost_today_dollars": ("Costs and reservations of the day (UTC), by vendor and in all", ("vendor",)),
    "daysong_cost_cap_dollars": ("Daily caps of costs", ("vendor",)),
    "daysong_database_connections": ("Connections of clients to PostgreSQL, and the most it allows", ("what",)),
    "daysong_table_bytes": ("Size of a table with its indexes", ("table",)),
    "daysong_table_rows": ("Rows of a table, as estimated", ("table",)),
    "daysong_storage_bytes": ("Bytes of stored files", ("kind",)),
    "daysong_storage_files": ("Stored files", ("kind",)),
}

log = logs.get_logger("metrics")


# Reading the package's metadata takes five milliseconds, which tests with an app each would notice.
_version = cache(version)


class State:
    """Reads these gauges; see `families`."""

    def __init__(self, runtime: Runtime, timetable: Sequence[Cron]) -> None:
        self._runtime = runtime
        self._timetable = timetable
        self._families: list[GaugeMetricFamily] = []
        self._sizes: list[GaugeMetricFamily] = []
        self._read_at = self._sizes_read_at = float("-inf")
        self._reading = asyncio.Lock()
        self._began = runtime.clock.now()
        settings = runtime.settings
        info = gauge("daysong_info")
        info.add_metric([_version("daysong")], 1)
        parts = gauge("daysong_part_on")
        for part in PARTS:
            parts.add_metric([part], settings.offers(part))
        sandbox = gauge("daysong_sandbox_on")
        sandbox.add_metric([], settings.sandboxed)
        self._constant = [info, parts, sandbox]

    async def families(self) -> list[GaugeMetricFamily]:
        """Return the gauges; without the database only those that need none, and `daysong_database_up` 0."""
        async with self._reading:
            now = time.monotonic()
            if now - self._read_at > FRESH_FOR:
                self._families = await self._read(sizes=now - self._sizes_read_at > SIZES_FRESH_FOR)
                self._read_at = time.monotonic()
        return [*self._constant, *self._families]

    async def _read(self, *, sizes: bool) -> list[GaugeMetricFamily]:
        up = gauge("daysong_database_up")
        try:
            async with asyncio.timeout(PATIENCE), self._runtime.database.pool.acquire(timeout=PATIENCE) as connection:
                found = await self._read_open(connection)
            up.add_metric([], 1)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("state not read", error=logs.describe(error))
            up.add_metric([], 0)
            return [up]
        if sizes:
            await self._read_sizes()
        return [up, *found, *self._sizes]

    async def _read_open(self, db: Any) -> list[GaugeMetricFamily]:
        now = self._runtime.clock.now()
        jobs, dead = await db.fetch(_JOBS_SQL, now), await db.fetch(_DEAD_SQL)
        names = [cron.name for cron in self._timetable]
        crons = await db.fetch(_CRONS_SQL, names)
        under_way, webhooks = await db.fetch(_OPEN_SQL), await db.fetch(_WEBHOOKS_SQL)
        costs = await db.fetch(_COSTS_SQL, now.date())
        connections = await db.fetchrow(_CONNECTIONS_SQL)
        return [
            gauge(
                "daysong_queue_jobs",
                [
                    *(
                        ((row["function"], state), row[state])
                        for row in jobs
                        for state in ("due", "scheduled", "running")
                    ),
                    *(((row["function"], "dead"), row["dead"]) for row in dead),
                ],
            ),
            gauge(
                "daysong_queue_oldest_seconds",
                [((row["function"],), float(row["oldest"])) for row in jobs],
            ),
            gauge(
                "daysong_cron_lag_seconds",
                self._lags({row["name"]: row["due_at"] for row in crons}, now),
            ),
            gauge(
                "daysong_open",
                [((row["kind"], row["status"]), row["count"]) for row in under_way],
            ),
            gauge(
                "daysong_open_oldest_seconds",
                [((row["kind"], row["status"]), _age(row["oldest"], now)) for row in under_way],
            ),
            gauge(
                "daysong_webhooks_unhandled",
                [((row["vendor"],), row["count"]) for row in webhooks],
            ),
            gauge(
                "daysong_webhooks_oldest_seconds",
                [((row["vendor"],), _age(row["oldest"], now)) for row in webhooks],
            ),
            gauge(
                "daysong_cost_today_dollars",
                [((row["vendor"],), row["amount"] / 1e6) for row in costs],
            ),
            gauge(
                "daysong_cost_cap_dollars",
                [((vendor,), cap / 1e6) for vendor, cap in self._runtime.settings.costs.caps.items()],
            ),
            gauge(
                "daysong_database_connections",
                [(("used",), connections["used"]), (("most",), connections["most"])],
            ),
        ]

    def _lags(self, done: dict[str, datetime | None], now: datetime) -> list[tuple[tuple[str, ...], float]]:
        lags: list[tuple[tuple[str, ...], float]] = []
        for cron in self._timetable:
            # One that was never done, or so long ago that its job is deleted, is due since this process began.
            last = done.get(cron.name) or self._began
            lags.append(((cron.name,), max(0.0, (now - cron.next_tick(last)).total_seconds())))
        return lags

    async def _read_sizes(self) -> None:
        """Read sizes, which takes longer on large databases; on failure the former ones stay."""
        try:
            async with asyncio.timeout(PATIENCE):
                tables = await self._runtime.database.pool.fetch(_TABLES_SQL)
                files = await self._runtime.read("sizes", lambda db: db.fetch(_FILES_SQL), may_lag=True)
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DaysongError) as error:
            log.warning("sizes not read", error=logs.describe(error))
            return
        finally:
            self._sizes_read_at = time.monotonic()
        named = [((row["name"],), row) for row in tables]
        kinds = [((row["kind"],), row) for row in files]
        self._sizes = [
            gauge("daysong_table_bytes", _column(named, "bytes")),
            gauge("daysong_table_rows", _column(named, "rows")),
            gauge("daysong_storage_bytes", _column(kinds, "bytes")),
            gauge("daysong_storage_files", _column(kinds, "files")),
        ]


def gauge(name: str, values: Iterable[tuple[tuple[str, ...], float]] = ()) -> GaugeMetricFamily:
    """Return a gauge with its values by labels."""
    what, labels = GAUGES[name]
    family = GaugeMetricFamily(name, what, labels=list(labels))
    for of, value in values:
        family.add_metric(list(of), value)
    return family


def _column(rows: Iterable[tuple[tuple[str, ...], asyncpg.Record]], name: str) -> list[tuple[tuple[str, ...], float]]:
    return [(labels, row[name]) for labels, row in rows]


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
