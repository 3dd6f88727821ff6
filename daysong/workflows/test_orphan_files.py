"""Files without a row are removed after a day, and no others."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from daysong.kernel.ids import FileId
from daysong.workflows.orphan_files import MAX_ORPHANS
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def put(world: World, key: str, age: timedelta) -> None:
    """A stored file of that age."""
    await world.app.files.put(key, b"la la la", "audio/mpeg")
    moment = (world.clock.now() - age).timestamp()
    os.utime(world.settings.data_dir / "files" / key, (moment, moment))


async def stored(world: World) -> set[str]:
    """The keys of all stored files."""
    return {file.key async for page in world.app.files.list() for file in page}


async def a_day_passes(world: World) -> None:
    """The nightly clean-up comes."""
    world.clock.forward(timedelta(hours=15, minutes=29))
    await world.pass_time(timedelta(minutes=2))


async def test_only_old_files_without_a_row_are_removed(world: World, alice: Person) -> None:
    """A song's files stay, and one that was stored just now, since its row may be about to be written."""
    await alice.song()
    songs = await stored(world)
    orphan, fresh = FileId.new(), FileId.new()
    await put(world, orphan, timedelta(hours=25))
    await put(world, fresh, -timedelta(hours=23))
    await put(world, "doctor-probe", timedelta(days=400))
    for file_id in songs:
        os.utime(world.settings.data_dir / "files" / file_id, (0, 0))
    await a_day_passes(world)
    assert await stored(world) == songs | {fresh, "doctor-probe"}


async def test_a_storage_that_cannot_be_ours_is_left_alone(world: World) -> None:
    """It is full of files without a row: the wrong database is connected."""
    for _ in range(MAX_ORPHANS + 1):
        await put(world, FileId.new(), timedelta(days=3))
    await a_day_passes(world)
    assert len(await stored(world)) == MAX_ORPHANS + 1
