"""The statements that are sent to PostgreSQL, each of which is a round trip, and those that wait for a lock."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from daysong.kernel.database.connections import Connection
from daysong.kernel.database.transactions import Statement


def sent_statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the text of each statement is added when it is sent."""
    sent: list[str] = []
    simple, prepared = Connection.execute, Connection._execute  # noqa: SLF001 - of asyncpg

    async def execute(connection: Any, sql: str, *args: Any, **options: Any) -> Any:
        if not args:
            sent.append(sql)
        return await simple(connection, sql, *args, **options)

    async def execute_prepared(connection: Any, sql: str, *args: Any, **options: Any) -> Any:
        sent.append(sql)
        return await prepared(connection, sql, *args, **options)

    monkeypatch.setattr(Connection, "execute", execute)
    monkeypatch.setattr(Connection, "_execute", execute_prepared)
    return sent


async def until_waiting(pool: asyncpg.Pool, count: int = 1) -> None:
    """Return once that many statements of the database wait for a lock."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    while await pool.fetchval(waiting) < count:
        await asyncio.sleep(0)


async def sent_twice(pool: asyncpg.Pool, statement: Statement) -> list[asyncpg.Record | None]:
    """Return what two runs of a statement return that wait for its account's lock: the connection of one was lost."""
    async with pool.acquire() as other:
        await other.execute("begin; update users set updated_at = now()")
        sent = [asyncio.create_task(pool.fetchrow(statement.sql, *statement.args)) for _ in range(2)]
        await until_waiting(pool, 2)
        await other.execute("commit")
    rows: list[asyncpg.Record | None] = await asyncio.gather(*sent)
    return rows
