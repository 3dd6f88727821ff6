"""The instruments: single notes made from wavetables, mixed in stereo with a little room around them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np
from numpy.typing import NDArray

from daysong.sandbox.music.arrangement import RING, Drum, Line, Player, Score
from daysong.sandbox.music.melody import Note

Samples = NDArray[np.float32]

RATE = 32_000  # an MP3 of this size carries nothing above 16 kHz
TABLE = 4096
NOISE = 0x50A6  # the same noise in every song: what differs between songs is the music


class Timbre(msgspec.Struct, frozen=True):
    """An instrument: harmonics fall off by `slope`, the struck ones by `bite` and die away first; times in seconds."""

    slope: float
    bite: float
    attack: float
    decay: float  # infinity: it sounds as long as it is held
    release: float
    gain: float
    gaps: int = 0  # every so many-th harmonic is missing, as where a string is plucked
    detune: float = 0.0  # a second, slightly sharper copy, for breadth


TIMBRES: dict[Player, Timbre] = {
    "piano": Timbre(2.3, 1.1, 0.004, 1.1, 0.25, 1.0),
    "electric piano": Timbre(3.4, 1.6, 0.005, 1.3, 0.2, 1.1),
    "guitar": Timbre(1.8, 0.9, 0.003, 0.6, 0.15, 1.0, gaps=5),
    "strings": Timbre(1.7, 1.7, 0.35, np.inf, 0.5, 0.55, detune=0.004),
    "electric guitar": Timbre(1.0, 0.6, 0.004, 1.8, 0.1, 0.75, detune=0.003),
    "organ": Timbre(2.0, 2.0, 0.03, np.inf, 0.08, 0.85, detune=0.002),
    "bells": Timbre(3.6, 2.0, 0.002, 1.6, 0.6, 0.9, gaps=2),
    "synth": Timbre(1.3, 0.7, 0.008, 0.8, 0.12, 0.65, detune=0.006),
    "bass": Timbre(2.2, 1.3, 0.006, 1.4, 0.08, 1.0),
}

# Formants of a sung vowel: frequency in Hz, strength and width.
VOWELS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "a": ((800, 1.0, 120), (1200, 0.6, 140), (2700, 0.18, 250)),
    "e": ((500, 1.0, 100), (1900, 0.4, 160), (2600, 0.2, 250)),
    "i": ((330, 1.0, 90), (2200, 0.35, 180), (3000, 0.22, 250)),
    "o": ((480, 1.0, 100), (850, 0.55, 120), (2600, 0.1, 250)),
    "u": ((350, 1.0, 90), (700, 0.4, 110), (2500, 0.07, 250)),
}


def render(score: Score) -> Samples:
    """The score as stereo samples at RATE, shaped (samples, 2), its highest peak the score's loudness."""
    length = round(score.duration * RATE)
    dry = np.zeros((2, length), np.float32)
    room = np.zeros(length, np.float32)
    for line in score.lines:
        _play(line, score, dry, room)
    _drum(score, dry, room)
    dry += _echo(room)
    fade = int(RING * RATE / 2)
    dry[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32) ** 2
    return np.ascontiguousarray(_mastered(dry, score.loudness).T)


def frequency(pitch: float) -> float:
    """Hz of a MIDI pitch."""
    return float(440.0 * 2 ** ((pitch - 69) / 12))


def _play(line: Line, score: Score, dry: Samples, room: Samples) -> None:
    left, right = _ears(line.pan)
    wet = 0.3 if line.player in {"voice", "strings"} else 0.05 if line.player == "bass" else 0.18
    made: dict[tuple[int, int], Samples] = {}
    before: Note | None = None
    for note in line.notes:
        start, end = score.plan.seconds(note.start), score.plan.seconds(note.start + note.length)
        if line.player == "voice":
            sound = _sing(note, end - start, before if note.attached else None, score)
            before = note
        else:
            # Lengths are rounded so that a chord that comes back is not computed again.
            key = (note.pitch, round((end - start) * 40))
            if key not in made:
                made[key] = _pluck(TIMBRES[line.player], note.pitch, key[1] / 40, score.brightness)
            sound = made[key]
        _add(sound, int(start * RATE), line.gain * note.velocity, left, right, wet, dry, room)


def _ears(pan: float) -> tuple[float, float]:
    """How much of a sound each ear gets, together always the same power."""
    return math.cos((pan + 1) * math.pi / 4), math.sin((pan + 1) * math.pi / 4)


