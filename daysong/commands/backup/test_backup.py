"""The restore drill: a backup is taken while people use daysong, time goes on, and the database is restored."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from conftest import NOW
from daysong.commands.backup import programs
from daysong.commands.backup.backup import backup
from daysong.commands.backup.manifest import (
    DATABASE,
    FILES,
    FORMAT,
    MANIFEST,
    BackupInvalid,
    Manifest,
    read,
    sha256,
    verify,
    write,
)
from daysong.commands.backup.programs import ProgramFailed
from daysong.commands.backup.restore import NotRestored, restore
from daysong.commands.backup.resume import resume
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.time.clock import to_ms
from daysong.workflows.recovery import journal
from daysong.workflows.recovery.journal import Removal
from daysong.workflows.recovery.removing import standing
from rehearsal import databases as testing
from rehearsal.calls.phones import BOBS, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

DORAS = "+12025550125"


def quietly(text: str) -> None:
    """Print nothing."""


async def live_until_the_backup(world: World, people: dict[str, Person]) -> None:
    """Songs, shares and calls; the second song of bob is not ordered yet, and the calls of tonight are to come."""
    for name in ("bob", "dora"):
        song = await people[name].song()
        await people[name].mutation("sharing:createShareLink", musicId=song["_id"])
    await people["charlie"].mutation("diaries:createDiary", content="To be deleted")
    await wants_calls(people["bob"], BOBS)
    await has_agreed(world, BOBS)
    await wants_calls(people["dora"], DORAS)
    await answers(world, "refuses", DORAS)
    await people["bob"].action("music:startDiaryMusicGeneration", content="A second song")


async def live_until_the_disaster(world: World, people: dict[str, Person]) -> None:
    """The song is made, the calls ring, one callee refuses; an account, an entry and a share are deleted."""
    await world.settle()
    assert len(await world.asked("suno", "/generate")) >= 3
    await until_due(world)
    assert {ring["number"] for ring in await rings(world)} == {BOBS, DORAS}
    await people["alice"].mutation("users:deleteAccount")
    [share] = await people["bob"].query("sharing:listSharedMusic")
    await people["bob"].mutation("sharing:revokeShare", sharedMusicId=share["_id"])
    [doras] = await people["dora"].query("sharing:listSharedMusic")
    await people["dora"].mutation("sharing:setSharePrivacy", sharedMusicId=doras["_id"], isPrivate=True)
    [entry] = await people["charlie"].query("diaries:listDiaries")
    await people["charlie"].mutation("diaries:deleteDiary", diaryId=entry["_id"])
    await world.app.worker.ticker.run_each_minute()
    assert await world.db.pool.fetchval("select count(*) from removals") == 0


async def test_the_drill(database_url: str, data_dir: Path, tmp_path: Path, database_server: EmbeddedPostgres) -> None:
    """Nothing is ordered, phoned or pushed twice, and what was deleted, revoked or refused since does not come back."""
    folder = tmp_path / "backup"
    async with World(database_url, data_dir, NOW) as before:
        people = {name: await before.person(name) for name in ("alice", "bob", "charlie", "dora")}
        await live_until_the_backup(before, people)
        await before.db.pool.execute("insert into console_sessions values ('a', 'b', now(), now() + interval '1 h')")
        taken = await backup(before.app, quietly, folder)
        assert (taken.damaged, taken.gone, taken.files > 0) == ([], [], True)
        await live_until_the_disaster(before, people)
        now = before.clock.now()
    with pytest.raises(NotRestored, match="has accounts"):
        await restore(before.settings, quietly, folder)
    fresh = await testing.create_database(database_server, "daysong_restored", migrated=False)
    settings = msgspec.structs.replace(before.settings, database_url=fresh)
    removed = await restore(settings, quietly, folder, clock=before.clock)
    assert {name: removed[name] for name in ("accounts", "diaries", "shared_music", "share_private")} == {
        "accounts": 1, "diaries": 1, "shared_music": 1, "share_private": 1,
    }  # fmt: skip
    assert removed["numbers_refused"] == 1

    # Some minutes late, the calls of tonight would still be made.
    async with World(fresh, data_dir, now) as after:
        alice, bob, charlie = [Person(after, people[name].headers) for name in ("alice", "bob", "charlie")]
        await after.pass_time(timedelta(minutes=2))
        assert (await after.app.call("recovery:getHold", caller=SYSTEM)).since is not None
        with pytest.raises(FunctionError):
            await alice.mutation("users:ensureCurrentUser")
        assert await after.db.pool.fetchval("select count(*) from users where clerk_id = 'user_alice'") == 0
        assert await after.db.pool.fetchval("select count(*) from console_sessions") == 0
        shares = await after.db.pool.fetch("select is_private from shared_music")
        assert [row["is_private"] for row in shares] == [True]
        assert await charlie.query("diaries:listDiaries") == []
        with pytest.raises(FunctionError) as refused:
            await wants_calls(charlie, DORAS)
        assert refused.value.code == "number_refused"
        assert [song["status"] for song in await bob.query("music:listPlaylistMusic")] == ["pending", "ready"]

        done = await after.app.call("recovery:resume", caller=SYSTEM)
        assert (done.songs, done.calls >= 1, done.was_held) == (1, True, True)
        await after.pass_time(timedelta(minutes=3))
        assert [song["status"] for song in await bob.query("music:listPlaylistMusic")] == ["failed", "ready"]
        assert (await bob.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 1
        for vendor, path in (("suno", "/generate"), ("vapi", "/call"), ("expo", "/push/send")):
            assert await after.asked(vendor, path) == []
        # The next day is as any other.
        await until_due(after)
        assert [ring["number"] for ring in await rings(after)] == [BOBS]
        assert not (await after.app.call("recovery:resume", caller=SYSTEM)).was_held


async def test_a_restore_reads_no_file_of_the_journal_from_before_the_backup(world: World) -> None:
    """The old file could not even be decoded; of the one with a line from after the backup, only that line counts."""
    seconds = timedelta(seconds=30)
    lines = [Removal(kind="diaries", mark=mark, at=to_ms(at)) for mark, at in (("00", NOW - seconds), ("01", NOW))]
    for moment, content in ((NOW - seconds, b"?"), (NOW, journal.encode(lines))):
        await world.app.files.put(f"journal/{moment:%Y%m%dT%H%M%S}-ab.jsonl", content, journal.JSON_LINES)
    assert await journal.since(world.app.files, NOW) == lines[1:]


async def test_the_end_of_a_hold_is_in_the_audit_log(world: World) -> None:
    """Under the name of the command line, as the backup; a second `resume` finds no hold and records nothing."""
    await world.db.pool.execute("insert into holds (reason, since, snapshot_at) values ('restored', $1, $1)", NOW)
    said: list[str] = []
    for _ in range(2):
        await resume(world.app, said.append)
    assert said[-2:] == ["Jobs and crons run again within a minute.", "nothing was on hold"]
    rows = await world.db.pool.fetch("select who, action from audit_log")
    assert [tuple(row) for row in rows] == [("command line", "resumed after a restore")]


async def test_a_backup_that_is_not_whole_is_not_restored(world: World, alice: Person, tmp_path: Path) -> None:
    """A changed or missing file, an unfinished backup, or one whose hash key is not set; nothing is changed."""
    await alice.song()
    folder = tmp_path / "backup"
    await backup(world.app, quietly, folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["rows"]["users"] == 1
    assert sorted(path.name for path in (folder / FILES).iterdir()) == [
        row["id"] for row in await world.db.pool.fetch("select id from files order by id")
    ]
    with pytest.raises(NotRestored, match="in use"):
        await restore(world.settings, quietly, folder, replace=True)
    lost = msgspec.structs.replace(world.settings, hash_key="another key")
    with pytest.raises(NotRestored, match="DAYSONG_HASH_KEY_OLD"):
        await restore(lost, quietly, folder)
    assert await world.db.pool.fetchval("select who from audit_log where action = 'backup'") == "command line"
    some = next((folder / FILES).iterdir())
    some.write_bytes(some.read_bytes() + b" ")
    with pytest.raises(BackupInvalid, match=some.name):
        await restore(world.settings, quietly, folder)
    some.unlink()
    with pytest.raises(BackupInvalid, match="missing"):
        await restore(world.settings, quietly, folder)
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format": 9}))
    with pytest.raises(BackupInvalid, match="format 9"):
        await restore(world.settings, quietly, folder)
    (folder / MANIFEST).unlink()
    with pytest.raises(BackupInvalid, match="no manifest"):
        await restore(world.settings, quietly, folder)
    assert (folder / DATABASE).stat().st_mode & 0o077 == 0


async def test_a_backup_names_nothing_outside_its_folder(tmp_path: Path) -> None:
    """Of a folder that was made by another, nothing is read or written elsewhere, and the database is verified."""
    folder = tmp_path / "backup"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / DATABASE).write_bytes(b"dump")
    empty = Manifest(
        format=FORMAT, version="0", snapshot_at=0, postgres=18, migrations=[], hash_keys=[], rows={}
    )  # fmt: skip
    whole = {DATABASE: sha256(folder / DATABASE)}
    for name in ("../secret", "files/../../secret", str(tmp_path / "secret"), "files/", "files/.x", "other"):
        write(folder, whole | {name: sha256(tmp_path / "secret")}, empty)
        with pytest.raises(BackupInvalid, match="which no backup has"):
            await verify(folder, read(folder))
    write(folder, {}, empty)
    with pytest.raises(BackupInvalid, match="does not have"):
        await verify(folder, read(folder))
    write(folder, whole, empty)
    assert await verify(folder, read(folder)) == whole


async def test_programs_that_are_too_old_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install; the newest that serves is taken."""
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 13.4'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(ProgramFailed, match=r"PostgreSQL 99.*is of version 13.*install pg_dump 99"):
        await programs.program("pg_dump", 99)
    assert await programs.program("pg_dump", 13) == old
    assert await programs.program("pg_dump", 18) != old


