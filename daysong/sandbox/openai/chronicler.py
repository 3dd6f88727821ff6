"""The sandbox's chronicler: the events of a diary entry, and what was experienced with a person, without a model.

Each sentence or two of an entry is an event in the writer's own words. People are capitalised words that stand where
names stand ("with Anna", "Ben and I", "Clara said"), tags follow from topic words, the mood from the lyricist's
vocabulary. The same entry always gives the same events.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from daysong.sandbox.openai.lyricist import PRIVATE, feeling_of

MOST_EVENTS = 8
SENTENCES_PER_EVENT = 2
LONGEST_TITLE = 8  # words
LONGEST = 600  # characters
SUMMED_UP = 3  # events

TOPICS = {
    "work": "work worked working office job boss meeting colleague colleagues project deadline client promotion arbeit",
    "family": "family mother mum mom father dad sister brother son daughter grandma grandfather baby familie",
    "friends": "friend friends party visit visited visitor freund freunde freundin",
    "food": "dinner lunch breakfast cook cooked cooking bake baked bread soup cake restaurant coffee ate kitchen essen",
    "music": "music song songs sang singing guitar piano concert band choir dance danced musik",
    "nature": "river lake forest garden mountain mountains beach sea rain snow walk walked hike hiked tree trees wald",
    "sport": "run ran running football tennis swim swam gym bike cycled match training yoga",
    "travel": "train flight airport travel travelled trip journey hotel station holiday flew drove reise",
    "health": "doctor hospital ill sick pain headache cold fever medicine dentist slept tired arzt",
    "home": "home house flat moved window neighbour neighbours cleaned repaired zuhause",
    "reading": "book books read library novel story poem buch",
    "learning": "school exam university class lesson learned studied teacher course schule",
}
_TOPIC_OF = {word: topic for topic, words in TOPICS.items() for word in words.split()}
OTHER_TOPIC = "everyday life"

LEVELS = {  # mood and arousal of a feeling
    "sad": ("negative", "calm"), "angry": ("negative", "very energetic"), "anxious": ("negative", "energetic"),
    "joyful": ("very positive", "energetic"), "tender": ("positive", "calm"), "hopeful": ("positive", "moderate"),
    "nostalgic": ("neutral", "calm"), "calm": ("positive", "very calm"),
}  # fmt: skip
YEARLY = re.compile(r"\b(?:birthday|wedding|married|engaged|born|anniversary|graduated|funeral)\b", re.IGNORECASE)

_NAME = r"[^\W\d_a-z][^\W\d_A-Z]+"
_BEFORE = "with|and|met|saw|called|told|asked|visited|helped|hugged|thanked|married|named|mit|und|traf|besuchte|avec|et"
_AFTER = "and|und|came|said|told|laughed|called|asked|smiled|cooked|sang|brought|gave|was|wrote|cried|helped|sagte|kam"
_NAMED = re.compile(
    rf"\b(?:{_BEFORE})\s+({_NAME})|\b({_NAME})(?=\s+(?:{_AFTER})\b)|(?<=[a-z],\s)({_NAME})(?=,|\s+(?:and|und)\b)"
)
_NO_NAMES = (
    "I It He She We They You The This That There Then Today Tomorrow Yesterday Everyone Everybody Nobody Someone My "
    "Mother Father Work Rain Snow Ich Es Er Sie Wir Das Dann Heute Monday Tuesday Wednesday Thursday Friday Saturday "
    "Sunday January February March April May June July August September October November December What Who His Her "
    "Our Their And But So"
)
_SENTENCE = re.compile(r"[^.!?…。！？\n]+[.!?…。！？]*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def read_entry(material: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the events of `entry`, in the shape of the structured output; without those in `known_events`."""
    text = PRIVATE.sub("", str(material["entry"]))
    known_people = [name for name in material.get("known_people") or () if isinstance(name, str)]
    known = {event.get("title") for event in material.get("known_events") or () if isinstance(event, dict)}
    sentences = [sentence for line in _SENTENCE.findall(text) if _WORD.search(sentence := " ".join(line.split()))]
    parts = [sentences[at : at + SENTENCES_PER_EVENT] for at in range(0, len(sentences), SENTENCES_PER_EVENT)]
    events = [_event(part, known_people) for part in parts]
    return [event for event in events if event["title"] not in known][:MOST_EVENTS]


def _event(sentences: Sequence[str], known_people: Sequence[str]) -> dict[str, Any]:
    summary = " ".join(sentences)
    mood, arousal = LEVELS.get(feeling_of(summary), (None, None))
    return {
        "title": _title(sentences[0]),
        "summary": summary[:LONGEST],
        "tags": _tags(summary),
        "people": _people(summary, known_people),
        "mood": mood,
        "arousal": arousal,
        "anniversaryCandidate": YEARLY.search(summary) is not None,
    }


def _title(sentence: str) -> str:
    words = sentence.rstrip(".!?…。！？,;: ").split()
    return " ".join(words[:LONGEST_TITLE])[:120].rstrip(",;: ") or sentence[:120]


def _tags(text: str) -> list[str]:
    found = dict.fromkeys(_TOPIC_OF[word] for word in map(str.lower, _WORD.findall(text)) if word in _TOPIC_OF)
    return list(found)[:3] or [OTHER_TOPIC]


def _people(text: str, known: Sequence[str]) -> list[str]:
    """Return names where names stand, and known ones wherever they stand."""
    named = [(found.start(), name) for found in _NAMED.finditer(text) for name in found.groups() if name]
    places = ((re.search(rf"\b{re.escape(name)}\b", text, re.IGNORECASE), name) for name in known)
    named += [(found.start(), name) for found, name in places if found]
    spelled = {name.casefold(): name for name in known}
    return list(
        dict.fromkeys(spelled.get(name.casefold(), name) for _, name in sorted(named) if name not in _NO_NAMES.split())
    )[:10]


def write_highlight(material: Mapping[str, Any]) -> str:
    """Return what was experienced with `person`, out of the summaries of the newest events."""
    events = [event for event in material.get("events") or () if isinstance(event, dict)]
    told = [str(event.get("summary") or event.get("title") or "").strip() for event in events[:SUMMED_UP]]
    return f"You and {material['person']}: {' '.join(filter(None, told))}"[:LONGEST]