def _add(
    sound: Samples, at: int, gain: float, left: float, right: float, wet: float, dry: Samples, room: Samples
) -> None:
    sound = sound[: dry.shape[1] - at] * np.float32(gain)
    end = at + len(sound)
    dry[0, at:end] += sound * np.float32(left)
    dry[1, at:end] += sound * np.float32(right)
    room[at:end] += sound * np.float32(wet)


def _table(strengths: NDArray[np.float64]) -> Samples:
    """One period of a wave with these harmonics, of even loudness whatever they are."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex128)
    spectrum[1 : len(strengths) + 1] = -1j * strengths
    wave = np.fft.irfft(spectrum)
    return np.asarray(wave / np.sqrt(np.mean(wave**2)) * 0.25, np.float32)


def _harmonics(pitch: float, highest: float = 12_000.0) -> NDArray[np.float64]:
    return np.arange(1, max(2, min(60, int(highest / frequency(pitch)))) + 1, dtype=np.float64)


def _pluck(timbre: Timbre, pitch: int, held: float, brightness: float) -> Samples:
    """One note of an instrument, from its attack to the end of its release."""
    number = _harmonics(pitch)
    dull = 0.9 * (0.5 - brightness)
    shape = np.ones_like(number)
    if timbre.gaps:
        shape = np.abs(np.sin(np.pi * number / timbre.gaps)) + (0.02 if timbre.gaps > 2 else 0.0)
    body = _table(shape * number ** -(timbre.slope + dull))
    bite = _table(shape * number ** -(timbre.bite + dull))
    count = int((held + timbre.release) * RATE)
    time = np.arange(count, dtype=np.float32) / np.float32(RATE)
    step = frequency(pitch) * TABLE / RATE
    place = (np.arange(count) * step).astype(np.int64) & (TABLE - 1)
    sound = body[place]
    if timbre.decay < np.inf:
        # High notes of a string die sooner than low ones.
        decay = timbre.decay * 2 ** ((60 - pitch) / 24)
        sound += bite[place] * np.exp(time * np.float32(-6 / decay)) * np.float32(0.5 + 0.5 * brightness)
        sound *= np.exp(time * np.float32(-1 / decay))
    if timbre.detune:
        sound += body[(np.arange(count) * (step * (1 + timbre.detune))).astype(np.int64) + 999 & (TABLE - 1)]
    return np.asarray(sound * _envelope(count, timbre.attack, timbre.release) * timbre.gain, np.float32)


def _envelope(count: int, attack: float, release: float) -> Samples:
    shape = np.ones(count, np.float32)
    rising, falling = min(int(attack * RATE) + 1, count), min(int(release * RATE) + 1, count)
    shape[:rising] *= np.linspace(0, 1, rising, dtype=np.float32)
    shape[-falling:] *= np.linspace(1, 0, falling, dtype=np.float32) ** 2
    return shape


def _sing(note: Note, held: float, before: Note | None, score: Score) -> Samples:
    """One syllable: glides in from the note before, vibrates when it is held, has its vowel's formants."""
    release = 0.06
    count = int((held + release) * RATE)
    time = np.arange(count, dtype=np.float32) / np.float32(RATE)
    glide = (before.pitch - note.pitch if before else -0.6) * np.exp(time * np.float32(-28))
    depth = np.clip((time - 0.22) * 1.2, 0, 0.28)
    bend = glide + depth * np.sin(time * np.float32(2 * np.pi * 5.3))
    phase = np.cumsum(np.exp2(bend / 12), dtype=np.float64) * (frequency(note.pitch) * TABLE / RATE)
    sound = _vowel(note.vowel or "a", note.pitch, score)[phase.astype(np.int64) & (TABLE - 1)]
    breath = min(int(0.045 * RATE), count)
    sound[:breath] += _noise(breath) * np.hanning(breath).astype(np.float32) * np.float32(0.02)
    # A held note swells a little and then lets go.
    swell = 0.85 + 0.15 * np.minimum(time / 0.25, 1) - 0.12 * np.clip((time - 0.8) / 1.5, 0, 1)
    return np.asarray(sound * swell * _envelope(count, 0.03 if before else 0.06, release), np.float32)


def _vowel(vowel: str, pitch: int, score: Score) -> Samples:
    number = _harmonics(pitch, 6_000.0)
    hertz = number * frequency(pitch)
    size = 1.12 if score.high_voice else 0.95  # a smaller throat has higher formants
    strengths = 0.03 + sum(
        gain / (1 + ((hertz - peak * size) / (width * 1.3)) ** 2) for peak, gain, width in VOWELS[vowel]
    )
    return _table(strengths * number ** -(1.1 - 0.7 * score.brightness))


