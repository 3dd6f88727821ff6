"""What is said on the sandbox's phone, and how long it takes."""

from __future__ import annotations

from typing import get_args

import pytest

from daysong.sandbox.vapi.conversations import DAYS, WORDS
from daysong.sandbox.vapi.talks import Manner, asks_for_consent, day_for, talk

USUAL = {"firstMessage": "Hi Sam, how was your day?"}
ASKING = {"firstMessage": "Hello, I am an AI. Sam asked for this call. Is that right, and do you want it?"}
GERMAN = {"transcriber": {"provider": "deepgram", "language": "de-DE"}}
LIMIT = 600.0


@pytest.mark.parametrize("name", DAYS)
def test_every_day_is_told_in_turns_of_the_two(name: str) -> None:
    """Long enough for a diary, at the pace of people, and each word after the one before."""
    had = talk(USUAL, "talks", DAYS[name], lasts=None, limit=LIMIT)
    assert [turn.role for turn in had.turns] == ["bot", "user"] * (len(had.turns) // 2) + ["bot"] * (len(had.turns) % 2)
    assert 30 < had.seconds < 120
    assert all(before.end < after.start for before, after in zip(had.turns, had.turns[1:], strict=False))
    assert (had.summary, had.consent, had.stop) == (DAYS[name].summary, "unclear", False)
    assert len(DAYS[name].summary) > 100


def test_who_is_asked_answers_that_first() -> None:
    """Yes, and then their day."""
    had = talk(ASKING, "talks", DAYS["rain"], lasts=None, limit=LIMIT)
    assert (had.turns[1].text, had.consent) == (WORDS["en"].yes[0], "granted")
    assert had.turns[3].text == DAYS["rain"].told[0][0]


def test_days_come_one_after_another_in_the_assistants_language() -> None:
    """Each another, and German for a German."""
    assert len({day_for(USUAL, place) for place in range(6)}) == 6
    assert day_for(GERMAN, 5) == "snow"
    refused = talk(GERMAN | ASKING, "refuses", DAYS["rain"], lasts=None, limit=LIMIT)
    assert (refused.turns[1].text, refused.consent) == (WORDS["de"].no[0], "refused")


@pytest.mark.parametrize("manner", get_args(Manner))
def test_a_talk_is_as_long_as_it_is_to_be(manner: Manner) -> None:
    """Slowed or cut; nothing is said after its end."""
    for lasts in (3.0, 20.0, 200.0):
        had = talk(ASKING, manner, DAYS["exam"], lasts=lasts, limit=LIMIT)
        assert had.seconds == lasts
        assert all(turn.end <= lasts for turn in had.turns)
    assert talk(ASKING, manner, DAYS["exam"], lasts=LIMIT * 2, limit=LIMIT).seconds == LIMIT


def test_what_was_not_said_any_more_is_not_known() -> None:
    """A call that is cut before the answer is unclear, and has no summary; one cut later has what was told by then."""
    short = talk(ASKING, "talks", DAYS["exam"], lasts=3.0, limit=LIMIT)
    assert (short.heard, short.consent, short.summary) == (False, "unclear", None)
    cut = talk(USUAL, "talks", DAYS["exam"], lasts=12.0, limit=LIMIT)
    assert cut.summary == DAYS["exam"].told[0][0]


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        ("Hi Sam, how was your day?", False),
        ("Hello Sam, your diary companion here. What do you remember of today?", False),
        ("Good evening. I am an AI, and Sam asked for this call. Is that right?", True),
        ("Hello, this is an AI. Do you want to go on?", True),
        ("Guten Abend, ich bin eine KI. Sind Sie damit einverstanden?", True),
    ],
)
def test_a_question_for_consent_is_understood(words: str, asks: bool) -> None:
    """And no other taken for one."""
    assert asks_for_consent({"firstMessage": words}) == asks
