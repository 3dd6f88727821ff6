"""The tune: a pitch for every syllable, following the contour of its line and resting on chord tones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Literal

import msgspec

from daysong.sandbox.music.harmony import Chord, around
from daysong.sandbox.music.lyrics import Kind
from daysong.sandbox.music.timing import Passage, Phrase, Plan

Contour = Literal["arch", "rise", "fall", "wave", "valley"]
CONTOURS: dict[Kind, tuple[Contour, ...]] = {
    "verse": ("arch", "wave", "rise", "valley"),
    "chorus": ("arch", "fall", "arch", "wave"),
    "bridge": ("rise", "valley", "wave", "rise"),
    "break": ("arch", "wave", "fall", "arch"),
}
HEIGHT: dict[Kind, float] = {"verse": 0, "chorus": 4.5, "bridge": 2, "break": 5}
REACH: dict[Kind, float] = {"verse": 4, "chorus": 5, "bridge": 4.5, "break": 6}
SHORTEST_NOTE = 0.17  # beats; faster syllables are spoken on the note that already sounds


class Note(msgspec.Struct, frozen=True):
    """One note: beats, a MIDI pitch, how hard, and the vowel it is sung on when a voice has it."""

    start: float
    length: float
    pitch: int
    velocity: float
    vowel: str = ""
    attached: bool = False  # sung in one breath with the note before


def write_melody(plan: Plan, chords: Sequence[Chord], centre: float, dice: Random) -> tuple[tuple[Note, ...], ...]:
    """The notes of each passage. Passages of one kind share their tune as far as their words allow."""
    # Dealt out in one fixed order, so that the tune of a chorus does not depend on how many verses came before.
    tunes = {kind: (dice.random(), dice.randrange(2**32)) for kind in CONTOURS}
    return tuple(_sing(passage, plan, chords, centre, tunes[passage.kind]) for passage in plan.passages)


def _sing(
    passage: Passage, plan: Plan, chords: Sequence[Chord], centre: float, tune: tuple[float, int]
) -> tuple[Note, ...]:
    shift, seed = tune
    kinds = CONTOURS[passage.kind]
    home = centre + HEIGHT[passage.kind]
    notes: list[Note] = []
    last = float(home)
    for number, phrase in enumerate(passage.phrases):
        # Every second line answers the one before: the same wilful turns, ending elsewhere.
        dice = Random(seed + number % 2)
        contour = kinds[(number + int(shift * len(kinds))) % len(kinds)]
        final = number == len(passage.phrases) - 1
        line = _line(phrase, plan, chords, home, REACH[passage.kind], contour, last, final=final, dice=dice)
        last = line[-1].pitch
        notes += line
    return tuple(notes)


def _line(
    phrase: Phrase,
    plan: Plan,
    chords: Sequence[Chord],
    home: float,
    reach: float,
    contour: Contour,
    last: float,
    *,
    final: bool,
    dice: Random,
) -> list[Note]:
    vowels = [vowel for word in phrase.words for vowel in word.vowels] or [""] * len(phrase.onsets)
    sounding = [0]
    for place, onset in enumerate(phrase.onsets):
        if onset - phrase.onsets[sounding[-1]] >= SHORTEST_NOTE:
            sounding.append(place)
    notes: list[Note] = []
    step = 0.0
    before = last
    for number, place in enumerate(sounding):
        start = phrase.onsets[place]
        ending = number == len(sounding) - 1
        end = phrase.end if ending else phrase.onsets[sounding[number + 1]]
        chord = chords[min(int(start // plan.meter), len(chords) - 1)]
        wish = home + reach * _shape(contour, number / max(len(sounding) - 1, 1)) + dice.uniform(-1.5, 1.5)
        on_beat = start % 1 == 0
        weight = 9.0 if ending else 3.0 if start % plan.meter == 0 or end - start >= 1 else 1.5 if on_beat else 0.3
        pitch = _choose(
            chord, wish, before, step, weight, chord.root if ending and final and chord.root == chord.scale[0] else None
        )
        stress = 0.12 if start % plan.meter == 0 else 0.06 if on_beat else 0.0
        notes.append(Note(start, end - start, pitch, 0.78 + stress, vowels[place], attached=number > 0))
        step = pitch - before
        before = pitch
    return notes


def _shape(contour: Contour, along: float) -> float:
    if contour == "arch":
        return math.sin(math.pi * along) - 0.3
    if contour == "rise":
        return 1.4 * along - 0.6
    if contour == "fall":
        return 0.9 - 1.5 * along
    if contour == "wave":
        return 0.7 * math.sin(2 * math.pi * along)
    return 0.5 - math.sin(math.pi * along)


def _choose(chord: Chord, wish: float, before: float, step: float, weight: float, rest_on: int | None) -> int:
    """The scale note that costs least: near the contour, an easy step away, and in the chord where it matters."""
    if rest_on is not None:
        return around(rest_on, (wish + before) / 2)
    best, least = around(chord.root, wish), math.inf
    for pitch in range(int(before) - 9, int(before) + 10):
        if pitch % 12 not in chord.scale:
            continue
        leap = abs(pitch - before)
        cost = abs(pitch - wish) + 0.8 * max(leap - 4, 0)
        cost += 0 if pitch % 12 in chord.tones else weight
        cost += 1.2 if leap == 0 else 0
        cost += 4 if leap == 6 else 0  # a tritone is hard to sing
        cost += 2 if abs(step) > 4 and (pitch - before) * step > 0 else 0  # after a leap one turns back
        if cost < least:
            best, least = pitch, cost
    return best
