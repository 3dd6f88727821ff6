"""A song from lyrics and a style: composed, played and encoded, the same bytes for the same request."""

from __future__ import annotations

import hashlib
from io import BytesIO
from random import Random

import msgspec
import numpy as np
import soundfile

from daysong.sandbox.music.arrangement import Score, arrange
from daysong.sandbox.music.mood import character_of
from daysong.sandbox.music.recording import Recording
from daysong.sandbox.music.synth import RATE, Samples, render
from daysong.sandbox.music.timing import SungWord, plan_song

__all__ = ["Recording", "Score", "SungWord", "compose", "record", "write_score"]

PEAKS = 300  # values of the waveform drawn in a player
BLOCK = 65_536  # frames handed to the encoder at once: libsndfile has crashed on whole songs
QUALITY = 0.7  # of MP3 at a variable bit rate: about 90 kbit/s, and a fifth less work than 0.3


def compose(*, title: str, lyrics: str, style: str, take: int, seed: str) -> Recording:
    """A track of half a minute to three minutes. Takes 0 and 1 are two different songs on the same words."""
    return record(write_score(title=title, lyrics=lyrics, style=style, take=take, seed=seed))


def record(score: Score) -> Recording:
    """The score played and encoded; nearly all the work of a track is done here."""
    samples = render(score)
    return Recording(
        audio=_encoded(samples),
        content_type="audio/mpeg",
        duration=len(samples) / RATE,
        words=tuple(score.plan.sung()),
        waveform=_waveform(samples),
    )


def write_score(*, title: str, lyrics: str, style: str, take: int, seed: str) -> Score:
    """What `compose` plays, on paper: its duration and its words' times cost milliseconds, the sound does not."""
    request = "\0".join((title, lyrics, style, str(take), seed))
    digest = hashlib.sha256(request.encode("utf-8", "surrogatepass")).digest()
    dice = Random(int.from_bytes(digest[:8], "big"))
    character = character_of(style)
    # The second take is the calmer reading, as a singer would offer one.
    pace = dice.uniform(0.9, 0.94) if take % 2 else dice.uniform(0.99, 1.03)
    character = msgspec.structs.replace(character, tempo=character.tempo * pace)
    return arrange(plan_song(lyrics, character, dice), character, take, dice)


def _encoded(samples: Samples) -> bytes:
    file = BytesIO()
    with soundfile.SoundFile(
        file, "w", RATE, 2, "MPEG_LAYER_III", format="MP3", bitrate_mode="VARIABLE", compression_level=QUALITY
    ) as track:
        for start in range(0, len(samples), BLOCK):
            track.write(samples[start : start + BLOCK])
    return file.getvalue()


def _waveform(samples: Samples) -> tuple[float, ...]:
    peaks = [float(np.max(np.abs(part))) for part in np.array_split(samples, PEAKS)]
    return tuple(round(peak / max(peaks), 3) for peak in peaks)
