"""What a style asks for: its words looked up in two small tables, then turned into the character of the music."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec

Mode = Literal["lydian", "major", "mixolydian", "dorian", "minor"]
Instrument = Literal["piano", "electric piano", "guitar", "electric guitar", "strings", "organ", "bells", "synth"]
Figure = Literal["held", "broken", "strummed", "offbeat", "driving", "waltz"]
Beat = Literal["none", "brushes", "soft", "backbeat", "rock", "four on the floor", "lazy", "waltz"]
Row = TypeVar("Row")


class Mood(msgspec.Struct, frozen=True):
    """Where a feeling lies: valence from sorrow (-1) to joy (1), energy from still (0) to driving (1)."""

    valence: float
    energy: float
    mode: Mode | None = None


class Genre(msgspec.Struct, frozen=True):
    """What a genre brings of its own; None and () leave it to the mood."""

    instruments: tuple[Instrument, ...] = ()
    beat: Beat | None = None
    figure: Figure | None = None
    swing: float = 0.5
    meter: int = 4
    sevenths: bool = False
    lift: float = 0.0  # added to the mood's energy


class Character(msgspec.Struct, frozen=True):
    """How one song is to sound."""

    valence: float
    energy: float
    mode: Mode
    tempo: float  # beats a minute
    meter: int  # beats a bar
    swing: float  # where the second half of a beat begins: 0.5 is straight
    brightness: float  # 0 muffled, 1 brilliant
    sevenths: bool
    instruments: tuple[Instrument, ...]  # who may play the chords; the two takes choose differently
    figure: Figure
    beat: Beat
    voice: Literal["low", "high"] | None  # None: the style names none


# Looked up by the beginning of a word, so that "joy" covers joyful and joyous.
MOODS: dict[str, Mood] = {
    "sad": Mood(-0.8, 0.15, "minor"),
    "sorrow": Mood(-0.9, 0.12, "minor"),
    "grie": Mood(-0.9, 0.1, "minor"),
    "heartbr": Mood(-0.8, 0.25, "minor"),
    "lone": Mood(-0.6, 0.18, "minor"),
    "melanchol": Mood(-0.6, 0.2, "minor"),
    "somber": Mood(-0.7, 0.15, "minor"),
    "dark": Mood(-0.6, 0.4, "minor"),
    "anxious": Mood(-0.5, 0.65, "minor"),
    "tense": Mood(-0.5, 0.7, "minor"),
    "angry": Mood(-0.7, 0.95, "minor"),
    "anger": Mood(-0.7, 0.95, "minor"),
    "furious": Mood(-0.8, 1.0, "minor"),
    "aggressive": Mood(-0.6, 1.0, "minor"),
    "moody": Mood(-0.4, 0.35, "dorian"),
    "bittersweet": Mood(-0.2, 0.3, "dorian"),
    "wistful": Mood(-0.25, 0.25, "dorian"),
    "reflect": Mood(-0.1, 0.25, "dorian"),
    "introspect": Mood(-0.15, 0.25, "dorian"),
    "nostalg": Mood(0.05, 0.32, "mixolydian"),
    "dream": Mood(0.3, 0.25, "lydian"),
    "ethereal": Mood(0.3, 0.2, "lydian"),
    "tender": Mood(0.25, 0.22),
    "gentle": Mood(0.25, 0.25),
    "soft": Mood(0.2, 0.25),
    "quiet": Mood(0.1, 0.15),
    "calm": Mood(0.35, 0.2),
    "peace": Mood(0.45, 0.18),
    "seren": Mood(0.45, 0.18),
    "relax": Mood(0.4, 0.25),
    "warm": Mood(0.45, 0.35),
    "romantic": Mood(0.45, 0.3),
    "grateful": Mood(0.6, 0.4),
    "hope": Mood(0.55, 0.5),
    "inspir": Mood(0.65, 0.6),
    "proud": Mood(0.7, 0.6),
    "uplift": Mood(0.8, 0.7),
    "playful": Mood(0.8, 0.72),
    "bright": Mood(0.7, 0.65),
    "cheer": Mood(0.85, 0.75),
    "happy": Mood(0.9, 0.78, "major"),
    "joy": Mood(0.95, 0.8, "major"),
    "euphor": Mood(0.95, 0.95, "major"),
    "excit": Mood(0.8, 0.9),
    "upbeat": Mood(0.7, 0.85),
    "energ": Mood(0.5, 0.95),
    "epic": Mood(0.2, 0.8),
    "slow": Mood(0.0, 0.1),
    "fast": Mood(0.2, 0.95),
}
UNSAID = Mood(0.4, 0.42)

GENRES: dict[str, Genre] = {
    "waltz": Genre(("piano", "strings"), beat="waltz", figure="waltz", meter=3),
    "lofi": Genre(("electric piano", "guitar"), beat="lazy", swing=0.6, sevenths=True, lift=-0.05),
    "hiphop": Genre(("electric piano", "synth"), beat="lazy", swing=0.58, sevenths=True),
    "jazz": Genre(("piano", "electric piano"), beat="brushes", figure="offbeat", swing=0.64, sevenths=True),
    "soul": Genre(("electric piano", "organ"), beat="soft", swing=0.56, sevenths=True),
    "blues": Genre(("piano", "organ"), beat="soft", swing=0.66, sevenths=True),
    "rock": Genre(("electric guitar", "organ"), beat="rock", figure="driving", lift=0.2),
    "punk": Genre(("electric guitar", "guitar"), beat="rock", figure="driving", lift=0.35),
    "metal": Genre(("electric guitar", "synth"), beat="rock", figure="driving", lift=0.35),
    "folk": Genre(("guitar", "piano")),
    "country": Genre(("guitar", "piano"), figure="strummed", lift=0.1),
    "acoustic": Genre(("guitar", "piano")),
    "electro": Genre(("synth", "electric piano"), beat="four on the floor", figure="offbeat", lift=0.15),
    "edm": Genre(("synth", "bells"), beat="four on the floor", figure="offbeat", lift=0.25),
    "dance": Genre(("synth", "electric piano"), beat="four on the floor", figure="offbeat", lift=0.2),
    "disco": Genre(("synth", "strings"), beat="four on the floor", figure="offbeat", lift=0.2),
    "ambient": Genre(("strings", "bells"), beat="none", figure="held", lift=-0.15),
    "lullaby": Genre(("bells", "piano"), beat="none", figure="broken", lift=-0.2),
    "classical": Genre(("piano", "strings"), beat="none", figure="broken"),
    "orchestra": Genre(("strings", "piano"), beat="none", figure="held"),
    "ballad": Genre(("piano", "guitar"), lift=-0.1),
    "pop": Genre(("piano", "synth")),
}

INSTRUMENTS: dict[str, Instrument] = {
    "piano": "piano",
    "rhodes": "electric piano",
    "guitar": "guitar",
    "ukulele": "guitar",
    "harp": "guitar",
    "string": "strings",
    "violin": "strings",
    "cello": "strings",
    "organ": "organ",
    "bell": "bells",
    "glockenspiel": "bells",
    "synth": "synth",
}

LOW_VOICES = frozenset({"male", "man", "baritone"})
HIGH_VOICES = frozenset({"female", "woman", "soprano", "alto"})


def character_of(style: str) -> Character:
    """The music a style such as "sad acoustic folk, 84 bpm" asks for; a style that names no mood is mildly hopeful."""
    words = re.findall(r"[^\W\d_]+", style.lower().replace("-", ""))
    moods = [mood for word in words for mood in _beginning(MOODS, word)] or [UNSAID]
    genres = [genre for word in words for genre in _beginning(GENRES, word)] or [Genre()]
    valence = sum(mood.valence for mood in moods) / len(moods)
    energy = sum(mood.energy for mood in moods) / len(moods) + max((genre.lift for genre in genres), key=abs)
    energy = min(max(energy, 0.05), 1.0)
    # A calm jazz waltz is all three: the first genre with an answer decides each question, the odd meter speaks first.
    genres.sort(key=lambda genre: genre.meter)
    named = tuple(dict.fromkeys(player for word in words for player in _beginning(INSTRUMENTS, word)))
    own = next((genre.instruments for genre in genres if genre.instruments), _players(valence, energy))
    return Character(
        valence=valence,
        energy=energy,
        mode=next((mood.mode for mood in moods if mood.mode), _mode(valence)),
        tempo=_asked_tempo(style) or 60 + 70 * energy,
        meter=min(genre.meter for genre in genres),
        swing=max(genre.swing for genre in genres),
        brightness=min(max(0.5 + 0.3 * valence + 0.35 * (energy - 0.4), 0.1), 1.0),
        sevenths=any(genre.sevenths for genre in genres),
        instruments=tuple(dict.fromkeys(named + own))[:2],
        figure=next((genre.figure for genre in genres if genre.figure), _figure(energy)),
        beat=next((genre.beat for genre in genres if genre.beat), _beat(energy)),
        voice="high" if HIGH_VOICES & set(words) else "low" if LOW_VOICES & set(words) else None,
    )


def _beginning(table: dict[str, Row], word: str) -> Sequence[Row]:
    return [row for stem, row in table.items() if word.startswith(stem)][:1]


def _asked_tempo(style: str) -> float | None:
    asked = re.search(r"\b(\d{2,3})\s*bpm", style.lower())
    return min(max(float(asked[1]), 50.0), 180.0) if asked else None


def _mode(valence: float) -> Mode:
    return "minor" if valence < -0.3 else "dorian" if valence < 0 else "major"


def _players(valence: float, energy: float) -> tuple[Instrument, ...]:
    if energy > 0.65:
        return ("guitar", "synth") if valence > 0 else ("electric guitar", "synth")
    return ("guitar", "piano") if valence > 0 else ("piano", "strings")


def _figure(energy: float) -> Figure:
    return "held" if energy < 0.18 else "broken" if energy < 0.5 else "strummed" if energy < 0.85 else "driving"


def _beat(energy: float) -> Beat:
    if energy < 0.28:
        return "none"
    return "brushes" if energy < 0.4 else "soft" if energy < 0.6 else "backbeat" if energy < 0.88 else "rock"
