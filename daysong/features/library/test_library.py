"""Songs of others: kept, shown, unavailable once their owner closes them, and removed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from conftest import NOW
from daysong.features.library import functions
from rehearsal import library
from rehearsal.billing import admin_of
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import FunctionError, Person, World, free_port

pytestmark = pytest.mark.anyio

SECRET = "Zwitscherlinchen sat on the windowsill"
# What a song of another's has besides, in the playlist.
ADDED = {"userSongId", "ownershipType", "linkedFromMusicIndex", "addedViaShareId", "ownerName"}


async def shares(person: Person, song: Any) -> Any:
    return await person.mutation("sharing:createShareLink", musicId=song["_id"])


async def add(person: Person, share: Any) -> Any:
    return await person.mutation("userSongs:addFromShare", shareId=share["shareId"])


async def songs(person: Person) -> list[dict[str, Any]]:
    """The playlist, which has the same songs when it is read by pages."""
    listed: list[dict[str, Any]] = await person.query("music:listPlaylistMusic")
    page = (await person.query("music:pagePlaylist", limit=100))["page"]
    assert page == [{key: value for key, value in song.items() if key != "lyricWithTime"} for song in listed]
    return listed


async def refused(call: Any) -> tuple[str | None, str]:
    with pytest.raises(FunctionError) as failed:
        await call
    assert failed.value.data is not None
    return failed.value.code, failed.value.data["message"]


async def alices_song(world: World, alice: Person) -> tuple[Any, Any]:
    """A song of Alice's with its link."""
    song = await alice.song(SECRET)
    return song, await shares(alice, song)


async def test_a_shared_song_is_kept_and_shown_as_its_share_shows_it(world: World, alice: Person, bob: Person) -> None:
    """With the share's addresses, its title, words and the owner's first name; no entry, no id of another's."""
    await world.steer("clerk", "update", sub="user_alice", name="Alice Liddell")
    await alice.mutation("users:ensureCurrentUser")
    song, share = await alices_song(world, alice)
    own = await bob.song("My own day")
    await world.pass_time(timedelta(minutes=1))
    assert await bob.query("userSongs:isShareInLibrary", shareId=share["shareId"]) is False
    assert await add(bob, share) == {"success": True}
    assert await add(bob, share) == {"success": True, "alreadyAdded": True}
    assert await bob.query("userSongs:isShareInLibrary", shareId=share["shareId"]) is True
    kept, bobs = await songs(bob)
    assert bobs["_id"] == own["_id"]
    assert (bobs["ownershipType"], kept["ownershipType"]) == ("owned", "shared")
    assert set(kept) >= ADDED
    assert kept["_id"] == kept["userSongId"]
    assert (kept["addedViaShareId"], kept["ownerName"], kept["linkedFromMusicIndex"]) == (share["shareId"], "Alice", 0)
    for field in ("title", "lyric", "duration", "lyricWithTime"):
        assert kept[field] == song[field]
    assert not {"diaryId", "diaryDate", "diaryContent", "diaryTitle", "isUnavailable"} & set(kept)
    alices = (await alice.mutation("users:ensureCurrentUser"))["userId"]
    for private in (song["_id"], song["diaryId"], alices, "user_alice", "Liddell", song["audioUrl"]):
        assert private not in str(kept)
    for address, kind in ((kept["audioUrl"], "audio/mpeg"), (kept["imageUrl"], "image/")):
        assert "/media/shared/" in address
        answer = await world.http.get(httpx2.URL(address).path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)


async def test_links_that_show_nothing_cannot_be_added(world: World, alice: Person, bob: Person) -> None:
    """Unknown, private, revoked; of a deleted song; of an account that is gone."""
    song, share = await alices_song(world, alice)
    [listed] = await alice.query("sharing:listSharedMusic")
    not_found = ("share_link_not_found", "Share link not found or inactive")
    assert await refused(add(bob, {"shareId": "unknown"})) == not_found
    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=listed["_id"], isPrivate=True)
    assert await refused(add(bob, share)) == not_found
    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=listed["_id"], isPrivate=False)
    await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
    assert await refused(add(bob, share)) == ("music_not_available", "Music not available")
    await alice.mutation("sharing:revokeShare", sharedMusicId=listed["_id"])
    assert await refused(add(bob, share)) == not_found


async def test_strangers_and_owners(alice: Person, anonymous: Person, world: World) -> None:
    """An anonymous caller has no library; one's own song is in it already."""
    song, share = await alices_song(world, alice)
    assert (await refused(add(anonymous, share)))[1] == "Unauthorized"
    assert await anonymous.query("userSongs:isShareInLibrary", shareId=share["shareId"]) is False
    assert await anonymous.query("music:getPlaylistOwnerNames") == {}
    assert await add(alice, share) == {"success": True, "alreadyAdded": True}
    assert await alice.query("userSongs:isShareInLibrary", shareId=share["shareId"]) is True
    [own] = await songs(alice)
    assert own["_id"] == song["_id"]
    assert not {"addedViaShareId", "ownerName", "isUnavailable", "unavailableReason"} & set(own)


