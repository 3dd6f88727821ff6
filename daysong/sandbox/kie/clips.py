"""Videos on demand: PyAV and Pillow are imported by the first one. Processes that make none run without them."""

from __future__ import annotations

import functools
from collections.abc import Callable

from daysong.sandbox.music.on_demand import plain_cover

# Turns (seconds, picture, title, lines, sound) into an MP4 file.
Film = Callable[[float, bytes, str, tuple[str, ...], bytes | None], bytes]


def film(seconds: float, picture: bytes, title: str, lines: tuple[str, ...], sound: bytes | None) -> bytes:
    """Return a whole video; see film.film."""
    from daysong.sandbox.kie import film as studio  # noqa: PLC0415 - PyAV, Pillow

    return studio.film(studio.Scene(seconds, picture, title, lines, sound))


def glimpse(seconds: float, picture: bytes, title: str, lines: tuple[str, ...], sound: bytes | None) -> bytes:  # noqa: ARG001 - as film
    """Return a silent second, made once for all, for tests that do not watch."""
    return _glimpse()


@functools.cache
def _glimpse() -> bytes:
    return film(1.0, plain_cover(), "", (), None)
