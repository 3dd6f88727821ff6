"""What is visible, and what is cut off: blank characters of every kind are as good as none."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.visible import is_visible, shows, trimmed

BLANK = (
    " \t\r\n\v\f\x00\x1c\x85\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u180b\u180e\u2003\u200b"
    "\u200d\u200e\u2028\u2029\u202e\u2060\u2063\u2800\u3000\u3164\ufe0f\ufeff\uffa0\ufffe\U0001d159\U0001d173\U000e0001\U000e007f\U000e0100"
)
TEXTS = ("x", "é", "雨", "ي", "☂️", "🏴\U000e0067\U000e0062\U000e007f", "👩\u200d🎤", ".", "\u0301", "\U0001fae9")


@pytest.mark.parametrize("character", BLANK, ids=lambda character: f"U+{ord(character):04X}")
def test_g46_blank_characters_show_nothing(character: str) -> None:
    assert not is_visible(character)
    assert trimmed(character * 3) == ""


@pytest.mark.parametrize("text", TEXTS)
def test_g46_what_is_written_stays_whole(text: str) -> None:
    """Also where it ends with a character that is invisible by itself, which its last one needs."""
    assert shows(text)
    assert trimmed(f"\ufeff\u2800 {text}\u200b\n") == text


@given(st.text(alphabet=BLANK))
def test_g46_many_blank_characters_show_no_more_than_one(text: str) -> None:
    assert trimmed(text) == ""


@given(st.text())
def test_g46_trimming_takes_nothing_that_can_be_seen(text: str) -> None:
    """All that is visible stays, in its order; done twice, it does nothing more; nothing is left of nothing."""
    found = trimmed(text)
    assert [c for c in found if is_visible(c)] == [c for c in text if is_visible(c)]
    assert found in text
    assert trimmed(found) == found
    assert bool(found) == shows(text)
    assert found == found.strip()


@given(st.characters(categories=("L", "N", "P", "Sm", "Sc")))
def test_g46_letters_numbers_and_punctuation_are_visible(character: str) -> None:
    """But for the fillers among the letters."""
    assert is_visible(character) or "FILLER" in unicodedata.name(character)
