"""What came of a call: the state it ended in, whether it is worth a diary entry, and what the person on it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from daysong.features.phone_calls.endings import class_of
from daysong.features.phone_calls.talk.machine_phrases import Machine
from daysong.features.phone_calls.talk.machines import machine_on
from daysong.vendors.text import fit
from daysong.vendors.vapi.reports import CONSENT, STOP_CALLING, Report, Turn

EndState = Literal["completed", "no-answer", "busy", "voicemail", "failed"]
Consent = Literal["granted", "refused", "unclear"]

# Seconds; less is too short for a talk about a day.
SHORTEST_TALK = 15.0
# Characters of a talk that are made a diary of.
LONGEST_TALK = 12_000

# Why a call is no diary entry, besides the state it ended in.
NO_WORDS = "no_words"
TOO_SHORT = "too_short"
NOT_SUCCESSFUL = "not_successful"

_SHORTENED = (400, 160, 60, 0)


def state_of(ended_reason: str | None, has_user_turn: bool) -> EndState:
    """The state a call ended in, by VAPI's reason and by whether the person on it said a word."""
    match class_of(ended_reason):
        case "voicemail" | "no-answer" | "busy" as unreached:
            return unreached
        case "talk":
            return "completed"
    # A carrier's word, or a fault in the middle of a talk, does not undo what was said.
    return "completed" if has_user_turn else "failed"


def machine_in(report: Report) -> Machine | None:
    """Return the machine that answered; None when VAPI found, or the words show, that a person may have spoken."""
    if report.success is True or consent_of(report.structured) == "granted":
        return None
    return machine_on(report.turns)


def state_with(machine: Machine | None, state: EndState) -> EndState:
    """Return the state of a call that a machine answered: not reached, whatever the machine said."""
    if machine is None or state != "completed":
        return state
    return "voicemail" if machine == "mailbox" else "no-answer"


def has_unread_answer(report: Report, state: EndState) -> bool:
    """Whether a person spoke in a call, and the report does not tell what they said about being called."""
    found = CONSENT in report.structured or wants_no_calls(report.structured)
    return state == "completed" and report.has_user_turn and not found


def why_not_a_diary(report: Report, state: EndState) -> str | None:
    """Why no diary entry is made of a call, in a short code; None when one is.

    Without an evaluation, or without knowing how long it was, what was said decides.
    """
    if state != "completed":
        return state
    if not report.has_user_turn:
        return NO_WORDS
    if report.seconds is not None and report.seconds < SHORTEST_TALK:
        return TOO_SHORT
    return NOT_SUCCESSFUL if report.success is False else None


def consent_of(structured: Mapping[str, Any]) -> Consent:
    """What the person said to being called and written down; unclear unless it was said in so many words.

    Who wants no more calls refuses, whatever else they said.
    """
    told = structured.get(CONSENT)
    word = told.strip().lower() if isinstance(told, str) else ""
    if word == "refused" or wants_no_calls(structured):
        return "refused"
    return "granted" if word == "granted" else "unclear"


def wants_no_calls(structured: Mapping[str, Any]) -> bool:
    """Whether the person asked not to be called again."""
    told = structured.get(STOP_CALLING)
    return told is True or (isinstance(told, str) and told.strip().lower() in {"true", "yes"})


def talk_text(turns: Sequence[Turn], limit: int = LONGEST_TALK) -> str:
    """A talk as text for writing a diary from, in at most `limit` characters: `Companion: …`, `Me: …`, a line each.

    When it is too long, what the companion said is shortened, then left out; only then are the person's words cut.
    """
    whole = _written(turns, None)
    for longest in _SHORTENED:
        if len(whole) <= limit:
            break
        whole = _written(turns, longest)
    return fit(whole, limit)


def _written(turns: Sequence[Turn], longest: int | None) -> str:
    """The talk, with at most so many characters of each of the companion's turns."""
    lines = []
    for turn in turns:
        text = " ".join(turn.text.split())
        if turn.role == "user":
            lines.append(f"Me: {text}")
        elif longest != 0:
            lines.append(f"Companion: {text if longest is None else fit(text, longest)}")
    return "\n".join(lines)
