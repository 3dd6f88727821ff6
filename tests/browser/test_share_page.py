"""The share page and /docs in Debian's Chromium: the tests of share.test.mjs and docs.test.mjs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rehearsal import shared_songs
from rehearsal.world import World, free_port
from tests.browser.suites import assert_passes, missing

pytestmark = [pytest.mark.anyio, pytest.mark.slow(26)]

LIMIT = 110  # seconds; on two busy cores it takes 23


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
            "DAYSONG_LINKS": json.dumps({name: link.url for name, link in links.items()}),
            "DAYSONG_SONG": json.dumps(
                {"url": linked["shareUrl"], "title": composed["title"], "duration": composed["duration"]}
            ),
            "DAYSONG_SHARE": share,
            "DAYSONG_TOKEN": people["alice"].headers["Authorization"].removeprefix("Bearer "),
        }
        await assert_passes(world, tmp_path, ["share.test.mjs", "docs.test.mjs"], limit=LIMIT, environ=environ)
