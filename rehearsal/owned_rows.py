"""Insert rows of a user into every table, as the schema says, and search all tables for traces of a user."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from daysong.features.sharing.rules import new_share_id
from daysong.features.users import owned_tables

_numbers = itertools.count(1)

# Columns whose values the type alone does not determine.
FITTING: Mapping[tuple[str, str], Callable[[], Any]] = {
    ("generations", "status"): lambda: "canceled",
    ("music", "status"): lambda: "ready",
    ("music_videos", "status"): lambda: "canceled",
    ("readings", "kind"): lambda: "entry",
    ("shared_music", "share_id"): new_share_id,
    ("call_settings", "phone_e164"): lambda: f"+1202555{next(_numbers):04}",
    ("call_settings", "cadence"): lambda: "daily",
    ("feature_flag_accounts", "flag_key"): lambda: "event-extraction",
    ("call_sessions", "direction"): lambda: "outbound",
    ("call_sessions", "state"): lambda: "completed",
    ("user_songs", "ownership_type"): lambda: "shared",
    ("push_tokens", "platform"): lambda: "ios",
    ("push_occasions", "kind"): lambda: "music_ready",
    ("push_deliveries", "state"): lambda: "failed",
}
MOMENT = datetime(2026, 11, 1, tzinfo=UTC)

COLUMNS_SQL = """
    select attname as name, atttypid::regtype::text as type,
           attnotnull and not atthasdef and attidentity = '' as needed,
           exists (select from pg_index where indrelid = attrelid and indisunique and indnkeyatts = 1
                   and indkey[0] = attnum) as is_unique
    from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped and attgenerated = ''
    order by attnum"""


async def schema(db: asyncpg.Pool) -> Any:
    """Return each table with its columns and their types, from the catalog."""
    return await db.fetchval(owned_tables.SCHEMA_SQL)


async def fill_every_table(db: asyncpg.Pool, user_id: str) -> dict[str, dict[str, Any]]:
    """Insert a row of the user into each table that has a user id; return the rows by table."""
    found = await schema(db)
    keys = owned_tables.foreign_keys(found)
    rows: dict[str, dict[str, Any]] = {
        "users": dict(await db.fetchrow("select * from users where id = $1", user_id) or {})
    }
    for table in reversed(owned_tables.tables(found)):
        wanted: dict[str, Any] = {}
        for column in await db.fetch(COLUMNS_SQL, table.name):
            name = column["name"]
            reference = next((key for key in keys if key.child == table.name and name in key.columns), None)
            if reference is not None and reference.parent in rows:
                wanted[name] = rows[reference.parent][reference.targets[reference.columns.index(name)]]
            elif (table.name, name) in FITTING:
                wanted[name] = FITTING[table.name, name]()
            elif reference is None and (column["needed"] or column["is_unique"]):
                wanted[name] = _value(column["type"], name)
        rows[table.name] = await _insert(db, table.name, wanted)
    return rows


def _value(kind: str, name: str) -> Any:
    number = next(_numbers)
    values: dict[str, Any] = {
        "text": f"{name} {number}.",  # the dot keeps the first from being found in the tenth
        "text[]": [f"{name} {number}."],
        "integer": number,
        "smallint": number % 127 + 1,
        "bigint": number,
        "double precision": float(number),
        "boolean": False,
        "timestamp with time zone": MOMENT,
        "date": MOMENT.date(),
        "jsonb": {},
        "bytea": str(number).encode(),
        "uuid": UUID(int=number),
    }
    assert kind in values, f"{name} is of the type {kind}: add an example of one here"
    return values[kind]


async def _insert(db: asyncpg.Pool, table: str, wanted: dict[str, Any]) -> dict[str, Any]:
    names = ", ".join(f'"{name}"' for name in wanted)
    places = ", ".join(f"${place}" for place in range(1, len(wanted) + 1))
    known = await db.fetchrow(
        f"insert into {table} ({names}) values ({places}) on conflict do nothing returning *",  # noqa: S608 - from the catalog
        *wanted.values(),
    )
    if known is None:
        # A table with one row for each user has that row already.
        known = await db.fetchrow(f"select * from {table} where user_id = $1", wanted["user_id"])  # noqa: S608
    assert known is not None, table
    return dict(known)


async def traces(db: asyncpg.Pool, needles: Iterable[str]) -> dict[str, int]:
    """Return the tables in which any of these texts stands, in any case, with the number of rows."""
    tables = await db.fetch(
        """select quote_ident(relname) as name from pg_class
           where relkind in ('r', 'p') and relnamespace = current_schema()::regnamespace
                 and relname <> 'schema_migrations' order by 1"""
    )
    found = {}
    for table in tables:
        # Not by a pattern, in which _ stands for any character: ids of jobs may contain `gen` and another letter.
        sql = f"""select count(*) from {table["name"]} t
                  where exists (select from unnest($1::text[]) n where strpos(lower(t::text), lower(n)) > 0)"""  # noqa: S608 - from the catalog
        count = await db.fetchval(sql, list(needles))
        if count:
            found[table["name"]] = count
    return found
