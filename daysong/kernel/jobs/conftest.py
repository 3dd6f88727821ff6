"""Functions, a fake vendor and a kernel for the tests of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from daysong.kernel import logs
from daysong.kernel.conftest import Kernel, MakeKernel
from daysong.kernel.errors import ExpectedError, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, Retry, action, mutation
from daysong.kernel.functions.registry import module
from daysong.kernel.jobs.worker import Worker

HEARTBEAT = timedelta(seconds=1)
# So many that twenty actions run at once, of those that name no lane.
TWENTY_ACTIONS = 134
DIARY = "Today I told nobody about it."
ALL_DONE = "select count(*) > 0 and bool_and(status = 'done') from jobs"


@asynccontextmanager
async def working(*workers: Worker, url: str) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Workers at work, stopped at the end."""
    tasks = [asyncio.create_task(worker.run_forever(url)) for worker in workers]
    try:
        yield tasks
    finally:
        for worker in workers:
            await worker.stop()
        await asyncio.gather(*tasks)


class Text(Args):
    """What to note or ask."""

    text: str
    delay: timedelta = timedelta(0)


class Vendor:
    """A fake vendor for actions; answers as a test sets, and records requests."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.asked: list[tuple[str, datetime, str]] = []
        self.busy = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def ask(self, text: str, now: datetime) -> None:
        """Fail as told, or answer when allowed to."""
        self.asked.append((text, now, logs.request_id()))
        self.busy.set()
        await self.may_answer.wait()
        if self.failures:
            raise self.failures.pop(0)


class Refused(ExpectedError):
    """A rule says no."""

    code = "refused"
    default_message = "No."


def unreachable(retry_after: float | None = None) -> VendorError:
    return VendorError("suno", "no answer", permanent=False, retry_after=retry_after)


@mutation
async def note(ctx: MutationContext, args: Text) -> None:
    """Note it, with the time."""
    await ctx.db.execute("insert into notes (text) values ($1)", f"{args.text} at {ctx.now:%H:%M:%S}")


@mutation(retry=Retry(attempts=2))
async def break_down(ctx: MutationContext, args: Text) -> None:
    """Note it and fail with words that no log may have."""
    await note(ctx, args)
    raise ValueError(args.text)


async def despair(ctx: MutationContext, args: Text) -> None:
    """What follows when a question stays unanswered; fails too while something is broken."""
    await note(ctx, Text(text=f"no answer to {args.text}"))
    if await ctx.db.fetchval("select true from tally where name = 'broken'"):
        raise ValueError(args.text)


@action(retry=Retry(attempts=3, first=timedelta(seconds=2), longest=timedelta(seconds=10)), on_exhausted=despair)
async def ask(ctx: ActionContext, args: Text) -> None:
    """Ask the vendor, and note that it answered."""
    await ctx.vendor(Vendor).ask(args.text, ctx.now)
    await ctx.run_mutation(note, args)


@mutation
async def plan_note(ctx: MutationContext, args: Text) -> None:
    """Have it noted by a job."""
    await ctx.schedule(note, args, delay=args.delay)


@mutation
async def plan_breakdown(ctx: MutationContext, args: Text) -> None:
    """Have a job fail."""
    await ctx.schedule(break_down, args)


@mutation
async def plan_question(ctx: MutationContext, args: Text) -> None:
    """Have it asked by a job."""
    await ctx.schedule(ask, args, delay=args.delay)


@mutation
async def plan_question_for(ctx: MutationContext, args: Text) -> None:
    """Have it asked by a job of the account that is the first word."""
    await ctx.schedule(ask, args, account=args.text.partition(" ")[0])


@mutation
async def plan_plan(ctx: MutationContext, args: Text) -> None:
    """Have a job that makes a job."""
    await ctx.schedule(plan_question, args)


@action
async def question_on_time(ctx: ActionContext, args: NoArgs) -> None:
    """A cron's job."""
    await ctx.vendor(Vendor).ask("on time", ctx.now)


@mutation
async def sweep(ctx: MutationContext, args: NoArgs) -> None:
    """A cron's job."""
    await note(ctx, Text(text="swept"))


room = module(
    "band",
    internal=(
        note,
        break_down,
        ask,
        plan_note,
        plan_breakdown,
        plan_question,
        plan_question_for,
        plan_plan,
        question_on_time,
        sweep,
    ),
)


@mutation
async def note_elsewhere(ctx: MutationContext, args: Text) -> None:
    """A function only some workers know."""
    await note(ctx, args)


@mutation
async def plan_elsewhere(ctx: MutationContext, args: Text) -> None:
    """Have it run by a worker that knows it."""
    await ctx.schedule(note_elsewhere, args)


elsewhere = module("elsewhere", internal=(note_elsewhere, plan_elsewhere))


@pytest.fixture
def vendor() -> Vendor:
    """A vendor that answers at once."""
    return Vendor()


@pytest.fixture
async def kernel(make_kernel: MakeKernel, vendor: Vendor) -> Kernel:
    """A kernel with the band's room."""
    return await make_kernel(room, services={Vendor: vendor})
