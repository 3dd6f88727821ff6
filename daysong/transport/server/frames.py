"""A filter for WebSocket frames (RFC 6455) in front of the parser, which drops messages that are too large.

The parser keeps a message in memory until it is complete. A message over the limit is dropped as it arrives, except for
its first bytes, so that the app can send a response.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

# Bytes that are kept of a message that is too large.
HEAD = 4096
# Larger messages close the connection instead of being read to their end.
LARGEST_DRAINED = 32 * 2**20
CONTINUATION, TEXT, FIRST_CONTROL = 0x0, 0x1, 0x8
FIN, OPCODE, MASKED, LENGTH = 0x80, 0x0F, 0x80, 0x7F
TWO_BYTES, EIGHT_BYTES = 126, 127
MASK = 4
SHORTEST_HEADER, LONGEST_HEADER = 2, 2 + 8 + MASK


class Dropped(NamedTuple):
    """A complete message that was too large: its first bytes, and an empty frame that replaces it, or its rest."""

    head: bytes
    frame: bytes


class Frames:
    """The state of the filter between two chunks of data.

    started   whether a message has begun and is not complete
    ended     the number of complete messages
    received  the bytes of the current message that the parser holds
    dropping  whether the current message is too large
    endless   whether a message is too large to be drained
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._header = b""
        self._payload_left = 0
        self._mask = bytes(MASK)
        self._is_final = self._dropping_frame = False
        self._size = 0
        self._mask_offset = 0
        self._parser_has_part = False
        self.started = self.dropping = self.endless = False
        self.received = self.ended = 0
        self._head = bytearray()

    def feed(self, data: bytes, most: int) -> tuple[list[bytes | Dropped], int]:
        """Return the chunks for the parser, and how many bytes of `data` were read. Reads at most `most` frames."""
        pieces: list[bytes | Dropped] = []
        position = 0
        while position < len(data) and not self.endless:
            if self._payload_left:
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
        """Process the header of a frame."""
        opcode, self._payload_left = header[0] & OPCODE, _payload_length(header)
        self._is_final, self._dropping_frame = False, False
        if opcode >= FIRST_CONTROL:
            pieces.append(header)
            return
        if opcode != CONTINUATION:
            self._size = 0
            self.received = 0
        self._size += self._payload_left
        self.started, self._is_final = True, bool(header[0] & FIN)
        if self._size > LARGEST_DRAINED:
            self.endless = True
            return
        if self._size > self._largest and not self.dropping:
            self.dropping = True
            self._head.clear()
            # Whether the parser has received frames of the message and waits for the last one.
            self._parser_has_part = opcode == CONTINUATION
            self.received = 0
        self._dropping_frame = self.dropping
        if self._dropping_frame:
            self._mask, self._mask_offset = header[-MASK:] if header[1] & MASKED else bytes(MASK), 0
        else:
            pieces.append(header)
        if not self._payload_left:
            self._end(pieces)

    def _payload(self, data: bytes, position: int, pieces: list[bytes | Dropped]) -> int:
        part = data[position : position + self._payload_left]
        self._payload_left -= len(part)
        if self._dropping_frame:
            if (wanted := HEAD - len(self._head)) > 0:
                self._head += bytes(
                    byte ^ self._mask[(self._mask_offset + place) % MASK] for place, byte in enumerate(part[:wanted])
                )
            self._mask_offset += len(part)
        else:
            pieces.append(part)
            self.received += len(part)
        if not self._payload_left:
            self._end(pieces)
        return len(part)

    def _end(self, pieces: list[bytes | Dropped]) -> None:
        """Process the end of a frame."""
        if not self._is_final:
            return
        if self.dropping:
            frame = bytes([FIN | (CONTINUATION if self._parser_has_part else TEXT), MASKED]) + bytes(MASK)
            pieces.append(Dropped(bytes(self._head), frame))
        self.started = self.dropping = False
        self._size = self.received = 0
        self.ended += 1


def _header_length(header: bytes) -> int:
    """Return the length of the header, as far as its first bytes determine it."""
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
