"""What came of a call: the state it ended in, whether it is worth a diary entry, and what the person on it wants.

VAPI knows some 600 reasons for a call's end, and adds new ones without notice. Those that mean something to us are
named here; of any other it counts whether the person on the phone said a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from daysong.vendors.text import fit
from daysong.vendors.vapi_reports import CONSENT, STOP_CALLING, Report, Turn

EndState = Literal["completed", "no-answer", "busy", "voicemail", "failed"]
Consent = Literal["granted", "refused", "unclear"]

# Seconds; in less, nobody tells of their day.
SHORTEST_TALK = 15.0
# Characters of a talk that are made a diary of.
LONGEST_TALK = 12_000

# Why a call is no diary entry, besides the state it ended in.
NO_WORDS = "no_words"
TOO_SHORT = "too_short"
NOT_SUCCESSFUL = "not_successful"

_NO_ANSWER = re.compile(r"customer-did-not-answer|call\.forwarding\.no-answer|.*[.-]did-not-answer")
_BUSY = re.compile(r"customer-busy|call\.forwarding\.operator-busy")
_VOICEMAIL = re.compile(r"voicemail.*")
# The line was open, whatever was said on it then.
_CONNECTED = re.compile(
    r"customer-ended-call.*|assistant-ended-call.*|assistant-said-end-call-phrase|exceeded-max-duration"
    r"|silence-timed-out|assistant-forwarded-call"
)
# Before there was a call, or instead of one.
_NEVER_BEGUN = re.compile(
    r"call[.-]start[.-].*|call\.ringing\..*|twilio-.*|vonage-.*|manually-canceled|scheduled-call-deleted|call-deleted"
    r"|assistant-request-.*|assistant-not-found|assistant-not-valid|assistant-not-provided"
)
# Of those, what no other call will do better in: the account, the line, or what we ask for.
_ALARM = re.compile(
    r"call\.start\.error-(?:subscription|fraud|enterprise|vapi-number|get-|assistant-version).*|call-start-error-.*"
    r"|.*concurrency-limit.*|.*insufficient-credits.*|.*daily-limit.*"
    r"|assistant-request-.*|assistant-not-found|assistant-not-valid|assistant-not-provided"
)

_SHORTENED = (400, 160, 60, 0)


def state_of(ended_reason: str | None, has_user_turn: bool) -> EndState:
    """The state a call ended in, by VAPI's reason and by whether the person on it said a word."""
    reason = (ended_reason or "").strip().lower()
    if _VOICEMAIL.fullmatch(reason):
        return "voicemail"
    if _NO_ANSWER.fullmatch(reason):
        return "no-answer"
    if _BUSY.fullmatch(reason):
        return "busy"
    if _NEVER_BEGUN.fullmatch(reason):
        return "failed"
    # A fault in the middle of a talk does not undo what was said.
    return "completed" if has_user_turn or _CONNECTED.fullmatch(reason) else "failed"


def found_no_line(ended_reason: str | None) -> bool:
    """Whether VAPI dropped the call because all lines of the account were taken: nobody's phone has rung."""
    return "concurrency-limit" in (ended_reason or "").lower()


def is_account_alarm(ended_reason: str | None) -> bool:
    """Whether people have to do something before calls succeed again: pay, change the line, mend what we ask for."""
    return _ALARM.fullmatch((ended_reason or "").strip().lower()) is not None


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
