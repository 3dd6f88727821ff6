"""The studio in Debian's Chromium: the tests of studio-*.test.mjs, in one process, on a server whose jobs run."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rehearsal import long_diary, playlists
from rehearsal.world import World, free_port
from tests.browser.suites import assert_passes, missing

LIMIT = 420  # seconds; on two idle cores it takes 60 to 80, on busy ones several times that

pytestmark = [pytest.mark.anyio, pytest.mark.slow(130), pytest.mark.timeout(LIMIT + 30)]


async def test_the_studio_in_a_browser(database_url: str, tmp_path: Path) -> None:
    """Every test of the files passes, and none is skipped. DAYSONG_ONLY=today runs the files of that name."""
    if why := missing():
        pytest.skip(why)
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        await playlists.of_selma(world)
        await long_diary.write(world, "olga", 10_000)
        environ = {"DAYSONG_ONLY": os.environ.get("DAYSONG_ONLY", "")}
        await assert_passes(world, tmp_path, ["studio-all.mjs"], limit=LIMIT, environ=environ, jobs=True)
