"""Under which name a browser saves a file: the song's title, as RFC 6266 and RFC 8187 write it into a header."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import quote

from daysong.kernel.visible import trimmed

ENDINGS: Mapping[str, str] = {
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/x-m4a": "m4a",
    "audio/aac": "aac",
    "audio/ogg": "ogg",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/flac": "flac",
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/svg+xml": "svg",
    "video/mp4": "mp4",
}
LONGEST_NAME = 100  # characters; file systems take 255 bytes
# What some system or shell takes for something else than a part of a name.
_UNSAFE = re.compile(r'[\\/:*?"<>|%\x00-\x1f\x7f-\x9f]+')


def disposition(how: str, title: str | None, content_type: str) -> str:
    """A Content-Disposition header: `how` is inline or attachment. Without a title it names no file."""
    name = file_name(title, content_type)
    if name is None:
        return how
    plain = _ascii(name)
    if plain == name:
        return f'{how}; filename="{name}"'
    stem, _, ending = plain.rpartition(".")
    plain = plain if stem.strip(" ._-") else f"song.{ending}"
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def file_name(title: str | None, content_type: str) -> str | None:
    """The name of a file with that title and type, safe on every system; None when nothing is left of the title."""
    # No format characters either: some reverse the direction, and with it an ending.
    shown = "".join(letter for letter in title or "" if unicodedata.category(letter) not in {"Cf", "Cs", "Cn"})
    stem = trimmed(" ".join(_UNSAFE.sub(" ", shown).split())[:LONGEST_NAME]).strip(" .")
    if not stem:
        return None
    ending = ENDINGS.get(content_type.partition(";")[0].strip().lower())
    return f"{stem}.{ending}" if ending else stem


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
