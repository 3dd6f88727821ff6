"""The sandbox's listener: what a person said about being called, without a model and without the network."""

from __future__ import annotations

import re

from daysong.sandbox.openai.diarist import MINE, tells

_STOP = re.compile(
    r"stop calling|don't call|do not call|no more calls|(?:want|need) (?:these|any|more) calls? any ?more"
    r"|rufen sie mich nicht|ruf mich nicht",
    re.IGNORECASE,
)
_NO = re.compile(
    r"\bnever asked\b|\bwrong number\b|\bdon't want\b|^(?:no|nein|non)\b|nie bestellt|will das nicht", re.IGNORECASE
)
_YES = re.compile(r"^(?:yes|yeah|sure|okay|of course|ja|oui|sí|sim|tak)\b|^はい|\bi asked for it\b", re.IGNORECASE)


def read_answer(talk: str) -> dict[str, str]:
    """consent, stop_calling and told, by the lines of a talk that begin with `Me:`."""
    turns = [line.removeprefix(MINE).strip() for line in talk.splitlines() if line.startswith(MINE)]
    stop = any(map(_STOP.search, turns))
    # The first yes or no is the answer; later ones are about the day.
    answers = ("refused" if _NO.search(turn) else "granted" for turn in turns if _NO.search(turn) or _YES.search(turn))
    consent = "refused" if stop else next(answers, "unclear")
    told = any(tells(turn) and not _YES.search(turn) for turn in turns) and consent != "refused"
    return {"consent": consent, "stop_calling": "yes" if stop else "no", "told": "yes" if told else "no"}
