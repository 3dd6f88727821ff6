"""The moments of the sync protocol: nanoseconds since the epoch that only ever go up, as clients compare them.

The clock is the wall's, unless that stands still or goes back: then it counts on. What others say they have seen moves
it ahead, so that nobody is taken back in time by another process or by a restart; see docs/decisions/0007.
"""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta

from daysong.kernel.errors import DaysongError
from daysong.kernel.time.clock import EPOCH, Clock

BYTES = 8
LAST = 2**63 - 1
# How far ahead of us another process of the same deployment may be.
TOLERANCE = 60 * 10**9


class FromTheFuture(DaysongError):
    """A client has seen a moment that lies too far ahead of this server's clock."""


class Timestamps:
    """Gives out moments, each later than all before."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def wall(self) -> int:
        """What the clock on the wall says."""
        return (self._clock.now() - EPOCH) // timedelta(microseconds=1) * 1000

    def next(self) -> int:
        """A moment later than all given out or observed so far."""
        self._last = max(self._last + 1, self.wall())
        return self._last

    def observe(self, moment: int) -> None:
        """Somebody has seen `moment`: what follows is later. FromTheFuture when it is over a minute ahead."""
        if moment > self._last and moment > self.wall() + TOLERANCE:
            raise FromTheFuture("a moment ahead of this server's clock")
        self.seen(moment)

    def seen(self, moment: int) -> None:
        """One of this deployment's own moments, as the database has it: what follows is later."""
        self._last = max(self._last, moment)


def encode(moment: int) -> str:
    """A moment on the wire: base64 of eight bytes, the lowest first."""
    return base64.b64encode(moment.to_bytes(BYTES, "little")).decode()


def decode(text: str) -> int:
    """The moment of its form on the wire; ValueError when it is none."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    moment = int.from_bytes(raw, "little")
    if len(raw) != BYTES or moment > LAST:
        raise ValueError("no moment")
    return moment
