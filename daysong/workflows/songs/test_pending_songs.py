"""A song shows in every list from the transaction that charges it until it ends, and why it failed when it failed."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

RAIN = "I walked home in the rain and called my sister"


async def start(alice: Person, content: str = RAIN, **more: Any) -> str:
    """Ask for a song; the id of its entry."""
    started = await alice.action("music:startDiaryMusicGeneration", content=content, **more)
    assert started["success"]
    diary_id: str = started["diaryId"]
    return diary_id


async def shown(alice: Person, diary_id: str) -> list[dict[str, Any]]:
    """The entry's newest song in each place that shows it: playlist and its page, entries, their page, one entry."""
    [song, *_] = await alice.query("music:listPlaylistMusic")
    [paged, *_] = (await alice.query("music:pagePlaylist"))["page"]
    [listed] = await alice.query("diaries:listDiaries")
    [listed_in_page] = (await alice.query("diaries:pageDiaries"))["page"]
    diary = await alice.query("diaries:getDiary", diaryId=diary_id)
    return [song, paged, *(entry["primaryMusic"] for entry in (listed, listed_in_page, diary))]


async def run_jobs(world: World) -> None:
    """Run due jobs, without any callback of Suno's."""
    await world.app.worker.drain(until=None, clock=world.clock)


async def test_g10_a_song_is_pending_in_every_list_before_anything_else_happened(world: World, alice: Person) -> None:
    """No job has run yet, and still playlist and entry show the song."""
    diary_id = await start(alice)
    songs = await shown(alice, diary_id)
    assert [song["status"] for song in songs] == ["pending"] * 5
    assert len({song["_id"] for song in songs}) == 1
    track = await alice.query("music:getMusic", musicId=songs[0]["_id"])
    assert (track["status"], track["progress"]["stage"]) == ("pending", "queued")
    assert await world.db.pool.fetchval("select count(*) from music where status = 'pending'") == 2


@pytest.mark.parametrize(
    ("vendor", "faults"),
    [
        ("openai", {"answer": "refusal"}),
        ("openai", {"answer": "content_filter"}),
        ("suno", {"code": 400}),
        ("suno", {"code": 413}),
    ],
)
async def test_g10_a_song_refused_before_suno_takes_it_is_failed_in_every_list(
    world: World, alice: Person, vendor: str, faults: dict[str, Any]
) -> None:
    """Content, key, size: the lists say that it failed and why, in words for a person."""
    await world.fault(vendor, path="/generate" if vendor == "suno" else "chat", **faults)
    diary_id = await start(alice)
    await world.settle()
    songs = await shown(alice, diary_id)
    assert [song["status"] for song in songs] == ["failed"] * 5
    reason = await world.db.pool.fetchval("select failure_reason from generations")
    assert reason.endswith(".")
    assert [song["reason"] for song in songs] == [reason] * 5
    track = await alice.query("music:getMusic", musicId=songs[0]["_id"])
    assert (track["progress"]["stage"], track["progress"]["reason"]) == ("failed", reason)


async def test_g10_words_show_on_the_pending_song_as_soon_as_they_are_written(world: World, alice: Person) -> None:
    """Suno is away, but title and lyrics are there to read."""
    await world.fault("suno", path="/generate", code=455)
    diary_id = await start(alice)
    await run_jobs(world)
    songs = await shown(alice, diary_id)
    assert {song["status"] for song in songs} == {"pending"}
    assert all(song["title"] and song["lyric"] for song in songs)


async def test_g13_the_working_song_stays_the_entrys_until_the_new_one_is_ready(world: World, alice: Person) -> None:
    """While a remake is pending the entry plays what it has; then it plays the new one."""
    old = await alice.song()
    await start(alice, "Now the sun is out", diaryId=old["diaryId"])
    await run_jobs(world)
    entry = await alice.query("diaries:getDiary", diaryId=old["diaryId"])
    assert (entry["primaryMusicId"], entry["primaryMusic"]["status"]) == (old["_id"], "ready")
    [newest, _] = await alice.query("music:listPlaylistMusic")
    assert newest["status"] == "pending"
    await world.settle()
    entry = await alice.query("diaries:getDiary", diaryId=old["diaryId"])
    assert (entry["primaryMusicId"], entry["primaryMusic"]["status"]) == (newest["_id"], "ready")


