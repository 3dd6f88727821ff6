"""The pauses between runs of a connection's queries for changed rows."""

from __future__ import annotations

import asyncio

from daysong.transport.sync.hub import Limits


class Pace:
    """When queries may run again: the pause grows while changes continue, and is longer after large results."""

    __slots__ = ("_limits", "_pause", "not_before")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pause = 0.0
        # On the loop's clock.
        self.not_before = 0.0

    def after_run(self, size: int) -> None:
        """Set the pause after a run for changed rows, with results of `size` bytes."""
        now = asyncio.get_running_loop().time()
        shortest, longest = self._limits.pauses
        continuing = now < self.not_before + longest
        self._pause = min(self._pause * 2, longest) if continuing and self._pause else shortest
        self.not_before = now + max(self._pause, min(size / self._limits.rate, self._limits.longest_pause))
