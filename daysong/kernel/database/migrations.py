"""Schema migrations: numbered SQL files applied in order, then the job queue's own tables.

A file is sent to PostgreSQL whole, which splits it into statements. Its SHA-256 is stored when it is applied, so that a
later edit is detected. The rules for writing one are in migrations/README.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import asyncpg

from daysong.kernel import logs
from daysong.kernel.database import connections, job_queue
from daysong.kernel.database.server_support import require_supported
from daysong.kernel.errors import DaysongError

FOLDER = Path(__file__).parents[2] / "migrations"
TABLE = "schema_migrations"
JOB_QUEUE = "pgqueuer"
LOCK = 0x646179736F6E67  # "daysong" in ASCII; any unused number would do

LOCK_TIMEOUT = "2s"
ATTEMPTS = 60  # about five minutes
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

OR_BEGIN_ANEW = (
    "Where the database has nothing to keep, begin with an empty one instead: delete the data folder of `daysong dev` "
    "(`.daysong`), or create a new database."
)

T = TypeVar("T")

log = logs.get_logger("migrations")

NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
NOT_A_STATEMENT = re.compile(r"\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
OWN_TRANSACTION = re.compile(r"(?:^|;)\s*(begin|start\s+transaction|commit|rollback|abort)\b", re.IGNORECASE)


class MigrationError(DaysongError):
    """The schema cannot be migrated; the message names the file and the reason."""


class Migration(NamedTuple):
    """One SQL file. Its checksum does not depend on line endings."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


async def migrate(database: str | asyncpg.Connection, folder: Path = FOLDER) -> list[str]:
    """Apply pending migrations and return their names. Safe to run from several processes at once.

    The name `pgqueuer` stands for the job queue's own tables. Errors: UnsupportedDatabase, MigrationError.
    """
    migrations = read(folder)
    async with _connected(database) as connection, _alone(connection):
        await require_supported(connection)
        await connection.execute(
            f"""
            create table if not exists {TABLE} (
                name text primary key,
                checksum text not null,
                applied_at timestamptz not null default now()
            )
            """
        )
        waiting = _not_applied(migrations, await _applied(connection))
        for migration in waiting:
            await _patiently(connection, migration.name, lambda one=migration: _apply(connection, one))  # type: ignore[misc]
        names = [migration.name for migration in waiting]
        if await _patiently(connection, JOB_QUEUE, lambda: _prepare_job_queue(connection)):
            names.append(JOB_QUEUE)
    return names


async def pending(database: str | asyncpg.Connection, folder: Path = FOLDER) -> list[str]:
    """Return the names of pending migrations, without applying them. Errors: UnsupportedDatabase, MigrationError."""
    migrations = read(folder)
    async with _connected(database) as connection:
        await require_supported(connection)
        known = await connection.fetchval("select to_regclass($1) is not null", TABLE)
        names = [each.name for each in _not_applied(migrations, await _applied(connection) if known else {})]
        if not await job_queue.is_marked_current(connection):
            await job_queue.load_aside()
            if (await job_queue.queries_on(connection).plan_upgrade()).statements:
                names.append(JOB_QUEUE)
    return names


def read(folder: Path) -> list[Migration]:
    """Return the migrations in `folder`, in order. Errors: MigrationError."""
    migrations = []
    numbers: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        if not NAME.fullmatch(path.name):
            raise MigrationError(f"{path.name} is no name for a migration: NNNN_what_it_does.sql, in lower case.")
        twin = numbers.setdefault(path.name[:4], path.name)
        if twin != path.name:
            raise MigrationError(f"{twin} and {path.name} have the same number: one of them has to be renumbered.")
        text = path.read_text(encoding="utf-8")
        own = OWN_TRANSACTION.search(NOT_A_STATEMENT.sub(" ", text))
        if own:
            raise MigrationError(f"{path.name} says {own[1]}: each file is one transaction already.")
        migrations.append(Migration(path.name, text))
    return migrations


def _not_applied(migrations: list[Migration], applied: Mapping[str, str]) -> list[Migration]:
    newest = max(applied, default="")
    # Newer files than ours were applied by a newer release, as during a rollout; they are ignored.
    lost = sorted(set(applied) - {each.name for each in migrations})
    if lost and migrations and lost[0][:4] <= migrations[-1].name[:4]:
        raise MigrationError(
            f"{lost[0]} was applied to this database, and its file is gone. Restore it. {OR_BEGIN_ANEW}"
        )
    for migration in migrations:
        checksum = applied.get(migration.name)
        if checksum is None and migration.name < newest:
            raise MigrationError(
                f"{migration.name} comes before {newest}, already applied here: give it the next number."
            )
        if checksum not in {None, migration.checksum}:
            raise MigrationError(
                f"{migration.name} was changed after it had been applied here. Restore it, and write the change as "
                f"the next number. {OR_BEGIN_ANEW}"
            )
    return [migration for migration in migrations if migration.name not in applied]


async def _applied(connection: asyncpg.Connection) -> dict[str, str]:
    return {row["name"]: row["checksum"] for row in await connection.fetch(f"select name, checksum from {TABLE}")}  # noqa: S608 - a constant


async def _patiently(connection: asyncpg.Connection, name: str, step: Callable[[], Awaitable[T]]) -> T:
    """Run a step that needs locks, and retry it while it does not get them within LOCK_TIMEOUT.

    A session that waits for a table's lock blocks all later ones, so waiting behind one long query would block the
    whole table. Between two attempts the others proceed.
    """
    for attempt in range(ATTEMPTS):
        try:
            await connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
            return await step()
        except asyncpg.LockNotAvailableError:
            log.warning("migration waiting for a lock", name=name)
            await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1))  # noqa: S311
        finally:
            if not connection.is_closed():
                await connection.execute("reset lock_timeout")
    raise MigrationError(
        f"{name} did not get its locks within {LOCK_TIMEOUT} in {ATTEMPTS} tries, and nothing of it was kept: "
        f"look for a transaction that has been open for long (pg_stat_activity.xact_start), and try again."
    )


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.text)
            if not connection.is_in_transaction():
                raise MigrationError(f"{migration.name} ended its transaction, so what it did before that has stayed.")
            await connection.execute(
                f"insert into {TABLE} (name, checksum) values ($1, $2)",  # noqa: S608 - a constant
                migration.name,
                migration.checksum,
            )
    except asyncpg.LockNotAvailableError:
        raise
    except asyncpg.PostgresError as error:
        position = getattr(error, "position", None)
        line = f" on line {migration.text.count(chr(10), 0, int(position)) + 1}" if position else ""
        raise MigrationError(f"{migration.name} failed{line}, and nothing of it was kept: {error}") from error


async def _prepare_job_queue(connection: asyncpg.Connection) -> bool:
    queue = job_queue.queries_on(connection)
    is_new = not await queue.schema_is_installed()
    if is_new:
        await queue.install()
    changed = is_new or bool((await queue.apply_upgrade()).statements)
    await job_queue.log_less(connection)
    await job_queue.mark_current(connection)
    return changed


@asynccontextmanager
async def _connected(database: str | asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    if not isinstance(database, str):
        yield database
        return
    connection = await connections.connect(database, name="daysong migrate", command_timeout=None)
    try:
        await connection.execute("set statement_timeout = 0")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _alone(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """Hold a session-level advisory lock, so that one process migrates at a time."""
    # Polled: a session that waits inside PostgreSQL would block CREATE INDEX CONCURRENTLY, which waits for all others.
    while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
        await asyncio.sleep(0.1)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1)", LOCK)
