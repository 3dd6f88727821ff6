"""Lyrics as a singer reads them: sections, lines, words and the vowel of every syllable."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

import msgspec

Kind = Literal["verse", "chorus", "bridge", "break"]
MOST_SYLLABLES = 16  # of one word: a line without a single space is still sung in bounded time

SECTION_NAMES: dict[str, Kind] = {
    "prechorus": "bridge",
    "chorus": "chorus",
    "hook": "chorus",
    "refrain": "chorus",
    "verse": "verse",
    "intro": "verse",
    "outro": "bridge",
    "end": "bridge",
    "bridge": "bridge",
    "solo": "break",
    "instrumental": "break",
    "interlude": "break",
    "break": "break",
}

TAG_OR_WORD = re.compile(r"(?P<tag>\[[^\[\]\n]{1,60}\]\s*)|(?:[^\s\[]+|\[[^\s\[]*)\s*")
# Chinese and Japanese write no spaces: each character is timed by itself, with its small kana and punctuation.
IDEOGRAM = re.compile(
    r"[「『（〈《]{0,3}[぀-ヿ㐀-䶿一-鿿豈-﫿𠀀-𲎯]"
    r"[ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮー々ゝゞ、。，！？」』）〉》…・\s]*"
)
TAGS_IN_FRONT = re.compile(r"(?:\[[^\[\]\n]{1,60}\]\s*)*")
NAMES = re.compile(r"\b(?:" + "|".join(SECTION_NAMES) + ")")
VOWELS = re.compile(r"[aeiou]+")
SOUNDS_LIKE = str.maketrans("yæøœαεηιουωаеёиоуыэюяіїє", "iaooaeiiouoaeoiouieuaiie")


class Word(msgspec.Struct, frozen=True):
    """One sung word: its text as Suno writes it, tags in front and white space behind, and a vowel a syllable."""

    text: str
    vowels: tuple[str, ...]


class Section(msgspec.Struct, frozen=True):
    """A verse, a chorus, a bridge, or a break without words."""

    kind: Kind
    lines: tuple[tuple[Word, ...], ...]


def read_lyrics(lyrics: str) -> tuple[Section, ...]:
    """The sections in order; none when nothing is sung. The words' texts joined are the stripped lyrics."""
    texts = sung_words(lyrics)
    tagged = any(_kinds_in(text) for text in texts)
    sections: list[Section] = []
    lines: list[tuple[Word, ...]] = []
    line: list[Word] = []
    kind: Kind = "verse"
    for place, text in enumerate(texts):
        named = _kinds_in(text)
        before = texts[place - 1] if place else ""
        gap = before[len(before.rstrip()) :].count("\n")
        if line and (gap or named):
            lines.append(tuple(line))
            line = []
        if lines and (named or (gap > 1 and not tagged)):
            sections.append(Section(kind, tuple(lines)))
            lines = []
            if not tagged:  # every other stanza of an unmarked poem is sung as its chorus
                kind = "verse" if kind == "chorus" else "chorus"
        if "break" in named and sections:
            sections.append(Section("break", ()))
        kind = next((each for each in reversed(named) if each != "break"), kind)
        line.append(Word(text, vowels_of(text)))
    if line:
        sections.append(Section(kind, (*lines, tuple(line))))
    return tuple(sections)


def sung_words(lyrics: str) -> tuple[str, ...]:
    """The words in Suno's manner: `[Verse 1]\\nMorning `, white space kept; empty when only tags are left."""
    words: list[str] = []
    tags = ""
    for piece in TAG_OR_WORD.finditer(lyrics.replace("\r\n", "\n").replace("\r", "\n").strip()):
        if piece["tag"]:
            tags += piece[0]
            continue
        for text in _timed_alone(piece[0]):
            if not tags and words and not words[-1].endswith("\n") and _is_punctuation(text):
                words[-1] += text
            else:
                words.append(tags + text)
                tags = ""
    if words:
        words[-1] += tags
    return tuple(words)


def without_tags(text: str) -> str:
    """The word alone."""
    return "".join(piece[0] for piece in TAG_OR_WORD.finditer(text) if not piece["tag"]).strip()


def vowels_of(text: str) -> tuple[str, ...]:
    """One of a, e, i, o, u for every syllable, always at least one; an estimate in any script."""
    word = without_tags(text).lower()
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", word) if not unicodedata.combining(letter))
    spelled = plain.translate(SOUNDS_LIKE)
    if len(spelled) > 3 and re.search(r"(?:[^aeioul]|[aeiou]l)e$", spelled.rstrip(".,;:!?'\"")):
        spelled = spelled.rstrip(".,;:!?'\"")[:-1]  # the silent e of "time" and "smile", not that of "little"
    vowels = [group[0][0] for group in VOWELS.finditer(spelled)]
    if not vowels:
        vowels = list(_vowels_by_name(word))
    return tuple(vowels[:MOST_SYLLABLES]) or ("a",)


def _vowels_by_name(word: str) -> Iterator[str]:
    # Unicode names kana and Hangul by their sound ("HIRAGANA LETTER KA"); other scripts get one syllable for
    # every other letter, which is close for those that leave vowels unwritten.
    unnamed = 0
    for letter in word:
        name = unicodedata.name(letter, "")
        if " SMALL " in name and name.startswith(("HIRAGANA", "KATAKANA")):
            continue
        if name.startswith(("HIRAGANA", "KATAKANA LETTER", "HANGUL")):
            yield from (sound[0].lower() for sound in re.findall(r"[AEIOU]", name.rsplit(" ", 1)[-1])[:1])
        elif unicodedata.category(letter)[0] in "LS":
            if unnamed % 2 == 0:
                yield "aeiou"[ord(letter) % 5]
            unnamed += 1


def _timed_alone(piece: str) -> Iterator[str]:
    start = 0
    for ideogram in IDEOGRAM.finditer(piece):
        if ideogram.start() > start:
            yield piece[start : ideogram.start()]
        yield ideogram[0]
        start = ideogram.end()
    if start < len(piece):
        yield piece[start:]


def _is_punctuation(text: str) -> bool:
    return all(unicodedata.category(letter)[0] in "PZCM" for letter in text)


def _kinds_in(text: str) -> list[Kind]:
    tags = TAGS_IN_FRONT.match(text)
    return [SECTION_NAMES[name] for name in NAMES.findall(tags[0].lower().replace("-", "") if tags else "")]