async def test_a_closed_song_stays_listed_as_unavailable(world: World, alice: Person, bob: Person) -> None:
    """Private, deleted or revoked: without audio, cover, words and length; it comes back when it is opened again."""
    song, share = await alices_song(world, alice)
    await add(bob, share)
    [listed] = await alice.query("sharing:listSharedMusic")
    [before] = await songs(bob)

    async def is_unavailable(reason: str) -> None:
        [kept] = await songs(bob)
        assert (kept["isUnavailable"], kept["unavailableReason"]) == (True, reason)
        assert not {"audioUrl", "imageUrl", "lyric", "lyricWithTime", "duration"} & set(kept)
        assert kept["title"] == song["title"]
        assert song["lyric"] not in str(kept)

    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=listed["_id"], isPrivate=True)
    await is_unavailable("unshared")
    await alice.mutation("sharing:setSharePrivacy", sharedMusicId=listed["_id"], isPrivate=False)
    assert await songs(bob) == [before]
    await alice.mutation("sharing:revokeShare", sharedMusicId=listed["_id"])
    await is_unavailable("unshared")
    # A new link is for those who are given it.
    again = await shares(alice, song)
    await is_unavailable("unshared")
    assert await add(bob, again) == {"success": True, "alreadyAdded": True}
    [back] = await songs(bob)
    assert "isUnavailable" not in back
    await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
    await is_unavailable("deleted")


@pytest.mark.parametrize("how", ["entry", "account"])
async def test_a_song_that_is_gone_leaves_a_row_without_a_trace(
    world: World, alice: Person, bob: Person, how: str
) -> None:
    """When its entry or its owner's account is deleted: at once without title and name."""
    song, share = await alices_song(world, alice)
    await add(bob, share)
    if how == "entry":
        await alice.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
    else:
        await alice.mutation("users:deleteAccount")
    for _ in range(2):
        [kept] = await songs(bob)
        assert kept["unavailableReason"] == "deleted"
        assert not {"title", "ownerName", "audioUrl", "imageUrl", "lyric", "duration"} & set(kept)
        assert await bob.query("music:getPlaylistOwnerNames") == {} or how == "entry"
        await world.settle()
    assert await bob.mutation("userSongs:removeFromLibrary", userSongId=kept["userSongId"]) is None
    assert await songs(bob) == []


@pytest.mark.parametrize("function", ["userSongs:removeFromLibrary", "music:softDeleteMusic"])
async def test_a_kept_song_is_removed(world: World, alice: Person, bob: Person, function: str) -> None:
    """By either function; the owner keeps theirs, and another's library is none of the caller's."""
    song, share = await alices_song(world, alice)
    await add(bob, share)
    [kept] = await songs(bob)
    argument = "musicId" if "Music" in function else "userSongId"
    code = (await refused(alice.mutation(function, **{argument: kept["_id"]})))[0]
    assert code == ("music_not_found" if "Music" in function else "user_song_not_found")
    assert await bob.mutation(function, **{argument: kept["_id"]}) is None
    assert await songs(bob) == []
    assert [each["_id"] for each in await songs(alice)] == [song["_id"]]
    assert (await refused(bob.mutation(function, **{argument: kept["_id"]})))[0] == code
    own = (await songs(alice))[0]["userSongId"]
    assert (await refused(alice.mutation("userSongs:removeFromLibrary", userSongId=own)))[0] == "user_song_not_found"


