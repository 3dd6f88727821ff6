"""Songs and vendors that are asked too often."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("vendor", "fault"), [("suno", {"code": 430}), ("openai", {"status": 429})])
async def test_g14_too_many_requests_use_up_no_attempts(
    world: World, alice: Person, vendor: str, fault: dict[str, int]
) -> None:
    """However often a vendor says that it is asked too often, the song is made when it no longer does."""
    await world.fault(vendor, **fault, times=20)
    assert (await alice.action("music:startDiaryMusicGeneration", content="Rain."))["success"]
    await world.pass_time(timedelta(minutes=10))
    (song,) = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "ready"
    assert await world.db.pool.fetchval("select max(failures) from jobs") == 0
