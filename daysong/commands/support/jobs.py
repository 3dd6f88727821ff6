"""`daysong jobs`: the newest jobs, one in full, another try for one that was given up, and giving one up."""

from __future__ import annotations

from typing import Any

from daysong.app import App
from daysong.commands.support.saying import Say, act, call, fields, moment, say_json, say_rows
from daysong.kernel.errors import DaysongError


async def list_jobs(app: App, say: Say, *, as_json: bool, **which: Any) -> None:
    """Say the newest jobs, a line each and why they failed; or all as one JSON array."""
    rows = await call(app, "support/jobs:listJobs", **which)
    say_rows(say, rows, _lines, as_json=as_json)


def _lines(job: dict[str, Any]) -> list[str]:
    line = f"{job['id']}  {job['status']:7}  due {moment(job['dueAt'])}  failures {job['failures']:.0f}"
    return [f"{line}  {job['function']}", *([f"    {job['lastError']}"] if "lastError" in job else [])]


async def show_job(app: App, say: Say, job_id: str, *, as_json: bool) -> None:
    """Say one job, its arguments without private values, and the jobs of the same request."""
    job = await call(app, "support/jobs:showJob", job_id=job_id)
    if as_json:
        say_json(say, job)
        return
    related = job.pop("related")
    fields(say, job, times=("dueAt", "startedAt", "finishedAt"))
    for line in (line for each in related for line in _lines(each)):
        say(f"  {line}")


async def retry_job(app: App, say: Say, job_id: str, *, reason: str | None, as_json: bool = False) -> None:
    """Queue a dead job again; DaysongError when there is none of that id."""
    refusal = "There is no dead job of that id; `daysong jobs list --status dead` shows them."
    await _change(app, say, "retryJob", job_id, reason, "queued again", refusal, as_json=as_json)


async def cancel_job(app: App, say: Say, job_id: str, *, reason: str | None, as_json: bool = False) -> None:
    """Give up a queued job; DaysongError when it is not queued."""
    refusal = "There is no queued job of that id: a job that runs, or is over, is not canceled."
    await _change(app, say, "cancelJob", job_id, reason, "canceled", refusal, as_json=as_json)


async def _change(
    app: App, say: Say, function: str, job_id: str, reason: str | None, done: str, refusal: str, *, as_json: bool
) -> None:
    try:
        outcome = await call(app, f"support/jobs:{function}", job_id=job_id, reason=reason)
    except DaysongError:
        raise DaysongError(refusal) from None
    act(say, outcome, done, as_json=as_json, refusals={"not dead": refusal, "not queued": refusal})
