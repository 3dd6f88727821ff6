"""`daysong restore DIR`: a backup becomes the database, on hold until `daysong resume`.

The order makes it safe to be killed and to be run again. The sums are verified before anything is changed. Tables come
first, then the hold, then the rows: at no moment is there a database that a worker would work on without the hold. Then
the schema is brought up to date, files that the storage lacks are put back, and what was removed since the backup is
removed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import asyncpg
import msgspec

from daysong import app as composition
from daysong.app import App
from daysong.commands.backup import manifest, programs
from daysong.commands.backup.manifest import DATABASE, FILES, JOURNAL, Manifest
from daysong.kernel.database import migrations
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.keys import fingerprint
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import Clock, from_ms, to_ms
from daysong.vendors.storage import FileMissing
from daysong.workflows.recovery import journal, removing
from daysong.workflows.recovery.removing import Removals

RESTORE = ("--no-owner", "--no-privileges", "--exit-on-error")
# What was removed shortly before the snapshot may have committed after it.
MARGIN_MS = 60_000

Tell = Callable[[str], None]


class NotRestored(DaysongError):
    """The backup was not restored; the message says why and what to do."""


async def restore(
    settings: Settings, tell: Tell, folder: Path, *, replace: bool = False, clock: Clock | None = None
) -> dict[str, int]:
    """Restore a backup into the database of `settings`; return how many rows were removed again.

    The database must have no accounts, unless `replace` says to delete what it has. NotRestored, BackupInvalid,
    ProgramFailed.
    """
    found = manifest.read(folder)
    _check(found, settings)
    tell("verifying the sums")
    sums = await manifest.verify(folder, found)
    await _load(settings, folder, found, replace=replace)
    await migrations.migrate(settings.listen_url, migrations.FOLDER)
    tell(f"database    {found.rows['users']} accounts, as of {from_ms(found.snapshot_at):%Y-%m-%d %H:%M:%S} UTC")
    return await _finish(settings, tell, found.snapshot_at, clock, (folder, sums))


async def hold_recovered(settings: Settings, tell: Tell, moment: datetime) -> dict[str, int]:
    """Put a database on hold that PostgreSQL has recovered as of `moment`, and apply the journal since. NotRestored."""
    connection = await asyncpg.connect(settings.listen_url, server_settings={"application_name": "daysong restore"})
    try:
        await _require_unused(connection)
        await _hold(connection, moment)
    finally:
        await connection.close()
    await migrations.migrate(settings.listen_url, migrations.FOLDER)
    return await _finish(settings, tell, to_ms(moment), None, None)


async def _finish(
    settings: Settings, tell: Tell, snapshot_at: float, clock: Clock | None, source: tuple[Path, dict[str, str]] | None
) -> dict[str, int]:
    app = composition.build(settings, clock=clock)
    await app.open()
    try:
        if source is not None:
            tell(f"files       {await _put_files(app, *source)} put back")
        removed = await _remove_again(app, snapshot_at)
        # A session of an operator that was ended since would be valid again.
        await app.database.pool.execute("delete from console_sessions")
        said = ", ".join(f"{count} {kind}" for kind, count in removed.items()) or "nothing"
        tell(f"removed     {said}, since then")
        if lost := await _lost_files(app):
            tell(f"! {len(lost)} files that rows refer to are not in the storage, the first {lost[0]}")
    finally:
        await app.close()
    tell("On hold: songs, calls, notifications and crons wait. Start serve and work, look, then `daysong resume`.")
    return removed


async def _hold(connection: asyncpg.Connection, snapshot_at: datetime) -> None:
    # While a dump is loaded, there are no keys yet that a conflict could be found by.
    async with connection.transaction():
        await connection.execute("delete from holds")
        await connection.execute(
            "insert into holds (reason, since, snapshot_at) values ('restored', clock_timestamp(), $1)", snapshot_at
        )


async def _require_unused(connection: asyncpg.Connection) -> None:
    others = await connection.fetchval(
        """select exists (select from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid() and application_name like 'daysong%')"""
    )
    if others:
        raise NotRestored("The database is in use: stop `daysong serve`, `work` and `dev` first.")


def _check(found: Manifest, settings: Settings) -> None:
    known = {path.name for path in migrations.FOLDER.glob("*.sql")} | {migrations.JOB_QUEUE}
    if newer := [name for name in found.migrations if name.endswith(".sql") and name not in known]:
        raise NotRestored(f"The backup is of a newer release (daysong {found.version}): it has {newer[0]}.")
    ours = {fingerprint(key).hex() for key in settings.hash_keys}
    if lacking := [key for key in found.hash_keys if key not in ours]:
        raise NotRestored(
            f"Rows of the backup are hashed with key {lacking[0]}, which is not set: set it as DAYSONG_HASH_KEY, or in "
            f"DAYSONG_HASH_KEY_OLD. Without it, numbers that refused calls and deleted accounts are not known again."
        )


async def _load(settings: Settings, folder: Path, found: Manifest, *, replace: bool) -> None:
    url = settings.listen_url
    connection = await asyncpg.connect(url, server_settings={"application_name": "daysong restore"})
    try:
        server = int(await connection.fetchval("show server_version_num")) // 10_000
        pg_restore = await programs.program("pg_restore", max(server, found.postgres))
        await _make_room(connection, replace=replace)
        dump = str(folder / DATABASE)
        database = programs.libpq_environment(url)["PGDATABASE"]
        await programs.run(pg_restore, *RESTORE, f"--dbname={database}", "--section=pre-data", dump, url=url)
        await _hold(connection, from_ms(found.snapshot_at))
        for section in ("data", "post-data"):
            await programs.run(pg_restore, *RESTORE, f"--dbname={database}", f"--section={section}", dump, url=url)
        await connection.execute("analyze")
    finally:
        await connection.close()


async def _make_room(connection: asyncpg.Connection, *, replace: bool) -> None:
    """Empty the database. NotRestored when it is in use, or has accounts and `replace` is not set."""
    await _require_unused(connection)
    has_users = await connection.fetchval("select to_regclass('users') is not null")
    if has_users and not replace and await connection.fetchval("select exists (select from users)"):
        raise NotRestored("The database has accounts: create an empty one, or delete what it has with --replace.")
    schema = await connection.fetchval("select quote_ident(current_schema())")
    await connection.execute(
        f"drop schema {schema} cascade; create schema {schema}; grant usage on schema {schema} to public"
    )


async def _put_files(app: App, folder: Path, sums: dict[str, str]) -> int:
    """Put back the files that the storage lacks; return how many. Stored files are never changed."""
    put = 0
    for path in sums:
        kind, _, name = path.partition("/")
        if kind not in {FILES, JOURNAL}:
            continue
        key = name if kind == FILES else f"{journal.FOLDER}/{name}"
        try:
            if await app.files.size(key) == (folder / path).stat().st_size:
                continue
        except FileMissing:
            pass
        content_type = await app.database.pool.fetchval("select content_type from files where id = $1", key)
        await _put(app, folder / path, key, content_type or journal.JSON_LINES)
        put += kind == FILES
    return put


async def _put(app: App, source: Path, key: str, content_type: str) -> None:
    async with app.files.receive() as incoming:
        with source.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, manifest.CHUNK):
                await incoming.write(chunk)
        await app.files.keep(incoming, key, content_type)


async def _remove_again(app: App, snapshot_at: float) -> dict[str, int]:
    """Apply what the journal has since the snapshot."""
    since = await journal.since(app.files, from_ms(snapshot_at - MARGIN_MS))
    result = await app.runtime.run_mutation(removing.remove_again, Removals(removals=since), SYSTEM)
    counts: dict[str, int] = msgspec.convert(result, dict[str, int])
    return counts


async def _lost_files(app: App) -> list[str]:
    """Return the files that rows refer to and the storage lacks."""
    stored = {file.key async for page in app.files.list() for file in page}
    rows = await app.database.pool.fetch("select id from files order by id")
    return [row["id"] for row in rows if row["id"] not in stored]
