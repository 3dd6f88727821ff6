"""What a file is, by its own bytes: audio and its duration, or a picture; and the tags of our MP3 copies.

The address a file came from and the media type its server gave are not looked at: vendors label audio as
`binary/octet-stream` or video, and error pages as audio.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import mutagen

# How much of a file is enough to recognise it: room for the tags in front of the first frames.
HEAD = 128 * 1024
# Seconds. What is shorter is no song: an error message read aloud, say, or a stub.
SHORTEST_SONG = 5.0

MP3_TYPE = "audio/mpeg"


class Sound(NamedTuple):
    """An audio file: its media type, and its duration in seconds."""

    media_type: str
    duration: float

    @property
    def is_song(self) -> bool:
        """Whether it is long enough to be a song."""
        return self.duration > SHORTEST_SONG


def recognized(content: bytes, size: int | None = None) -> Sound | None:
    """Return what kind of audio a file is and how long it plays, or None when it is no audio.

    `content` may be its beginning, and `size` the size of all of it. None then also when the beginning does not tell,
    as where an MP4 file has its index at the end.
    """
    source = _Beginning(content, max(size or 0, len(content)))
    for media_type, kinds in _candidates(content):
        for kind in kinds:
            source.seek(0)
            try:
                info = kind(source).info
            # Anything may be in these bytes: parsers of binary formats fail in more ways than they declare.
            except Exception:  # noqa: BLE001, S112
                continue
            duration = getattr(info, "length", None)
            if isinstance(duration, int | float) and duration > 0 and not getattr(info, "sketchy", False):
                return Sound(media_type, float(duration))
    return None


def may_be_sound(content: bytes) -> bool:
    """Whether a file begins with the signature of a kind of audio, so that all of it is worth a look."""
    return content[:4] in {b"OggS", b"fLaC", b"RIFF"} or content[4:8] == b"ftyp" or _is_mp3(content)


def image_type(content: bytes) -> str | None:
    """Return the media type of a picture; None when it is no picture we serve. An SVG is a program, and is none."""
    for magic, media_type in _PICTURES:
        if content.startswith(magic):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[4:12] in {b"ftypavif", b"ftypavis"}:
        return "image/avif"
    return None


def image_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG, JPEG or GIF in pixels; None where they cannot be told."""
    kind = image_type(content)
    size = None
    if kind == "image/png" and len(content) >= _PNG_HEADER:
        size = struct.unpack(">II", content[16:24])
    elif kind == "image/gif" and len(content) >= _GIF_HEADER:
        size = struct.unpack("<HH", content[6:10])
    elif kind == "image/jpeg":
        size = _jpeg_size(content)
    return size if size and 0 < size[0] <= _LARGEST_SIDE and 0 < size[1] <= _LARGEST_SIDE else None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """The size in the frame header, which comes after segments of other kinds."""
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:  # noqa: PLR2004 - every segment begins so
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # noqa: PLR2004 - the kinds of frames
            height, width = struct.unpack(">HH", content[place + 5 : place + 9])
            return width, height
        place += 2 + max(length, 2)
    return None


def tagged(content: bytes, *, title: str, artist: str, lyrics: str, cover: bytes | None) -> bytes:
    """Return an MP3 with these tags in place of what it had; other files, and what cannot be tagged, as they are."""
    import mutagen  # noqa: PLC0415 - slow to import
    from mutagen.id3 import APIC, ID3, TIT2, TPE1, USLT, ID3NoHeaderError  # noqa: PLC0415

    if not _is_mp3(content):
        return content
    tags = ID3()
    tags.add(TIT2(encoding=3, text=title))
    tags.add(TPE1(encoding=3, text=artist))
    if lyrics:
        tags.add(USLT(encoding=3, lang="und", desc="", text=lyrics))
    if cover is not None and (cover_type := image_type(cover)) in {"image/jpeg", "image/png"}:
        tags.add(APIC(encoding=3, mime=cover_type, type=3, desc="Cover", data=cover))
    file = io.BytesIO(content)
    try:
        ID3(io.BytesIO(content)).delete(file)
        file.seek(0)
    except ID3NoHeaderError:
        pass
    except mutagen.MutagenError:
        return content
    file.seek(0)
    # Version 2.3 is what players of every age read.
    tags.update_to_v23()
    tags.save(file, v2_version=3)
    return file.getvalue()


_PICTURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_SYNC = 0xE0
_PNG_HEADER, _GIF_HEADER = 24, 10  # bytes
_LARGEST_SIDE = 20_000  # pixels; what is larger is a lie


def _is_mp3(content: bytes) -> bool:
    return content[:3] == b"ID3" or (content[:1] == b"\xff" and len(content) > 1 and content[1] & 0xE6 > _SYNC)


def _candidates(content: bytes) -> list[tuple[str, tuple[type[mutagen.FileType], ...]]]:
    """The kinds of audio that a file which begins so may be."""
    # Imported here, since mutagen is slow to import.
    from mutagen.aac import AAC  # noqa: PLC0415
    from mutagen.flac import FLAC  # noqa: PLC0415
    from mutagen.mp3 import MP3  # noqa: PLC0415
    from mutagen.mp4 import MP4  # noqa: PLC0415
    from mutagen.oggopus import OggOpus  # noqa: PLC0415
    from mutagen.oggvorbis import OggVorbis  # noqa: PLC0415
    from mutagen.wave import WAVE  # noqa: PLC0415

    start = content[:12]
    if start[:4] == b"OggS":
        return [("audio/ogg", (OggOpus, OggVorbis))]
    if start[:4] == b"fLaC":
        return [("audio/flac", (FLAC,))]
    if start[:4] == b"RIFF" and start[8:12] == b"WAVE":
        return [("audio/wav", (WAVE,))]
    if start[4:8] == b"ftyp":
        # A video container too: what matters is the sound in it.
        return [("audio/mp4", (MP4,))]
    if image_type(content) is not None or content.lstrip()[:1] in {b"<", b"{", b""}:
        return []
    # MP3 has no signature of its own: frames that follow each other tell it, and a parser that finds them.
    return [(MP3_TYPE, (MP3,)), ("audio/aac", (AAC,))]


class _Beginning(io.RawIOBase):
    """A file of which only the beginning is there; the rest reads as zeros."""

    def __init__(self, content: bytes, size: int) -> None:
        self._content = content
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: Any) -> int:
        with memoryview(buffer) as view:
            count = max(0, min(len(view), self._size - self._place))
            there = self._content[self._place : self._place + count]
            view[:count] = there + bytes(count - len(there))
            self._place += count
            return count
