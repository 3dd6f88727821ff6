"""A talk on the sandbox's phone, second by second, and what a listener would conclude from it.

The companion's first words are those of the assistant that VAPI was given; its others are what a model might say. A
person who is asked whether they want to be called answers that first, then tells of their day.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from daysong.sandbox.vapi.conversations import DAYS, WORDS, Day, Exchange

Consent = Literal["granted", "refused", "unclear"]
Manner = Literal[
    "talks", "refuses", "stop", "unclear", "silent", "hangs_up", "machine", "screened", "screened_talks", "on_hold"
]
Role = Literal["bot", "user"]

PICKED_UP = 1.8  # seconds until the first word
PAUSE = 0.9  # between two turns
WORDS_PER_SECOND = 2.6
SHORTEST = 0.6
SILENCE = 30.0  # after which a call without a word is ended

# First messages that ask for consent to calls.
_ASKS = re.compile(
    r"\b(asked (for|me|us)|agree|consent|permission|(okay|ok|all right|fine) with you|is that right|do you want|may i|"
    r"would you like (this|that|me)|einverstanden|gebeten|möchtest du das|möchten sie|stimmt das|d'accord|demandé|"
    r"acuerdo|pedido|pediu|concorda|chiesto|va bene per|gevraagd|akkoord|zgadza|zgoda)|依頼",
    re.IGNORECASE,
)


class Turn(msgspec.Struct, frozen=True):
    """What one of the two says; `start` and `end` in seconds after picking up."""

    role: Role
    text: str
    start: float
    end: float


class Talk(msgspec.Struct, frozen=True):
    """A call from picking up to the end, and what is to be made of it.

    seconds  how long it was
    summary  the day in the first person; None when there was none
    """

    turns: tuple[Turn, ...]
    seconds: float
    consent: Consent
    stop: bool
    summary: str | None = None

    @property
    def heard(self) -> bool:
        """Whether the person said anything."""
        return any(turn.role == "user" for turn in self.turns)


def asks_for_consent(assistant: dict[str, Any]) -> bool:
    """Whether the assistant's first words ask the person if they want this at all."""
    return bool(_ASKS.search(_first_words(assistant)))


def language_of(assistant: dict[str, Any]) -> str:
    """A language people here speak: the assistant's, else English."""
    transcriber = assistant.get("transcriber")
    asked = str(transcriber.get("language") if isinstance(transcriber, dict) else "").partition("-")[0].lower()
    return asked if asked in WORDS else "en"


def day_for(assistant: dict[str, Any], place: int) -> str:
    """Return the name of the day to tell of, in the assistant's language, one after another."""
    language = language_of(assistant)
    known = [name for name, day in DAYS.items() if day.language == language]
    return known[place % len(known)]


def talk(assistant: dict[str, Any], manner: Manner, day: Day, *, lasts: float | None, limit: float) -> Talk:
    """A call in that manner. With `lasts` it is so many seconds long, cut or slowed; `limit` cuts it as VAPI does."""
    turns = _timed(_lines(assistant, manner, day))
    natural = turns[-1].end if turns else PICKED_UP
    if manner in {"silent", "machine", "screened", "on_hold"}:
        natural += SILENCE
    seconds = min(natural if lasts is None else lasts, limit)
    slower = max(1.0, (lasts or 0.0) / natural)
    heard = [
        Turn(turn.role, turn.text, turn.start * slower, min(turn.end * slower, seconds))
        for turn in turns
        if turn.start * slower < seconds
    ]
    return _understood(assistant, manner, day, heard, seconds, whole=len(heard) == len(turns))


def _understood(
    assistant: dict[str, Any], manner: Manner, day: Day, heard: list[Turn], seconds: float, *, whole: bool
) -> Talk:
    said = [turn.text for turn in heard if turn.role == "user"]
    asked, turns = asks_for_consent(assistant), tuple(heard)
    if not said:
        return Talk(turns, seconds, "unclear", stop=False)
    match manner:
        case "talks" | "screened_talks":
            besides = {text for words in WORDS.values() for text in (words.yes[0], words.screening[0])}
            of_the_day = [text for text in said if text not in besides]
            summary = day.summary if whole else " ".join(of_the_day) or None
            return Talk(turns, seconds, "granted" if asked else "unclear", stop=False, summary=summary)
        case "refuses" | "stop":
            declined = WORDS[language_of(assistant)].declined
            consent: Consent = "refused" if asked else "unclear"
            return Talk(turns, seconds, consent, stop=manner == "stop", summary=declined)
    return Talk(turns, seconds, "unclear", stop=False)


def _first_words(assistant: dict[str, Any]) -> str:
    return str(assistant.get("firstMessage") or "")


def _lines(assistant: dict[str, Any], manner: Manner, day: Day) -> list[tuple[Role, str]]:
    """Who says what, in order."""
    words = WORDS[day.language if manner in {"talks", "screened_talks"} else language_of(assistant)]
    first = _first_words(assistant)
    begin: list[tuple[Role, str]] = [("bot", first)] if first else []
    match manner:
        case "hangs_up":
            return []
        case "silent":
            return begin
        case "machine":
            return [("user", words.machine), *begin]
        case "screened":
            return begin + _turns(words.screening)
        case "on_hold":
            return [("user", words.queue), *begin]
        case "screened_talks":
            # Who takes the call then hears the first words again.
            begin = begin + _turns(words.screening) + begin
        case "refuses":
            return begin + _turns(words.no)
        case "stop":
            return begin + _turns(words.stop)
        case "unclear":
            return begin + _turns(words.lost)
    answer = [words.yes] if asks_for_consent(assistant) else []
    farewell = str(assistant.get("endCallMessage") or words.farewell)
    return begin + _turns(*answer, *day.told, (day.goodbye, farewell))


def _turns(*exchanges: Exchange) -> list[tuple[Role, str]]:
    found: list[tuple[Role, str]] = []
    for person, companion in exchanges:
        found += [("user", person), ("bot", companion)]
    return found


def _timed(lines: list[tuple[Role, str]]) -> list[Turn]:
    turns: list[Turn] = []
    now = PICKED_UP
    for role, text in lines:
        end = now + max(SHORTEST, len(text.split()) / WORDS_PER_SECOND)
        turns.append(Turn(role, text, now, end))
        now = end + PAUSE
    return turns
