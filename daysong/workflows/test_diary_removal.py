"""A diary entry is deleted, at whatever moment: nothing of it stays, and a song in the making is given back once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from daysong.features.music import generations
from daysong.features.subscriptions.rules import PLANS
from daysong.kernel.functions.context import SYSTEM
from daysong.vendors.storage import FileMissing
from daysong.workflows.songs import diary_to_song
from daysong.workflows.songs.song_delivery import OneGeneration
from daysong.workflows.songs.song_files import file_id_of
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

RAIN = "I walked home in the rain and called my sister"
ITS_TABLES = ("diaries", "generations", "music", "shared_music", "share_viewers", "share_views", "files")


async def left(world: World) -> dict[str, int]:
    """How many rows there are of what belongs to entries."""
    return {table: await world.db.pool.fetchval(f"select count(*) from {table}") for table in ITS_TABLES}  # noqa: S608


async def stored(world: World, file_ids: list[str]) -> list[str]:
    """Which of these files are in the storage."""
    found = []
    for file_id in file_ids:
        try:
            await world.app.files.size(file_id)
        except FileMissing:
            continue
        found.append(file_id)
    return found


async def money(world: World) -> dict[str, Any]:
    """Charges, and why they were given back."""
    return {
        "charges": await world.db.pool.fetchval("select count(*) from usage_charges"),
        "refunds": [row["reason"] for row in await world.db.pool.fetch("select reason from usage_refunds")],
    }


async def unfinished(world: World) -> list[Any]:
    """Jobs that did not end well."""
    rows = await world.db.pool.fetch("select function, last_error from jobs where status not in ('done', 'queued')")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("progress", "refunds"), [("queued", 1), ("writing", 1), ("composing", 0), ("asked and lost", 0)]
)
async def test_g01_a_diary_deleted_in_mid_generation_is_refunded_only_while_nothing_was_bought(
    world: World, alice: Person, progress: str, refunds: int
) -> None:
    """Once Suno was asked the charge stays; late callbacks and jobs change nothing and do not fail."""
    given_back = {"charges": 1, "refunds": ["diary_deleted"] * refunds}
    if progress == "writing":
        await world.fault("openai", status=503)
    if progress == "asked and lost":
        await world.fault("suno", path="/generate", status=500)
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    if progress != "queued":
        await world.app.worker.drain(until=None, clock=world.clock)
    [generation] = await world.db.pool.fetch("select status from generations")
    assert generation["status"] == ("composing" if progress == "asked and lost" else progress)

    assert await alice.mutation("diaries:deleteDiary", diaryId=started["diaryId"]) is None
    assert await alice.mutation("diaries:deleteDiary", diaryId=started["diaryId"]) is None
    assert await money(world) == given_back

    for vendor in ("openai", "suno"):
        await world.fault(vendor)
    await world.settle()
    await world.pass_time(timedelta(hours=2))
    assert await money(world) == given_back
    assert await left(world) == dict.fromkeys(ITS_TABLES, 0)
    assert await unfinished(world) == []
    assert await alice.query("music:listPlaylistMusic") == []
    again = await alice.action("music:startDiaryMusicGeneration", content="Again")
    assert again["remainingQuota"] == 3 + refunds


async def test_g01_songs_heard_early_and_deleted_do_not_outlast_the_plan(world: World, alice: Person) -> None:
    """Deleting entries once their early audio is there gives no more songs than the plan has."""
    heard = 0
    for number in range(PLANS["free"].songs + 3):
        started = await alice.action("music:startDiaryMusicGeneration", content=f"Day {number}")
        if not started["success"]:
            break
        await world.app.worker.drain(until=None, clock=world.clock)
        await world.steer("suno", "deliver", stage="first")
        await world.app.worker.drain(until=None, clock=world.clock)
        [song] = await alice.query("music:listPlaylistMusic")
        assert song["audioUrl"]
        heard += 1
        await alice.mutation("diaries:deleteDiary", diaryId=started["diaryId"])
        await world.settle()
    assert heard == PLANS["free"].songs


@pytest.mark.parametrize("first", ["asking", "deleting"])
async def test_g01_deleting_while_suno_is_being_asked_is_decided_by_the_generations_row(
    world: World, alice: Person, first: str
) -> None:
    """Asked first: bought, and the charge stays. Deleted first: Suno is not asked, and the charge is refunded."""
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    generation = await world.db.pool.fetchval("update generations set status = 'writing' returning id")
    async with world.db.pool.acquire() as connection:
        open_transaction = connection.transaction()
        await open_transaction.start()
        if first == "asking":
            assert await generations.mark_requested(connection, generation, world.clock.now())
            other = asyncio.create_task(alice.mutation("diaries:deleteDiary", diaryId=started["diaryId"]))
        else:
            await generations.cancel(connection, generation, reason="diary_deleted", now=world.clock.now())
            asking = OneGeneration(generation_id=generation)
            other = asyncio.create_task(world.app.runtime.run_mutation(diary_to_song.mark_requested, asking, SYSTEM))
        async with asyncio.timeout(20):
            while not await world.db.pool.fetchval("select exists (select from pg_locks where not granted)"):
                await asyncio.sleep(0.01)
        await open_transaction.commit()
        outcome = await other
    if first == "asking":
        assert await money(world) == {"charges": 1, "refunds": []}
    else:
        assert outcome is False
        assert await money(world) == {"charges": 1, "refunds": ["diary_deleted"]}


async def test_f22_a_callback_stored_before_and_handled_after_the_deletion_does_nothing(
    world: World, alice: Person
) -> None:
    """The entry goes between the callback and the job that handles it."""
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    await world.sandbox.settle()
    assert await world.db.pool.fetchval("select count(*) from webhook_events where handled_at is null") > 0
    await alice.mutation("diaries:deleteDiary", diaryId=started["diaryId"])
    await world.settle()
    events = await world.db.pool.fetch("select outcome from webhook_events")
    assert {event["outcome"] for event in events} == {"generation is gone"}
    assert await left(world) == dict.fromkeys(ITS_TABLES, 0)
    assert await money(world) == {"charges": 1, "refunds": []}
    assert await unfinished(world) == []


async def test_f56_all_that_was_made_of_an_entry_goes_with_it(world: World, alice: Person, anonymous: Person) -> None:
    """Both songs of it with both tracks, one put out of sight; the share and who looked; the files and their rows."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    await anonymous.mutation("sharing:recordShareView", shareId=link["shareId"])
    world.clock.forward(timedelta(minutes=1))
    newer = await alice.song(diaryId=song["diaryId"])
    await alice.mutation("music:softDeleteMusic", musicId=newer["_id"])
    kept = await alice.song("Another day")
    before = {table: count for table, count in (await left(world)).items() if count}
    assert before == {
        "diaries": 2, "generations": 3, "music": 6, "shared_music": 1, "share_viewers": 1, "files": before["files"],
    }  # fmt: skip
    files = [row["id"] for row in await world.db.pool.fetch("select id from files")]
    assert await stored(world, files) == files

    await alice.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
    assert (await world.http.get(song["audioUrl"])).status_code == httpx2.codes.NOT_FOUND
    await world.settle()
    rest = [row["id"] for row in await world.db.pool.fetch("select id from files")]
    assert 0 < len(rest) < len(files)
    assert await stored(world, files) == [file for file in files if file in rest]
    assert {table: count for table, count in (await left(world)).items() if count} == {
        "diaries": 1, "generations": 1, "music": 2, "files": len(rest),
    }  # fmt: skip
    assert await anonymous.query("sharing:getSharedMusic", shareId=link["shareId"]) == {"found": False}
    assert (await alice.query("music:listPlaylistMusic")) == [kept]
    assert await money(world) == {"charges": 3, "refunds": []}

    await world.pass_time(timedelta(hours=2))
    assert await stored(world, rest) == rest
    assert await unfinished(world) == []