async def test_a_program_reaches_the_database_that_daysong_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password from the environment serves both; a service of libpq, which would name another server, does not."""
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\nenv | grep ^PG >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PGPASSWORD", "word")
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGSERVICE", "another")
    with pytest.raises(ProgramFailed) as failed:
        await programs.run(program, url="postgresql://alice@one/day")
    said = str(failed.value)
    assert ("PGPASSWORD=word" in said, "PGHOST=one" in said) == (True, True)
    assert "PGSERVICE" not in said


def test_passwords_are_not_on_the_command_line() -> None:
    """A database URL becomes libpq's variables, with several hosts, a socket folder, and escapes."""
    found = programs.libpq_environment("postgresql://al%40ice:p%2Fw@one:5433,[::1]/day%20song?sslmode=require")
    assert found == {
        "PGUSER": "al@ice",
        "PGPASSWORD": "p/w",
        "PGHOST": "one,::1",
        "PGPORT": "5433,5432",
        "PGDATABASE": "day song",
        "PGSSLMODE": "require",
    }
    assert programs.libpq_environment("postgresql://postgres@/x?host=%2Ftmp%2Fs&port=5432")["PGHOST"] == "/tmp/s"


def test_of_opposite_removals_the_last_one_counts() -> None:
    """Calls that were switched off and on again stay on; in any order of the files."""
    lines = [
        Removal(kind="calls_on", mark="aa", at=3),
        Removal(kind="calls_off", mark="aa", at=2),
        Removal(kind="calls_off", mark="bb", at=1),
        Removal(kind="diaries", mark="cc", at=1),
    ]
    found = standing(lines)
    assert (set(found["calls_off"]), set(found["diaries"])) == ({b"\xbb"}, {b"\xcc"})
