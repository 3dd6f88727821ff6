"""Whatever lies at a track's address: a song is ready when it can be heard, else it has failed and is refunded."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from mutagen.id3 import ID3

from daysong.vendors.sound import recognized
from daysong.workflows.songs.test_song_failures import assert_ready, outcome, start
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

RAIN = "I walked home in the rain and called my sister"


@pytest.mark.parametrize("audio", ["page", "noise", "short", "empty", "nameless"])
async def test_g11_a_song_whose_audio_cannot_be_had_fails_and_is_refunded(
    world: World, alice: Person, audio: str
) -> None:
    """It is pending while Suno is asked again, is never ready, and nothing of it is kept as our copy."""
    await world.fault("suno", audio=audio)
    await start(alice)
    await world.settle()
    assert (await outcome(world))["status"] == "composing"
    await world.pass_time(timedelta(minutes=3))
    ended = await outcome(world)
    assert (ended["status"], ended["failure_code"], ended["refunds"]) == ("failed", "no_audio", 1)
    assert await world.db.pool.fetchval("select count(*) from files") == 0
    [song] = await alice.query("music:listPlaylistMusic")
    assert (song["status"], "audioUrl" in song) == ("failed", False)


@pytest.mark.parametrize("audio", ["page", "nameless", "empty"])
async def test_g11_audio_that_turns_up_a_little_later_makes_the_song(world: World, alice: Person, audio: str) -> None:
    """Files take a while to reach every server, and record-info may name a better address."""
    await world.fault("suno", audio=audio)
    await start(alice)
    await world.settle()
    await world.pass_time(timedelta(seconds=25))
    await world.fault("suno")
    await world.pass_time(timedelta(minutes=2))
    await assert_ready(world)


async def test_g11_one_take_that_can_be_heard_is_the_song(world: World, alice: Person) -> None:
    """The first take is a page: the second is the entry's song, and the other row has failed."""
    await world.fault("suno", audio="page", take=0)
    await start(alice)
    await world.settle()
    await world.pass_time(timedelta(minutes=3))
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"], ended["tracks"]) == ("ready", 0, ["ready", "failed"])
    [song] = await alice.query("music:listPlaylistMusic")
    audio = await world.http.get(song["audioUrl"])
    assert recognized(audio.content)


async def test_g11_the_other_address_of_a_track_is_tried(world: World, alice: Person) -> None:
    """`audio_url` leads nowhere, `source_audio_url` has the song."""
    await world.fault("suno", callbacks="lost")
    await start(alice)
    await world.app.worker.drain(until=None, clock=world.clock)
    [asked] = await world.asked("suno", "/generate")
    files = "http://daysong.test/sandbox/suno/files"
    track = {"id": "a", "audio_url": f"{files}/None.mp3", "source_audio_url": f"{files}/hum.mp3", "title": "Rain"}
    task_id = await world.db.pool.fetchval("select task_id from generations")
    body = {"code": 200, "msg": "", "data": {"callbackType": "complete", "task_id": task_id, "data": [track]}}
    await world.http.post(asked["body"]["callBackUrl"], json=body)
    await world.app.worker.drain(until=None, clock=world.clock)
    ended = await outcome(world)
    assert (ended["status"], ended["tracks"]) == ("ready", ["ready", "failed"])


async def test_g11_files_that_cannot_be_reached_are_tried_until_the_song_is_overdue(
    world: World, alice: Person
) -> None:
    """A storage network that fails for a while only delays the song."""
    await world.fault("suno", path="/files/", status=503)
    await start(alice)
    await world.pass_time(timedelta(minutes=10))
    assert (await outcome(world))["status"] == "composing"
    await world.fault("suno")
    await world.pass_time(timedelta(minutes=10))
    await assert_ready(world)


async def test_g11_files_that_can_never_be_reached_end_in_a_refund(world: World, alice: Person) -> None:
    """After the deadline of every song at Suno."""
    await world.fault("suno", path="/files/", status=503)
    await start(alice)
    await world.settle()
    await world.pass_time(timedelta(minutes=40))
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"]) == ("failed", 1)


@pytest.mark.parametrize(
    ("audio", "kept_as"),
    [
        ("octet_stream", "audio/mpeg"),
        ("untyped", "audio/mpeg"),
        ("video_label", "audio/mpeg"),
        ("video", "audio/mp4"),
    ],
)
async def test_g12_good_audio_is_kept_whatever_its_label_says(
    world: World, alice: Person, audio: str, kept_as: str
) -> None:
    """Audio and cover are copied, and served as what they are."""
    await world.fault("suno", audio=audio, cover="octet_stream")
    song = await alice.song()
    answer = await world.http.get(song["audioUrl"])
    assert answer.headers["content-type"] == kept_as
    assert recognized(answer.content)
    assert (await world.http.get(song["imageUrl"])).headers["content-type"] == "image/png"


async def test_g12_a_cover_is_kept_when_the_audio_cannot_be_copied(world: World, alice: Person) -> None:
    """And the audio when the cover is no picture: neither waits for the other."""
    await world.fault("suno", cover="page")
    await alice.song()
    rows = await world.db.pool.fetch("select audio_file_id, image_file_id from music")
    assert all(row["audio_file_id"] and row["image_file_id"] is None for row in rows)
    assert "/media/" not in (await alice.query("music:listPlaylistMusic"))[0]["imageUrl"]
    # The audio goes bad between the look at it and its copy.
    await world.db.pool.execute("update music set audio_file_id = null")
    await world.fault("suno", audio="page")
    await world.pass_time(timedelta(minutes=2))
    rows = await world.db.pool.fetch("select audio_file_id, image_file_id from music")
    assert all(row["image_file_id"] and row["audio_file_id"] is None for row in rows)


async def test_g68_our_copy_tells_players_what_it_is(world: World, alice: Person) -> None:
    """Title, artist, cover and lyrics stand in the MP3."""
    song = await alice.song()
    tags: Any = ID3(io.BytesIO((await world.http.get(song["audioUrl"])).content))
    assert str(tags["TIT2"]) == song["title"]
    assert str(tags["TPE1"]) == "daysong"
    assert str(tags.getall("USLT")[0]) == song["lyric"]
    [cover] = tags.getall("APIC")
    assert cover.mime == "image/png"
    assert cover.data == (await world.http.get(song["imageUrl"])).content
