"""Shares: who sees what, closing and taking back links, and honest counts of who looked."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from daysong.features.sharing import rules, views
from daysong.kernel.functions.context import SYSTEM, Caller
from daysong.kernel.time.clock import to_ms
from rehearsal import library
from rehearsal.library import Song
from rehearsal.world import FunctionError, Person, World, viewer_of

pytestmark = pytest.mark.anyio

NOTHING = {"found": False}


@pytest.fixture
async def song(world: World, alice: Person) -> Song:
    """A finished song of Alice's."""
    [song] = await library.fill(world, "alice", 1)
    return song


class Shared:
    """Alice's song, shared; and short ways to look at it from every side."""

    def __init__(self, alice: Person, link: dict[str, str]) -> None:
        self._alice = alice
        self.share_id, self.url = link["shareId"], link["shareUrl"]

    async def row(self) -> Any:
        """How its owner sees it."""
        [row] = [row for row in await self._alice.query("sharing:listSharedMusic") if row["shareId"] == self.share_id]
        return row

    async def views(self) -> int:
        """How often it was looked at."""
        return int((await self.row())["viewCount"])

    async def seen_by(self, person: Person) -> bool:
        """Whether there is something behind the link."""
        return bool((await person.query("sharing:getSharedMusic", shareId=self.share_id))["found"])


@pytest.fixture
async def shared(alice: Person, song: Song) -> Shared:
    """The song behind a link."""
    return Shared(alice, await alice.mutation("sharing:createShareLink", musicId=song.music_id))


async def view_from(world: World, shared: Shared, address: str, times: int = 1) -> None:
    """Record the view of an anonymous caller at that address."""
    scope: Any = {"client": (address, 5000)}
    viewer = viewer_of(scope, world.clock.now(), world.settings.admin_key)
    for _ in range(times):
        args = {"shareId": shared.share_id}
        await world.app.call("sharing:recordShareView", args, caller=Caller(viewer=viewer))


async def test_g45_a_share_is_listed_with_its_song_and_entry(
    world: World, alice: Person, song: Song, shared: Shared
) -> None:
    """Enough to show it with its entry, and to change it; the id in the link is not the row's."""
    row = await shared.row()
    assert row["_id"] != row["shareId"]
    assert row["musicId"] == song.music_id
    made = to_ms(world.clock.now() - timedelta(hours=1))
    assert (row["shareUrl"], row["isPrivate"], row["viewCount"]) == (shared.url, False, 0)
    assert row["music"] == {
        "_id": song.music_id,
        "status": "ready",
        "title": "Song 1",
        "audioUrl": f"http://daysong.test/media/{song.file_id}",
        "duration": 180.5,
        "lyric": "Words of 1",
        "createdAt": made,
        "diaryId": song.diary_id,
        "diaryDate": made,
        "diaryContent": "Secret thought 1 of user_alice",
    }
    await world.db.pool.execute("update diaries set title = 'A day', content = repeat('long ', 1000)")
    music = (await shared.row())["music"]
    assert (music["diaryTitle"], len(music["diaryContent"])) == ("A day", 2_000)


async def test_shares_are_listed_newest_first_and_to_their_owner_alone(
    world: World, alice: Person, bob: Person, anonymous: Person
) -> None:
    """No other user sees them in a list."""
    songs = await library.fill(world, "alice", 3)
    for one in songs:
        world.clock.forward(timedelta(minutes=1))
        await alice.mutation("sharing:createShareLink", musicId=one.music_id)
    listed = await alice.query("sharing:listSharedMusic")
    assert [row["music"]["_id"] for row in listed] == [one.music_id for one in reversed(songs)]
    assert await bob.query("sharing:listSharedMusic") == await anonymous.query("sharing:listSharedMusic") == []


async def test_many_shares_of_one_song_at_once_are_one_link(alice: Person, song: Song) -> None:
    """Five quick calls give one link."""
    links = await asyncio.gather(*(alice.mutation("sharing:createShareLink", musicId=song.music_id) for _ in range(5)))
    assert len({link["shareId"] for link in links}) == 1
    assert re.fullmatch("[23456789A-HJ-NP-Za-km-z]{10}", links[0]["shareId"])
    assert len(await alice.query("sharing:listSharedMusic")) == 1


async def test_f57_sharing_a_private_song_opens_its_link(
    alice: Person, anonymous: Person, song: Song, shared: Shared
) -> None:
    """The link that is handed out works, and is the one known already."""
    share = (await shared.row())["_id"]
    closed = await alice.mutation("sharing:setSharePrivacy", sharedMusicId=share, isPrivate=True)
    assert closed == {"isPrivate": True}
    assert not await shared.seen_by(anonymous)
    assert not await shared.seen_by(alice)
    assert (await shared.row())["isPrivate"]
    again = await alice.mutation("sharing:createShareLink", musicId=song.music_id)
    assert again == {"shareId": shared.share_id, "shareUrl": shared.url}
    assert await shared.seen_by(anonymous)


