"""When everything happens: the sections of a song laid on bars, and each sung syllable on a beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import get_args

import msgspec

from daysong.sandbox.music.lyrics import Kind, Section, Word, read_lyrics
from daysong.sandbox.music.mood import Character

SHORTEST, USUAL, LONGEST = 34.0, 58.0, 176.0  # seconds of music, before the last chord has died away
INSTRUMENTAL = (Section("verse", ()), Section("chorus", ()), Section("verse", ()), Section("chorus", ()))


class Phrase(msgspec.Struct, frozen=True):
    """One breath: where each syllable starts, in beats of the song, and where the last one ends."""

    words: tuple[Word, ...]  # none: an instrument plays it
    onsets: tuple[float, ...]
    end: float


class Passage(msgspec.Struct, frozen=True):
    """A section on its bars."""

    kind: Kind
    first_bar: int
    bars: int
    phrases: tuple[Phrase, ...]


class SungWord(msgspec.Struct, frozen=True):
    """A word as Suno writes it, and the seconds it is sung between."""

    word: str
    start: float
    end: float


class Plan(msgspec.Struct, frozen=True):
    """The song in time. Bars before the first passage are the intro, those after the last one the outro."""

    tempo: float
    meter: int
    swing: float
    bars: int
    passages: tuple[Passage, ...]

    def seconds(self, beat: float) -> float:
        """When a beat falls; halves of a beat come late where the music swings."""
        whole, part = divmod(beat, 1.0)
        late = part * 2 * self.swing if part < 0.5 else self.swing + (part - 0.5) * 2 * (1 - self.swing)
        return (whole + late) * 60 / self.tempo

    @property
    def duration(self) -> float:
        """Seconds from the first beat to the end of the last bar."""
        return self.seconds(self.bars * self.meter)

    def sung(self) -> Iterator[SungWord]:
        """Every word in order, none overlapping the next."""
        for passage in self.passages:
            for phrase in passage.phrases:
                times = [round(self.seconds(beat), 3) for beat in (*phrase.onsets, phrase.end)]
                ends = accumulate(len(word.vowels) for word in phrase.words)
                for word, end in zip(phrase.words, ends, strict=True):
                    yield SungWord(word.text, times[end - len(word.vowels)], times[end])


def plan_song(lyrics: str, character: Character, dice: Random) -> Plan:
    """Lay lyrics on bars: two bars a line if that makes a song of ordinary length, closer together if not."""
    meter = character.meter
    bar = meter * 60 / character.tempo
    intro, outro = (4 if bar < 1.6 else 2), 2
    sections, lengths = _fitted(read_lyrics(lyrics), meter, bar, margin=intro + outro)
    # A long text is sung a little faster, as people do, before it is allowed to become a long song.
    tempo = character.tempo * min(max((sum(map(sum, lengths)) + intro + outro) * bar / USUAL, 1.0), 1.18)
    pace = min(max((0.62 - 0.25 * character.energy) * tempo / 60, 0.5), 1.0)
    entries = {kind: dice.choice((0.0, 0.0, 0.5, 1.0)) for kind in get_args(Kind)}
    passages: list[Passage] = []
    next_bar = intro
    for section, bars in zip(sections, lengths, strict=True):
        passages.append(_passage(section, bars, next_bar, meter, pace, entries[section.kind]))
        next_bar += sum(bars)
    while (next_bar + outro) * meter * 60 / tempo < SHORTEST:  # the instruments take the tune up again
        passages.append(_passage(Section("break", ()), [2, 2], next_bar, meter, pace, entries["break"]))
        next_bar += 4
    return Plan(tempo, meter, character.swing, next_bar + outro, tuple(passages))


def _fitted(
    sections: tuple[Section, ...], meter: int, bar: float, margin: int
) -> tuple[tuple[Section, ...], list[list[int]]]:
    """The sections to play, and for each the bars of its lines."""
    if not sections:
        count = max(2, round(SHORTEST * 1.2 / bar / 8))
        return INSTRUMENTAL[:count], [[2, 2, 2, 2] for _ in INSTRUMENTAL[:count]]
    roomy = [_lengths(section, meter, roomy=True) for section in sections]
    if (sum(map(sum, roomy)) + margin) * bar <= USUAL:
        return sections, roomy
    close = [_lengths(section, meter, roomy=False) for section in sections]
    room = int(LONGEST / bar) - margin
    if sum(map(sum, close)) <= room:
        return sections, close
    sections = _crowded(sections, room)
    return sections, [[1] * len(section.lines) for section in sections]


def _lengths(section: Section, meter: int, *, roomy: bool) -> list[int]:
    if section.kind == "break":
        return [2, 2] if roomy else [1, 1]
    syllables = [sum(len(word.vowels) for word in line) for line in section.lines]
    if roomy:
        return [2 * max(1, -(-count // int(meter * 3.5))) for count in syllables]
    bars = [max(1, -(-count // int(meter * 2.5))) for count in syllables]
    bars[-1] += sum(bars) % 2  # an odd number of bars sounds like a mistake
    return bars


def _crowded(sections: Sequence[Section], room: int) -> tuple[Section, ...]:
    """The same words on `room` lines of equal weight, whatever lines the writer made; breaks are given up."""
    words = [(section.kind, word) for section in sections for line in section.lines for word in line]
    weights = list(accumulate(len(word.vowels) for _, word in words))
    chunks: dict[int, list[tuple[Kind, Word]]] = {}
    for weight, pair in zip([0, *weights], words, strict=False):
        chunks.setdefault(weight * room // weights[-1], []).append(pair)
    merged: list[tuple[Kind, list[tuple[Word, ...]]]] = []
    for chunk in chunks.values():
        if not merged or merged[-1][0] != chunk[0][0]:
            merged.append((chunk[0][0], []))
        merged[-1][1].append(tuple(word for _, word in chunk))
    return tuple(Section(kind, tuple(lines)) for kind, lines in merged)


def _passage(section: Section, bars: Sequence[int], first_bar: int, meter: int, pace: float, entry: float) -> Passage:
    starts = [0, *accumulate(bars)][:-1]
    lines = section.lines or tuple(() for _ in bars)
    phrases = [
        _phrase(line, (first_bar + start) * meter, length * meter, entry, pace, 7 - number % 2)
        for number, (line, start, length) in enumerate(zip(lines, starts, bars, strict=True))
    ]
    return Passage(section.kind, first_bar, sum(bars), tuple(phrases))


def _phrase(words: tuple[Word, ...], start: float, length: float, entry: float, pace: float, freely: int) -> Phrase:
    """The syllables of one line, `pace` beats each where there is room; `entry` is the rest before the first."""
    count = sum(len(word.vowels) for word in words) or freely
    breath = 0.5 if length > count / 2 else 0.25
    wanted = round(count * pace * 2) / 2
    entry = entry if entry + wanted + 1.0 <= length else 0.0
    # The last syllable is held: it alone gets the beat that the span leaves free.
    span = min(wanted, length - entry - (1.0 if count < length else breath))
    grid = 0.5 if count <= span * 2 else 0.25
    onsets = tuple(start + entry + place for place in _spread(count, span, grid))
    return Phrase(words, onsets, min(max(onsets[-1] + 2.0, start + entry + span), start + length - breath))


def _spread(count: int, span: float, grid: float) -> list[float]:
    slots = int(span / grid)
    if count > slots:
        return [place * span / count for place in range(count)]
    # Rounded up, so that the quick syllables come before a beat and the slow ones on it.
    return [-(-place * slots // count) * grid for place in range(count)]
