"""A talk becomes an entry of the person's own words, in any language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.sandbox.openai.diarist import write_diary


def test_the_entry_is_what_the_person_told() -> None:
    """Without the companion, greetings, the yes to the call, and numbers."""
    talk = (
        "Companion: Is that right, and would you like that?\n"
        "Me: Yes, please.\n"
        "Companion: What is one moment from today?\n"
        "Me: i walked by the river after lunch. It was so quiet\n"
        "Companion: What did you notice?\n"
        "Me: Two herons! Call me on +1 202 555 0123.\n"
        "Me: Okay, thank you. Goodbye."
    )
    assert write_diary(talk) == "I walked by the river after lunch. It was so quiet. Two herons!"


@pytest.mark.parametrize(
    ("talk", "entry"),
    [
        ("Me: Ja. Heute war ich am Fluss.", "Heute war ich am Fluss."),
        ("Me: はい。川を歩きました。", "川を歩きました。"),
        ("Me: Yes.", "Yes."),
        ("Me: …", ""),
        ("Companion: Hello?", ""),
        ("", ""),
    ],
)
def test_any_language_and_few_words_will_do(talk: str, entry: str) -> None:
    """A lone yes becomes an entry; silence becomes none."""
    assert write_diary(talk) == entry


@given(st.text(max_size=400))
def test_any_talk_can_be_written_down(talk: str) -> None:
    """Always the same way, with nothing but what the person said."""
    entry = write_diary(f"Companion: Never written.\nMe: {talk}")
    assert entry == write_diary(f"Companion: Never written.\nMe: {talk}")
    assert "Never written" not in entry
