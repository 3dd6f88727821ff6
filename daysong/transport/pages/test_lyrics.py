"""Lyrics with the moments their words are sung."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.transport.pages.lyrics import lyrics_html, marked, timed_words
from daysong.transport.pages.player import BARS, waveform


def timed(*words: tuple[str, float, float]) -> dict[str, Any]:
    """Return `lyricWithTime` of these words."""
    return {"alignedWords": [{"word": word, "startS": start, "endS": end} for word, start, end in words]}


def marks_of(lyric: str, *words: tuple[str, float, float]) -> list[tuple[str, int]]:
    """Return the words found in the lyric, with the hundredths of a second they begin at."""
    return [(lyric[mark.first : mark.end], mark.starts) for mark in marked(lyric, words)]


def test_words_without_spaces_between_them_are_found() -> None:
    """As in Japanese, where a timed word is one character or a few."""
    assert marks_of("雨が降る\n雨", ("雨", 1, 2), ("が", 2, 3), ("降る", 3, 4), ("雨", 5, 6)) == [
        ("雨", 100), ("が", 200), ("降る", 300), ("雨", 500),
    ]  # fmt: skip


def test_names_of_sections_are_not_sung() -> None:
    """Neither in the lyric nor in the timed words."""
    assert marks_of("[Rain]\nRain", ("[Rain]\nRain", 1, 2)) == [("Rain", 100)]


def test_a_word_that_is_not_in_the_lyric_is_left_out() -> None:
    """The words after it are found again."""
    assert marks_of("One two three", ("One", 1, 2), ("and", 2, 3), ("three", 3, 4)) == [("One", 100), ("three", 300)]


def test_an_entry_of_several_words_is_divided() -> None:
    """Each has its part of the time."""
    assert marks_of("Oh\nthe rain", ("Oh\nthe rain", 0, 3)) == [("Oh", 0), ("the", 100), ("rain", 200)]


@pytest.mark.parametrize(
    "entry",
    [
        None, {}, {"word": 3, "startS": 1, "endS": 2}, {"word": "a", "startS": "1", "endS": 2},
        {"word": "a", "startS": -1, "endS": 2}, {"word": "a", "startS": 1, "endS": float("nan")},
        {"word": "a", "startS": 1, "endS": 10**400},
    ],
)  # fmt: skip
def test_unusable_words_are_left_out(entry: Any) -> None:
    assert list(timed_words({"alignedWords": [entry]})) == []


@pytest.mark.parametrize("wrong", [None, 3, [], {}, {"alignedWords": None}, {"alignedWords": "abc"}])
def test_lyrics_without_times_are_plain(wrong: Any) -> None:
    assert "data-t" not in lyrics_html("One\ntwo", wrong)


def test_a_song_without_a_lyric_shows_the_timed_words() -> None:
    assert re.findall("data-t=.*?>(.*?)<", lyrics_html(None, timed(("Sun ", 1, 2), ("up\n", 2, 3)))) == ["Sun", "up"]


TEXT = st.text(st.sampled_from('ab <&[]"\n雨'), max_size=60)


@given(lyric=TEXT, words=st.lists(st.tuples(TEXT, st.floats(0, 300), st.floats(0, 300)), max_size=12))
def test_no_word_of_the_lyric_is_lost_or_added(lyric: str, words: list[tuple[str, float, float]]) -> None:
    """Whatever the vendor has timed; and times never go back."""
    html = lyrics_html(lyric, timed(*words))
    shown = unescape(re.sub("<h2.*?</h2>|<[^<>]*>", "", html))
    if lyric.strip():
        assert sorted(re.sub(r"[\s\[\]]", "", shown)) == sorted(re.sub(r"[\s\[\]]", "", lyric))
    starts = [int(start) for start in re.findall(r'data-t="(\d+) ', html)]
    assert starts == sorted(starts)


@given(st.one_of(st.none(), st.lists(st.one_of(st.floats(), st.integers(), st.text(), st.booleans()), max_size=400)))
def test_a_waveform_stays_in_its_frame(levels: Any) -> None:
    """One bar for each share of the song, whatever the vendor sends."""
    path = waveform(levels)
    assert path.count("M") in {0, BARS}
    assert all(0 <= float(height) <= 40 for height in re.findall(r"[ V]([\d.-]+)", path))
