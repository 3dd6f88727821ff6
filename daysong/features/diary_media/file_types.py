"""What an uploaded file is, by its first bytes: a photo or a video of a known type. Nothing is decoded.

The file's name and the Content-Type of the request are not looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

# How many bytes tell the type, and the dimensions of nearly all photos.
HEAD = 128 * 1024
# Pixels. Phones take photos of 200 million; a larger header asks a viewer for gigabytes of memory.
MAX_SIDE = 20_000
MAX_PIXELS = 220_000_000

_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF = frozenset({b"avif", b"avis"})
_MP4 = frozenset({
    b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"mp41", b"mp42", b"avc1",
    b"hvc1", b"dash", b"M4V ", b"M4VH", b"M4VP", b"MSNV", b"mmp4", b"3gp4", b"3gp5", b"3gp6", b"3gp7",
})  # fmt: skip
# The first atom of a QuickTime file older than `ftyp`.
_QUICKTIME = frozenset({b"moov", b"mdat", b"wide"})
_LARGEST_FTYP = 1024


class Dimensions(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def is_bounded(self) -> bool:
        """Whether a viewer can be expected to show it."""
        return (
            0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE and self.width * self.height <= MAX_PIXELS
        )  # fmt: skip


def media_type(head: bytes) -> str | None:
    """Return the media type of a file that begins so; None for every type that is not accepted."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "video/webm" if _is_webm(head) else None
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    return "video/quicktime" if head[4:8] in _QUICKTIME else None


def is_photo(content_type: str) -> bool:
    """Return whether a media type is that of a photo."""
    return content_type.startswith("image/")


def all_dimensions(head: bytes) -> list[Dimensions]:
    """Return the dimensions in the header of a photo, all where it has several; empty where they cannot be told."""
    kind = media_type(head)
    try:
        match kind:
            case "image/png":
                return [Dimensions(*struct.unpack_from(">II", head, 16))]
            case "image/gif":
                return [Dimensions(*struct.unpack_from("<HH", head, 6))]
            case "image/jpeg":
                return list(_jpeg(head))
            case "image/webp":
                return list(_webp(head))
            case "image/heic" | "image/heif" | "image/avif":
                return list(_heif(head))
    except struct.error:
        pass
    return []


def _by_brand(head: bytes) -> str | None:
    size = int.from_bytes(head[:4], "big")
    if not 16 <= size <= _LARGEST_FTYP or size % 4:  # noqa: PLR2004 - the smallest box with a brand
        return None
    major = head[8:12]
    brands = {major, *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))}
    # AVIF files also name the brands of HEIF, and both may name those of MP4.
    if major in _AVIF or (major in {b"mif1", b"msf1"} and brands & _AVIF):
        return "image/avif"
    if major in _HEIF:
        return "image/heic" if brands & {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"} else "image/heif"
    if major == b"qt  ":
        return "video/quicktime"
    return "video/mp4" if major in _MP4 else None


def _is_webm(head: bytes) -> bool:
    """Whether the EBML header names the document type `webm`; `matroska` may hold anything."""
    at = head.find(b"\x42\x82", 4, 64)
    return at >= 0 and head[at + 2 : at + 7] == b"\x84webm"


def _jpeg(head: bytes) -> Iterator[Dimensions]:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:  # noqa: PLR2004 - every segment begins so
        marker = head[at + 1]
        if marker == 0xFF:  # noqa: PLR2004 - padding
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # noqa: PLR2004 - the kinds of frames
            height, width = struct.unpack_from(">HH", head, at + 5)
            yield Dimensions(width, height)
            return
        at += 2 + max(int.from_bytes(head[at + 2 : at + 4], "big"), 2)


def _webp(head: bytes) -> Iterator[Dimensions]:
    chunk = head[12:16]
    if chunk == b"VP8X":
        yield Dimensions(
            1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
        )  # fmt: skip
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        yield Dimensions(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        yield Dimensions(width & 0x3FFF, height & 0x3FFF)


def _heif(head: bytes) -> Iterator[Dimensions]:
    """Each `ispe` property: of the photo, of its tiles and of its thumbnail."""
    at = head.find(b"ispe")
    while 0 <= at <= len(head) - 16:
        width, height = struct.unpack_from(">II", head, at + 8)
        yield Dimensions(width, height)
        at = head.find(b"ispe", at + 16)
