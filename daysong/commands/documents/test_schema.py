"""docs/SCHEMA.md: true, complete and readable."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from daysong.commands.documents.schema import OTHERS, document, plain
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database.migrations import migrate
from rehearsal.databases import create_database
from rehearsal.world import World

pytestmark = pytest.mark.anyio

DOCUMENT = Path(__file__).parents[3] / "docs" / "SCHEMA.md"


async def test_the_document_is_what_the_migrations_make(database_server: EmbeddedPostgres, worker_id: str) -> None:
    """If this fails: `daysong schema > docs/SCHEMA.md`."""
    url = await create_database(database_server, f"described_{worker_id}", migrated=False)
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        found = await document(connection)
        bare = await connection.fetch(
            """select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
               and relname !~ '^pgqueuer' and relname <> 'schema_migrations' and obj_description(oid) is null"""
        )
    finally:
        await connection.close()
    assert DOCUMENT.read_text(encoding="utf-8") == found, "run: daysong schema > docs/SCHEMA.md"
    assert f"## {OTHERS}" not in found, "name the new table in SUBJECTS of commands/documents/schema.py"
    assert [row["relname"] for row in bare] == [], "`comment on table` says what a table is for"


async def test_constraints_of_several_columns_are_named_for_what_holds(world: World) -> None:
    """PostgreSQL's own names for these (call_jobs_check2) tell nothing when one is violated."""
    unnamed = await world.db.pool.fetch(
        """select conname from pg_constraint
           where contype = 'c' and conname ~ ('^' || conrelid::regclass || '_check[0-9]*$')"""
    )
    assert [row["conname"] for row in unnamed] == []


async def test_no_index_is_the_beginning_of_another(world: World) -> None:
    """Each index costs every write; one whose columns another begins with finds nothing that the other does not."""
    redundant = await world.db.pool.fetch(
        """select shorter.indexrelid::regclass::text as name
           from pg_index shorter join pg_index longer using (indrelid)
           join pg_class a on a.oid = shorter.indexrelid join pg_class b on b.oid = longer.indexrelid
           where a.oid <> b.oid and a.relam = b.relam and a.relname !~ '^pgqueuer'
             and shorter.indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
             and num_nonnulls(shorter.indpred, shorter.indexprs, longer.indpred, longer.indexprs) = 0
             and not shorter.indisunique and longer.indkey::text || ' ' like shorter.indkey::text || ' %'"""
    )
    assert [row["name"] for row in redundant] == []


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("CHECK (status = ANY (ARRAY['done'::text, 'it''s AND'::text]))", "check (status in ('done', 'it''s AND'))"),
        ("CHECK (status <> ALL (ARRAY['a'::text]) OR n IS NULL)", "check (status not in ('a') or n is null)"),
        ("FOREIGN KEY (a) REFERENCES b(id) ON DELETE SET NULL", "foreign key (a) references b(id) on delete set null"),
        ("CHECK (x >= 0::double precision)", "check (x >= 0)"),
    ],
)
def test_sql_is_shown_as_people_write_it(kept: str, shown: str) -> None:
    """Keywords in lower case, lists, no casts of constants; text constants stay as they are."""
    assert plain(kept) == shown
