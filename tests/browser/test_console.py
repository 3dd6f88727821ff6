"""The console in Debian's Chromium: the tests of console.test.mjs, on a server whose jobs run."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rehearsal import operators
from rehearsal.world import ADMIN_KEY, World, free_port
from tests.browser.test_share_page import HERE, missing
from tests.browser.test_studio import run_jobs

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LIMIT = 150  # seconds; on two cores it takes 20
ENTRY = "I walked home in the rain and called my sister"


async def test_the_console_in_a_browser(database_url: str, tmp_path: Path) -> None:
    """Every test of the file passes, and none is skipped. Wrong keys are slowed here, as in production."""
    if why := missing():
        pytest.skip(why)
    limits = {"DAYSONG_TEST_LIMITS": "1", "LIMIT_REQUESTS_VIEWER": "off"}
    async with World(database_url, tmp_path, datetime.now(UTC), limits, port=free_port()) as world:
        alice = await world.person("alice")
        await operators.failed_song(world, alice, ENTRY)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "DAYSONG_ORIGIN": world.origin,
            "DAYSONG_CHROMIUM": shutil.which("chromium") or "",
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_EMAIL": "alice@example.test",
            "DAYSONG_ENTRY": ENTRY,
        }
        jobs = asyncio.create_task(run_jobs(world))
        program = await asyncio.create_subprocess_exec(
            shutil.which("node") or "", "--test", "--test-force-exit", "--test-reporter=tap", "console.test.mjs",
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
    failed = re.findall(r"^ *not ok .*(?:\n(?! *(?:not )?ok |# Subtest).*)*", said, re.MULTILINE)
    assert program.returncode == 0, "\n".join(failed)[:20_000] or said[-4000:]
    counts = dict(re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", said, re.MULTILINE))
    assert [counts[word] for word in ("fail", "cancelled", "skipped", "todo")] == ["0"] * 4
