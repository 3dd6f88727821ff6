"""Waiting on an open socket for a database that is not available for moments, as in a restart or a failover."""

from __future__ import annotations

import asyncio
import random

from daysong.kernel import logs

PATIENCE = 30.0  # seconds
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds

log = logs.get_logger("sync")


class Outage:
    """The database's absence as one socket sees it: `wait` pauses before another attempt."""

    __slots__ = ("_pause", "_since")

    def __init__(self) -> None:
        self._since = 0.0
        self._pause = FIRST_PAUSE

    async def wait(self, error: BaseException) -> bool:
        """Pause, a little longer each time, and return True; False when the absence has lasted for PATIENCE."""
        now = asyncio.get_running_loop().time()
        if not self._since:
            self._since = now
            log.warning("waiting for the database", error=logs.describe(error))
        if now - self._since > PATIENCE:
            return False
        await asyncio.sleep(self._pause * random.uniform(0.5, 1))  # noqa: S311 - sockets must not all try at once
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return True
