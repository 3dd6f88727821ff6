"""Detects machines by the words of a transcript: a pure rule for calls without an analysis.

A mailbox, a call-screening prompt and a queue use typical phrases (machine_phrases.py) and answer no question. The rule
prefers people: a lost entry cannot be restored, a greeting saved as an entry can be deleted. A machine is detected only
when every turn of the called side has such a phrase, and little else is said:

    two different phrases   fewer than 25 other words, and none that tell or answer something
    one unambiguous phrase  at most 8 other words, none in the first person
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from daysong.features.phone_calls.talk.machine_phrases import ANSWERS, FIRST_PERSON, KINDS, TELLS, Machine
from daysong.vendors.vapi.reports import Turn

# Characters; no greeting or prompt is longer.
LONGEST_GREETING = 2_000
# Words beside the phrases, such as the owner's name: with several kinds of phrases, and with one.
WORDS_BESIDE_SEVERAL = 24
WORDS_BESIDE_ONE = 8
# Scripts without spaces between words: so many characters count as a word.
CHARACTERS_A_WORD = 2
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")


def machine_on(turns: Sequence[Turn]) -> Machine | None:
    """Return which machine a call reached; None when a person may have spoken, or no one did.

    Turns of the called side that follow each other count as one: transcribers cut at every pause.
    """
    asked = False
    kinds: set[str] = set()
    beside: list[str] = []
    for role, text in _joined(turns):
        if role == "assistant":
            asked = asked or text.rstrip().endswith(("?", "？"))
            continue
        found, rest = _phrases_in(text)
        if not found and asked and _words(rest):
            # An answer to a question.
            return None
        kinds |= found
        beside.append(rest)
    if not any(KINDS[kind].unambiguous for kind in kinds):
        return None
    others = " | ".join(beside)
    if sum(map(len, beside)) > LONGEST_GREETING or re.search(TELLS, others) or re.search(ANSWERS, others):
        return None
    if len(kinds) == 1 and (_words(others) > WORDS_BESIDE_ONE or re.search(FIRST_PERSON, others)):
        return None
    return _which(kinds) if _words(others) <= WORDS_BESIDE_SEVERAL else None


def _joined(turns: Iterable[Turn]) -> Iterable[tuple[str, str]]:
    joined: list[tuple[str, str]] = []
    for turn in turns:
        text = unicodedata.normalize("NFKC", turn.text).replace("’", "'").casefold()
        if joined and joined[-1][0] == turn.role:
            joined[-1] = (turn.role, f"{joined[-1][1]} {text}")
        else:
            joined.append((turn.role, text))
    return joined


def _phrases_in(text: str) -> tuple[set[str], str]:
    """Return the kinds of phrases in a text, and the text besides them."""
    if len(text) > LONGEST_GREETING:
        return set(), text
    found: set[str] = set()
    spans: list[tuple[int, int]] = []
    for name, kind in KINDS.items():
        here = [match.span() for match in re.finditer(kind.pattern, text)]
        if here:
            found.add(name)
            spans += here
    rest, end = [], 0
    for begin, until in sorted(spans):
        rest.append(text[end:begin])
        end = max(end, until)
    return found, " | ".join([*rest, text[end:]])


def _words(text: str) -> int:
    unspaced = sum(unicodedata.name(sign, "").startswith(_UNSPACED) for sign in text)
    spaced = "".join(" " if unicodedata.name(sign, "").startswith(_UNSPACED) else sign for sign in text)
    words = sum(any(map(str.isalnum, word)) for word in spaced.split())
    return words + -(-unspaced // CHARACTERS_A_WORD)


def _which(kinds: Iterable[str]) -> Machine:
    """Return the first that was detected: screening may end in a mailbox, and a mailbox may offer a menu."""
    machines = {KINDS[kind].machine for kind in kinds if KINDS[kind].unambiguous}
    order: tuple[Machine, ...] = ("screening", "mailbox", "queue")
    return next(machine for machine in order if machine in machines)
