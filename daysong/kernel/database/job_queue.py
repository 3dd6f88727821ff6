"""The statements of pgqueuer, the job queue library.

Importing it takes 0.2 seconds, so it is loaded on first use; `App.open` does that in a thread.
"""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING

import asyncpg

# The end of a statement whose CTE `job` has the job's `id` if a job was inserted: what the library's `enqueue` writes
# for one, in the same round trip. $1 the queue row's payload and dedupe key, $2 its entrypoint, $3 its delay.
# test_queue.py compares it with the library's.
ENQUEUE_JOB = """
    queued as (
        insert into pgqueuer (priority, entrypoint, payload, execute_after, dedupe_key, headers, status)
        select 0, $2::text, convert_to($1::text, 'UTF8'), now() + $3::interval, $1::text, 'null', 'queued' from job
        returning id, entrypoint, priority)
    insert into pgqueuer_log (job_id, status, entrypoint, priority)
    select id, 'queued', entrypoint, priority from queued returning true"""

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.queries import Queries


_loading = threading.Lock()


def load() -> None:
    """Import pgqueuer, if it is not imported yet; before any other import of it.

    One thread at a time: its modules import each other in circles, which fails when two threads begin at two ends.
    """
    with _loading:
        importlib.import_module("pgqueuer.adapters.persistence.queries")


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
