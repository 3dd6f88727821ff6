"""A generation's life: which step may follow which, how long each may take; and what can be wrong with a track."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from daysong.kernel.errors import ExpectedError

Status = Literal["queued", "writing", "composing", "ready", "failed", "canceled"]
TrackStatus = Literal["pending", "ready", "failed"]

# A status moves along these steps; the last three are final, but for the one step of `is_gift`.
STEPS: Mapping[Status, frozenset[Status]] = {
    "queued": frozenset({"writing", "failed", "canceled"}),
    "writing": frozenset({"composing", "failed", "canceled"}),
    "composing": frozenset({"ready", "failed", "canceled"}),
    "ready": frozenset(),
    "failed": frozenset(),
    "canceled": frozenset(),
}

# A generation in one of these is not over.
LIVE = tuple(status for status, following in STEPS.items() if following)

# The failure code of a generation whose order was not answered, and of which no callback came in time.
ANSWER_LOST = "answer_lost"

TRACKS_PER_SONG = 2  # Suno always makes two.

# Suno's files are there after two to three minutes; past that, the callback may be lost.
POLL_AFTER = timedelta(minutes=3)
FIRST_POLL_PAUSE = timedelta(seconds=30)
LONGEST_POLL_PAUSE = timedelta(minutes=5)
COMPOSING_DEADLINE = timedelta(minutes=30)
# Where Suno's answer to the order was lost: its first callback comes within a minute if it took the order.
UNNAMED_DEADLINE = timedelta(minutes=5)
# Between looks at audio that is not there, or is none: what was announced may take a while to reach every server.
CHECK_PAUSES = (timedelta(seconds=10), timedelta(seconds=20), timedelta(seconds=40), timedelta(seconds=80))
# Longer than all tries of the writing job together: only a job that was lost, or whose vendor is down, runs into it.
WRITING_DEADLINE = timedelta(hours=1)


# The longest delay that a vendor may ask for before a song fails.
LONGEST_PAUSE = timedelta(minutes=20)


class MusicNotFound(ExpectedError):
    """No such track."""

    code = "music_not_found"
    status = 404
    default_message = "Music not found"


class MusicAlreadyDeleted(ExpectedError):
    """The track was deleted before."""

    code = "music_already_deleted"
    status = 409
    default_message = "Music already deleted"


def poll_pause(polls: int) -> timedelta:
    """How long to wait for the next look at Suno after that many: half a minute, then ever longer, up to five."""
    return min(LONGEST_POLL_PAUSE, FIRST_POLL_PAUSE * 1.5 ** min(polls, 20))


def is_overdue(
    status: Status, *, created_at: datetime, composing_since: datetime | None, named: bool, now: datetime
) -> bool:
    """Whether a generation of that status has had all the time it gets. `named` says whether its task is known."""
    if status in {"queued", "writing"}:
        return now - created_at >= WRITING_DEADLINE
    if status != "composing" or composing_since is None:
        return False
    return now - composing_since >= (COMPOSING_DEADLINE if named else UNNAMED_DEADLINE)


def asks_too_much(retry_after: float | None, *, deferred: bool) -> bool:
    """Whether a pause of so many seconds fails a song at once: its owner should not wait for the refund.

    A song that is `deferred` waits in our own line before a vendor, or for one that is down, and gets all the time of
    writing.
    """
    limit = WRITING_DEADLINE if deferred else LONGEST_PAUSE
    return retry_after is not None and retry_after > limit.total_seconds()


def is_gift(status: Status, failure_code: str | None) -> bool:
    """Whether a generation that has ended may still become ready: it failed since Suno's answer was lost.

    Its charge was refunded and stays so.
    """
    return status == "failed" and failure_code == ANSWER_LOST
