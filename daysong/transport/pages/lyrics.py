"""Lyrics as HTML: stanzas and lines, section names, and the moment each word is sung.

The words shown are those of the lyric; timed words only mark them. A word that the vendor timed but that is not found
in the lyric is left out, and a word of the lyric without a time is shown as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, NamedTuple

SECTION = re.compile(r"[ \t]*\[([^\[\]\n]+)\][ \t]*")
TAG = re.compile(r"\[[^\[\]]*\]")
# Characters that a timed word may be ahead of the one before it.
REACH = 120
LONGEST = 86_400  # seconds
MOST_WORDS = 4000


class Mark(NamedTuple):
    """Where a timed word is in the lyric, and when it is sung, in hundredths of a second."""

    first: int
    end: int
    starts: int
    ends: int


class Line(NamedTuple):
    """A line of the lyric, by its place in it, or the name of a section."""

    first: int
    text: str
    is_section: bool


def lyrics_html(lyric: str | None, timed: Any) -> str:
    """Return the section with the lyrics, or "" without any. `timed` is the vendor's `lyricWithTime`."""
    words = list(timed_words(timed))
    text = (lyric or "").replace("\r\n", "\n").strip() or "".join(word for word, _, _ in words).strip()
    if not text:
        return ""
    marks = marked(text, words)
    shown = "\n".join(f'<p dir="auto">{_stanza(stanza, marks)}</p>' for stanza in stanzas(text))
    return f"""<section class="lyrics" aria-labelledby="words">
<h2 id="words">Lyrics</h2>
<div lang="">
{shown}
</div>
</section>"""


def timed_words(timed: Any) -> Iterator[tuple[str, float, float]]:
    """Yield the usable words of `lyricWithTime` with the seconds they are sung between."""
    found = timed.get("alignedWords") if isinstance(timed, dict) else None
    for entry in found[:MOST_WORDS] if isinstance(found, list) else ():
        if not isinstance(entry, dict) or not isinstance(word := entry.get("word"), str):
            continue
        starts, ends = _moment(entry.get("startS")), _moment(entry.get("endS"))
        if starts is not None and ends is not None:
            yield word, starts, max(starts, ends)


def _moment(value: Any) -> float | None:
    # Not true of NaN.
    return float(value) if isinstance(value, int | float) and 0 <= value < LONGEST else None


def marked(text: str, words: Iterable[tuple[str, float, float]]) -> list[Mark]:
    """Find the timed words in the text, in order."""
    # Names of sections are not sung; they keep their length.
    sung = TAG.sub(lambda tag: "\0" * len(tag[0]), text)
    marks: list[Mark] = []
    place, latest = 0, 0.0
    for word, starts, ends in words:
        parts = TAG.sub(" ", word).split()
        for number, part in enumerate(parts):
            first = sung.find(part, place, place + REACH + len(part))
            moment = starts + (ends - starts) * number / len(parts)
            # The player looks words up by their time, which must not go back.
            if first < 0 or moment < latest:
                continue
            until = starts + (ends - starts) * (number + 1) / len(parts)
            place, latest = first + len(part), moment
            marks.append(Mark(first, place, round(moment * 100), round(until * 100)))
    return marks


def stanzas(text: str) -> Iterator[list[Line]]:
    """Yield the lines of each stanza; a section's name begins a new one."""
    stanza: list[Line] = []
    place = 0
    for raw in text.split("\n"):
        line, section = raw.strip(), SECTION.fullmatch(raw)
        if stanza and (not line or section):
            yield stanza
            stanza = []
        if section:
            stanza.append(Line(place, section[1].strip(), is_section=True))
        elif line:
            stanza.append(Line(place + raw.index(line), line, is_section=False))
        place += len(raw) + 1
    if stanza:
        yield stanza


def _stanza(lines: Sequence[Line], marks: Sequence[Mark]) -> str:
    return "".join(
        f'<span class="section" dir="auto">{escape(line.text)}</span>'
        if line.is_section
        else f'<span class="line">{_line(line, marks)}</span>'
        for line in lines
    )


def _line(line: Line, marks: Sequence[Mark]) -> str:
    html, place, end = "", line.first, line.first + len(line.text)
    for mark in marks[bisect_left(marks, (line.first,)) : bisect_left(marks, (end,))]:
        before = escape(line.text[place - line.first : mark.first - line.first])
        word = escape(line.text[mark.first - line.first : mark.end - line.first])
        html += f'{before}<span data-t="{mark.starts} {mark.ends}">{word}</span>'
        place = mark.end
    return html + escape(line.text[place - line.first :])
