"""The console in Debian's Chromium: the tests of console.test.mjs, on a server whose jobs run."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from rehearsal import operators
from rehearsal.world import ADMIN_KEY, World, free_port
from tests.browser.suites import assert_passes, missing

pytestmark = [pytest.mark.anyio, pytest.mark.slow(21)]

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
        environ = {"DAYSONG_ADMIN_KEY": ADMIN_KEY, "DAYSONG_EMAIL": "alice@example.test", "DAYSONG_ENTRY": ENTRY}
        await assert_passes(world, tmp_path, ["console.test.mjs"], limit=LIMIT, environ=environ, jobs=True)
