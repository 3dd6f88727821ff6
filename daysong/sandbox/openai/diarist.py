"""The sandbox's diarist: a diary entry out of any talk, without a model and without the network.

It is what the person said, in their own words and language and in its order, without what only keeps a talk going.
The same talk always gives the same entry.
"""

from __future__ import annotations

import re

from daysong.sandbox.openai.lyricist import PRIVATE

MINE = "Me:"
_SENTENCE = re.compile(r"[^.!?…。！？]+[.!?…。！？]*")
_WORD = re.compile(r"[^\W\d_]+")
# Said to the one on the phone, and not to a diary; in the languages the companion greets in.
_SMALL_TALK = """
    yes yeah yep no nope ok okay sure please right fine hello hi hey bye goodbye thanks thank you that is it s all i
    have to go now good night like would too wait well um uh
    ja nein doch hallo tschüss danke gute nacht bitte gern stimmt oui non merci bonjour salut au revoir d accord
    sí si hola adiós gracias vale sim não olá tchau obrigada obrigado ciao grazie nee dag bedankt
    tak nie cześć dziękuję はい いいえ こんにちは さようなら ありがとう ありがとうございます
"""
_KEEPS_TALKING = frozenset(_SMALL_TALK.split())
_REMOVED = "\x00"


def write_diary(talk: str) -> str:
    """The entry a person would write of a talk whose lines begin with `Me:` or `Companion:`; empty without any of them.

    Sentences with numbers or addresses are left out.
    """
    turns = [line.removeprefix(MINE).strip() for line in talk.splitlines() if line.startswith(MINE)]
    said = [sentence for turn in turns for sentence in _SENTENCE.findall(PRIVATE.sub(_REMOVED, turn))]
    spoken = [sentence for sentence in said if _REMOVED not in sentence and _WORD.search(sentence)]
    told = [sentence for sentence in spoken if tells(sentence)] or spoken[:1]
    return " ".join(map(_ended, told))


def tells(sentence: str) -> bool:
    """Whether a sentence says more than what only keeps a talk going."""
    words = [word.lower() for word in _WORD.findall(sentence)]
    return any(word not in _KEEPS_TALKING for word in words)


def _ended(sentence: str) -> str:
    """With a capital at its beginning and a full stop at its end."""
    sentence = " ".join(sentence.split())
    sentence = sentence[:1].upper() + sentence[1:]
    return sentence if sentence[-1] in ".!?…。！？" else f"{sentence}."
