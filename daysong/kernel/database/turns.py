"""Limits how many transactions of one account a process runs at the same time.

Mutations of one account are serialized in the database by the account's lock, and each holds a connection while it
waits. Without this limit, one account that calls in a loop would take every connection of the pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """A semaphore of `at_once` per key; waiters are served in order."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # By key: the semaphore, and how many hold or await it. A key is removed when that is zero.
        self._used: dict[str, tuple[asyncio.Semaphore, int]] = {}

    def __len__(self) -> int:
        return len(self._used)

    @asynccontextmanager
    async def of(self, key: str | None) -> AsyncIterator[None]:
        """Hold one slot of `key`; None is not limited."""
        if key is None:
            yield
            return
        semaphore, users = self._used.get(key) or (asyncio.Semaphore(self._at_once), 0)
        self._used[key] = (semaphore, users + 1)
        try:
            async with semaphore:
                yield
        finally:
            semaphore, users = self._used[key]
            if users == 1:
                del self._used[key]
            else:
                self._used[key] = (semaphore, users - 1)
