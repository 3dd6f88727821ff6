"""A finished track, as the sandbox stores it."""

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
