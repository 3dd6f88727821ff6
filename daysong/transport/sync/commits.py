"""Mutations of a connection that have chosen a timestamp, and the timestamps of Transitions that go with them.

The first Transition whose `ts` is at or after a commit's must show that commit, and no Transition may show it before
the mutation's response is sent. A mutation chooses its `ts` before it commits, so a concurrent Transition may or may
not see it. The snapshot of the Transition lists which transactions are visible:

    snapshot sees the commit, response not sent yet   wait until the response is sent; `ts` is the current time
    snapshot does not see the commit                  `ts` is the commit's `ts` minus one

A mutation of one statement commits before its transaction is known: a Transition waits until it is.

No database connection is held while waiting for a response.
"""

from __future__ import annotations

from daysong.kernel.time.timestamps import Timestamps
from daysong.transport.sync.results import Snapshot
from daysong.transport.sync.wire import Wire


class Commit:
    """A mutation of this client with a chosen `ts`; `settled` once its response is sent or it is rolled back.

    `transaction` is set when known. To a snapshot, a rolled back transaction looks like a committed one: neither is in
    progress. `in_doubt` while a snapshot may show it although its transaction is not known.
    """

    __slots__ = ("in_doubt", "settled", "transaction", "ts")

    def __init__(self, ts: int, *, in_doubt: bool) -> None:
        self.ts = ts
        self.transaction: int | None = None
        self.settled = False
        self.in_doubt = in_doubt

    def visible_in(self, snapshot: Snapshot | None) -> bool:
        """Whether results of that snapshot show the commit."""
        return snapshot is not None and self.transaction is not None and snapshot.sees(self.transaction)


class Commits:
    """The commits of one connection that a Transition must still account for."""

    __slots__ = ("_commits", "_timestamps", "_wire")

    def __init__(self, timestamps: Timestamps, wire: Wire) -> None:
        self._timestamps = timestamps
        self._wire = wire
        self._commits: list[Commit] = []

    def add(self, ts: int | None = None, *, in_doubt: bool = False) -> Commit:
        """Add a commit at `ts`, or at the next timestamp."""
        commit = Commit(self._timestamps.next() if ts is None else ts, in_doubt=in_doubt)
        self._commits.append(commit)
        return commit

    def identify(self, commit: Commit, transaction: int) -> None:
        """Set the transaction of a commit that was in doubt."""
        commit.transaction, commit.in_doubt = transaction, False
        self._wire.notify_waiters()

    def roll_back(self, commit: Commit) -> None:
        """Remove a commit whose transaction was rolled back."""
        commit.settled = True
        self._commits.remove(commit)
        self._wire.notify_waiters()

    def roll_back_unsettled(self) -> None:
        """Remove the commits that have no response."""
        for commit in [commit for commit in self._commits if not commit.settled]:
            self.roll_back(commit)

    def settle(self) -> None:
        """Mark all commits as settled: the response is sent."""
        for commit in self._commits:
            commit.settled = True

    def drop_settled(self) -> None:
        """Remove the settled commits: every snapshot taken from now on sees them."""
        self._commits = [commit for commit in self._commits if not commit.settled]

    async def timestamp_for(self, snapshot: Snapshot | None, *, last: int) -> int | None:
        """Return the `ts` of a Transition with results of that snapshot; None when it would be before `last`."""
        for commit in list(self._commits):
            await self._wire.wait_until(lambda commit=commit: commit.settled or not commit.in_doubt)  # type: ignore[misc]
            if commit.visible_in(snapshot):
                await self._wire.wait_until(lambda commit=commit: commit.settled)  # type: ignore[misc]
        unseen = [commit.ts for commit in self._commits if not commit.visible_in(snapshot)]
        if not unseen:
            return self._timestamps.next()
        ts = min(unseen) - 1
        return ts if ts >= last else None