@pytest.mark.parametrize("faults", [{"code": 413}, {"callbackCode": 501}])
async def test_g13_a_remake_that_fails_leaves_the_working_song(
    world: World, alice: Person, faults: dict[str, Any]
) -> None:
    """Refused at once or failed later: the entry still plays, and the playlist shows the failed remake beside it."""
    old = await alice.song()
    await world.fault("suno", path="/generate", **faults)
    await start(alice, "Now the sun is out", diaryId=old["diaryId"])
    await world.settle()
    entry = await alice.query("diaries:getDiary", diaryId=old["diaryId"])
    assert (entry["primaryMusicId"], entry["primaryMusic"]["status"]) == (old["_id"], "ready")
    assert [song["status"] for song in await alice.query("music:listPlaylistMusic")] == ["failed", "ready"]


async def test_g13_a_failed_song_is_replaced_at_once_by_the_next_one(world: World, alice: Person) -> None:
    """An entry whose only song failed shows the new one from its first moment."""
    await world.fault("suno", path="/generate", code=413)
    diary_id = await start(alice)
    await world.settle()
    await world.fault("suno")
    failed = await alice.query("diaries:getDiary", diaryId=diary_id)
    await start(alice, diaryId=diary_id)
    entry = await alice.query("diaries:getDiary", diaryId=diary_id)
    assert entry["primaryMusic"]["status"] == "pending"
    assert entry["primaryMusicId"] != failed["primaryMusicId"]


async def test_g13_deleting_the_newer_song_gives_the_older_one_back(world: World, alice: Person) -> None:
    """The entry plays what is left; with nothing left it has no song."""
    old = await alice.song()
    new = await alice.song(diaryId=old["diaryId"])
    await alice.mutation("music:softDeleteMusic", musicId=new["_id"])
    entry = await alice.query("diaries:getDiary", diaryId=old["diaryId"])
    assert entry["primaryMusicId"] == old["_id"]
    await alice.mutation("music:softDeleteMusic", musicId=old["_id"])
    assert "primaryMusicId" not in await alice.query("diaries:getDiary", diaryId=old["diaryId"])


@pytest.mark.parametrize(("progress", "refunds"), [("queued", 1), ("writing", 1), ("composing", 0)])
async def test_g01_deleting_a_pending_song_cancels_it_and_refunds_only_what_was_not_bought(
    world: World, alice: Person, progress: str, refunds: int
) -> None:
    """As deleting its entry does; the entry stays, and nothing arrives later."""
    if progress == "writing":
        await world.fault("openai", status=503)
    diary_id = await start(alice)
    if progress != "queued":
        await run_jobs(world)
    [song] = await alice.query("music:listPlaylistMusic")
    await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
    assert await world.db.pool.fetchval("select status from generations") == "canceled"
    await world.fault("openai")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from usage_refunds") == refunds
    assert await world.db.pool.fetchval("select count(*) from music where status = 'ready'") == 0
    assert "primaryMusicId" not in await alice.query("diaries:getDiary", diaryId=diary_id)
    assert await alice.query("music:listPlaylistMusic") == []
    with pytest.raises(FunctionError, match="Music already deleted"):
        await alice.mutation("music:softDeleteMusic", musicId=song["_id"])


async def test_g01_a_canceled_song_that_suno_refused_after_all_is_refunded(
    world: World, alice: Person, admin: Person
) -> None:
    """Canceled while Suno was being asked, and nothing was bought."""
    await start(alice)
    [song] = await alice.query("music:listPlaylistMusic")
    generation = await world.db.pool.fetchval(
        "update generations set status = 'writing', asked_at = now() returning id"
    )
    await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
    assert await world.db.pool.fetchval("select count(*) from usage_refunds") == 0
    for _ in range(2):
        await admin.mutation("music:markRejected", generationId=generation)
    assert await world.db.pool.fetchval("select reason from usage_refunds") == "not_bought"
