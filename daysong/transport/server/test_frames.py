"""The frame filter, with data split anywhere: small messages pass unchanged, large ones are reduced to their head."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from daysong.transport.server.frames import HEAD, LARGEST_DRAINED, Dropped, Frames

LARGEST = 300


class Part(NamedTuple):
    """One frame of a client."""

    opcode: int
    fin: bool
    payload: bytes


def packed(part: Part, mask: bytes = b"\x01\x82\xff\x00") -> bytes:
    """The bytes of a frame."""
    length = len(part.payload)
    short = length if length < 126 else 126 if length < 2**16 else 127
    extended = b"" if short < 126 else struct.pack("!H" if short == 126 else "!Q", length)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(part.payload))
    return bytes([part.opcode | (0x80 if part.fin else 0), 0x80 | short]) + extended + mask + masked


def message(fragments: list[bytes], ping: bool) -> list[Part]:
    """A fragmented message, optionally with a ping between its frames."""
    parts = [Part(1 if place == 0 else 0, False, fragment) for place, fragment in enumerate(fragments)]
    parts[-1] = parts[-1]._replace(fin=True)
    return [parts[0], Part(9, True, b"?"), *parts[1:]] if ping and len(parts) > 1 else parts


fragments = st.lists(st.integers(0, 400).map(lambda size: (b"abcdefg" * 60)[:size]), min_size=1, max_size=4)
messages = st.lists(st.tuples(fragments, st.booleans()), max_size=5)


def fed(data: bytes, cuts: list[int], most: int) -> tuple[bytes, list[Dropped], Frames]:
    """Feed the data in chunks; return the output, the dropped messages, and the filter."""
    frames, out, dropped = Frames(LARGEST), b"", []
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in pairwise(places):
        piece = data[start:end]
        while piece:
            pieces, taken = frames.feed(piece, most)
            assert taken > 0
            piece = piece[taken:]
            for part in pieces:
                if isinstance(part, Dropped):
                    dropped.append(part)
                    out += part.frame
                else:
                    out += part
    return out, dropped, frames


@given(messages, st.lists(st.integers(0, 5_000), max_size=8), st.integers(1, 5))
def test_g43_only_messages_that_are_too_large_are_dropped(
    sent: list[tuple[list[bytes], bool]], cuts: list[int], most: int
) -> None:
    """However messages are split into frames and frames into chunks; pings in between pass."""
    parts = [part for fragments, ping in sent for part in message(fragments, ping)]
    out, dropped, frames = fed(b"".join(map(packed, parts)), cuts, most)
    large = [b"".join(fragments) for fragments, _ in sent if len(b"".join(fragments)) > LARGEST]
    assert len(dropped) == len(large)
    for head, whole in zip((part.head for part in dropped), large, strict=True):
        assert whole.endswith(head) or whole[-len(head) - HEAD :].find(head) >= 0
    if not large:
        assert out == b"".join(map(packed, parts))
    assert out.count(b"\x89\x81") == sum(part.opcode == 9 for part in parts)
    assert (frames.started, frames.received, frames.ended) == (False, 0, len(sent))


def test_the_bytes_held_of_an_incomplete_message_are_counted() -> None:
    data = packed(Part(1, True, b"x" * 200))
    _, _, frames = fed(data[:-50], [], 10)
    assert (frames.started, frames.received) == (True, 150)


def test_an_endless_message_is_not_drained() -> None:
    frames = Frames(LARGEST)
    frames.feed(struct.pack("!BBQ", 0x81, 0xFF, LARGEST_DRAINED + 1) + bytes(4), 10)
    assert frames.endless
