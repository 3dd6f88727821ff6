"""The statements of pgqueuer, the job queue library.

Importing it takes 0.2 seconds, so it is loaded on first use; `App.open` does that in a thread.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.queries import Queries


def load() -> None:
    """Import pgqueuer, if it is not imported yet."""
    importlib.import_module("pgqueuer.adapters.persistence.queries")


def queries_on(connection: asyncpg.Connection) -> Queries:
    """Return the queue's statements on a connection."""
    from pgqueuer.adapters.persistence.queries import Queries  # noqa: PLC0415 - slow to import

    return Queries.from_asyncpg_connection(connection)


def queries_on_pool(pool: asyncpg.Pool) -> Queries:
    """Return the queue's statements on connections of a pool."""
    from pgqueuer.adapters.persistence.queries import Queries  # noqa: PLC0415 - slow to import

    return Queries.from_asyncpg_pool(pool)
