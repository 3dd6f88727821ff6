"""What a song is when it has been recorded, and who records it.

numpy and soundfile are loaded with the first recording or picture: processes that make none do without them.
"""

from __future__ import annotations

import msgspec

from daysong.sandbox.music.timing import SungWord


class Recording(msgspec.Struct, frozen=True):
    """A finished track: the file, and when each word of it is sung (no words: an instrumental).

    The cover is drawn when it is asked for, where there is none here.
    """

    audio: bytes
    content_type: str
    duration: float
    words: tuple[SungWord, ...]
    waveform: tuple[float, ...]
    cover: bytes | None = None


def compose(*, title: str, lyrics: str, style: str, take: int, seed: str) -> Recording:
    """A whole song; see composer.compose."""
    from daysong.sandbox.music import composer  # noqa: PLC0415 - numpy, soundfile

    return composer.compose(title=title, lyrics=lyrics, style=style, take=take, seed=seed)


def draw_cover(*, title: str, style: str, seed: str) -> bytes:
    """A cover; see cover.draw_cover."""
    from daysong.sandbox.music import cover  # noqa: PLC0415 - numpy

    return cover.draw_cover(title=title, style=style, seed=seed)


def tone(pitch: float, seconds: float | None = None) -> bytes:
    """An MP3 of one tone; see hum.tone."""
    from daysong.sandbox.music import hum  # noqa: PLC0415 - numpy, soundfile

    return hum.tone(pitch) if seconds is None else hum.tone(pitch, seconds)


def plain_cover() -> bytes:
    """A cover that is drawn once; see hum.plain_cover."""
    from daysong.sandbox.music import hum  # noqa: PLC0415 - numpy, soundfile

    return hum.plain_cover()
