"""Entries that begin without words are shown to their owner only, and do not stay empty."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from daysong.features.diaries.unwritten import MAX_UNWRITTEN
from rehearsal import photos
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


async def begun(person: Person) -> str:
    """Begin an entry without words, as the mobile app does before it adds a photo."""
    return str((await person.mutation("diaries:createDiary", content=""))["_id"])


async def is_there(person: Person, diary_id: str) -> bool:
    """Whether the entry is still there."""
    return await person.query("diaries:getDiary", diaryId=diary_id) is not None


async def test_an_entry_without_words_is_shown_by_get_diary_alone(world: World, alice: Person, bob: Person) -> None:
    """Lists have it once it has words, in the place of its date."""
    diary_id = await begun(alice)
    assert (await alice.query("diaries:getDiary", diaryId=diary_id))["content"] == ""
    assert not await is_there(bob, diary_id)
    await photos.attached(world, alice, diary_id)
    world.clock.forward(timedelta(minutes=1))
    later = (await alice.mutation("diaries:createDiary", content="Later"))["_id"]
    for path in ("diaries:listDiaries", "diaries:pageDiaries"):
        found = await alice.query(path)
        assert [row["_id"] for row in (found if isinstance(found, list) else found["page"])] == [later]
    await alice.mutation("diaries:updateDiary", diaryId=diary_id, content="The lake")
    assert [row["_id"] for row in await alice.query("diaries:listDiaries")] == [later, diary_id]


async def test_an_entry_with_neither_words_nor_media_is_removed_after_ten_minutes(world: World, alice: Person) -> None:
    """Those that got words or a photo stay."""
    empty, written, pictured = [await begun(alice) for _ in range(3)]
    await alice.mutation("diaries:updateDiary", diaryId=written, content="Words")
    await photos.attached(world, alice, pictured)
    await world.pass_time(timedelta(minutes=9, seconds=59))
    assert await is_there(alice, empty)
    await world.pass_time(timedelta(seconds=1))
    assert [await is_there(alice, one) for one in (empty, written, pictured)] == [False, True, True]


async def test_an_entry_without_words_waits_for_an_upload_of_its_owner(
    world: World, alice: Person, bob: Person
) -> None:
    """Until the address has expired; an upload of another user keeps nothing."""
    diary_id, bobs = await begun(alice), await begun(bob)
    await photos.address(alice)
    await world.pass_time(timedelta(minutes=59))
    assert [await is_there(alice, diary_id), await is_there(bob, bobs)] == [True, False]
    await world.pass_time(timedelta(minutes=11))
    assert not await is_there(alice, diary_id)


async def test_an_entry_without_words_waits_for_a_day_at_most(world: World, alice: Person) -> None:
    """Although another upload of its owner is outstanding then."""
    diary_id = await begun(alice)
    for hours in (12, 10):
        await photos.uploaded(world, alice)
        world.clock.forward(timedelta(hours=hours, minutes=55))
        await world.settle()
    await photos.uploaded(world, alice)
    assert await is_there(alice, diary_id)
    await world.pass_time(timedelta(minutes=20))
    assert not await is_there(alice, diary_id)
    assert await photos.stored(world)


async def test_an_entry_whose_only_photo_is_deleted_is_removed(world: World, alice: Person) -> None:
    """Ten minutes later, unless it has words by then."""
    empty, written = await begun(alice), await begun(alice)
    await alice.mutation("diaries:updateDiary", diaryId=written, content="Words")
    for diary_id in (empty, written):
        media_id = await photos.attached(world, alice, diary_id)
        await world.pass_time(timedelta(minutes=20))
        await alice.mutation("diaryMedia:deleteDiaryMedia", mediaId=media_id)
    assert await is_there(alice, empty) is False
    await world.pass_time(timedelta(minutes=10))
    assert await is_there(alice, written)


async def test_twenty_entries_without_words_are_begun_at_most(world: World, alice: Person, bob: Person) -> None:
    """At the same moment too; those with words or media do not count."""
    found = await asyncio.gather(*(begun(alice) for _ in range(25)), return_exceptions=True)
    entries = [one for one in found if isinstance(one, str)]
    assert len(entries) == MAX_UNWRITTEN
    with pytest.raises(FunctionError, match="20 entries without words") as refused:
        await begun(alice)
    assert refused.value.code == "too_many_unwritten"
    await begun(bob)
    await photos.attached(world, alice, entries[0])
    await alice.mutation("diaries:updateDiary", diaryId=entries[1], content="Words")
    await begun(alice)
    await begun(alice)
    with pytest.raises(FunctionError):
        await begun(alice)


async def test_a_song_and_a_change_need_words(world: World, alice: Person) -> None:
    """Of an entry that began without them as of any other."""
    diary_id = await begun(alice)
    with pytest.raises(FunctionError, match="Content cannot be empty"):
        await alice.action("music:startDiaryMusicGeneration", content="", diaryId=diary_id)
    with pytest.raises(FunctionError, match="Content cannot be empty"):
        await alice.mutation("diaries:updateDiary", diaryId=diary_id, content="")
    with pytest.raises(FunctionError, match="Content cannot be empty"):
        await alice.mutation("diaries:createDiary", content=" \n")
