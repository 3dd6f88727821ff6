"""Playback: one track with all there is to it, and tracks put out of sight."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from daysong.kernel.time.clock import to_ms
from rehearsal import library
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

LINKED = "linkedFromMusicIndex"
RAIN = "I walked home in the rain and called my sister"


async def second_track(world: World) -> str:
    """The track of the newest song that the playlist does not show."""
    found: str = await world.db.pool.fetchval(
        "select id from music where music_index = 1 order by created_at desc limit 1"
    )
    return found


async def test_a_track_tells_all_the_playlist_does_and_how_its_making_stands(world: World, alice: Person) -> None:
    """Words with their timing and the waveform, files, entry, and progress."""
    song = await alice.song()
    track = await alice.query("music:getMusic", musicId=song["_id"])
    timed = track["lyricWithTime"]
    assert timed["alignedWords"]
    assert timed["waveformData"]
    assert song["lyricWithTime"] == timed | {"waveformData": []}
    # What only the playlist says: how the song came into it.
    listed = {key: value for key, value in song.items() if key not in {"userSongId", "ownershipType", LINKED}}
    assert track == listed | {
        "lyricWithTime": timed,
        "progress": {"stage": "ready", "updatedAt": to_ms(world.clock.now())},
    }
    assert track["diaryContent"] == RAIN


async def test_the_second_track_can_be_played_too(world: World, alice: Person) -> None:
    """It is in no list, and its owner may have it by its id."""
    song = await alice.song()
    track = await alice.query("music:getMusic", musicId=await second_track(world))
    assert track["audioUrl"] != song["audioUrl"]
    assert track["diaryId"] == song["diaryId"]


async def test_a_track_is_its_owners_alone(alice: Person, bob: Person, anonymous: Person) -> None:
    """To anybody else it looks like one that does not exist."""
    song = await alice.song()
    for person in (bob, anonymous):
        assert await person.query("music:getMusic", musicId=song["_id"]) is None
    assert await alice.query("music:getMusic", musicId="music_none") is None


async def test_f26_a_song_in_the_making_can_be_followed(world: World, alice: Person) -> None:
    """From the moment Suno is at work its tracks are there; at the end the stage says why, if it failed."""
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    diary = await alice.query("diaries:getDiary", diaryId=started["diaryId"])
    track = await alice.query("music:getMusic", musicId=diary["primaryMusicId"])
    assert (track["status"], track["progress"]["stage"]) == ("pending", "composing")
    assert (await alice.query("diaries:pageDiaries"))["page"][0]["primaryMusic"]["status"] == "pending"
    await world.db.pool.execute(
        "update generations set status = 'failed', failure_code = 'x', failure_reason = 'The words were refused.'"
    )
    track = await alice.query("music:getMusic", musicId=diary["primaryMusicId"])
    assert track["progress"]["stage"] == "failed"
    assert track["progress"]["reason"] == "The words were refused."


async def everywhere(world: World, alice: Person, share: Any) -> list[Any]:
    """All that shows the song of the only entry: lists, pages, entry, track, link, page, shares."""
    [diary] = await alice.query("diaries:listDiaries")
    page = await world.http.get(share["shareUrl"])
    return [
        await alice.query("music:listPlaylistMusic"),
        (await alice.query("music:pagePlaylist"))["page"],
        diary.get("primaryMusic"),
        (await alice.query("diaries:getDiary", diaryId=diary["_id"])).get("primaryMusic"),
        (await alice.query("diaries:pageDiaries"))["page"][0].get("primaryMusic"),
        diary.get("primaryMusicId"),
        (await alice.query("sharing:getSharedMusic", shareId=share["shareId"]))["found"],
        await alice.query("sharing:listSharedMusic"),
        page.status_code == httpx2.codes.OK,
    ]


async def test_f25_a_deleted_song_is_served_nowhere(world: World, alice: Person) -> None:
    """Playlist, entry, its page, its link: none of them has it, nor its audio."""
    song = await alice.song()
    share = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    assert all(await everywhere(world, alice, share))
    assert await alice.mutation("music:softDeleteMusic", musicId=song["_id"]) is None
    assert not any(await everywhere(world, alice, share))
    assert await alice.query("music:getMusic", musicId=song["_id"]) is None
    with pytest.raises(FunctionError, match="Cannot share deleted music"):
        await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    assert (await alice.query("diaries:listDiaries"))[0]["content"] == RAIN


async def test_f25_a_song_deleted_while_it_is_made_stays_deleted(world: World, alice: Person) -> None:
    """Its callback comes, and neither brings it back nor copies its files."""
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    diary = await alice.query("diaries:getDiary", diaryId=started["diaryId"])
    await alice.mutation("music:softDeleteMusic", musicId=diary["primaryMusicId"])
    await world.settle()
    assert await alice.query("music:listPlaylistMusic") == []
    assert "primaryMusic" not in await alice.query("diaries:getDiary", diaryId=started["diaryId"])
    assert (
        await world.db.pool.fetchval(
            "select count(*) from music where deleted_at is not null and audio_file_id is not null"
        )
        == 0
    )


async def test_a_song_is_deleted_once_and_by_its_owner(
    world: World, alice: Person, bob: Person, anonymous: Person
) -> None:
    """Another's looks like one that does not exist."""
    [song] = await library.fill(world, "alice", 1)
    for person, music_id in ((bob, song.music_id), (alice, "music_none")):
        with pytest.raises(FunctionError) as refused:
            await person.mutation("music:softDeleteMusic", musicId=music_id)
        assert refused.value.data == {"code": "music_not_found", "message": "Music not found"}
    with pytest.raises(FunctionError, match="Unauthorized"):
        await anonymous.mutation("music:softDeleteMusic", musicId=song.music_id)
    assert len(await alice.query("music:listPlaylistMusic")) == 1
    await alice.mutation("music:softDeleteMusic", musicId=song.music_id)
    world.clock.forward(timedelta(minutes=1))
    with pytest.raises(FunctionError) as refused:
        await alice.mutation("music:softDeleteMusic", musicId=song.music_id)
    assert refused.value.data == {"code": "music_already_deleted", "message": "Music already deleted"}


async def test_f25_the_audio_of_a_deleted_song_is_served_no_more(world: World, alice: Person) -> None:
    """Not even by an address that was kept."""
    song = await alice.song()
    assert (await world.http.get(song["audioUrl"])).status_code == httpx2.codes.OK
    await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
    for url in (song["audioUrl"], song["imageUrl"]):
        assert (await world.http.get(url)).status_code == httpx2.codes.NOT_FOUND
