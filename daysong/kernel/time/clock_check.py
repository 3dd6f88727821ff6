"""Whether this process's clock agrees with PostgreSQL's: by a wrong one, people would be called at wrong times."""

from __future__ import annotations

from datetime import datetime, timedelta

from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import DaysongError
from daysong.kernel.time.clock import Clock, SystemClock

MOST = timedelta(seconds=30)
SERVERS_CLOCK = "clock_timestamp()"


class ClockWrong(DaysongError):
    """This process's clock and PostgreSQL's are further apart than MOST."""


def apart(asked: datetime, server: datetime, answered: datetime) -> timedelta:
    """Return how far the server's clock is from ours, given ours before and after it was read: negative when behind.

    The time that the answer took counts for neither side.
    """
    if server > answered:
        return server - answered
    return min(server - asked, timedelta(0))


def objection(difference: timedelta) -> str | None:
    """Return what is wrong with a difference, in words; None while it is small enough."""
    if abs(difference) <= MOST:
        return None
    ours = "behind" if difference > timedelta(0) else "ahead of"
    seconds = abs(difference).total_seconds()
    return f"this machine's clock is {seconds:.0f} seconds {ours} PostgreSQL's: set both by NTP"


async def require_agreement(db: Reader, clock: Clock) -> None:
    """Raise ClockWrong when the clocks disagree. A clock that a test moves is never wrong."""
    if not isinstance(clock, SystemClock):
        return
    asked = clock.now()
    server = await db.fetchval(f"select {SERVERS_CLOCK}")
    why = objection(apart(asked, server, clock.now()))
    if why is not None:
        raise ClockWrong(why)
