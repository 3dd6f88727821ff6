"""Shares: who sees what, closing and taking back links, and honest counts of who looked."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import httpx2
import pytest

from daysong.features.sharing import rules
from daysong.features.sharing.conftest import Shared, view_from
from daysong.kernel.time.clock import to_ms
from rehearsal import library
from rehearsal.library import Song
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

NOTHING = {"found": False}
SEEN = {
    "found", "title", "imageUrl", "audioUrl", "lyric", "lyricWithTime", "duration", "createdAt", "isOwner", "userName",
}  # fmt: skip


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


async def test_the_options_of_a_share_are_off_until_its_owner_sets_them(
    alice: Person, anonymous: Person, shared: Shared
) -> None:
    """Each is set on its own, and stays as it was when it is omitted; viewers learn of what is on."""
    share = (await shared.row())["_id"]
    assert [(await shared.row())[name] for name in ("allowDownload", "listed")] == [False, False]
    steps: list[tuple[dict[str, bool], dict[str, bool]]] = [
        ({}, {"allowDownload": False, "listed": False}),
        ({"allowDownload": True}, {"allowDownload": True, "listed": False}),
        ({"listed": True}, {"allowDownload": True, "listed": True}),
        ({"allowDownload": False, "listed": True}, {"allowDownload": False, "listed": True}),
    ]
    for given, options in steps:
        for _ in range(2):
            assert await alice.mutation("sharing:setShareOptions", sharedMusicId=share, **given) == options
        row = await shared.row()
        assert {name: row[name] for name in options} == options
        seen = await anonymous.query("sharing:getSharedMusic", shareId=shared.share_id)
        assert {name: seen.get(name, False) for name in options} == options


async def test_a_share_is_saved_as_a_file_only_if_its_owner_allows_that(
    world: World, alice: Person, song: Song, shared: Shared
) -> None:
    """Otherwise `?download=1` plays it in place."""
    await world.app.files.put(song.file_id, b"x" * 1000, "audio/mpeg")
    share = (await shared.row())["_id"]
    for allowed, how in ((False, "inline"), (True, "attachment"), (False, "inline")):
        await alice.mutation("sharing:setShareOptions", sharedMusicId=share, allowDownload=allowed)
        answer = await world.http.get(f"/media/shared/{shared.share_id}/audio?download=1")
        assert answer.headers["content-disposition"] == f'{how}; filename="Song 1.mp3"'


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("setSharePrivacy", {"isPrivate": True}),
        ("setShareOptions", {"listed": True}),
        ("toggleSharePrivacy", {}),
        ("revokeShare", {}),
    ],
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
        assert ("a song by" in (await world.http.get(link["shareUrl"])).text) is shown


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
    row = await shared.row()
    await alice.mutation("sharing:setShareOptions", sharedMusicId=row["_id"], allowDownload=True)
    for address in (f"/media/{song.file_id}", f"/media/shared/{shared.share_id}/audio"):
        for query, how in (("", "inline"), ("?download=1", "attachment")):
            answer = await world.http.get(address + query)
            assert answer.headers["content-disposition"] == f'{how}; filename="Song 1.mp3"'
