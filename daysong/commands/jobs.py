"""`daysong jobs`: the newest jobs, and another try for one that was given up."""

from __future__ import annotations

import json
from collections.abc import Callable

from daysong.app import App
from daysong.commands.options import JobStatus
from daysong.kernel.errors import DaysongError

Tell = Callable[[str], None]
FIELDS = ("id", "status", "due_at", "starts", "failures", "function", "last_error")


async def list_jobs(app: App, tell: Tell, *, status: JobStatus | None, limit: int, as_json: bool) -> None:
    """Tell of the newest jobs, a line each and why they failed; or all as one JSON array."""
    rows = await app.runtime.queue.list(status, limit)
    if as_json:
        tell(json.dumps([{name: row[name] for name in FIELDS} for row in rows], default=str, indent=2))
        return
    for row in rows:
        due = row["due_at"].isoformat(timespec="seconds")
        tell(f"{row['id']}  {row['status']:7}  due {due}  failures {row['failures']}  {row['function']}")
        if row["last_error"]:
            tell(f"    {row['last_error']}")
    if not rows:
        tell("none")


async def retry_job(app: App, tell: Tell, job_id: str) -> None:
    """Queue a dead job again; DaysongError when there is none of that id."""
    if not await app.runtime.queue.retry(job_id, app.clock.now()):
        raise DaysongError("There is no dead job of that id; `daysong jobs list --status dead` shows them.")
    tell("queued again")
