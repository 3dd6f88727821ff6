"""Views of a share: each viewer counts once a day, and nothing of the viewer is kept."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx2
import pytest

from daysong.features.sharing import views
from daysong.features.sharing.conftest import Shared, view_from
from daysong.kernel.functions.context import SYSTEM
from rehearsal import library
from rehearsal.library import Song
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def test_f58_a_viewer_counts_once_a_day(world: World, bob: Person, shared: Shared) -> None:
    """However often they come, from whichever port; the next day they count again. Each person, each address is one."""
    await view_from(world, shared, "203.0.113.1", times=20)
    assert await shared.views() == 1
    await view_from(world, shared, "203.0.113.2")
    await view_from(world, shared, "2001:db8::1")
    await view_from(world, shared, "2001:db8::2:ffff")  # one household
    await view_from(world, shared, "::ffff:203.0.113.1")  # the same address, written otherwise
    assert await shared.views() == 3
    for _ in range(3):
        await bob.mutation("sharing:recordShareView", shareId=shared.share_id)
    assert await shared.views() == 4
    world.clock.forward(timedelta(days=1))
    await view_from(world, shared, "203.0.113.1")
    assert await shared.views() == 5


async def test_f58_viewers_at_once_are_all_counted_and_no_more_than_they_are(world: World, shared: Shared) -> None:
    """A hundred calls of twenty people are twenty views, and none of them has to wait for another."""
    await asyncio.gather(*(view_from(world, shared, f"198.51.100.{n % 20}") for n in range(100)))
    assert await shared.views() == 20


async def test_f58_tallying_forgets_the_viewers_and_keeps_the_number(
    world: World, shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of earlier days only a number is left, whatever was tallied before; today's viewers are still told apart."""
    monkeypatch.setattr(views, "TALLIED_AT_ONCE", 2)
    for day in range(3):
        for viewer in range(day + 2):
            await view_from(world, shared, f"198.51.100.{viewer}")
        world.clock.forward(timedelta(days=day < 2))
    assert await shared.views() == 2 + 3 + 4
    for more in (True, True, False, False):
        assert await world.app.call("sharing:tallyShareViews", {}, caller=SYSTEM) is more
        assert await shared.views() == 9
    assert await world.db.pool.fetchval("select count(*) from share_viewers") == 4
    await view_from(world, shared, "198.51.100.0")
    assert await shared.views() == 9
    world.clock.forward(timedelta(days=1))
    while await world.app.call("sharing:tallyShareViews", {}, caller=SYSTEM):
        pass
    assert await shared.views() == 9
    assert await world.db.pool.fetchval("select count(*) from share_viewers") == 0


async def test_f58_a_view_touches_nothing_that_playlists_read(world: World, alice: Person, shared: Shared) -> None:
    """It is a row in a table of its own: no other table is written to."""
    before = await library.digests(world)
    await view_from(world, shared, "203.0.113.1")
    after = await library.digests(world)
    assert {table for table in after if after[table] != before[table]} == {"share_viewers"}


async def test_f58_no_address_is_kept(world: World, bob: Person, shared: Shared) -> None:
    """What is stored is neither an address nor a person, and differs from day to day."""
    for _ in range(2):
        await view_from(world, shared, "203.0.113.7")
        await bob.mutation("sharing:recordShareView", shareId=shared.share_id)
        world.clock.forward(timedelta(days=1))
    marks = [row["viewer"] for row in await world.db.pool.fetch("select viewer from share_viewers")]
    assert len(set(marks)) == 4
    assert all(len(mark) == 16 for mark in marks)
    kept = await world.db.pool.fetch("select w::text as row from share_viewers w")
    assert not any(told in row["row"] for row in kept for told in ("203.0.113.7", "user_bob"))


async def test_looking_at_nothing_counts_nothing(world: World, alice: Person, song: Song, shared: Shared) -> None:
    """A private link, one that never was, one of a deleted song: no error, and no row."""
    share = (await shared.row())["_id"]
    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=share, isPrivate=True)
    await view_from(world, shared, "203.0.113.1")
    assert await shared.views() == 0
    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=share, isPrivate=False)
    assert await alice.mutation("sharing:recordShareView", shareId="2222222222") is None
    await alice.mutation("music:softDeleteMusic", musicId=song.music_id)
    await view_from(world, shared, "203.0.113.1")
    assert await world.db.pool.fetchval("select count(*) from share_viewers") == 0


BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


async def test_the_share_page_counts_who_opens_it(world: World, shared: Shared) -> None:
    """Once a day, and the app that says so as well does not count twice."""
    for _ in range(3):
        assert (await world.http.get(shared.url, headers=BROWSER)).status_code == httpx2.codes.OK
    assert await shared.views() == 1
    answer = await world.http.post(
        "/api/mutation",
        json={"path": "sharing:recordShareView", "args": {"shareId": shared.share_id}, "format": "json"},
    )
    assert answer.json()["value"] is None
    assert await shared.views() == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Purpose": "prefetch;prerender"},
        {"Purpose": "prefetch"},
        {"X-Moz": "prefetch"},
        {"X-Purpose": "preview"},
        {"User-Agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
        {"User-Agent": "facebookexternalhit/1.1"},
        {"User-Agent": "TelegramBot (like TwitterBot)"},
        {"User-Agent": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"},
        {"User-Agent": "WhatsApp/2.23.20.0"},
    ],
    ids=lambda headers: next(iter(headers.values())),
)
async def test_programs_that_show_links_are_no_viewers(world: World, shared: Shared, headers: dict[str, str]) -> None:
    """They get the page, so that the link can be shown, and count for nothing."""
    assert (await world.http.get(shared.url, headers=BROWSER | headers)).status_code == httpx2.codes.OK
    await world.http.head(shared.url, headers=BROWSER)
    assert await shared.views() == 0
