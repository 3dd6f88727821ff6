"""The lyricist makes a song of anything, in its own words and language."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.sandbox.openai.feelings import FEELINGS
from daysong.sandbox.openai.lyricist import feeling_of, write_song

RIVER = (
    "Walked along the river this morning. The old bridge was covered in fog and nobody was there. "
    "I thought about my grandmother and how she used to sing."
)
SECTIONS = ["[Verse 1]", "[Chorus]", "[Verse 2]", "[Chorus]", "[Outro]"]


def sections(lyric: str) -> list[str]:
    return [line for line in lyric.splitlines() if line.startswith("[")]


def test_the_diarys_own_phrases_are_sung() -> None:
    """The verses tell the day in order, the chorus sings of a thing in it."""
    song = write_song(RIVER)
    first = song.lyric.split("\n\n")[0].splitlines()
    assert first[:3] == ["[Verse 1]", "Walked along the river this morning", "The old bridge was covered in fog"]
    chorus = song.lyric.split("\n\n")[1]
    assert any(image in chorus for image in ("the old bridge", "the river", "my grandmother"))
    assert song.title == "The Old Bridge"


@pytest.mark.parametrize(
    ("diary", "mood"),
    [
        ("We laughed and danced all night, the best birthday ever!", "joyful"),
        ("I cried all day. I miss him and the house is empty.", "sad"),
        ("My boss yelled, it is so unfair, I am furious.", "angry"),
        ("The exam is tomorrow and I am nervous and scared.", "anxious"),
        ("I was not happy today.", "sad"),
        ("A quiet evening, tea by the lake.", "calm"),
        ("Montag. 🎉🥳", "joyful"),
        ("Montag. 😭", "sad"),
        ("Montag.", "reflective"),
    ],
)
def test_the_mood_is_heard(diary: str, mood: str) -> None:
    """By words, by what is negated, and by emoji in any language."""
    assert feeling_of(diary) == write_song(diary).mood == mood


def test_sad_and_happy_sound_differently() -> None:
    """Each mood has styles of its own."""
    sad, happy = write_song("I cried, I miss him."), write_song("We laughed and danced, what fun!")
    assert sad.style != happy.style
    assert "major" in happy.style
    assert "major" not in sad.style
    styles = [style for feeling in FEELINGS.values() for style in feeling.styles]
    assert len(styles) == len(set(styles))


@pytest.mark.parametrize(
    ("diary", "foreign"),
    [
        (
            "Heute war ein schöner Tag. Wir sind am See spazieren gegangen, und Oma hat Kuchen gebacken.",
            r"\bthe\b|\bday\b",
        ),
        ("Hoy llovió mucho. Mi hermana vino a casa y cocinamos juntas toda la tarde.", r"\bthe\b|\bday\b"),
        ("今日は友達と海に行きました。波がきれいで、夕日を見ました。", r"[A-Za-z]"),
        ("Сегодня шёл дождь. Мы пили чай и долго говорили о море.", r"[A-Za-z]"),
    ],
)
def test_the_song_is_in_the_diarys_language(diary: str, foreign: str) -> None:
    """No English line is put into another language's mouth."""
    song = write_song(diary)
    sung = "\n".join(line for line in song.lyric.splitlines() if not line.startswith("["))
    assert re.search(foreign, sung + song.title) is None
    assert sections(song.lyric) == SECTIONS


def test_addresses_and_numbers_are_not_sung() -> None:
    """Neither telephone, e-mail nor web address."""
    song = write_song(
        "Anna called from +49 170 1234567. Write to anna@example.com or see https://example.com/x. It rained."
    )
    assert not re.search(r"\d{4}|@|http|example", song.lyric + song.title)
    assert "It rained" in song.lyric


def test_a_long_diary_is_a_song_of_usual_length() -> None:
    """Sampled evenly, from its beginning to its end."""
    diary = " ".join(f"On day {number} I walked to the harbour and counted the boats." for number in range(500))
    song = write_song(diary)
    assert len(song.lyric) < 1500
    assert "On day 0" in song.lyric


def test_the_hint_leads_the_style() -> None:
    """Word for word; without one the mood decides alone."""
    assert write_song(RIVER, "80s synthwave").style == f"80s synthwave, {write_song(RIVER).style}"
    assert write_song(RIVER, "  ").style == write_song(RIVER).style


@given(st.text())
def test_anything_becomes_a_song(diary: str) -> None:
    """With every section, a mood, a style and a title, the same each time, and within Suno's limits."""
    song = write_song(diary)
    assert song == write_song(diary)
    assert sections(song.lyric) == SECTIONS
    assert all(part.count("\n") >= 2 for part in song.lyric.split("\n\n"))
    assert song.mood in FEELINGS
    assert 0 < len(song.title) <= 80
    assert len(song.lyric) <= 3000
    assert "\x00" not in song.lyric