def _noise(count: int) -> Samples:
    """High noise, the same every time."""
    white = np.random.default_rng(NOISE).standard_normal(count + 1, np.float32)
    return np.diff(white)


def _drum(score: Score, dry: Samples, room: Samples) -> None:
    made = {drum: DRUMS[drum]() * np.float32(DRUM_GAINS[drum]) for drum in {hit.drum for hit in score.hits}}
    colour = 0.6 + 0.5 * score.brightness
    for hit in score.hits:
        left, right = _ears(DRUM_PLACES.get(hit.drum, 0.0))
        wet = 0.02 if hit.drum == "kick" else 0.12
        start = int(score.plan.seconds(hit.start) * RATE)
        _add(made[hit.drum], start, hit.velocity * colour, left, right, wet, dry, room)


def _kick() -> Samples:
    time = np.arange(int(0.32 * RATE), dtype=np.float32) / np.float32(RATE)
    phase = 2 * np.pi * (48 * time - 110 / 38 * np.exp(-38 * time))
    return np.asarray(np.sin(phase - phase[0]) * np.exp(-time * 11) * np.minimum(time * 800, 1), np.float32)


def _rattle(length: float, decay: float, *, tone: float = 0.0, attack: float = 0.001) -> Samples:
    """Noise that dies away, over a short tone for a drum with a skin."""
    time = np.arange(int(length * RATE), dtype=np.float32) / np.float32(RATE)
    sound = _noise(len(time)) * np.float32(0.35)
    if tone:
        sound += np.sin(2 * np.pi * tone * time).astype(np.float32) * np.exp(-time * 25).astype(np.float32)
    fade = np.minimum((length - time) * 50, 1)
    return np.asarray(sound * np.exp(-time / decay) * np.minimum(time / attack, 1) * fade, np.float32)


DRUMS: dict[Drum, Callable[[], Samples]] = {
    "kick": _kick,
    "snare": partial(_rattle, 0.25, 0.07, tone=190.0),
    "rim": partial(_rattle, 0.08, 0.012, tone=900.0),
    "hat": partial(_rattle, 0.1, 0.018),
    "shaker": partial(_rattle, 0.12, 0.03, attack=0.02),
    "brush": partial(_rattle, 0.3, 0.08, attack=0.03),
    "clap": partial(_rattle, 0.22, 0.05, attack=0.004),
    "crash": partial(_rattle, 1.6, 0.45, attack=0.002),
}
DRUM_PLACES: dict[Drum, float] = {"hat": 0.25, "shaker": -0.3, "crash": -0.2}
DRUM_GAINS: dict[Drum, float] = {
    "kick": 0.75, "snare": 0.34, "rim": 0.16, "hat": 0.14, "shaker": 0.1, "brush": 0.12, "clap": 0.3, "crash": 0.2,
}  # fmt: skip


def _echo(send: Samples) -> Samples:
    """The room's answer in both ears: noise dying away over a second, laid on by blocks of a Fourier transform."""
    count = int(1.1 * RATE)
    time = np.arange(count, dtype=np.float32) / np.float32(RATE)
    size = 2 * 65_536
    step = size - count
    blocks = -(-len(send) // step)
    padded = np.zeros(blocks * step, np.float32)
    padded[: len(send)] = send
    spectra = np.fft.rfft(padded.reshape(blocks, step), size)
    answer = np.zeros((2, blocks * step + size), np.float32)
    for ear in (0, 1):
        grains = np.random.default_rng(NOISE + 1 + ear).standard_normal(count, np.float32)
        # Walls swallow the high end first: each grain is blurred with its neighbours.
        grains[1:] = 0.5 * (grains[1:] + grains[:-1])
        grains *= np.exp(-time * 5.5) * np.minimum(time / 0.012, 1)
        grains /= np.sqrt(np.sum(grains**2))
        wet = np.fft.irfft(spectra * np.fft.rfft(grains, size), size)
        for number in range(blocks):
            answer[ear, number * step : number * step + size] += wet[number].astype(np.float32)
    return answer[:, : len(send)]


def _mastered(mix: Samples, loudness: float) -> Samples:
    """Even out the loudest moments softly and bring the highest peak to `loudness`."""
    loud = float(np.sqrt(np.mean(mix**2))) or 1.0
    mix = np.tanh(mix * np.float32(0.17 / loud))
    return (mix * np.float32(loudness / (float(np.max(np.abs(mix))) or 1.0))).astype(np.float32)
