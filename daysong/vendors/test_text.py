"""Text is cut where it hurts least, and cleaned for the database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.vendors.text import clean, fit, fit_tags, storable


@given(st.text(), st.integers(min_value=1, max_value=60))
def test_fitted_text_is_a_beginning_within_the_limit(text: str, limit: int) -> None:
    """Text that fits is untouched; cut text is shorter than the limit and a beginning of what it was."""
    fitted = fit(text, limit)
    assert len(fitted) <= limit
    assert text.startswith(fitted)
    assert len(text) > limit or fitted == text


@given(st.lists(st.text("abcdefg", min_size=1, max_size=9), min_size=1), st.integers(min_value=20, max_value=60))
def test_fitted_text_ends_with_a_whole_word(words: list[str], limit: int) -> None:
    """A cut falls between words when there are any, and after a line when there is one near."""
    fitted = fit(" ".join(words), limit)
    assert words[: len(fitted.split())] == fitted.split()
    assert fit("one two\nthree four\nfive six", 20) == "one two\nthree four"


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1), st.integers(min_value=10, max_value=60))
def test_fitted_tags_are_whole_tags(tags: list[str], limit: int) -> None:
    """Of a style, whole tags are dropped from the end."""
    fitted = fit_tags(", ".join(tags), limit)
    assert len(fitted) <= limit
    assert fitted.split(", ") == tags[: len(fitted.split(", "))]


def test_vendor_text_is_cleaned_for_the_database() -> None:
    """Control characters go, line ends become plain, and no NUL is left anywhere in a JSON value."""
    assert clean(" a\r\nb\rc\x00\x07 ") == "a\nb\nc"
    assert storable({"a\x00": ["\x00b", {"c": 1, "d": None}]}) == {"a": ["b", {"c": 1, "d": None}]}


@pytest.mark.parametrize("title", ["\ufeff", "\u2800\u3164", " \u200b\n"])
def test_g46_a_title_in_which_nothing_is_visible_is_none(title: str) -> None:
    """So that a song is shown as untitled, instead of with an empty line."""
    assert clean(title) == ""
    assert clean(f"{title}Rain{title}") == "Rain"


@given(st.text(st.characters(max_codepoint=0x2100)))
def test_cleaned_text_has_no_control_characters_but_tabs_and_line_ends(text: str) -> None:
    """Everything else between the ends stays."""
    cleaned = clean(text)
    kept = "".join(
        letter for letter in text.replace("\r\n", "\n").replace("\r", "\n") if letter in "\n\t" or letter >= " "
    )
    assert cleaned in kept
    assert cleaned == clean(kept) == clean(cleaned)
