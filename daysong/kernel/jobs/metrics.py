"""What the worker measures of jobs."""

from __future__ import annotations

from collections.abc import Awaitable

from prometheus_client import Counter, Gauge, Histogram

OUTCOMES = Counter(
    "daysong_jobs", "Jobs by outcome: done, retried, deferred, dead, superseded", ["function", "outcome"]
)
STARTS = Counter("daysong_job_starts", "Starts of jobs", ["function"])
SECONDS = Histogram(
    "daysong_job_seconds",
    "Run time of jobs",
    ["function"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0),
)
RUNNING = Gauge("daysong_jobs_running", "Jobs that run in this process")
TICKED = Gauge("daysong_cron_ticked_timestamp_seconds", "When this process last scheduled the crons that were due")


async def measured(function: str, run: Awaitable[str]) -> str:
    """Measure a job, and return its outcome."""
    STARTS.labels(function).inc()
    with SECONDS.labels(function).time(), RUNNING.track_inprogress():
        outcome = await run
    OUTCOMES.labels(function, outcome).inc()
    return outcome