async def test_a_full_library_takes_no_more(
    world: World, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Own songs do not count, one that is there can be added again, and removing one makes room."""
    _, first = await alices_song(world, alice)
    _, second = await alices_song(world, alice)
    await bob.song("My own day")
    monkeypatch.setattr(functions, "MOST_SHARED", 1)
    assert await add(bob, first) == {"success": True}
    assert (await refused(add(bob, second)))[0] == "library_full"
    assert await add(bob, first) == {"success": True, "alreadyAdded": True}
    kept = next(song for song in await songs(bob) if song["ownershipType"] == "shared")
    await bob.mutation("userSongs:removeFromLibrary", userSongId=kept["userSongId"])
    assert await add(bob, second) == {"success": True}


async def test_adding_at_once_adds_once(world: World, alice: Person, bob: Person) -> None:
    """However often the button is pressed."""
    _, share = await alices_song(world, alice)
    found = await asyncio.gather(*(add(bob, share) for _ in range(6)))
    assert sorted("alreadyAdded" in each for each in found) == [False] + [True] * 5
    assert len(await songs(bob)) == 1


async def test_owner_names_have_keys_that_tell_nothing(world: World, alice: Person, bob: Person) -> None:
    """The first name of each owner, unless switched off; another caller has another key."""
    _, share = await alices_song(world, alice)
    charlie = await world.person("charlie")
    for person in (bob, charlie):
        await add(person, share)
    [(key, name)] = (await bob.query("music:getPlaylistOwnerNames")).items()
    assert name == "Alice"
    assert key not in await charlie.query("music:getPlaylistOwnerNames")
    await alice.mutation("users:updateSettings", showNameOnShares=False)
    assert await bob.query("music:getPlaylistOwnerNames") == {}
    assert "ownerName" not in (await songs(bob))[0]


async def test_an_own_song_is_in_the_library_from_the_start(world: World, alice: Person) -> None:
    """While it is in the making; its second track is not, and a deleted one leaves."""
    await alice.action("music:startDiaryMusicGeneration", content=SECRET)
    [pending] = await songs(alice)
    assert (pending["status"], pending["ownershipType"]) == ("pending", "owned")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from user_songs") == 1
    await alice.mutation("music:softDeleteMusic", musicId=pending["_id"])
    assert await world.db.pool.fetchval("select count(*) from user_songs") == 0


async def test_the_migration_gave_rows_to_the_tracks_there_were(world: World, alice: Person) -> None:
    """The same ones, in the same order."""
    await library.fill(world, "alice", 3)
    before = await songs(alice)
    await world.db.pool.execute("delete from user_songs")
    assert await songs(alice) == []
    migration = Path(__file__).parents[2] / "migrations" / "0007_library.sql"
    backfill = migration.read_text().partition("for each row execute function remove_own_song();\n")[2]
    await world.db.pool.execute(backfill)
    assert await songs(alice) == before


async def test_a_track_is_linked_by_admins(world: World, alice: Person, bob: Person) -> None:
    """First tracks only; the same row each time."""
    song, _ = await alices_song(world, alice)
    users = {"alice": alice, "bob": bob}
    ids = {name: (await each.mutation("users:ensureCurrentUser"))["userId"] for name, each in users.items()}
    admin = admin_of(world)

    async def link(name: str, music_id: str, **more: Any) -> Any:
        return await admin.mutation("userSongs:linkUserToMusic", userId=ids[name], musicId=music_id, **more)

    assert await link("alice", song["_id"]) == (await songs(alice))[0]["userSongId"]
    linked = await link("bob", song["_id"], ownershipType="shared")
    assert await link("bob", song["_id"], musicIndex=0) == linked == (await songs(bob))[0]["userSongId"]
    second = await world.db.pool.fetchval("select id from music where music_index = 1")
    refusal = "Only musicIndex 0 tracks should be linked to userSongs"
    assert (await refused(link("alice", second)))[1] == refusal
    assert (await refused(link("alice", song["_id"], musicIndex=1)))[1] == refusal
    assert (await refused(link("alice", "music_none")))[0] == "music_not_found"


async def test_subscribers_hear_of_the_owners_changes(database_url: str, data_dir: Path) -> None:
    """The journey: shared, kept, closed, opened, and the account deleted; each changes Bob's playlist on his screen."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world:
        alice, bob = await world.person("alice"), await world.person("bob")
        [song] = await library.fill(world, "alice", 1)
        share = await alice.mutation("sharing:createShareLink", musicId=song.music_id)
        [listed] = await alice.query("sharing:listSharedMusic")
        async with SyncSocket(world.origin) as socket:
            await socket.connect()
            await socket.authenticate(0, bob.headers["Authorization"].removeprefix("Bearer "))
            await socket.subscribe(0, q0=("music:listPlaylistMusic", {}))
            await socket.transition(1)

            async def hears(*texts: str, without: str = "nothing of that") -> None:
                await socket.receive(
                    lambda m: (
                        m["type"] == "Transition"
                        and all(text in str(m["modifications"]) for text in texts)
                        and without not in str(m["modifications"])
                    )
                )

            await add(bob, share)
            await hears("Song 1", share["shareId"], without="isUnavailable")
            await alice.mutation("sharing:setSharePrivacy", sharedMusicId=listed["_id"], isPrivate=True)
            await hears("isUnavailable", "unshared")
            await alice.mutation("sharing:setSharePrivacy", sharedMusicId=listed["_id"], isPrivate=False)
            await hears("Song 1", without="isUnavailable")
            await alice.mutation("sharing:revokeShare", sharedMusicId=listed["_id"])
            await hears("isUnavailable", "unshared", "Song 1")
            await alice.mutation("users:deleteAccount")
            await hears("isUnavailable", "deleted", without="Song 1")
