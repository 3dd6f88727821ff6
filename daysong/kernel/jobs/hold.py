"""The hold after a restore: which jobs may run before the operator says go."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import DaysongError


class OnHold(DaysongError):
    """The database was restored from a backup: the job waits until `daysong resume`."""


class Hold(NamedTuple):
    """Since when jobs wait, and when the backup was taken that was restored."""

    since: datetime
    snapshot_at: datetime


async def current(db: Reader) -> Hold | None:
    """Return the hold that is in force, if any."""
    row = await db.fetchrow("select since, snapshot_at from holds")
    return None if row is None else Hold(*row)