async def test_f57_a_retried_change_of_privacy_ends_as_it_was_asked(
    alice: Person, anonymous: Person, shared: Shared
) -> None:
    """A state is set, not turned; the toggle turns."""
    share = (await shared.row())["_id"]
    for _ in range(2):
        await alice.mutation("sharing:setSharePrivacy", sharedMusicId=share, isPrivate=True)
    assert not await shared.seen_by(anonymous)
    assert await alice.mutation("sharing:toggleSharePrivacy", sharedMusicId=share) == {"isPrivate": False}
    assert await shared.seen_by(anonymous)
    assert await alice.mutation("sharing:toggleSharePrivacy", sharedMusicId=share) == {"isPrivate": True}
    assert not await shared.seen_by(anonymous)


async def test_f57_a_revoked_link_is_dead_for_ever(
    world: World, alice: Person, anonymous: Person, song: Song, shared: Shared
) -> None:
    """Sharing again makes another link, which counts from nothing; the old one stays dead. Twice is fine."""
    await view_from(world, shared, "203.0.113.1")
    share = (await shared.row())["_id"]
    for _ in range(2):
        assert await alice.mutation("sharing:revokeShare", sharedMusicId=share) is None
    assert await alice.query("sharing:listSharedMusic") == []
    link = Shared(alice, await alice.mutation("sharing:createShareLink", musicId=song.music_id))
    assert link.share_id != shared.share_id
    assert await link.seen_by(anonymous)
    assert await link.views() == 0
    assert not await shared.seen_by(anonymous)
    assert (await world.http.get(shared.url)).status_code == httpx2.codes.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "more"), [("setSharePrivacy", {"isPrivate": True}), ("toggleSharePrivacy", {}), ("revokeShare", {})]
)
async def test_a_share_is_changed_by_its_owner_alone(
    bob: Person, anonymous: Person, shared: Shared, path: str, more: dict[str, bool]
) -> None:
    """Another's is refused, and stays as it is."""
    share = (await shared.row())["_id"]
    with pytest.raises(FunctionError) as refused:
        await bob.mutation(f"sharing:{path}", sharedMusicId=share, **more)
    assert refused.value.data == {"code": "share_not_found", "message": "Share not found"}
    with pytest.raises(FunctionError, match="Unauthorized"):
        await anonymous.mutation(f"sharing:{path}", sharedMusicId=share, **more)
    assert await shared.seen_by(anonymous)


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


SEEN = {
    "found", "title", "imageUrl", "audioUrl", "lyric", "lyricWithTime", "duration", "createdAt", "isOwner", "userName",
}  # fmt: skip


async def test_f59_a_stranger_learns_nothing_of_the_owner_but_their_first_name(
    world: World, bob: Person, anonymous: Person, alice: Person, song: Song, shared: Shared
) -> None:
    """Neither the entry, nor its date, an address or an id: not from the function, and not from the page."""
    owner = (await alice.mutation("users:ensureCurrentUser"))["userId"]
    await world.db.pool.execute("update users set name = 'Alice Pleasance Liddell' where id = $1", owner)
    entry = await alice.query("diaries:getDiary", diaryId=song.diary_id)
    for person in (bob, anonymous):
        seen = await person.query("sharing:getSharedMusic", shareId=shared.share_id)
        assert not seen["isOwner"]
        assert seen.keys() <= SEEN
        page = await world.http.get(shared.url, headers=person.headers)
        secrets = (
            "Secret thought", "user_alice", "alice@example.test", owner, song.diary_id, song.file_id, "Liddell",
            str(entry["date"]),
        )  # fmt: skip
        for secret in secrets:
            assert secret not in str(seen)
            assert secret not in page.text
        assert "Alice" in page.text
    own = await alice.query("sharing:getSharedMusic", shareId=shared.share_id)
    assert (own["isOwner"], own["ownerClerkId"]) == (True, "user_alice")


async def test_g45_a_share_shows_when_it_was_made_and_by_whom(
    world: World, alice: Person, anonymous: Person, song: Song
) -> None:
    """The moment of sharing, not that of the song; a first name, unless its owner does not want that."""
    world.clock.forward(timedelta(days=3))
    link = await alice.mutation("sharing:createShareLink", musicId=song.music_id)
    shared_at = to_ms(world.clock.now())
    world.clock.forward(timedelta(days=3))
    seen = await anonymous.query("sharing:getSharedMusic", shareId=link["shareId"])
    assert (seen["createdAt"], seen["userName"]) == (shared_at, "Alice")
    assert "ownerClerkId" not in seen
    for shown in (False, True):
        await alice.mutation("users:updateSettings", showNameOnShares=shown)
        seen = await anonymous.query("sharing:getSharedMusic", shareId=link["shareId"])
        assert seen.get("userName") == ("Alice" if shown else None)
        assert ("Shared by" in (await world.http.get(link["shareUrl"])).text) is shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (None, None), ("", None), (" \u2800 ", None), ("\ufeff Ana\u200b Maria", "Ana"), ("李小龍", "李小龍"),
        ("x" * 300, "x" * 40),
    ],
)  # fmt: skip
def test_g45_g46_what_is_shown_of_a_name(name: str | None, shown: str | None) -> None:
    assert rules.shown_name(name) == shown


