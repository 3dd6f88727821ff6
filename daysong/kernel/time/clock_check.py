"""Checks this process's clock against PostgreSQL's, since a wrong clock would make calls at wrong times."""

from __future__ import annotations

from datetime import datetime, timedelta

from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import DaysongError
from daysong.kernel.time.clock import Clock, CurrentClock, SystemClock

MOST = timedelta(seconds=30)
SERVERS_CLOCK = "clock_timestamp()"


class ClockWrong(DaysongError):
    """This process's clock and PostgreSQL's differ by more than MOST."""


def apart(asked: datetime, server: datetime, answered: datetime) -> timedelta:
    """Return the server clock's offset from ours, given ours before and after reading it; negative when behind.

    The round trip does not count as an offset.
    """
    if server > answered:
        return server - answered
    return min(server - asked, timedelta(0))


def objection(difference: timedelta) -> str | None:
    """Return an error message for a difference beyond MOST; None otherwise."""
    if abs(difference) <= MOST:
        return None
    ours = "behind" if difference > timedelta(0) else "ahead of"
    seconds = abs(difference).total_seconds()
    return f"this machine's clock is {seconds:.0f} seconds {ours} PostgreSQL's: set both by NTP"


async def require_agreement(db: Reader, clock: Clock) -> None:
    """Raise ClockWrong when the clocks disagree. A MovableClock is not checked."""
    if not isinstance(clock.clock if isinstance(clock, CurrentClock) else clock, SystemClock):
        return
    asked = clock.now()
    server = await db.fetchval(f"select {SERVERS_CLOCK}")
    why = objection(apart(asked, server, clock.now()))
    if why is not None:
        raise ClockWrong(why)
