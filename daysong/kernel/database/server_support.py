"""Checks that the PostgreSQL server is supported: version 14 or newer, encoding UTF8."""

from __future__ import annotations

import asyncpg

from daysong.kernel.errors import DaysongError

OLDEST_VERSION = 14
ENCODING = "UTF8"


class UnsupportedDatabase(DaysongError):
    """The server is too old, or the database has the wrong encoding; the message says which, and what to do."""


def objection(version: int, encoding: str) -> str | None:
    """Return why a database cannot be used, given its server's major version and its encoding; None when it can."""
    if version < OLDEST_VERSION:
        return f"This server is PostgreSQL {version}. daysong needs {OLDEST_VERSION} or newer: upgrade the server."
    if encoding != ENCODING:
        return (
            f"This database has the encoding {encoding}. daysong needs {ENCODING}: "
            f"make one with `create database daysong template template0 encoding '{ENCODING}'`."
        )
    return None


async def require_supported(connection: asyncpg.Connection) -> None:
    """Raise UnsupportedDatabase unless daysong can run on this connection's database."""
    row = await connection.fetchrow(
        """select current_setting('server_version_num')::int / 10000 as version,
                  pg_encoding_to_char(encoding) as encoding
           from pg_database where datname = current_database()"""
    )
    why = objection(row["version"], row["encoding"])
    if why is not None:
        raise UnsupportedDatabase(why)
