"""The sandbox reads events from any entry, and the real client takes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.sandbox.openai.chronicler import read_entry, write_highlight
from daysong.vendors.openai.extraction import found_events


def test_events_have_the_words_and_names_of_the_entry() -> None:
    """People where names stand, tags by topic words, the mood by the lyricist's vocabulary."""
    text = "I had dinner with Anna and Ben. It was wonderful! Clara said she is ill. Call +1 202 555 0123."
    first, second = read_entry({"entry": text})
    assert (first["title"], first["people"], first["tags"]) == (
        "I had dinner with Anna and Ben",
        ["Anna", "Ben"],
        ["food"],
    )
    assert (first["mood"], second["people"], second["tags"]) == ("very positive", ["Clara"], ["health"])
    assert "555" not in second["summary"]


def test_known_people_keep_their_spelling_and_known_events_are_left_out() -> None:
    """As a model is asked to do."""
    material = {"entry": "anna came. Rain.", "known_people": ["Anna"]}
    [both] = read_entry(material)
    assert (both["people"], both["title"]) == (["Anna"], "anna came")
    assert read_entry(material | {"known_events": [{"title": "anna came"}]}) == []


@pytest.mark.parametrize("text", ["今日は川を歩きました。", "Heute traf ich Lena.", "Rain", "😀 well"])
def test_any_language_will_do(text: str) -> None:
    """Each has an event that the client takes."""
    assert len(found_events(read_entry({"entry": text}))) == 1


@given(st.text(max_size=500))
def test_any_entry_can_be_read(text: str) -> None:
    """Always the same way, and at most eight events."""
    events = read_entry({"entry": text})
    assert events == read_entry({"entry": text})
    assert len(events) <= 8


def test_a_highlight_sums_up_the_newest_events() -> None:
    """In their own words."""
    events = [{"title": "Soup", "summary": "Soup with Anna."}, {"title": "Rain", "summary": "Rain fell."}]
    assert write_highlight({"person": "Anna", "events": events}) == "You and Anna: Soup with Anna. Rain fell."
