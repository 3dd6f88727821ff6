"""Time, handed in. Nothing else in the package asks the machine what time it is."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Whatever can say what time it is, as an aware UTC datetime."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current moment, UTC."""
        return datetime.now(UTC)


class MovableClock:
    """A clock that stands still until it is moved: for tests and for draining jobs."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """The moment the clock was last moved to."""
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Move forward to `moment`; a moment already past leaves the clock where it is."""
        self._now = max(self._now, moment)

    def forward(self, by: timedelta) -> None:
        """Move forward by `by`."""
        self._now += by


def to_ms(moment: datetime) -> float:
    """Milliseconds since the epoch, as every time on the wire is written."""
    return (moment - EPOCH) / timedelta(milliseconds=1)


def from_ms(milliseconds: float) -> datetime:
    """The aware UTC moment that many milliseconds after the epoch; OverflowError when it is no date."""
    if not math.isfinite(milliseconds):
        raise OverflowError("not a number of milliseconds")
    return EPOCH + timedelta(milliseconds=milliseconds)
