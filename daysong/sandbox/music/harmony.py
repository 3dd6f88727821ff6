"""Chords: a progression for each kind of section, a cadence at its end, voicings that move as little as they can."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from daysong.sandbox.music.lyrics import Kind
from daysong.sandbox.music.mood import Character, Mode
from daysong.sandbox.music.timing import Plan

SCALES: dict[Mode, tuple[int, ...]] = {
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
}

# Four bars each, by scale degree; the two takes draw different rows. None uses the mode's diminished chord.
PROGRESSIONS: dict[Mode, dict[Kind, tuple[str, ...]]] = {
    "lydian": {"verse": ("1215", "1625", "1326"), "chorus": ("2165", "5261", "6215"), "bridge": ("6325", "3625")},
    "major": {
        "verse": ("1564", "1645", "1345", "1465"),
        "chorus": ("4156", "6415", "1546"),
        "bridge": ("6345", "2645"),
    },
    "mixolydian": {"verse": ("1741", "1547", "1474"), "chorus": ("4175", "7415", "6417"), "bridge": ("6475", "4272")},
    "dorian": {"verse": ("1417", "1745", "1347"), "chorus": ("3741", "7414", "4173"), "bridge": ("5743", "4745")},
    "minor": {
        "verse": ("1637", "1465", "1764", "1364"),
        "chorus": ("6371", "4637", "6713"),
        "bridge": ("4165", "6475"),
    },
}
FLOOR, MIDDLE, CEILING = 52, 61, 72  # where chords are voiced: above the bass, around and below the singer


class Chord(msgspec.Struct, frozen=True):
    """One bar of harmony, in MIDI pitches."""

    root: int  # pitch class
    tones: tuple[int, ...]  # pitch classes, root first
    scale: tuple[int, ...]  # pitch classes a melody may pass through over it, ascending from the tonic
    voicing: tuple[int, ...] = ()

    def nearest(self, pitch: float) -> int:
        """The chord tone closest to `pitch`."""
        return closest(self.tones, pitch)


def around(pitch_class: int, pitch: float) -> int:
    """The pitch of that class closest to `pitch`."""
    return pitch_class + 12 * round((pitch - pitch_class) / 12)


def closest(pitch_classes: Sequence[int], pitch: float) -> int:
    """The pitch closest to `pitch` of all that belong to one of the classes."""
    return min((around(each, pitch) for each in pitch_classes), key=lambda found: abs(found - pitch))


def harmonise(plan: Plan, character: Character, tonic: int, dice: Random) -> tuple[Chord, ...]:
    """A voiced chord for every bar of the plan, tonic a pitch class; the last bar is home."""
    rows = {kind: dice.choice(choices) for kind, choices in PROGRESSIONS[character.mode].items()}
    rows["break"] = rows["chorus"]
    chorus = plan.passages[-1].first_bar + plan.passages[-1].bars
    degrees = _repeated(rows["verse"], plan.passages[0].first_bar)
    for passage, after in zip(plan.passages, [*plan.passages[1:], None], strict=True):
        row = _repeated(rows[passage.kind], passage.bars)
        if passage.bars > 1:
            # A verse ends open, on the dominant, and leads on; a chorus closes, and so does whatever comes last.
            closes = after is None or (passage.kind == "chorus" and after.kind != "chorus")
            row[-2:] = [5, 1] if closes and passage.bars > 2 else [row[-2] if row[-2] != 5 else 4, 5]
        degrees += row
    degrees += _repeated(rows["verse"], plan.bars - chorus)
    degrees[-2:] = [5 if character.valence > 0 else 4, 1]
    chords = [_chord(degree, character, tonic, dominant=degrees[bar + 1 : bar + 2] == [1])
              for bar, degree in enumerate(degrees)]  # fmt: skip
    return _voiced(chords)


def _repeated(row: str, bars: int) -> list[int]:
    return [int(row[bar % len(row)]) for bar in range(bars)]


def _chord(degree: int, character: Character, tonic: int, *, dominant: bool) -> Chord:
    scale = list(SCALES[character.mode])
    if degree == 5 and dominant:
        scale[6] = 11  # the leading note: without it a minor key never quite comes home
    thirds = (0, 2, 4, 6) if character.sevenths and not (degree == 1 and character.mode == "mixolydian") else (0, 2, 4)
    tones = tuple((scale[(degree - 1 + third) % 7] + tonic) % 12 for third in thirds)
    return Chord(tones[0], tones, tuple((step + tonic) % 12 for step in scale))


def _voiced(chords: Sequence[Chord]) -> tuple[Chord, ...]:
    voiced: list[Chord] = []
    before: tuple[int, ...] = ()
    for chord in chords:
        before = min(_inversions(chord.tones), key=lambda voicing: _effort(voicing, before))
        voiced.append(msgspec.structs.replace(chord, voicing=before))
    return tuple(voiced)


def _inversions(tones: tuple[int, ...]) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for low in range(FLOOR, CEILING - 8):
        if low % 12 in tones:
            place = sorted((tone - low) % 12 for tone in tones)
            found.append(tuple(low + step for step in place))
    return found


def _effort(voicing: tuple[int, ...], before: tuple[int, ...]) -> float:
    centre = abs(sum(voicing) / len(voicing) - MIDDLE)
    moved = sum(abs(new - old) for new, old in zip(voicing, before, strict=False)) if before else 0
    return moved + 0.5 * centre
