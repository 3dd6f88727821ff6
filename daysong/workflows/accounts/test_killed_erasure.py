"""The worker that erases an account of four thousand songs is killed halfway.

The state after the kill, and the result. Tested here is the second; the others are as read in the code:

    killed                                          result
    before the account is closed                    nothing is changed; the caller or Clerk tries again
    between two transactions of the erasure job     the job runs again and finds the remaining rows
    between a file's content and its row            the job runs again; a file's content is deleted before its row
    before Clerk's user is deleted                  the job runs again; the account's row goes last
    the job is dead or lost                         `resume_erasures` schedules it again, once a day
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rehearsal import library, memories
from rehearsal.owned_rows import fill_every_table, traces
from rehearsal.processes.killing import let_another_worker_finish
from rehearsal.world import World, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow(8)]

ENTRIES = 4_000
REAL_FILES = 300
NEVER = 60


async def tracks(world: World) -> int:
    """How many there are."""
    count: int = await world.db.pool.fetchval("select count(*) from music")
    return count


async def kill_in_the_middle(world: World) -> None:
    """Run `daysong work` in a process of its own, and end it without any warning when half of the tracks are gone."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from daysong.cli import main; main()", "work", env=world.environ(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(NEVER):
            while await tracks(world) > ENTRIES:
                await asyncio.sleep(0.01)
    finally:
        process.kill()
    assert await process.wait() == -signal.SIGKILL


@pytest.mark.timeout(200)
async def test_f04_four_thousand_songs_are_erased_although_the_worker_is_killed(
    database_url: str, tmp_path: Path
) -> None:
    """Not a row of any table and not a file is left; what is another's stays."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        await memories.unread(world)
        alice, bob = await world.person("alice"), await world.person("bob")
        pool = world.db.pool
        whose = await pool.fetchval("select id from users where clerk_id = 'user_alice'")
        songs = await library.fill(world, "alice", ENTRIES, timing=None)
        await fill_every_table(pool, whose)
        for song in songs[:REAL_FILES]:
            await world.app.files.put(song.file_id, b"la la la", "audio/mpeg")
        his = await bob.song()
        answer = await alice.mutation("users:deleteAccount")
        assert answer["success"]

        await kill_in_the_middle(world)
        left = await tracks(world)
        assert 2 < left < 2 * ENTRIES
        assert await pool.fetchval("select count(*) from diaries") > ENTRIES
        await let_another_worker_finish(world)

        needles = [whose, "user_alice", "alice@example.test", "Secret thought", songs[0].diary_id, songs[-1].music_id]
        assert await traces(pool, needles) == {}
        keys = {file.key async for page in world.app.files.list() for file in page}
        files = {key for key in keys if not key.startswith("journal/")}
        assert files == {row["id"] for row in await pool.fetch("select id from files")}
        assert len(files) == 4
        assert "user_alice" not in world.sandbox.clerk.users
        assert [one["_id"] for one in await bob.query("music:listPlaylistMusic")] == [his["_id"]]
