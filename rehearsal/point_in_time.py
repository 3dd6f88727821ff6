"""`script/recover`: a database is lost and recovered to a moment, from a base backup and archived WAL.

    script/recover [--bin /usr/lib/postgresql/15/bin]

It does what docs/BACKUP.md says under "To any point in time", with an installed PostgreSQL, the files in a folder and
the sandbox as vendors: people write, a base backup is taken, people write on, one moment is noted, and after it people
write, delete, revoke, and a song that was begun before it is ordered. Then the server's data is deleted. Prints what
happened, and fails when the recovered database is not that of the moment, or when what was removed since is there.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from daysong.embedded.home import give_to_server
from daysong.kernel import logs
from daysong.kernel.database.migrations import migrate
from daysong.kernel.functions.context import SYSTEM
from rehearsal.processes.installed_postgres import InstalledPostgres, installed, running
from rehearsal.processes.server import DAYSONG
from rehearsal.world import World, free_port

DATABASE = "daysong"
PROMOTED_WITHIN = 60.0  # seconds
# As docs/BACKUP.md has it, and what this server is otherwise started without.
ARCHIVING = {
    "wal_level": "replica", "archive_mode": "on", "archive_timeout": "60", "full_page_writes": "on",
}  # fmt: skip


def say(text: str) -> None:
    """Print a line of what happens."""
    print(text, flush=True)


class Wrong(Exception):
    """The recovered database is not what it has to be."""


def require(what: str, holds: object) -> None:
    """Print what holds; Wrong when it does not."""
    if not holds:
        raise Wrong(what)
    say(f"ok   {what}")


@dataclass
class Lived:
    """What happened before the loss: the moment to return to, an entry that was deleted after it, and its song."""

    moment: datetime
    entry: str
    share: str


async def live(world: World, server: InstalledPostgres, folder: Path) -> Lived:
    """Use daysong before and after the base backup, and before and after the moment."""
    alice, bob = await world.person("alice"), await world.person("bob")
    entry = (await alice.mutation("diaries:createDiary", content="Before the base backup"))["_id"]
    song = await bob.song()
    await bob.mutation("sharing:createShareLink", musicId=song["_id"])
    [shared] = await bob.query("sharing:listSharedMusic")
    began = time.monotonic()
    await asyncio.to_thread(
        server.run, "pg_basebackup", "-D", str(folder / "base"), "-Ft", "-z", "-X", "none", "-c", "fast",
        "-U", "postgres", "-p", str(server.port), "-h", "127.0.0.1",
    )  # fmt: skip
    size = (folder / "base" / "base.tar.gz").stat().st_size / 2**20
    say(f"base backup: {size:.1f} MiB in {time.monotonic() - began:.1f} s")
    await alice.mutation("diaries:createDiary", content="After the base backup")
    await alice.action("music:startDiaryMusicGeneration", content="A song that is not ordered yet")
    await asyncio.sleep(0.2)
    moment: datetime = await world.db.pool.fetchval("select clock_timestamp()")
    await asyncio.sleep(0.2)
    say(f"the moment: {moment:%Y-%m-%dT%H:%M:%S.%fZ}")
    await alice.mutation("diaries:createDiary", content="After the moment")
    await alice.mutation("diaries:deleteDiary", diaryId=entry)
    await bob.mutation("sharing:revokeShare", sharedMusicId=shared["_id"])
    world.clock.move_to(datetime.now(UTC))
    await world.pass_time(timedelta(minutes=5))
    await world.app.call("recovery:writeJournal", caller=SYSTEM)  # as each worker does every minute
    songs = await world.db.pool.fetch("select status from generations order by created_at")
    say(f"after the moment: an entry written, one deleted, a share revoked, songs {[row[0] for row in songs]}")
    await world.db.pool.execute("select pg_switch_wal()")
    async with asyncio.timeout(60):
        while not await world.db.pool.fetchval(
            "select last_archived_wal >= $1 from pg_stat_archiver", await _current(world)
        ):
            await asyncio.sleep(0.1)
    return Lived(moment, entry, shared["_id"])


async def _current(world: World) -> str:
    """Return the name of the segment before the one that is written."""
    name: str = await world.db.pool.fetchval("select pg_walfile_name(pg_current_wal_lsn() - 16 * 1024 * 1024)")
    return name


@contextmanager
def recovered(programs: Path, folder: Path, moment: datetime) -> Iterator[InstalledPostgres]:
    """Recover to the moment, as the document says, and run that server."""
    home = folder / "recovered"
    data = home / "data"
    data.mkdir(parents=True, mode=0o700)
    with tarfile.open(folder / "base" / "base.tar.gz") as files:
        files.extractall(data, filter="data")
    (data / "pg_wal").mkdir(exist_ok=True)
    port = free_port()
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write(
            f"port = {port}\nunix_socket_directories = '{home}'\narchive_mode = off\n"
            f"restore_command = 'cp {folder}/archive/%f %p'\n"
            f"recovery_target_time = '{moment.isoformat()}'\nrecovery_target_action = 'promote'\n"
        )
    (data / "recovery.signal").touch()
    for each in (home, *home.rglob("*")):
        give_to_server(each)
    server = InstalledPostgres(programs, home, port)
    server.run("pg_ctl", "start", "--pgdata=data", "--log=server.log", "--silent", "--wait")
    try:
        yield server
    finally:
        server.run("pg_ctl", "stop", "--pgdata=data", "--silent", "--wait", "--mode=immediate")


async def promoted(server: InstalledPostgres) -> None:
    """Wait until the server takes writes."""
    connection = await asyncpg.connect(server.url(DATABASE))
    try:
        async with asyncio.timeout(PROMOTED_WITHIN):
            while await connection.fetchval("select pg_is_in_recovery()"):
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


def command(environ: dict[str, str], *arguments: str) -> None:
    """Run a command of daysong, and print what it says."""
    say(f"$ daysong {' '.join(arguments)}")
    done = subprocess.run([*DAYSONG, *arguments], env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    for line in (done.stdout + (done.stderr if done.returncode else "")).splitlines():
        say(f"    {line}")
    require(f"daysong {arguments[0]} ends with 0", done.returncode == 0)


async def verify(url: str, lived: Lived) -> None:
    """Compare the recovered database with the moment, and with what was removed after it."""
    connection = await asyncpg.connect(url)
    try:
        entries = {row["content"] for row in await connection.fetch("select content from diaries")}
        require("what was written between base backup and moment is there", "After the base backup" in entries)
        require("what was written after the moment is not", "After the moment" not in entries)
        require("the entry that was deleted since is gone again", "Before the base backup" not in entries)
        shares = await connection.fetchval("select count(*) from shared_music where id = $1", lived.share)
        require("the share that was revoked since is gone again", shares == 0)
        require("daysong is on hold", await connection.fetchval("select count(*) from holds") == 1)
    finally:
        await connection.close()


async def verify_resumed(url: str) -> None:
    """Look for the song that was queued at the moment: it may have been ordered since."""
    connection = await asyncpg.connect(url)
    try:
        refunded = await connection.fetchval(
            """select count(*) from generations g join usage_refunds r on r.charge_id = g.charge_id
               where g.status = 'failed'"""
        )
        require("the song that was ordered since is refunded, not ordered again", refunded == 1)
        require("the hold has ended", await connection.fetchval("select count(*) from holds") == 0)
    finally:
        await connection.close()


async def lose(programs: Path, folder: Path) -> tuple[Lived, dict[str, str]]:
    """Run a server with an archive until its data is deleted; return what happened and the settings of daysong."""
    archive = folder / "archive"
    command_line = f"test ! -f {archive}/%f && cp %p {archive}/%f"
    with running(programs, **ARCHIVING, archive_command=command_line) as server:
        await asyncio.to_thread(server.create_database, DATABASE)
        await migrate(server.url(DATABASE))
        async with World(server.url(DATABASE), folder / "files", datetime.now(UTC), port=free_port()) as world:
            lived = await live(world, server, folder)
            environ = world.environ()
    say(f"the server is killed and its data deleted; {len(list(archive.iterdir()))} segments are archived")
    return lived, environ


def main() -> None:
    """Parse the arguments and do all of it."""
    parser = argparse.ArgumentParser(prog="script/recover", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bin", type=Path, help="the folder of PostgreSQL's programs")
    found = parser.parse_args().bin or next(iter(installed()[::-1]), None)
    if found is None:
        sys.exit("script/recover needs an installed PostgreSQL: apt-get install postgresql-15")
    logs.configure(readable=True, quiet=True)
    folder = Path(tempfile.mkdtemp(prefix="daysong-recover-"))
    folder.chmod(0o755)
    for name in ("archive", "base"):
        (folder / name).mkdir()
        give_to_server(folder / name)
    say(subprocess.run([found / "postgres", "--version"], capture_output=True, text=True, check=True).stdout.strip())  # noqa: S603
    try:
        lived, environ = asyncio.run(lose(found, folder))
        began = time.monotonic()
        with recovered(found, folder, lived.moment) as server:
            asyncio.run(promoted(server))
            say(f"recovered and promoted in {time.monotonic() - began:.1f} s")
            url = server.url(DATABASE)
            environ["DATABASE_URL"] = url
            command(environ, "restore", "--recovered-at", lived.moment.isoformat().replace("+00:00", "Z"))
            asyncio.run(verify(url, lived))
            command(environ, "resume")
            asyncio.run(verify_resumed(url))
    except Wrong as wrong:
        sys.exit(f"FAIL {wrong}")
    finally:
        if "KEEP" not in os.environ:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
