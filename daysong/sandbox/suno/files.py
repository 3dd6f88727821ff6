"""The files of the sandboxed Suno as a storage network serves them: in parts when asked to, and spoilt on demand."""

from __future__ import annotations

import functools
import random
import re
from pathlib import Path

from daysong.sandbox.faults import SunoFaults
from daysong.sandbox.music.on_demand import tone
from daysong.sandbox.vendor import Answer

PAGE = b"<!doctype html><title>Not here</title><p>This file is not here.</p>\n" * 40
NOISE_BYTES = 200_000
OCTETS = "application/octet-stream"


@functools.cache
def _clip() -> bytes:
    # Six seconds of a tone with a picture, by ffmpeg.
    return (Path(__file__).parent / "clip.mp4").read_bytes()


@functools.cache
def _noise() -> bytes:
    # As a file looks that was encrypted.
    return random.Random(1).randbytes(NOISE_BYTES)


def spoilt(answer: Answer, faults: SunoFaults, take: int) -> Answer:
    """The answer with a file of that take, as the faults have it."""
    if faults.take not in {None, take}:
        return answer
    good = answer.body
    ways: dict[str | None, Answer]
    if answer.content_type.startswith("image/"):
        ways = {"page": Answer(200, PAGE, "image/png"), "octet_stream": Answer(200, good, OCTETS)}
        return ways.get(faults.cover, answer)
    ways = {
        "page": Answer(200, PAGE, "audio/mpeg"),
        "noise": Answer(200, _noise(), "audio/mpeg"),
        "short": Answer(200, tone(220.0, 1.0), "audio/mpeg"),
        "empty": Answer(200, b"", "audio/mpeg"),
        "octet_stream": Answer(200, good, "binary/octet-stream"),
        "untyped": Answer(200, good, ""),
        "video_label": Answer(200, good, "video/mp4"),
        "video": Answer(200, _clip(), "video/mp4"),
    }
    return ways.get(faults.audio, answer)


def part_of(answer: Answer, asked: str | None) -> Answer:
    """The part of a file that a Range header asks for, or all of it."""
    found = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", asked or "")
    if found is None or answer.status != 200:
        return answer
    size = len(answer.body)
    start, end = int(found[1]), min(int(found[2] or size), size - 1)
    if start >= size:
        return Answer(416, b"", "text/plain", {"Content-Range": f"bytes */{size}"})
    headers = answer.headers | {"Content-Range": f"bytes {start}-{end}/{size}"}
    return Answer(206, answer.body[start : end + 1], answer.content_type, headers)
