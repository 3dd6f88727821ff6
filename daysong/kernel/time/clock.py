"""Clocks. No other module of the package reads the machine's time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Protocol

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Clock(Protocol):
    """Returns the current time as an aware UTC datetime."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time, UTC."""
        return datetime.now(UTC)


class MovableClock:
    """A clock that stands still until it is moved; for tests and for draining jobs."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the time the clock was last moved to."""
        return self._now

    def move_to(self, moment: datetime) -> None:
        """Move forward to `moment`; does nothing when it is in the past."""
        self._now = max(self._now, moment)

    def forward(self, by: timedelta) -> None:
        """Move forward by `by`."""
        self._now += by


_replacement: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def using(clock: Clock | None) -> Iterator[None]:
    """Replace the app's clock for the code inside, and the tasks that it starts; None leaves the clock as it is.

    For a drain, whose jobs run at their own times, and for a call that test mode gives a time.
    """
    token = _replacement.set(clock or _replacement.get())
    try:
        yield
    finally:
        _replacement.reset(token)


class CurrentClock:
    """The clock that `using` has set here; the app's clock otherwise."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """Return the current time, UTC."""
        return (_replacement.get() or self._clock).now()

    @property
    def clock(self) -> Clock:
        """The clock that is read here."""
        return _replacement.get() or self._clock


def to_ms(moment: datetime) -> float:
    """Return milliseconds since the epoch, the form of every time on the wire."""
    return (moment - EPOCH) / _MILLISECOND


def from_ms(milliseconds: float) -> datetime:
    """Return the aware UTC time that many milliseconds after the epoch. Errors: OverflowError when out of range."""
    if not math.isfinite(milliseconds):
        raise OverflowError("not a number of milliseconds")
    return EPOCH + timedelta(milliseconds=milliseconds)


def ms_sql(column: str) -> str:
    """Return SQL for the milliseconds of a timestamp, the same float as `to_ms` makes of it.

    A float of PostgreSQL reaches Python in a fraction of the time that a timestamp takes. The seconds of a nearer time
    are precise enough to tell microseconds; those of others are counted in decimals, which is slower.
    """
    return f"""case when {column} between timestamptz '1900-01-01 00:00+00' and timestamptz '2100-01-01 00:00+00'
                    then round(date_part('epoch', {column}) * 1e6) / 1e3
                    else (extract(epoch from {column}) * 1000)::float8 end"""
