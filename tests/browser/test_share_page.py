"""The share page and /docs in Debian's Chromium: the tests of share.test.mjs and docs.test.mjs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rehearsal import shared_songs
from rehearsal.world import World, free_port
from tests.conformance.test_node import OLDEST_NODE

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HERE = Path(__file__).parent
LIMIT = 110  # seconds; on two busy cores it takes 23


def missing() -> str | None:
    """Return why these tests cannot run here; None when they can."""
    if shutil.which("chromium") is None:
        return "there is no Chromium here; .ci/run installs Debian's"
    if shutil.which("node") is None:
        return f"there is no Node here; {OLDEST_NODE} or newer is needed"
    if not (HERE / "node_modules" / "playwright-core").exists():
        return "the npm packages are not there: script/clients installs them"
    return None


async def test_the_share_page_in_a_browser(database_url: str, tmp_path: Path) -> None:
    """Every test of the files passes, and none is skipped."""
    if why := missing():
        pytest.skip(why)
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        people = {name: await world.person(name) for name in ("alice", "layla", "hana", "bob", "charlie")}
        links = {
            "english": await shared_songs.share(world, people["alice"], "alice", title="The Long Way Home"),
            "arabic": await shared_songs.share(
                world, people["layla"], "layla", title="مطر على شباك أختي", lyric=shared_songs.ARABIC
            ),
            "japanese": await shared_songs.share(
                world, people["hana"], "hana", title="雨の帰り道", lyric=shared_songs.JAPANESE
            ),
            "untimed": await shared_songs.share(
                world, people["bob"], "bob", title="x" * 80, is_timed=False, has_cover=False
            ),
        }
        composed = await people["charlie"].song()
        linked = await people["charlie"].mutation("sharing:createShareLink", musicId=composed["_id"])
        share = links["english"].shared_music_id
        await people["alice"].mutation("sharing:setShareOptions", sharedMusicId=share, allowDownload=True)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "DAYSONG_ORIGIN": world.origin,
            "DAYSONG_CHROMIUM": shutil.which("chromium") or "",
            "DAYSONG_LINKS": json.dumps({name: link.url for name, link in links.items()}),
            "DAYSONG_SONG": json.dumps(
                {"url": linked["shareUrl"], "title": composed["title"], "duration": composed["duration"]}
            ),
            "DAYSONG_SHARE": share,
            "DAYSONG_TOKEN": people["alice"].headers["Authorization"].removeprefix("Bearer "),
        }
        program = await asyncio.create_subprocess_exec(
            shutil.which("node") or "", "--test", "--test-force-exit", "--test-reporter=tap",
            "share.test.mjs", "docs.test.mjs",
            cwd=HERE, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(LIMIT):
                said = (await program.communicate())[0].decode()
        except TimeoutError:
            program.kill()
            raise
    failed = re.findall(r"^ *not ok .*(?:\n(?! *(?:not )?ok |# Subtest).*)*", said, re.MULTILINE)
    assert program.returncode == 0, "\n".join(failed)[:20_000] or said[-4000:]
    counts = dict(re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", said, re.MULTILINE))
    assert [counts[word] for word in ("fail", "cancelled", "skipped", "todo")] == ["0"] * 4
