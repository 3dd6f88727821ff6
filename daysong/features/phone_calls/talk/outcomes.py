"""The outcome of a call: its end state, whether a diary entry is written, and the consent."""

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

# Seconds; shorter calls make no entry.
SHORTEST_TALK = 15.0
# Characters of a transcript that an entry is written from.
LONGEST_TALK = 12_000

# Reasons why no entry is written, besides the end states.
NO_WORDS = "no_words"
TOO_SHORT = "too_short"
NOT_SUCCESSFUL = "not_successful"

_SHORTENED = (400, 160, 60, 0)


def state_of(ended_reason: str | None, has_user_turn: bool) -> EndState:
    """Return the end state of a call, by VAPI's reason and by whether the person spoke."""
    match class_of(ended_reason):
        case "voicemail" | "no-answer" | "busy" as unreached:
            return unreached
        case "talk":
            return "completed"
    # After a fault, or a carrier's reason, the call counts if the person spoke.
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
    """Return whether a person spoke in a call whose report has no consent."""
    found = CONSENT in report.structured or wants_no_calls(report.structured)
    return state == "completed" and report.has_user_turn and not found


def no_entry_reason(report: Report, state: EndState) -> str | None:
    """Return why no diary entry is written of a call, as a code; None when one is.

    A missing evaluation or duration does not prevent an entry.
    """
    if state != "completed":
        return state
    if not report.has_user_turn:
        return NO_WORDS
    if report.seconds is not None and report.seconds < SHORTEST_TALK:
        return TOO_SHORT
    return NOT_SUCCESSFUL if report.success is False else None


def consent_of(structured: Mapping[str, Any]) -> Consent:
    """Return the consent in an analysis; unclear unless it is explicit. A request to stop calling is a refusal."""
    value = structured.get(CONSENT)
    word = value.strip().lower() if isinstance(value, str) else ""
    if word == "refused" or wants_no_calls(structured):
        return "refused"
    return "granted" if word == "granted" else "unclear"


def wants_no_calls(structured: Mapping[str, Any]) -> bool:
    """Return whether the person asked not to be called again."""
    value = structured.get(STOP_CALLING)
    return value is True or (isinstance(value, str) and value.strip().lower() in {"true", "yes"})


def talk_text(turns: Sequence[Turn], limit: int = LONGEST_TALK) -> str:
    """Return a transcript as text of at most `limit` characters, with a line for each turn: `Companion: …`, `Me: …`.

    When it is too long, the companion's turns are shortened, then omitted; only then is the user's text cut.
    """
    whole = _lines(turns, None)
    for longest in _SHORTENED:
        if len(whole) <= limit:
            break
        whole = _lines(turns, longest)
    return fit(whole, limit)


def _lines(turns: Sequence[Turn], longest: int | None) -> str:
    """Return the lines of a transcript, with each of the companion's turns cut to `longest` characters."""
    lines = []
    for turn in turns:
        text = " ".join(turn.text.split())
        if turn.role == "user":
            lines.append(f"Me: {text}")
        elif longest != 0:
            lines.append(f"Companion: {text if longest is None else fit(text, longest)}")
    return "\n".join(lines)
