"""Databases for tests: one server for all processes of a run, one database per process, emptied between tests.

The pytest main process creates a folder and passes its path to its workers in an environment variable. The first
process that needs the server starts it there; the folder is deleted when the run ends. Databases are cloned from one
that was migrated once.
"""

from __future__ import annotations

import asyncio
import graphlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg

from daysong.embedded import server as embedded
from daysong.embedded.home import exclusive
from daysong.kernel.database import migrations

FOLDER = "DAYSONG_PYTEST_FOLDER"
PREFIX = "daysong-pytest-"
TEMPLATE = "daysong_template"
TEST_FUNCTIONS = Path(__file__).parent / "conformance" / "schema.sql"  # the tables of test mode's functions
LEFT_BEHIND = 3600  # seconds after which an unused folder belongs to a killed run


def begin_run() -> None:
    """Create the run's folder, and delete folders of killed runs."""
    temporary = Path(tempfile.gettempdir())
    for folder in temporary.glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # of a run that has ended since
            there = folder.stat()
            if there.st_uid == os.geteuid() and there.st_mtime < time.time() - LEFT_BEHIND:
                _discard(folder)
    run = Path(tempfile.mkdtemp(prefix=PREFIX))
    run.chmod(0o711)  # as root, the server's account must be able to traverse it
    os.environ[FOLDER] = str(run)


def end_run() -> None:
    """Stop the run's server and delete its folder."""
    _discard(Path(os.environ.pop(FOLDER)))


def _discard(run: Path) -> None:
    if embedded.remove(run / "data"):
        shutil.rmtree(run, ignore_errors=True)


@contextmanager
def server() -> Iterator[embedded.EmbeddedPostgres]:
    """Return the run's server, started if necessary, without durability."""
    with embedded.start(Path(os.environ[FOLDER]) / "data", fast=True) as running:
        yield running


async def create_database(running: embedded.EmbeddedPostgres, name: str, *, migrated: bool, options: str = "") -> str:
    """Create a database of that name anew, and return its DSN: with our tables and no rows, or empty.

    `options` are further words of `create database`.
    """
    connection = await asyncpg.connect(running.url)
    try:
        if migrated:
            await _ensure_template(running, connection)
        await connection.execute(f'drop database if exists "{name}" with (force)')
        await connection.execute(f'create database "{name}" template {TEMPLATE if migrated else "template0"} {options}')
    finally:
        await connection.close()
    return embedded.database_url(running.home, name)


async def _ensure_template(running: embedded.EmbeddedPostgres, connection: asyncpg.Connection) -> None:
    with exclusive(running.data_dir / "template.lock"):
        if await connection.fetchval("select 1 from pg_database where datname = $1", TEMPLATE) is not None:
            return
        await connection.execute(f"drop database if exists {TEMPLATE}_fresh")
        await connection.execute(f"create database {TEMPLATE}_fresh")
        await _fill(embedded.database_url(running.home, f"{TEMPLATE}_fresh"))
        await connection.execute(f"alter database {TEMPLATE}_fresh rename to {TEMPLATE}")


async def _fill(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await migrations.migrate(connection)
        await connection.execute(TEST_FUNCTIONS.read_text(encoding="utf-8"))
    finally:
        await connection.close()


class OwnDatabase:
    """This process's database, and an open connection that empties it."""

    def __init__(self, running: embedded.EmbeddedPostgres, runner: asyncio.Runner) -> None:
        name = f"daysong_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
        self.url = runner.run(create_database(running, name, migrated=True))
        self._runner = runner
        self._connection = runner.run(asyncpg.connect(self.url))
        self._emptying = runner.run(_emptying(self._connection))

    def empty(self) -> None:
        """Delete every row."""
        self._runner.run(self._connection.execute(self._emptying))

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self._connection.close())


@contextmanager
def own_database(running: embedded.EmbeddedPostgres) -> Iterator[OwnDatabase]:
    """Yield a migrated database for this process alone."""
    with asyncio.Runner() as runner:
        database = OwnDatabase(running, runner)
        try:
            yield database
        finally:
            database.close()


async def empty(connection: asyncpg.Connection) -> None:
    """Delete every row of every table but the migrations'."""
    await connection.execute(await _emptying(connection))


async def _emptying(connection: asyncpg.Connection) -> str:
    """Return the statements that empty all tables.

    DELETE takes half a millisecond for our 15 tables, TRUNCATE 30 to 60: it makes new files for tables and indexes.
    """
    tables = await connection.fetch(
        """
        select table_name.oid::regclass::text as name,
               array(
                   select conrelid::regclass::text
                   from pg_constraint
                   where contype = 'f' and confrelid = table_name.oid and conrelid <> confrelid
                         and confdeltype in ('a', 'r')
               ) as first,
               exists (select from pg_trigger where tgrelid = table_name.oid and tgtype & 32 <> 0) as is_final
        from pg_class as table_name
        where relkind in ('r', 'p') and not relispartition and relnamespace = current_schema()::regnamespace
              and relname <> $1
        order by name
        """,
        migrations.TABLE,
    )
    # Rows whose foreign key blocks a deletion are deleted first; rows that cascade may follow in any order.
    order = graphlib.TopologicalSorter({table["name"]: table["first"] for table in tables}).static_order()
    final = {table["name"] for table in tables if table["is_final"]}
    deletions = (_deleting_final(table) if table in final else f"delete from {table};" for table in order)  # noqa: S608 - names from the catalog
    return "set local lock_timeout = '10s'; set local daysong.unrecorded = 'on';" + "".join(deletions)


def _deleting_final(table: str) -> str:
    """Return the statement that deletes the rows of a table whose triggers refuse it."""
    return f"""
        do $$ begin if exists (select from {table}) then
            alter table {table} disable trigger user; delete from {table}; alter table {table} enable trigger user;
        end if; end $$;"""  # noqa: S608 - a name from the catalog
