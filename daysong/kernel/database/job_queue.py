"""The statements of pgqueuer, the job queue library.

Importing it and pydantic takes 0.2 seconds and 11 MB, so only processes that work or migrate do it.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING

import asyncpg

# The end of a statement whose CTE `job` has a row if a job was inserted: what the library's `enqueue` writes, but for
# its log, in the same round trip. $1 the queue row's payload and dedupe key, $2 its entrypoint, $3 its delay.
# test_queue.py compares it with the library's.
ENQUEUE_JOB = """
    insert into pgqueuer (priority, entrypoint, payload, execute_after, dedupe_key, headers, status)
    select 0, $2::text, convert_to($1::text, 'UTF8'), now() + $3::interval, $1::text, 'null', 'queued' from job
    returning true"""

# The library logs each step of a job in a table with five indexes, and has no setting for it. Only tracebacks are of
# use. The rows of enqueuing stay, since the release before returns them.
_LOG_LESS_SQL = """
    create or replace function skip_queue_log() returns trigger language plpgsql as
    $$
    begin
        return null;
    end
    $$;
    create trigger skip_queue_log before insert on pgqueuer_log
        for each row when (new.traceback is null and new.status <> 'queued') execute function skip_queue_log()"""

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.queries import Queries


_loading = threading.Lock()
_loaded = threading.Event()


def load() -> None:
    """Import pgqueuer, if it is not imported yet; before any other import of it.

    One thread at a time: its modules import each other in circles, which fails when two threads begin at two ends.
    """
    with _loading:
        importlib.import_module("pgqueuer.adapters.persistence.queries")
        _loaded.set()


async def load_aside() -> None:
    """Do so in a thread, so that an event loop goes on."""
    if not _loaded.is_set():
        await asyncio.to_thread(load)


def _mark() -> str:
    return f"tables of pgqueuer {version('pgqueuer')}"


async def mark_current(connection: asyncpg.Connection) -> None:
    """Record at its table that the queue's schema is the one of the installed library."""
    if not await is_marked_current(connection):
        await connection.execute(f"comment on table pgqueuer is '{_mark()}'")


async def is_marked_current(connection: asyncpg.Connection) -> bool:
    """Return whether it is recorded; if not, only the library knows."""
    found = await connection.fetchval("select obj_description(to_regclass('pgqueuer'), 'pg_class')")
    return bool(found == _mark())


async def log_less(connection: asyncpg.Connection) -> None:
    """Keep the library from logging what no one reads: a third of the rows that a job writes."""
    there = "select true from pg_trigger where tgrelid = 'pgqueuer_log'::regclass and tgname = 'skip_queue_log'"
    if not await connection.fetchval(there):
        await connection.execute(_LOG_LESS_SQL)


def queries_on(connection: asyncpg.Connection) -> Queries:
    """Return the queue's statements on a connection."""
    load()
    from pgqueuer.adapters.persistence.queries import Queries  # noqa: PLC0415 - slow to import

    return Queries.from_asyncpg_connection(connection)


def queries_on_pool(pool: asyncpg.Pool) -> Queries:
    """Return the queue's statements on connections of a pool."""
    load()
    from pgqueuer.adapters.persistence.queries import Queries  # noqa: PLC0415 - slow to import

    return Queries.from_asyncpg_pool(pool)
