"""Songs, covers and tones, made on demand: numpy and soundfile are imported by the first call.

Processes that make none run without them.
"""

from __future__ import annotations

from daysong.sandbox.music.recording import Recording


def compose(*, title: str, lyrics: str, style: str, take: int, seed: str) -> Recording:
    """Return a whole song; see composer.compose."""
    from daysong.sandbox.music import composer  # noqa: PLC0415 - numpy, soundfile

    return composer.compose(title=title, lyrics=lyrics, style=style, take=take, seed=seed)


def draw_cover(*, title: str, style: str, seed: str) -> bytes:
    """Return a cover; see cover.draw_cover."""
    from daysong.sandbox.music import cover  # noqa: PLC0415 - numpy

    return cover.draw_cover(title=title, style=style, seed=seed)


def tone(pitch: float, seconds: float | None = None) -> bytes:
    """Return an MP3 of one tone; see hum.tone."""
    from daysong.sandbox.music import hum  # noqa: PLC0415 - numpy, soundfile

    return hum.tone(pitch) if seconds is None else hum.tone(pitch, seconds)


def plain_cover() -> bytes:
    """Return a cover that is drawn once; see hum.plain_cover."""
    from daysong.sandbox.music import hum  # noqa: PLC0415 - numpy, soundfile

    return hum.plain_cover()
