"""Lists without pages are bounded: in rows, in bytes, and in timed words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daysong.features.pages import LARGEST_LIST, LONGEST_LIST
from rehearsal import library
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

# Each of these characters takes six bytes in JSON.
CONTROL = "\x01"


def size(value: Any) -> int:
    """Return the bytes of a value in JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


async def test_g41_a_list_has_the_newest_five_hundred(world: World, alice: Person) -> None:
    """A larger library is cut to the newest rows; the pages have the rest."""
    filled = await library.fill(world, "alice", LONGEST_LIST + 20, timing={"alignedWords": [], "waveformData": [0.5]})
    diaries = await alice.query("diaries:listDiaries")
    songs = await alice.query("music:listPlaylistMusic")
    newest = filled[:LONGEST_LIST]
    assert [diary["_id"] for diary in diaries] == [song.diary_id for song in newest]
    assert [song["_id"] for song in songs] == [song.music_id for song in newest]
    assert [song["_id"] for song in songs if "lyricWithTime" in song] == [song.music_id for song in filled[:100]]


async def test_g41_timed_words_are_in_what_is_opened(world: World, alice: Person) -> None:
    """The entries' list has none, the playlist has them without waveform; a single song or entry has all."""
    [song] = await library.fill(world, "alice", 1)
    [diary] = await alice.query("diaries:listDiaries")
    assert diary["primaryMusic"]["_id"] == song.music_id
    assert "lyricWithTime" not in diary["primaryMusic"]
    [listed] = await alice.query("music:listPlaylistMusic")
    assert listed["lyricWithTime"] == library.TIMED | {"waveformData": []}
    track = await alice.query("music:getMusic", musicId=song.music_id)
    opened = await alice.query("diaries:getDiary", diaryId=song.diary_id)
    assert track["lyricWithTime"] == opened["primaryMusic"]["lyricWithTime"] == library.TIMED


@pytest.mark.parametrize("text", ["x" * 50_000, "\N{EARTH GLOBE EUROPE-AFRICA}" * 50_000, CONTROL * 50_000])
async def test_g41_a_list_of_entries_has_at_most_four_mebibytes(world: World, alice: Person, text: str) -> None:
    """Bytes are counted in JSON; the newest entries are listed, nearly as many as fit."""
    filled = await library.fill(world, "alice", 100)
    await world.db.pool.execute("update diaries set content = $1", text)
    listed = await alice.query("diaries:listDiaries")
    assert [diary["_id"] for diary in listed] == [song.diary_id for song in filled[: len(listed)]]
    assert LARGEST_LIST * 0.9 < size(listed) <= LARGEST_LIST


async def test_g41_the_playlist_cuts_entries_and_has_at_most_four_mebibytes(world: World, alice: Person) -> None:
    """Songs take precedence over timed words, which the newest songs get while there is room."""
    filled = await library.fill(world, "alice", 300)
    await world.db.pool.execute("update diaries set content = $1", "y" * 50_000)
    listed = await alice.query("music:listPlaylistMusic")
    assert [len(song["diaryContent"]) for song in listed] == [2_000] * 300
    assert sum("lyricWithTime" in song for song in listed) == 100

    await world.db.pool.execute("update music set lyric = $1", "z" * 12_000)
    listed = await alice.query("music:listPlaylistMusic")
    assert [song["_id"] for song in listed] == [song.music_id for song in filled[: len(listed)]]
    timed = ["lyricWithTime" in song for song in listed]
    assert timed == sorted(timed, reverse=True)
    assert sum(timed) < 100
    assert LARGEST_LIST * 0.9 < size(listed) <= LARGEST_LIST
