"""The studio in Debian's Chromium: the tests of studio-*.test.mjs, in one process, on a server whose jobs run."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rehearsal import long_diary, playlists
from rehearsal.world import World, free_port
from tests.browser.test_share_page import HERE, missing

LIMIT = 420  # seconds; on two idle cores it takes 60 to 80, on busy ones several times that
# Seconds between a vendor's order and its callback, so that each stage can be seen.
PAUSE = 0.25

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(LIMIT + 30)]


async def run_jobs(world: World) -> None:
    """Run jobs and deliver callbacks as they come up, with the clock at the present."""
    while True:
        world.clock.move_to(datetime.now(UTC))
        await world.app.worker.drain(until=None, clock=world.clock)
        await asyncio.sleep(PAUSE)
        await world.sandbox.settle()


async def test_the_studio_in_a_browser(database_url: str, tmp_path: Path) -> None:
    """Every test of the files passes, and none is skipped. DAYSONG_ONLY=today runs the files of that name."""
    if why := missing():
        pytest.skip(why)
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        await playlists.of_selma(world)
        await long_diary.write(world, "olga", 10_000)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "DAYSONG_ORIGIN": world.origin,
            "DAYSONG_CHROMIUM": shutil.which("chromium") or "",
            "DAYSONG_ONLY": os.environ.get("DAYSONG_ONLY", ""),
        }
        jobs = asyncio.create_task(run_jobs(world))
        program = await asyncio.create_subprocess_exec(
            shutil.which("node") or "", "--test", "--test-force-exit", "--test-reporter=tap", "studio-all.mjs",
            cwd=HERE, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(LIMIT):
                said = (await program.communicate())[0].decode()
        except TimeoutError:
            program.kill()
            raise
        finally:
            jobs.cancel()
            with suppress(asyncio.CancelledError):
                await jobs
    if os.environ.get("DAYSONG_ONLY"):
        print(said)
    failed = re.findall(r"^ *not ok .*(?:\n(?! *(?:not )?ok |# Subtest).*)*", said, re.MULTILINE)
    assert program.returncode == 0, "\n".join(failed)[:20_000] or said[-4000:]
    counts = dict(re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", said, re.MULTILINE))
    assert [counts[word] for word in ("fail", "cancelled", "skipped", "todo")] == ["0"] * 4
