"""The type of a file by its first bytes, and the dimensions of photos."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.diary_media.file_types import MAX_SIDE, Dimensions, all_dimensions, media_type
from rehearsal import photos


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (photos.jpeg(), "image/jpeg"),
        (photos.png(), "image/png"),
        (photos.gif(), "image/gif"),
        (photos.webp(), "image/webp"),
        (photos.heif(b"heic", b"mif1", b"heic"), "image/heic"),
        (photos.heif(b"mif1", b"mif1", b"heic"), "image/heic"),
        (photos.heif(b"mif1", b"mif1"), "image/heif"),
        (photos.heif(b"avif", b"mif1", b"miaf"), "image/avif"),
        (photos.heif(b"mif1", b"avif", b"miaf"), "image/avif"),
        (photos.mp4(), "video/mp4"),
        (photos.ftyp(b"mp42", b"isom"), "video/mp4"),
        (photos.ftyp(b"qt  "), "video/quicktime"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video/quicktime"),
        (photos.webm(), "video/webm"),
    ],
)
def test_an_accepted_type_is_known_by_its_first_bytes(content: bytes, expected: str) -> None:
    assert media_type(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<?xml version='1.0'?><svg/>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"  <html>",
        b"%PDF-1.7",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
        b"MZ\x90",
        b"\x7fELF",
        b"RIFF\0\0\0\0WAVE",
        b"ID3\x04",
        b"OggS",
        b"BM6\0",
        b"II*\0",
        b"--boundary\r\nContent-Disposition: form-data",
        photos.webm(b"matroska"),
        photos.ftyp(b"M4A "),
        photos.ftyp(b"crx "),
        b"\0\0\0\x08ftyp",
        b"\xff\xff\xff\xffftypisom",
    ],
    ids=repr,
)
def test_every_other_file_is_refused(content: bytes) -> None:
    """SVG and HTML, archives, programs, audio, and containers that may hold anything."""
    assert media_type(content) is None


@pytest.mark.parametrize(
    "content",
    [
        photos.png(300, 200),
        photos.jpeg(300, 200),
        photos.gif(300, 200),
        photos.webp(300, 200),
        photos.heif(b"heic", width=300, height=200),
        photos.heif(b"avif", width=300, height=200),
        b"RIFF\0\0\0\0WEBPVP8L" + b"\0\0\0\0\x2f" + (299 | 199 << 14).to_bytes(4, "little"),
        b"RIFF\0\0\0\0WEBPVP8 " + b"\0\0\0\0" + b"\0\0\0\x9d\x01\x2a" + b"\x2c\x01\xc8\x00",
    ],
)
def test_the_dimensions_of_a_photo_are_in_its_header(content: bytes) -> None:
    assert all_dimensions(content) == [Dimensions(300, 200)]


def test_the_dimensions_of_a_photo_with_much_metadata_are_found() -> None:
    """Segments in front of the frame are skipped."""
    plain = photos.jpeg(300, 200)
    metadata = b"\xff\xe1\xff\xff" + bytes(65_533)
    assert all_dimensions(plain[:2] + metadata + b"\xff" + plain[2:]) == [Dimensions(300, 200)]


def test_dimensions_are_bounded() -> None:
    """A photo of 200 million pixels is shown; what only asks for memory is not."""
    assert Dimensions(16_320, 12_240).is_bounded
    for width, height in ((0, 5), (5, 0), (MAX_SIDE + 1, 1), (1, MAX_SIDE + 1), (MAX_SIDE, MAX_SIDE)):
        assert not Dimensions(width, height).is_bounded


samples = st.sampled_from(
    [photos.png(), photos.jpeg(), photos.gif(), photos.webp(), photos.heif(b"heic"), photos.mp4(), photos.webm()]
)


@given(samples, st.integers(0, 80), st.binary(max_size=60))
def test_no_file_breaks_the_recognition(content: bytes, cut: int, rest: bytes) -> None:
    """Cut anywhere, with any bytes behind."""
    assert media_type(content[:cut] + rest) is None or isinstance(all_dimensions(content[:cut] + rest), list)