async def test_a_copy_that_was_under_way_is_removed_too(world: World, alice: Person) -> None:
    """It reaches the storage after its entry is deleted, without a row."""
    song = await alice.song()
    generation = await world.db.pool.fetchval("select callback_secret from generations")
    late = file_id_of(generation, song["_id"], "audio")
    await alice.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
    await world.settle()
    await world.app.files.put(late, b"late", "audio/mpeg")
    await world.pass_time(timedelta(hours=2))
    assert await stored(world, [late]) == []


async def test_removing_files_twice_is_fine_and_a_failing_storage_is_tried_again(world: World, alice: Person) -> None:
    """The job may run again after a crash; what is gone is gone."""
    song = await alice.song()
    files = [row["id"] for row in await world.db.pool.fetch("select id from files")]
    await world.app.files.delete(files[:1])
    await alice.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
    await world.settle()
    assert await stored(world, files) == []
    await world.db.pool.execute(
        """update jobs set status = 'queued', finished_at = null
           where function = 'musicActions:removeStoredFiles' and status = 'done'"""
    )
    await world.settle()
    assert await unfinished(world) == []


async def test_another_persons_entry_is_forbidden(world: World, alice: Person, bob: Person, anonymous: Person) -> None:
    """And stays as it is, song, file and all."""
    song = await alice.song()
    before = await left(world)
    with pytest.raises(FunctionError) as refused:
        await bob.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
    assert refused.value.data == {"code": "forbidden", "message": "Forbidden"}
    with pytest.raises(FunctionError, match="Unauthorized"):
        await anonymous.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
    assert await left(world) == before
    assert await alice.query("music:listPlaylistMusic") == [song]


async def test_deleting_what_never_was_is_fine(alice: Person) -> None:
    """As for one that is gone already."""
    assert await alice.mutation("diaries:deleteDiary", diaryId="diary_none") is None


async def test_f22_deleting_and_delivering_at_once_ends_in_one_of_the_two_orders(world: World, alice: Person) -> None:
    """The song was delivered, or it was canceled after it was bought: charged in both, and nothing stays."""
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    await world.sandbox.settle()
    await asyncio.gather(
        world.app.worker.drain(until=None, clock=world.clock),
        *(alice.mutation("diaries:deleteDiary", diaryId=started["diaryId"]) for _ in range(2)),
    )
    await world.settle()
    await world.pass_time(timedelta(hours=2))
    assert await money(world) == {"charges": 1, "refunds": []}
    assert await left(world) == dict.fromkeys(ITS_TABLES, 0)
    assert await unfinished(world) == []
