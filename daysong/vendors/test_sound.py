"""Files are told apart by their bytes alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.id3 import ID3

from daysong.vendors.sound import HEAD, image_size, image_type, may_be_sound, recognized, tagged


def recorded(container: str, codec: str, seconds: float, rate: int = 16_000) -> bytes:
    """Some noise as a file of that kind."""
    file = io.BytesIO()
    samples = np.random.default_rng(1).normal(0, 0.1, int(rate * seconds))
    soundfile.write(file, samples, rate, format=container, subtype=codec)
    return file.getvalue()


MP3 = recorded("MP3", "MPEG_LAYER_III", 6.0)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.mark.parametrize(
    ("container", "codec", "media_type"),
    [
        ("MP3", "MPEG_LAYER_III", "audio/mpeg"),
        ("OGG", "VORBIS", "audio/ogg"),
        ("OGG", "OPUS", "audio/ogg"),
        ("WAV", "PCM_16", "audio/wav"),
        ("FLAC", "PCM_16", "audio/flac"),
    ],
)
@pytest.mark.parametrize("seconds", [2.0, 30.0])
def test_g11_audio_is_recognized_with_its_duration(container: str, codec: str, media_type: str, seconds: float) -> None:
    """By the whole file; by its beginning, too, or the whole has to be looked at."""
    content = recorded(container, codec, seconds)
    sound = recognized(content)
    assert sound is not None
    assert sound.media_type == media_type
    assert sound.duration == pytest.approx(seconds, abs=0.2)
    assert sound.is_song == (seconds > 5)
    beginning = content[:HEAD]
    assert recognized(beginning, len(content)) == sound or may_be_sound(beginning)


@given(st.binary(max_size=3000), st.integers(0, 10**8))
@settings(max_examples=40, deadline=None)
def test_g11_no_bytes_break_the_parsers(content: bytes, size: int) -> None:
    """Whatever comes, also behind the signature of a kind of audio."""
    for magic in (b"", b"ID3\x03\x00\x00", b"OggS\x00", b"fLaC", b"RIFF....WAVE", b"....ftypM4A ", b"\xff\xfb\x90\x00"):
        recognized(magic + content, size)
        image_type(magic + content)
        tagged(magic + content, title="t", artist="a", lyrics="l", cover=content)


@pytest.mark.parametrize("content", [b"", b"<!doctype html><p>No", b'{"error": 1}', b"\0" * 5000, PNG])
def test_g11_what_is_no_audio_is_not_taken_for_it(content: bytes) -> None:
    """Pages, messages, pictures, nothing."""
    assert recognized(content, 5_000_000) is None


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"RIFF....WEBPVP8 ", "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<html>", None),
        (b"", None),
        (MP3, None),
    ],
)
def test_g12_pictures_are_told_by_their_signature(content: bytes, media_type: str | None) -> None:
    """A drawing that may hold scripts is none."""
    assert image_type(content) == media_type


def test_g68_tags_replace_those_that_were_there() -> None:
    """Tagged twice, a file has the second tags alone, and plays as long as before."""
    first = tagged(MP3, title="One", artist="a", lyrics="la", cover=PNG)
    second = tagged(first, title="Zwei 🌧", artist="b", lyrics="", cover=None)
    tags = ID3(io.BytesIO(second))
    assert (str(tags["TIT2"]), str(tags["TPE1"]), tags.getall("USLT"), tags.getall("APIC")) == ("Zwei 🌧", "b", [], [])
    assert recognized(second) == recognized(first) == recognized(MP3)


def test_g68_other_kinds_of_audio_stay_as_they_are() -> None:
    """Only MP3 is tagged."""
    content = recorded("FLAC", "PCM_16", 1.0)
    assert tagged(content, title="One", artist="a", lyrics="la", cover=None) == content


JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(10) + b"\xff\xc0\x00\x11\x08\x01\x2c\x01\x90\x03" + bytes(20)


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x58\0\0\x01\x90", (600, 400)),
        (b"GIF89a\x58\x02\x90\x01", (600, 400)),
        (JPEG, (400, 300)),
        (JPEG[:22], None),
        (PNG, None),
        (b"\xff\xd8\xff" + b"\xff" * 5000, None),
        (b"<svg/>", None),
    ],
)
def test_g68_the_size_of_a_picture_is_read(content: bytes, size: tuple[int, int] | None) -> None:
    """From its header; a broken one has none."""
    assert image_size(content) == size
