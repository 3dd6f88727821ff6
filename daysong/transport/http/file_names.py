"""File names for downloads: the song's title in a Content-Disposition header (RFC 6266, RFC 8187)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import quote

from daysong.kernel.visible import trimmed

EXTENSIONS: Mapping[str, str] = {
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
    "image/heic": "heic",
    "image/heif": "heif",
    "image/avif": "avif",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/webm": "webm",
}
LONGEST_NAME = 100  # characters; file systems take 255 bytes
# Characters with a special meaning in some file system or shell.
_UNSAFE = re.compile(r'[\\/:*?"<>|%\x00-\x1f\x7f-\x9f]+')


@lru_cache(1000)
def disposition(kind: str, title: str | None, content_type: str) -> str:
    """Return a Content-Disposition header; `kind` is inline or attachment. Without a title it has no file name."""
    name = file_name(title, content_type)
    if name is None:
        return kind
    plain = _ascii(name)
    if plain == name:
        return f'{kind}; filename="{name}"'
    stem, _, extension = plain.rpartition(".")
    plain = plain if stem.strip(" ._-") else f"song.{extension}"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def file_name(title: str | None, content_type: str) -> str | None:
    """Return a file name that is valid on every system; None when no character of the title can be used."""
    # No format characters: some reverse the text direction, which disguises the extension.
    shown = "".join(letter for letter in title or "" if unicodedata.category(letter) not in {"Cf", "Cs", "Cn"})
    stem = trimmed(" ".join(_UNSAFE.sub(" ", shown).split())[:LONGEST_NAME]).strip(" .")
    if not stem:
        return None
    extension = EXTENSIONS.get(content_type.partition(";")[0].strip().lower())
    return f"{stem}.{extension}" if extension else stem


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
