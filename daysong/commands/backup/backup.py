"""`daysong backup DIR`: works while daysong serves and works.

The order makes it consistent. First the database: pg_dump reads the snapshot in which the referenced files are listed.
Then the files: one is stored before the row that refers to it commits, is never changed, and is deleted only after its
row is, so every listed file is there, unless its row was deleted meanwhile. Then the journal of removals, so that those
rows are deleted again after a restore.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import asyncpg
import msgspec

from daysong.app import App
from daysong.commands.backup import manifest, programs
from daysong.commands.backup.manifest import DATABASE, FILES, FORMAT, JOURNAL, Manifest
from daysong.commands.support.saying import OPERATOR
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM, MutationContext
from daysong.kernel.keys import fingerprint
from daysong.kernel.time.clock import to_ms
from daysong.vendors.storage import FileMissing
from daysong.workflows.recovery import journal
from daysong.workflows.support import audit

AT_ONCE = 8
COUNTED = ("users", "diaries", "music", "files", "jobs")
DUMP = ("--format=custom", "--no-owner", "--no-privileges", "--exclude-table-data=holds")

Tell = Callable[[str], None]


async def backup(app: App, tell: Tell, folder: Path, *, with_files: bool = True) -> Manifest:
    """Write a backup into a new or empty folder. DaysongError when a file is missing; the backup is complete then."""
    _create(folder)
    copies = with_files and app.files.is_folder
    taken, listed = await _dump(app, folder)
    await app.runtime.mutate(_record, taken, OPERATOR)
    sums = {DATABASE: await asyncio.to_thread(manifest.sha256, folder / DATABASE)}
    missing = await _copy_files(app, folder, listed if copies else [], sums)
    damaged = await app.database.pool.fetch("select id from files where id = any($1) order by id", missing)
    await app.call("recovery:writeJournal", caller=SYSTEM)
    await _copy_journal(app, folder, sums)
    done = msgspec.structs.replace(
        taken,
        files=len(listed) - len(missing) if copies else 0,
        files_in=None if copies else app.settings.storage_url,
        gone=sorted(set(missing) - {row["id"] for row in damaged}),
        damaged=[row["id"] for row in damaged],
    )
    await asyncio.to_thread(manifest.write, folder, sums, done)
    tell(f"database    {_size(folder / DATABASE)}, PostgreSQL {done.postgres}, {done.rows['users']} accounts")
    tell(f"files       {done.files} copied" if copies else f"files       not copied: they are in {done.files_in}")
    tell(f"journal     {sum(1 for name in sums if name.startswith(JOURNAL))} files")
    tell(f"hash keys   {', '.join(done.hash_keys)}: keep these keys, they are not in the backup")
    if done.damaged:
        raise DaysongError(
            f"The backup is complete, but {len(done.damaged)} files were missing in the storage before: "
            f"see `damaged` in {folder / manifest.MANIFEST}."
        )
    return done


async def _record(ctx: MutationContext, taken: Manifest) -> None:
    """Record in the audit log that all private texts were copied."""
    await audit.record(ctx, "backup", details={table: taken.rows[table] for table in ("users", "diaries")})


def _create(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if any(folder.iterdir()):
        raise DaysongError(f"{folder} is not empty: a backup needs a folder of its own.")
    folder.chmod(0o700)


async def _dump(app: App, folder: Path) -> tuple[Manifest, list[str]]:
    """Dump the database; return what the manifest says of it, and the files that its snapshot refers to."""
    url = app.settings.listen_url
    # Not the pool's: its connections end transactions that take long.
    connection = await asyncpg.connect(url, server_settings={"application_name": "daysong backup"})
    try:
        server = int(await connection.fetchval("show server_version_num")) // 10_000
        pg_dump = await programs.program("pg_dump", server)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await connection.fetchval("select pg_export_snapshot()")
            at = await connection.fetchval("select clock_timestamp()")
            files = [row["id"] for row in await connection.fetch("select id from files order by id")]
            names = [row["name"] for row in await connection.fetch("select name from schema_migrations order by 1")]
            rows = {table: await connection.fetchval(f"select count(*) from {table}") for table in COUNTED}  # noqa: S608 - names from above
            target = folder / DATABASE
            await programs.run(pg_dump, *DUMP, f"--snapshot={snapshot}", f"--file={target}", url=url)
            target.chmod(0o600)
    finally:
        await connection.close()
    hash_keys = [fingerprint(key).hex() for key in app.settings.hash_keys]
    taken = Manifest(
        format=FORMAT, version=version("daysong"), snapshot_at=to_ms(at), postgres=server, migrations=names,
        hash_keys=hash_keys, rows=rows,
    )  # fmt: skip
    return taken, files


async def _copy_files(app: App, folder: Path, keys: list[str], sums: dict[str, str]) -> list[str]:
    """Copy stored files; return those that are missing."""
    (folder / FILES).mkdir(mode=0o700)
    room = asyncio.Semaphore(AT_ONCE)
    missing: list[str] = []

    async def copy(key: str) -> None:
        async with room:
            try:
                sums[f"{FILES}/{key}"] = await _copy(app, key, folder / FILES / key)
            except FileMissing:
                missing.append(key)

    for start in range(0, len(keys), 1000):
        await asyncio.gather(*map(copy, keys[start : start + 1000]))
    return sorted(missing)


async def _copy_journal(app: App, folder: Path, sums: dict[str, str]) -> None:
    (folder / JOURNAL).mkdir(mode=0o700)
    async for key, _ in journal.files(app.files):
        name = key.rpartition("/")[2]
        # One that is over its retention may be deleted meanwhile.
        with suppress(FileMissing):
            sums[f"{JOURNAL}/{name}"] = await _copy(app, key, folder / JOURNAL / name)


async def _copy(app: App, key: str, target: Path) -> str:
    """Copy one stored file; return its SHA-256. Errors: FileMissing, and nothing is left of it."""
    digest = hashlib.sha256()
    try:
        with target.open("wb") as file:
            async for chunk in app.files.read(key):
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
    except FileMissing:
        await asyncio.to_thread(target.unlink)
        raise
    return digest.hexdigest()


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MiB"
