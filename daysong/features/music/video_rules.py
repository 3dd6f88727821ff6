"""The steps of a music video, how long each may take, and the errors of functions that change one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from daysong.kernel.errors import ExpectedError

Status = Literal["queued", "writing", "rendering", "ready", "failed", "canceled"]
ShownStatus = Literal["pending", "ready", "failed"]

# The last three are final, but for the one step of `is_gift`.
STEPS: Mapping[Status, frozenset[Status]] = {
    "queued": frozenset({"writing", "failed", "canceled"}),
    "writing": frozenset({"rendering", "failed", "canceled"}),
    "rendering": frozenset({"ready", "failed", "canceled"}),
    "ready": frozenset(),
    "failed": frozenset(),
    "canceled": frozenset(),
}
LIVE = tuple(status for status, following in STEPS.items() if following)

# The failure code of a video whose request was not answered, and of which no callback came in time.
ANSWER_LOST = "answer_lost"

# Kie's callback comes after one to ten minutes; past five, it may be lost.
POLL_AFTER = timedelta(minutes=5)
FIRST_POLL_PAUSE = timedelta(minutes=1)
LONGEST_POLL_PAUSE = timedelta(minutes=5)
WRITING_DEADLINE = timedelta(hours=1)
RENDERING_DEADLINE = timedelta(hours=1)
# Without the answer to the request, only a callback can tell of the task.
UNNAMED_DEADLINE = timedelta(minutes=20)


class VideoNotFound(ExpectedError):
    """No such video."""

    code = "video_not_found"
    status = 404
    default_message = "Video not found"


class NotAuthorizedForVideo(ExpectedError):
    """The video belongs to another account."""

    code = "not_authorized_for_video"
    status = 403
    default_message = "Not authorized to change this video"


class VideoNotReady(ExpectedError):
    """The video cannot be shown first: it is not ready."""

    code = "video_not_ready"
    status = 409
    default_message = "Cannot set pending or failed video as primary"


def shown(status: Status) -> ShownStatus:
    """Return the status as apps see it; a canceled video is not shown at all."""
    return "pending" if status in LIVE else "ready" if status == "ready" else "failed"


def poll_pause(polls: int) -> timedelta:
    """Return the pause before the next poll after that many: one minute, growing to five."""
    return min(LONGEST_POLL_PAUSE, FIRST_POLL_PAUSE * 1.5 ** min(polls, 20))


def is_overdue(
    status: Status, *, created_at: datetime, rendering_since: datetime | None, named: bool, now: datetime
) -> bool:
    """Return whether a video has been in its step for too long. `named`: its task at Kie is known."""
    if status in {"queued", "writing"}:
        return now - created_at >= WRITING_DEADLINE
    if status != "rendering" or rendering_since is None:
        return False
    return now - rendering_since >= (RENDERING_DEADLINE if named else UNNAMED_DEADLINE)


def is_gift(status: Status, failure_code: str | None) -> bool:
    """Return whether a failed video may still become ready, since Kie's answer was lost. Its refund stands."""
    return status == "failed" and failure_code == ANSWER_LOST