@pytest.mark.parametrize("title", [None, "", "\ufeff\u200b", "\u2800"])
async def test_g46_a_title_that_shows_nothing_is_none(
    world: World, anonymous: Person, shared: Shared, title: str | None
) -> None:
    await world.db.pool.execute("update music set title = $1", title)
    seen = await anonymous.query("sharing:getSharedMusic", shareId=shared.share_id)
    assert seen["title"] == "Untitled Track"


@pytest.mark.parametrize("end", ["revoke", "private", "song", "entry", "account"])
async def test_g07_what_is_behind_a_share_ends_with_it(
    world: World, alice: Person, anonymous: Person, end: str
) -> None:
    """Addresses of its audio and cover stop working at once, also in caches."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    [row] = await alice.query("sharing:listSharedMusic")
    seen = await anonymous.query("sharing:getSharedMusic", shareId=link["shareId"])
    addresses = [seen["audioUrl"], seen["imageUrl"]]
    etags = []
    for address, own in zip(addresses, (row["music"]["audioUrl"], row["music"]["imageUrl"]), strict=True):
        whole, part = await world.http.get(address), await world.http.get(address, headers={"Range": "bytes=2-5"})
        assert (whole.status_code, part.status_code) == (200, 206)
        assert whole.content == (await world.http.get(own)).content
        assert part.content == whole.content[2:6]
        assert whole.headers["cache-control"] == "private, no-cache"
        file_id = own.rpartition("/")[2]
        assert file_id not in str(whole.headers) + str(seen)
        etags.append(whole.headers["etag"])
        again = await world.http.get(address, headers={"If-None-Match": etags[-1]})
        assert again.status_code == 304

    match end:
        case "revoke":
            await alice.mutation("sharing:revokeShare", sharedMusicId=row["_id"])
        case "private":
            await alice.mutation("sharing:setSharePrivacy", sharedMusicId=row["_id"], isPrivate=True)
        case "song":
            await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
        case "entry":
            await alice.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
        case "account":
            await alice.mutation("users:deleteAccount")
    for address, etag in zip(addresses, etags, strict=True):
        for headers in ({}, {"If-None-Match": etag}, {"Range": "bytes=0-0"}):
            assert (await world.http.get(address, headers=headers)).status_code == 404
    if end == "private":
        assert (await world.http.get(row["music"]["audioUrl"])).status_code == 200


async def test_g07_until_our_copy_is_there_a_share_leads_to_the_vendors(
    world: World, anonymous: Person, shared: Shared
) -> None:
    """By a redirect that ends with the share, too; and only to what a browser can fetch."""
    seen = await anonymous.query("sharing:getSharedMusic", shareId=shared.share_id)
    vendors = "https://cdn.example.test/song.mp3"
    await world.db.pool.execute("update music set audio_file_id = null, audio_url = $1", vendors)
    answer = await world.http.get(seen["audioUrl"])
    assert (answer.status_code, answer.headers["location"]) == (302, vendors)
    assert answer.headers["cache-control"] == "no-store"
    for other in ("javascript:alert(1)", "", None):
        await world.db.pool.execute("update music set audio_url = $1", other)
        assert (await world.http.get(seen["audioUrl"])).status_code == 404
    seen = await anonymous.query("sharing:getSharedMusic", shareId=shared.share_id)
    assert "audioUrl" not in seen
    for path in ("/media/shared/x/audio", f"/media/shared/{shared.share_id}/diary", "/media/shared/%00/audio"):
        assert (await world.http.get(path)).status_code in {400, 404}


async def test_g47_a_song_is_saved_under_its_title(world: World, alice: Person, song: Song, shared: Shared) -> None:
    """From an owner's address and from a share; played in place, or saved when a link asks for that."""
    await world.app.files.put(song.file_id, b"x" * 1000, "audio/mpeg")
    for address in (f"/media/{song.file_id}", f"/media/shared/{shared.share_id}/audio"):
        for query, how in (("", "inline"), ("?download=1", "attachment")):
            answer = await world.http.get(address + query)
            assert answer.headers["content-disposition"] == f'{how}; filename="Song 1.mp3"'
