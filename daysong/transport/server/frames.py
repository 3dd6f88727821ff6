"""The frames of one WebSocket as they arrive (RFC 6455), read just far enough to withhold messages that are too large.

The parser behind this keeps a message in memory until it is whole. A larger one than is allowed is dropped as it comes
in, but for its beginning, so that its sender can be answered.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

# Of a message that is too large, what is kept.
HEAD = 4096
# Larger messages are not even read to their end.
DRAINED = 32 * 2**20
CONTINUATION, TEXT, FIRST_CONTROL = 0x0, 0x1, 0x8
FIN, OPCODE, MASKED, LENGTH = 0x80, 0x0F, 0x80, 0x7F
TWO_BYTES, EIGHT_BYTES = 126, 127
MASK = 4
SHORTEST_HEADER, LONGEST_HEADER = 2, 2 + 8 + MASK


class Dropped(NamedTuple):
    """A message that was too large has ended: its beginning, and the frame that stands for it, or for its rest."""

    head: bytes
    frame: bytes


class Frames:
    """The state between two pieces of what a client sends.

    started   whether a message has begun and not ended
    ended     how many have
    received  how many bytes of it the parser holds
    dropping  whether it is too large
    endless   whether one is too large to be drained
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._header = b""
        self._left = 0
        self._mask = bytes(MASK)
        self._ends = self._is_dropped = False
        self._size = 0
        self._at = 0
        self._within = False
        self.started = self.dropping = self.endless = False
        self.received = self.ended = 0
        self._head = bytearray()

    def feed(self, data: bytes, most: int) -> tuple[list[bytes | Dropped], int]:
        """What the parser is to be given, and how much of `data` that was. Looks at no more than `most` frames."""
        pieces: list[bytes | Dropped] = []
        position = 0
        while position < len(data) and not self.endless:
            if self._left:
                position += self._payload(data, position, pieces)
                continue
            if most == 0:
                break
            most -= 1
            header = self._header + data[position : position + LONGEST_HEADER]
            length = _header_length(header)
            if len(header) < length:
                self._header = header
                return pieces, len(data)
            position += length - len(self._header)
            header, self._header = header[:length], b""
            self._begin(header, pieces)
        return pieces, position

    def _begin(self, header: bytes, pieces: list[bytes | Dropped]) -> None:
        """A frame begins."""
        opcode, self._left = header[0] & OPCODE, _payload_length(header)
        self._ends, self._is_dropped = False, False
        if opcode >= FIRST_CONTROL:
            pieces.append(header)
            return
        if opcode != CONTINUATION:
            self._size = 0
            self.received = 0
        self._size += self._left
        self.started, self._ends = True, bool(header[0] & FIN)
        if self._size > DRAINED:
            self.endless = True
            return
        if self._size > self._largest and not self.dropping:
            self.dropping = True
            self._head.clear()
            # Whether the parser has had its first frames, and waits for the last one.
            self._within = opcode == CONTINUATION
            self.received = 0
        self._is_dropped = self.dropping
        if self._is_dropped:
            self._mask, self._at = header[-MASK:] if header[1] & MASKED else bytes(MASK), 0
        else:
            pieces.append(header)
        if not self._left:
            self._end(pieces)

    def _payload(self, data: bytes, position: int, pieces: list[bytes | Dropped]) -> int:
        part = data[position : position + self._left]
        self._left -= len(part)
        if self._is_dropped:
            if (wanted := HEAD - len(self._head)) > 0:
                self._head += bytes(
                    byte ^ self._mask[(self._at + place) % MASK] for place, byte in enumerate(part[:wanted])
                )
            self._at += len(part)
        else:
            pieces.append(part)
            self.received += len(part)
        if not self._left:
            self._end(pieces)
        return len(part)

    def _end(self, pieces: list[bytes | Dropped]) -> None:
        """A frame has ended."""
        if not self._ends:
            return
        if self.dropping:
            frame = bytes([FIN | (CONTINUATION if self._within else TEXT), MASKED]) + bytes(MASK)
            pieces.append(Dropped(bytes(self._head), frame))
        self.started = self.dropping = False
        self._size = self.received = 0
        self.ended += 1


def _header_length(header: bytes) -> int:
    """How long a header is that begins so, as far as that is known."""
    if len(header) < SHORTEST_HEADER:
        return SHORTEST_HEADER
    short = header[1] & LENGTH
    extended = {TWO_BYTES: 2, EIGHT_BYTES: 8}.get(short, 0)
    return 2 + extended + (MASK if header[1] & MASKED else 0)


def _payload_length(header: bytes) -> int:
    short = header[1] & LENGTH
    if short == TWO_BYTES:
        return int(struct.unpack_from("!H", header, 2)[0])
    if short == EIGHT_BYTES:
        return int(struct.unpack_from("!Q", header, 2)[0])
    return short
