"""The band: chords, bass, drums and a second voice around a tune, thin in the verse and full in the chorus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

import msgspec

from daysong.sandbox.music.harmony import Chord, around, closest, harmonise
from daysong.sandbox.music.lyrics import Kind
from daysong.sandbox.music.melody import Note, write_melody
from daysong.sandbox.music.mood import Beat, Character, Figure, Instrument
from daysong.sandbox.music.timing import Passage, Plan

Player = Instrument | Literal["voice", "bass"]
Drum = Literal["kick", "snare", "rim", "hat", "shaker", "brush", "clap", "crash"]
Part = Literal["intro", "outro"] | Kind

RING = 2.0  # seconds the last chord and the room take to die away

# How much of the band plays, and how hard.
FULLNESS: dict[Part, float] = {
    "intro": 0.6,
    "verse": 0.7,
    "bridge": 0.8,
    "break": 0.9,
    "chorus": 1.0,
    "outro": 0.65,
}

# Sixteenths of a bar of four; a waltz reads three quarters of the line.
BEATS: dict[Beat, dict[Drum, str]] = {
    "none": {},
    "brushes": {"brush": "x...x..xx...x..x", "kick": "x.........x....."},
    "soft": {"kick": "x.........x.....", "rim": "....x.......x...", "shaker": "x.x.x.x.x.x.x.x."},
    "backbeat": {"kick": "x.....x.x.......", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
    "rock": {"kick": "x.x...x.x.x.....", "snare": "....x.......x..x", "hat": "x.x.x.x.x.x.x.x."},
    "four on the floor": {"kick": "x...x...x...x...", "clap": "....x.......x...", "hat": "..x...x...x...x."},
    "lazy": {"kick": "x......x..x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.xx"},
    "waltz": {"kick": "x...........", "brush": "....x...x...", "shaker": "....x...x..."},
}

# Where the chord is struck, in eighths of a bar: d all of it, 1-4 one tone from the bottom up.
FIGURES: dict[Figure, tuple[str, str]] = {
    "held": ("d.......", "d...d..."),
    "broken": ("1.2.3.2.", "12343234"),
    "strummed": ("d..dd.d.", "d.dd.dd."),
    "offbeat": ("..d...d.", ".d.d.d.d"),
    "driving": ("d.d.d.d.", "dddddddd"),
    "waltz": ("..d.d.", "1.d.d."),
}


class Line(msgspec.Struct, frozen=True):
    """What one player plays, and where on the stage they stand (-1 left, 1 right)."""

    player: Player
    notes: tuple[Note, ...]
    gain: float
    pan: float


class Hit(msgspec.Struct, frozen=True):
    """One stroke on a drum."""

    start: float
    drum: Drum
    velocity: float


class Score(msgspec.Struct, frozen=True):
    """Everything to be played."""

    plan: Plan
    brightness: float
    loudness: float  # of the highest peak, full scale being 1
    high_voice: bool
    lines: tuple[Line, ...]
    hits: tuple[Hit, ...]

    @property
    def duration(self) -> float:
        """Seconds until the last chord has died away."""
        return self.plan.duration + RING


def arrange(plan: Plan, character: Character, take: int, dice: Random) -> Score:
    """A score for the plan; another take has another key, another singer and other players."""
    tonic = (dice.randrange(6) + 6 * (take % 2)) % 12
    high = {"high": True, "low": False, None: take % 2 == 0}[character.voice]
    centre = (65 if high else 57) + dice.choice((-1, 0, 1)) - (1 if character.valence < 0 else 0)
    chords = harmonise(plan, character, tonic, dice)
    tunes = write_melody(plan, chords, centre, dice)
    sung: list[Note] = []
    played = list(_opening(plan, chords, 69))
    for passage, tune in zip(plan.passages, tunes, strict=True):
        (sung if _is_sung(passage) else played).extend(tune)
    players = character.instruments
    first, second = players[take % len(players)], players[(take + 1) % len(players)]
    soloist: Player = second if second in {"guitar", "bells", "synth", "electric piano"} else "piano"
    parts = _parts(plan)
    lines = [
        Line("voice", tuple(sung), 1.2, 0.0),
        Line("voice", tuple(_thirds_below(plan, tunes, chords)), 0.5, 0.45),
        Line(soloist, tuple(played), 0.8, 0.2),
        Line(first, tuple(_chords(parts, _fingered(chords, first), plan, character)), 0.5, -0.35),
        Line("strings", tuple(_pad(parts, chords, plan, character)), 0.3, 0.3),
        Line("bass", tuple(_bass(parts, chords, plan, character)), 0.75, 0.0),
    ]
    hits = tuple(_drums(parts, plan, character, dice))
    return Score(
        plan=plan,
        brightness=min(max(character.brightness + (-0.08 if take % 2 else 0.04), 0.0), 1.0),
        loudness=0.52 + 0.26 * character.energy,  # at most 0.78: the codec adds ripple, which must not reach full scale
        high_voice=high,
        lines=tuple(line for line in lines if line.notes),
        hits=hits,
    )


def _is_sung(passage: Passage) -> bool:
    return any(phrase.words for phrase in passage.phrases)


def _parts(plan: Plan) -> tuple[Part, ...]:
    """The part of the song each bar belongs to."""
    parts: list[Part] = ["intro"] * plan.passages[0].first_bar
    for passage in plan.passages:
        parts += [passage.kind] * passage.bars
    return tuple(parts + ["outro"] * (plan.bars - len(parts)))


def _opening(plan: Plan, chords: Sequence[Chord], home: float) -> Iterator[Note]:
    """A few notes down the chord before the singer comes in."""
    bar = plan.passages[0].first_bar - 1
    for place, height in enumerate((4, 2, -1)):
        start = bar * plan.meter + place * (plan.meter / 4)
        yield Note(start, plan.meter / 4 * (2 if height < 0 else 1), chords[bar].nearest(home + height), 0.6)


def _thirds_below(plan: Plan, tunes: Sequence[Sequence[Note]], chords: Sequence[Chord]) -> Iterator[Note]:
    for passage, tune in zip(plan.passages, tunes, strict=True):
        if passage.kind != "chorus" or not _is_sung(passage):
            continue
        for note in tune:
            chord = chords[min(int(note.start // plan.meter), len(chords) - 1)]
            # A held note has to agree with the chord; a passing one only with the key.
            third = closest(chord.tones if note.length >= 1 else chord.scale, note.pitch - 3.5)
            if third < note.pitch:
                yield msgspec.structs.replace(note, pitch=third, velocity=note.velocity * 0.9)


def _chords(parts: Sequence[Part], chords: Sequence[Chord], plan: Plan, character: Character) -> Iterator[Note]:
    thin, full = FIGURES[character.figure]
    for bar, (part, chord) in enumerate(zip(parts, chords, strict=True)):
        start = float(bar * plan.meter)
        if bar == plan.bars - 1:
            yield from _strum(chord.voicing, start, float(plan.meter), 0.8, character)
            continue
        figure = (full if part in {"chorus", "break"} else thin)[: plan.meter * 2]
        places = [place for place, mark in enumerate(figure) if mark != "."]
        for place, after in zip(places, [*places[1:], len(figure)], strict=True):
            mark, accent = figure[place], 1.0 if place == 0 else 0.85
            loud = FULLNESS[part] * accent * 0.85
            if mark == "d":
                length = (after - place) / 2 * (0.55 if character.figure in {"offbeat", "driving"} else 0.95)
                yield from _strum(chord.voicing, start + place / 2, length, loud, character)
            else:
                # A broken chord rings on under the tones that follow.
                tones = (*chord.voicing, chord.voicing[0] + 12)
                yield Note(start + place / 2, 1.6, tones[min(int(mark) - 1, len(tones) - 1)], loud)


def _strum(voicing: Sequence[int], start: float, length: float, loud: float, character: Character) -> Iterator[Note]:
    delay = 0.03 if character.figure in {"strummed", "held"} else 0.0
    for place, pitch in enumerate(voicing):
        yield Note(start + place * delay, length, pitch, loud * (1.0 if place else 0.9))


def _fingered(chords: Sequence[Chord], player: Player) -> Sequence[Chord]:
    """The chords as that player grips them: a loud guitar leaves out the third, which would growl."""
    if player != "electric guitar":
        return chords
    low = [around(chord.root, 46) for chord in chords]
    return [msgspec.structs.replace(chord, voicing=(root, root + 7, root + 12))
            for chord, root in zip(chords, low, strict=True)]  # fmt: skip


def _pad(parts: Sequence[Part], chords: Sequence[Chord], plan: Plan, character: Character) -> Iterator[Note]:
    always = character.energy < 0.35
    for bar, (part, chord) in enumerate(zip(parts, chords, strict=True)):
        if always or part in {"chorus", "break", "outro"}:
            loud = FULLNESS[part] * (0.7 if always else 0.55)
            for pitch in chord.voicing[:3]:
                yield Note(float(bar * plan.meter), float(plan.meter), pitch + (12 if part == "chorus" else 0), loud)


def _bass(parts: Sequence[Part], chords: Sequence[Chord], plan: Plan, character: Character) -> Iterator[Note]:
    meter = plan.meter
    for bar, (part, chord) in enumerate(zip(parts, chords, strict=True)):
        if part == "intro" and bar < 2 and character.energy < 0.6:
            continue
        start, root = float(bar * meter), around(chord.root, 40)
        fifth = around(chord.tones[2], root + 5)
        loud = FULLNESS[part]
        if bar == plan.bars - 1 or character.energy < 0.24:
            yield Note(start, meter * 0.97, root, loud)
        elif meter == 3 or character.energy < 0.5:
            yield Note(start, meter - 1.05, root, loud)
            yield Note(start + meter - 1, 0.9, fifth, loud * 0.8)
        elif character.figure == "driving":
            for place in range(meter * 2):
                yield Note(start + place / 2, 0.42, root, loud * (1.0 if place % 4 == 0 else 0.85))
        else:
            following = around(chords[min(bar + 1, len(chords) - 1)].root, 40)
            approach = following + (2 if following + 2 <= root else -1 if (following - 1) % 12 in chord.scale else -2)
            for offset, length, pitch in ((0.0, 1.4, root), (1.5, 0.45, root), (2, 1.4, fifth), (3.5, 0.45, approach)):
                yield Note(start + offset, length, pitch, loud * (1.0 if offset == 0 else 0.85))


def _drums(parts: Sequence[Part], plan: Plan, character: Character, dice: Random) -> Iterator[Hit]:
    patterns = BEATS[character.beat]
    silent = plan.passages[0].first_bar // 2
    for bar, part in enumerate(parts[:-1] if patterns else ()):
        start = float(bar * plan.meter)
        leads_on = character.energy > 0.5 and parts[bar + 1] != part
        if character.energy > 0.45 and part in {"chorus", "break"} and parts[bar - 1] != part:
            yield Hit(start, "crash", 0.6)
        if bar >= silent:
            stop = (plan.meter - 1) * 4 if leads_on else plan.meter * 4
            yield from _bar_of(patterns, start, stop, FULLNESS[part], dice)
        if leads_on:  # a roll in the last beat announces what comes
            for place in range(4):
                yield Hit(start + plan.meter - 1 + place / 4, "snare", 0.4 + 0.12 * place)
    if patterns:
        yield Hit(float((plan.bars - 1) * plan.meter), "kick", 0.8)


def _bar_of(patterns: dict[Drum, str], start: float, stop: int, loud: float, dice: Random) -> Iterator[Hit]:
    for drum, pattern in patterns.items():
        for place, mark in enumerate(pattern[:stop]):
            if mark == "x":
                accent = 1.0 if place % 4 == 0 else 0.75
                yield Hit(start + place / 4, drum, loud * accent * dice.uniform(0.88, 1.0))
