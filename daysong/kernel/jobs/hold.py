"""The hold after a restore: which jobs may run before the operator says go."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from daysong.kernel.database.transactions import Database, Reader
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.declarations import Handler


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


class Holding:
    """Which jobs of a worker wait for the end of a hold: all but those of `exempt`."""

    def __init__(self, database: Database, exempt: Collection[Handler]) -> None:
        self._database = database
        self.exempt = frozenset(exempt)
        self._is_in_force: bool | None = None

    async def refresh(self) -> bool:
        """Read whether a hold is in force, and return it."""
        self._is_in_force = await current(self._database.one_statement()) is not None
        return self._is_in_force

    async def stops(self, handler: Handler) -> bool:
        """Return whether the job of a handler must wait."""
        if handler in self.exempt:
            return False
        # A restore takes no database that is in use, so a process that was not on hold never will be.
        return self._is_in_force is not False and await self.refresh()
