"""What workers do every minute: crons, and the rescue of lost jobs."""

from __future__ import annotations

import pytest

from daysong.kernel.conftest import NOW, MakeKernel
from daysong.kernel.jobs.conftest import ALL_DONE, Text, Vendor, plan_note, question_on_time, room, sweep, working
from daysong.kernel.jobs.queue import Cron
from daysong.kernel.time.clock import SystemClock

pytestmark = pytest.mark.anyio


async def test_a_tick_runs_once_however_many_workers_there_are(make_kernel: MakeKernel) -> None:
    """Three see the same minute; a tick missed while none was there is made up for once, by the first that comes."""
    vendors = [Vendor() for _ in range(3)]
    kernels = [await make_kernel(room, services={Vendor: vendor}) for vendor in vendors]
    timetable = (
        Cron("sweeper", "* * * * *", sweep),
        Cron("daily", "30 3 * * *", question_on_time),
        Cron("yearly", "0 0 1 1 *", sweep),
    )
    async with working(*[kernel.worker(*timetable) for kernel in kernels], url=kernels[0].url):
        await kernels[0].until("select count(*) = 2 and bool_and(status = 'done') from jobs")
    async with working(kernels[0].worker(*timetable), url=kernels[0].url):
        await kernels[0].call(plan_note, Text(text="after"))
        await kernels[0].until("select count(*) = 3 and bool_and(status = 'done') from jobs")
    assert await kernels[0].notes() == ["swept at 12:00:00", "after at 12:00:00"]
    assert sum(len(vendor.asked) for vendor in vendors) == 1
    due = await kernels[0].value("select due_at from jobs where function = 'band:questionOnTime'")
    assert due == NOW.replace(hour=3, minute=30)


async def test_a_worker_rescues_jobs_when_it_starts(make_kernel: MakeKernel) -> None:
    """A job whose queue row is lost is requeued when a worker starts."""
    kernel = await make_kernel(room, clock=SystemClock())
    await kernel.call(plan_note, Text(text="la"))
    await kernel.database.pool.execute("delete from pgqueuer")
    await kernel.database.pool.execute("update jobs set due_at = due_at - interval '2 minutes'")
    async with working(kernel.worker(), url=kernel.url):
        await kernel.until(ALL_DONE)
