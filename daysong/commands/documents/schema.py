"""`daysong schema`: every table as Markdown (docs/SCHEMA.md), from the catalog of a database that is migrated."""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import asyncpg

from daysong.embedded import server as embedded
from daysong.features.users import owned_tables
from daysong.kernel.database.migrations import migrate

HEAD = """# Schema

Written by `daysong schema > docs/SCHEMA.md`; a test fails when it is out of date. The source is
`daysong/migrations/`, which also has the functions and the reasons for indexes.

`null` marks columns that may be null. Ids are text that shows its kind (`diary_…`) and sorts by time. Checks are shown
as PostgreSQL keeps them, without casts of constants. The migration runner's `schema_migrations`, the job queue's tables
(`pgqueuer…`) and the tables of the functions for testing clients are left out.
"""

# The tables in the order of this document. One that is not named here comes last, under OTHERS.
SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "Accounts and tombstones": ("users", "tombstones"),
    "Subscriptions, purchases and the ledger": (
        "subscriptions", "subscription_log", "revenuecat_ids", "parked_customers", "reconciliation_runs",
        "usage_charges", "usage_refunds", "usage_grants", "mailbox_usage",
    ),
    "Diaries": ("diaries",),
    "Photos and videos of entries": ("diary_media", "diary_uploads"),
    "Memory": ("events", "people", "person_names", "tags", "event_people", "event_tags", "readings"),
    "Music and generations": ("generations", "files", "music"),
    "Music videos": ("music_videos",),
    "Sharing": ("shared_music", "share_viewers", "share_views"),
    "Library": ("user_songs",),
    "Phone calls": (
        "call_settings", "call_jobs", "call_lines", "call_plans", "call_days", "call_minutes", "mailbox_minutes",
        "call_sessions", "phone_numbers",
    ),
    "Feature flags": ("feature_flags", "feature_flag_accounts"),
    "Invitations": ("invitations", "invitation_attempts"),
    "Blog": ("blog_posts", "blog_slugs", "blog_revisions", "blog_viewers", "blog_views"),
    "Push notifications": ("push_tokens", "push_settings", "push_occasions", "push_deliveries"),
    "Imports": ("import_progress", "import_users", "import_files", "imported_ids", "imported_music"),
    "Webhooks inbox": ("webhook_events",),
    "Jobs": ("jobs",),
    "Backup and restore": ("holds", "removals"),
    "Replica": ("primary_timeline",),
    "Limits, costs and budgets": ("rate_limits", "vendor_costs", "budget_reservations", "budget_days"),
    "Answered mutations": ("answered_mutations",),
    "Operators": ("audit_log", "console_sessions"),
}  # fmt: skip
OTHERS = "Other tables"
UNIQUE = "unique "

TABLES_SQL = """
    select c.oid, c.relname as name, obj_description(c.oid, 'pg_class') as about, c.relpersistence = 'u' as unlogged,
           c.reloptions as options
    from pg_class c
    where c.relkind in ('r', 'p') and not c.relispartition and c.relnamespace = current_schema()::regnamespace
          and c.relname <> 'schema_migrations' and c.relname !~ '^(pgqueuer|testing_)'"""

COLUMNS_SQL = """
    select a.attname as name, format_type(a.atttypid, a.atttypmod) as type, not a.attnotnull as nullable,
           case when a.attidentity <> '' then 'identity'
                when a.attgenerated <> '' then 'generated'
                else pg_get_expr(d.adbin, d.adrelid) end as "default",
           case when a.attgenerated <> '' then pg_get_expr(d.adbin, d.adrelid) end as generated,
           col_description(a.attrelid, a.attnum) as about
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum"""

# Constraints that newer servers also list for `not null` are among the columns here.
CONSTRAINTS_SQL = """
    select conname as name, contype::text as kind, pg_get_constraintdef(oid, true) as definition
    from pg_constraint where conrelid = $1 and contype in ('p', 'f', 'u', 'c')
    order by array_position('{p,f,u,c}', contype::text), conname collate "C\""""

INDEXES_SQL = """
    select i.relname as name, pg_get_indexdef(x.indexrelid, 0, true) as definition
    from pg_index x join pg_class i on i.oid = x.indexrelid
    where x.indrelid = $1
          and not exists (select from pg_constraint where conindid = x.indexrelid and contype in ('p', 'u'))
    order by i.relname collate "C\""""

TRIGGERS_SQL = """
    select distinct p.proname::text as function from pg_trigger t join pg_proc p on p.oid = t.tgfoid
    where t.tgrelid = $1 and not t.tgisinternal order by 1"""

CAST = re.compile(r"('(?:[^']|'')*'|\d+\)?)::(?:text|integer|double precision|jsonb|timestamp with time zone)(?:\[\])?")
ONE_OF = re.compile(r"= ANY \(ARRAY\[([^\]]*)\]\)")
NONE_OF = re.compile(r"<> ALL \(ARRAY\[([^\]]*)\]\)")
KEYWORDS = re.compile(
    r"\b(PRIMARY KEY|FOREIGN KEY|REFERENCES|ON DELETE|SET NULL|CASCADE|UNIQUE|CHECK|AND|OR|NOT|IS|NULL|DESC|ASC|WHERE"
    r"|ANY|ALL|ARRAY|WITH|COALESCE|IN)\b"
)
TEXT = re.compile(r"('(?:[^']|'')*')")


