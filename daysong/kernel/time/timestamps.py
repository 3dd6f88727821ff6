"""Timestamps of the sync protocol: nanoseconds since the epoch that increase strictly, as clients compare them.

They follow the wall clock, and count on when it stands still or goes back. Timestamps that others have seen move them
ahead, so that a client does not go back in time with another process or after a restart; see docs/decisions/0007.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta

from daysong.kernel.errors import DaysongError
from daysong.kernel.time.clock import EPOCH, Clock

BYTES = 8
LAST = 2**63 - 1
# Nanoseconds that another process of the same deployment may be ahead.
TOLERANCE = 60 * 10**9


class FromTheFuture(DaysongError):
    """A client sent a timestamp too far ahead of this server's clock."""


class Timestamps:
    """Generates timestamps, each later than all before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def wall(self) -> int:
        """Return the wall clock's time in nanoseconds."""
        return (self._clock.now() - EPOCH) // timedelta(microseconds=1) * 1000

    def next(self) -> int:
        """Return a timestamp later than all generated or observed so far."""
        self._last = max(self._last + 1, self.wall())
        return self._last

    def observe(self, moment: int) -> None:
        """Move past a client's timestamp. Errors: FromTheFuture when it is over a minute ahead."""
        if moment > self._last and moment > self.wall() + TOLERANCE:
            raise FromTheFuture("a moment ahead of this server's clock")
        self.seen(moment)

    def seen(self, moment: int) -> None:
        """Move past a timestamp of this deployment, as stored in the database."""
        self._last = max(self._last, moment)


def encode(moment: int) -> str:
    """Encode a timestamp for the wire: base64 of eight bytes, little-endian."""
    return base64.b64encode(moment.to_bytes(BYTES, "little")).decode()


def decode(text: str) -> int:
    """Decode a timestamp from the wire. Errors: ValueError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    moment = int.from_bytes(raw, "little")
    if len(raw) != BYTES or moment > LAST:
        raise ValueError("no moment")
    return moment
