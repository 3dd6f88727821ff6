"""The statements that are sent to PostgreSQL, each of which is a round trip."""

from __future__ import annotations

from typing import Any

import pytest

from daysong.kernel.database.connections import Connection


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