def plain(sql: str) -> str:
    """Return SQL of the catalog as a person would write it: lower case, `in (…)`, constants without casts."""
    sql = NONE_OF.sub(r"not in (\1)", ONE_OF.sub(r"in (\1)", CAST.sub(r"\1", sql)))
    parts = TEXT.split(sql)
    parts[::2] = [KEYWORDS.sub(lambda word: word[0].lower(), part) for part in parts[::2]]
    return "".join(parts)


async def document(connection: asyncpg.Connection) -> str:
    """Return the tables of the database by subject. The same on every supported version of PostgreSQL."""
    tables = {row["name"]: row for row in await connection.fetch(TABLES_SQL)}
    erasure = _Erasure(json.loads(await connection.fetchval(f"select ({owned_tables.SCHEMA_SQL})::text")))
    named = {name for names in SUBJECTS.values() for name in names}
    subjects = {**SUBJECTS, OTHERS: tuple(sorted(tables.keys() - named))}
    parts = [HEAD]
    for subject, names in subjects.items():
        shown = [await _table(connection, tables[name], erasure) for name in names if name in tables]
        if shown:
            parts += [f"\n## {subject}\n", *shown]
    return "".join(parts)


class _Erasure:
    """What happens to a table's rows when an account is erased."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._owned = {table.name for table in owned_tables.tables(schema)}
        self._mentioning = {table.name for table in owned_tables.mentioning(schema)}

    def of(self, table: str, indexes: Iterable[str]) -> str:
        """One sentence."""
        if table == owned_tables.USERS:
            return "The account itself: its row is erased last."
        if table in self._owned:
            return "Erased with the account."
        if table in self._mentioning or any("mentioned(" in index for index in indexes):
            return "A row is erased with the first account that it mentions."
        return "Stays when an account is erased."


async def _table(connection: asyncpg.Connection, table: asyncpg.Record, erasure: _Erasure) -> str:
    columns = await connection.fetch(COLUMNS_SQL, table["oid"])
    constraints = await connection.fetch(CONSTRAINTS_SQL, table["oid"])
    indexes = {row["name"]: _index(row["definition"]) for row in await connection.fetch(INDEXES_SQL, table["oid"])}
    lines = [_constraint(row) for row in constraints]
    lines += [
        f"unique index `{name}`: `{definition.removeprefix(UNIQUE)}`"
        if definition.startswith(UNIQUE)
        else f"index `{name}`: `{definition}`"
        for name, definition in indexes.items()
    ]
    lines += [f"{row['name']} is generated: `{plain(row['generated'])}`" for row in columns if row["generated"]]
    lines += [
        f"changes notify subscribers: `{row['function']}`" for row in await connection.fetch(TRIGGERS_SQL, table["oid"])
    ]
    storage = [*(["unlogged"] if table["unlogged"] else []), *(table["options"] or ())]
    lines += [f"storage: {', '.join(storage)}"] if storage else []
    listed = "".join(f"- {line}\n" for line in lines)
    about = " ".join(filter(None, (table["about"], erasure.of(table["name"], indexes.values()))))
    return (
        f"\n### {table['name']}\n\n{about}\n" + (f"\n{_grid(columns)}" if columns else "") + (listed and f"\n{listed}")
    )


def _grid(columns: list[asyncpg.Record]) -> str:
    """A table that also reads well as text: all cells but the last are padded."""
    rows = [("column", "type", "null", "default", "about")]
    for column in columns:
        default = "" if column["default"] is None else plain(column["default"])
        type_ = column["type"].replace("timestamp with time zone", "timestamptz")
        rows.append((column["name"], type_, "null" if column["nullable"] else "", default, column["about"] or ""))
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    lines = [
        "| "
        + " | ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in [*widths, 5]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _constraint(row: asyncpg.Record) -> str:
    definition = plain(row["definition"])
    match row["kind"]:
        case "p" | "f":
            return re.sub(r"^(primary key|foreign key) (.*)$", r"\1 `\2`", definition)
        case "u":
            return f"unique `{row['name']}`: `{definition.removeprefix('unique ')}`"
    return f"check `{row['name']}`: `{definition.removeprefix('check ')}`"


def _index(definition: str) -> str:
    unique = UNIQUE if definition.startswith("CREATE UNIQUE") else ""
    return unique + plain(definition.partition(" USING ")[2]).removeprefix("btree ")


async def of_migrations() -> str:
    """Return the document for the migrations of this release, from an embedded database that exists meanwhile."""
    with tempfile.TemporaryDirectory(prefix="daysong-schema-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101, S103 - as root, the server's account has to walk through
        data_dir = Path(folder) / "data"
        server = await asyncio.to_thread(embedded.start, data_dir, fast=True)
        try:
            connection = await asyncpg.connect(server.url)
            try:
                await migrate(connection)
                return await document(connection)
            finally:
                await connection.close()
        finally:
            await asyncio.to_thread(server.stop)
            await asyncio.to_thread(embedded.remove, data_dir)
