"""Six hummed seconds in place of a song, for tests that do not listen: real MP3, the words timed evenly over it."""

from __future__ import annotations

import functools
from io import BytesIO

import numpy as np
import soundfile

from daysong.sandbox.music.cover import draw_cover
from daysong.sandbox.music.recording import Recording
from daysong.sandbox.music.timing import SungWord

RATE = 8_000
# A song is longer than five.
SECONDS = 6.0


def hum(*, title: str, lyrics: str, style: str, take: int, seed: str) -> Recording:  # noqa: ARG001 - compose's signature
    """A recording in a millisecond; the two takes differ in pitch."""
    words = lyrics.split()
    step = SECONDS / max(1, len(words))
    return Recording(
        audio=tone(220.0 * (1 + take)),
        content_type="audio/mpeg",
        duration=SECONDS,
        words=tuple(SungWord(f"{word} ", place * step, (place + 1) * step) for place, word in enumerate(words)),
        waveform=(0.5, 1.0, 0.5),
        cover=plain_cover(),
    )


@functools.cache
def tone(pitch: float, seconds: float = SECONDS) -> bytes:
    """An MP3 of one tone."""
    file = BytesIO()
    moments = np.arange(int(RATE * seconds)) / RATE
    soundfile.write(file, 0.2 * np.sin(2 * np.pi * pitch * moments), RATE, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()


@functools.cache
def plain_cover() -> bytes:
    """A cover that is drawn once."""
    return draw_cover(title="", style="calm", seed="hum")
