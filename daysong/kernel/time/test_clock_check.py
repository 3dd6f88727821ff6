"""Clock checks: crons and calls pause while the clocks disagree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.conftest import Kernel, MakeKernel
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import NoArgs, action, mutation
from daysong.kernel.functions.registry import module
from daysong.kernel.jobs.queue import Cron
from daysong.kernel.time.clock import MovableClock, SystemClock
from daysong.kernel.time.clock_check import MOST, ClockWrong, apart, objection, require_agreement

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOURS = st.timedeltas(min_value=timedelta(hours=-5), max_value=timedelta(hours=5))
MOMENTS = st.timedeltas(min_value=timedelta(0), max_value=timedelta(seconds=20))


@mutation
async def tick(ctx: MutationContext, args: NoArgs) -> None:
    """A cron's job."""


@action(punctual=True)
async def ring(ctx: ActionContext, args: NoArgs) -> None:
    """What happens at a time of day."""


@mutation
async def plan_ring(ctx: MutationContext, args: NoArgs) -> None:
    """Plan it."""
    await ctx.schedule(ring, NoArgs())


room = module("clocks", internal=(tick, ring, plan_ring))


class FastClock(SystemClock):
    """A machine's clock that is an hour ahead, until it is set right."""

    by = timedelta(hours=1)

    def now(self) -> datetime:
        return super().now() + self.by


@given(HOURS, MOMENTS, MOMENTS)
def test_g75_a_slow_answer_is_no_wrong_clock(off: timedelta, there: timedelta, back: timedelta) -> None:
    """What is found lies between the true difference and none, and is exact but for the time the answer took."""
    found = apart(NOW, NOW + there + off, NOW + there + back)
    assert abs(found) <= abs(off)
    assert abs(found) >= abs(off) - (there + back)


@given(HOURS)
def test_g75_half_a_minute_is_forgiven(off: timedelta) -> None:
    """A larger difference is reported, with the clock that is ahead."""
    said = objection(off)
    assert (said is None) == (abs(off) <= MOST)
    if said is not None:
        assert ("behind" in said) == (off > timedelta(0))


@pytest.mark.anyio
async def test_g75_crons_and_calls_pause_while_the_clock_is_wrong(make_kernel: MakeKernel) -> None:
    """No cron is scheduled and no punctual job runs, nor fails; both go on when the clock is right."""
    clock = FastClock()
    kernel: Kernel = await make_kernel(room, clock=clock)
    worker = kernel.worker(Cron("every-minute", "* * * * *", tick))
    with pytest.raises(ClockWrong, match="ahead of"):
        await require_agreement(kernel.database.one_statement(), clock)

    assert await worker.ticker.tick() is False
    assert await kernel.value("select count(*) from jobs") == 0
    await kernel.call(plan_ring)
    await worker.run(await kernel.claim())
    waiting = await kernel.job()
    assert (waiting["status"], waiting["failures"]) == ("queued", 0)
    assert waiting["last_error"].startswith("ClockWrong")

    clock.by = timedelta(0)
    await kernel.fetch("update jobs set due_at = now()")
    await worker.run(await kernel.claim())
    assert (await kernel.job())["status"] == "done"
    assert await worker.ticker.tick() is True
    assert await kernel.value("select count(*) from jobs where unique_key like 'every-minute@%'") == 1


@pytest.mark.anyio
async def test_g75_a_clock_that_is_moved_is_never_wrong(kernel_without_modules: Kernel) -> None:
    """Tests stand at a time of their own."""
    await require_agreement(kernel_without_modules.database.one_statement(), MovableClock(NOW))


@pytest.fixture
async def kernel_without_modules(make_kernel: MakeKernel) -> Kernel:
    """A kernel that has nothing to run."""
    return await make_kernel()
