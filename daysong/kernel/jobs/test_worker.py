from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

from daysong.kernel import logs
from daysong.kernel.conftest import NOW, PATIENCE, Kernel, MakeKernel, until
from daysong.kernel.errors import ExpectedError, VendorError
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, Retry, action, mutation
from daysong.kernel.functions.registry import module
from daysong.kernel.jobs import worker as worker_module
from daysong.kernel.jobs.queue import Cron
from daysong.kernel.jobs.worker import MAX_STARTS, Worker
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lanes import Lane, slots, slots_of_account
from daysong.kernel.time.clock import SystemClock

pytestmark = pytest.mark.anyio

HEARTBEAT = timedelta(seconds=1)
# So many that twenty actions run at once, of those that name no lane.
TWENTY_ACTIONS = 134
DIARY = "Today I told nobody about it."


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
    """Note it and fail with words nobody should read."""
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
    """Have it run by whoever knows it."""
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


# Outcomes of a job


async def test_a_mutations_job_happens_once_though_two_workers_have_it(kernel: Kernel) -> None:
    """One was thought dead and was not: at the same time or one after the other, there is one note."""
    for text in ("la", "lu"):
        await kernel.call(plan_note, Text(text=text))
    for row in await kernel.fetch("select id || ':' || ticket as ticket from jobs order by id"):
        first, second = [await kernel.queue.claim(row["ticket"], NOW) for _ in range(2)]
        assert first is not None
        assert second is not None
        worker = kernel.worker()
        await asyncio.gather(worker.run(first), worker.run(second))
        await worker.run(first)
    assert sorted(await kernel.notes()) == ["la at 12:00:00", "lu at 12:00:00"]
    assert [row["status"] for row in await kernel.queue.list(None, 10)] == ["done", "done"]


async def test_a_failure_that_comes_late_changes_nothing(kernel: Kernel, vendor: Vendor) -> None:
    """The worker that took over decides: a failure of the one before is neither counted nor followed by anything."""
    vendor.failures = [VendorError("suno", "no", permanent=True)]
    await kernel.call(plan_question, Text(text="la?"))
    late, current = await kernel.claim(), await kernel.claim()
    await kernel.worker().run(late)
    assert await kernel.notes() == []
    assert (await kernel.job())["status"] == "running"
    await kernel.worker().run(current)
    assert await kernel.notes() == ["la? at 12:00:00"]
    assert (await kernel.job())["status"] == "done"


async def test_an_action_is_tried_again_with_growing_pauses_and_then_given_up(kernel: Kernel, vendor: Vendor) -> None:
    """Three attempts as declared; then the job is dead, and what is to follow has happened."""
    vendor.failures = [unreachable() for _ in range(9)]
    await kernel.call(plan_question, Text(text="la?"))
    assert await kernel.drain() == 1
    waiting = await kernel.job()
    assert (waiting["status"], waiting["failures"], waiting["last_error"]) == (
        "queued", 1, "VendorError: suno: no answer"
    )  # fmt: skip
    assert await kernel.drain(until=NOW + timedelta(hours=1)) == 2
    first, second, third = [moment for _, moment, _ in vendor.asked]
    assert timedelta(seconds=1) <= second - first <= timedelta(seconds=2)
    assert timedelta(seconds=2) <= third - second <= timedelta(seconds=4)
    dead = await kernel.job()
    assert (dead["status"], dead["failures"], dead["finished_at"]) == ("dead", 3, third)
    assert await kernel.notes() == [f"no answer to la? at {third:%H:%M:%S}"]


async def test_an_action_that_succeeds_at_last_is_done(kernel: Kernel, vendor: Vendor) -> None:
    """And nothing is left of its failures."""
    vendor.failures = [unreachable(), ValueError(DIARY)]
    await kernel.call(plan_question, Text(text="la?"))
    await kernel.drain(until=NOW + timedelta(hours=1))
    done = await kernel.job()
    assert (done["status"], done["last_error"]) == ("done", None)
    assert [text for text in await kernel.notes() if "no answer" in text] == []


@pytest.mark.parametrize("error", [VendorError("suno", "never", permanent=True), Refused()])
async def test_what_cannot_get_better_is_dead_at_once(kernel: Kernel, vendor: Vendor, error: Exception) -> None:
    """A vendor's final no, or a rule of ours."""
    vendor.failures = [error]
    await kernel.call(plan_question, Text(text="la?"))
    await kernel.drain(until=NOW + timedelta(hours=1))
    assert len(vendor.asked) == 1
    assert (await kernel.job())["status"] == "dead"
    assert await kernel.notes() == ["no answer to la? at 12:00:00"]


async def test_a_vendor_is_not_asked_before_it_wants_to_be(kernel: Kernel, vendor: Vendor) -> None:
    """Its Retry-After is the least we wait, though our own pause would be shorter."""
    vendor.failures = [unreachable(retry_after=600)]
    await kernel.call(plan_question, Text(text="la?"))
    await kernel.drain(until=NOW + timedelta(hours=1))
    assert [moment for _, moment, _ in vendor.asked] == [NOW, NOW + timedelta(seconds=600)]


async def test_g14_waiting_in_line_is_no_failure(kernel: Kernel, vendor: Vendor) -> None:
    """A job that the line for a vendor was too long for comes back later; none of its three attempts is used up."""
    vendor.failures = [Deferred("suno", 30.0) for _ in range(5)]
    await kernel.call(plan_question, Text(text="la?"))
    await kernel.drain()
    waiting = await kernel.job()
    assert (waiting["status"], waiting["failures"], waiting["starts"]) == ("queued", 0, 0)
    await kernel.drain(until=NOW + timedelta(minutes=3))
    assert [moment for _, moment, _ in vendor.asked] == [NOW + timedelta(seconds=30 * place) for place in range(6)]
    done = await kernel.job()
    assert (done["status"], done["failures"]) == ("done", 0)


async def test_a_failing_mutation_leaves_nothing_but_its_failure(kernel: Kernel) -> None:
    """What it did is undone each time; the reason is where it failed, and not what the person wrote."""
    await kernel.call(plan_breakdown, Text(text=DIARY))
    await kernel.drain(until=NOW + timedelta(hours=1))
    dead = await kernel.job()
    assert (dead["status"], dead["failures"]) == ("dead", 2)
    assert dead["last_error"].startswith("ValueError in break_down")
    assert DIARY not in dead["last_error"]
    assert await kernel.notes() == []


async def test_what_follows_a_dead_job_is_in_the_transaction_that_marks_it(kernel: Kernel, vendor: Vendor) -> None:
    """While it fails, it leaves no trace and the job is not dead; it is tried again, and the action is not."""
    vendor.failures = [VendorError("suno", "never", permanent=True)]
    await kernel.database.pool.execute("insert into tally values ('broken', 1)")
    await kernel.call(plan_question, Text(text="la?"))
    await kernel.drain()
    assert await kernel.notes() == []
    waiting = await kernel.job()
    assert (waiting["status"], waiting["last_error"]) == ("queued", "VendorError: suno: never")
    await kernel.database.pool.execute("delete from tally")
    await kernel.drain(until=NOW + timedelta(hours=1))
    assert len(await kernel.notes()) == len(vendor.asked) == 1
    dead = await kernel.job()
    assert (dead["status"], dead["last_error"]) == ("dead", "VendorError: suno: never")


async def test_what_follows_a_dead_job_is_not_tried_for_ever(kernel: Kernel, vendor: Vendor) -> None:
    """In the end the job is dead without it."""
    vendor.failures = [VendorError("suno", "never", permanent=True)]
    await kernel.database.pool.execute("insert into tally values ('broken', 1)")
    await kernel.call(plan_question, Text(text="la?"))
    ran = await kernel.drain(until=NOW + timedelta(days=1))
    assert ran <= 2 + MAX_STARTS
    assert (await kernel.job())["status"] == "dead"
    assert await kernel.notes() == []
    assert len(vendor.asked) == 1


async def test_arguments_that_no_longer_fit_do_not_run(kernel: Kernel, vendor: Vendor) -> None:
    """Another version's arguments: the job dies in the end, though what is to follow cannot be told of them either."""
    await kernel.call(plan_question, Text(text="la?"))
    await kernel.database.pool.execute("""update jobs set args = '{"word": "la?"}'""")
    await kernel.drain(until=NOW + timedelta(days=1))
    assert (await kernel.job())["status"] == "dead"
    assert vendor.asked == []


async def test_a_job_of_another_version_is_left_to_a_worker_that_knows_it(
    kernel: Kernel, make_kernel: MakeKernel
) -> None:
    """Who does not know the function puts it back."""
    newer = await make_kernel(room, elsewhere)
    await newer.call(plan_elsewhere, Text(text="la"))
    assert await kernel.drain() == 1
    waiting = await kernel.job()
    assert (waiting["status"], waiting["failures"]) == ("queued", 0)
    assert waiting["last_error"].startswith("UnknownFunction")
    await newer.drain(until=NOW + timedelta(minutes=1))
    assert (await kernel.job())["status"] == "done"
    assert len(await kernel.notes()) == 1


async def test_g57_a_job_of_a_newer_release_outlives_an_older_worker(kernel: Kernel, make_kernel: MakeKernel) -> None:
    """However often older workers take it, it waits and counts no failures; only after ten days it is dead."""
    newer = await make_kernel(room, elsewhere)
    await newer.call(plan_elsewhere, Text(text="la"))
    assert 10 < await kernel.drain(until=NOW + timedelta(hours=2)) < 30
    waiting = await kernel.job()
    assert (waiting["status"], waiting["failures"]) == ("queued", 0)
    await kernel.fetch("update jobs set deferrals = $1", worker_module.MOST_WAITS)
    await kernel.drain(until=NOW + timedelta(hours=3))
    assert (await kernel.job())["status"] == "dead"
    await newer.queue.retry((await kernel.job())["id"], NOW)
    await newer.drain()
    assert (await kernel.job())["status"] == "done"


async def test_a_job_that_kills_its_workers_is_buried(kernel: Kernel, vendor: Vendor) -> None:
    """Started five times without an end, it is not started again; what is to follow happens."""
    await kernel.call(plan_question, Text(text="la?"))
    for _ in range(MAX_STARTS):
        await kernel.claim()
    await kernel.worker().run(await kernel.claim())
    dead = await kernel.job()
    assert (dead["status"], dead["last_error"]) == ("dead", "KilledTooOften: started 5 times without an end")
    assert vendor.asked == []
    assert await kernel.notes() == ["no answer to la? at 12:00:00"]
    assert await kernel.queue.retry(dead["id"], NOW)
    assert await kernel.drain() == 1
    assert (await kernel.job())["status"] == "done"


async def test_a_request_id_goes_from_the_request_through_all_its_jobs(kernel: Kernel, vendor: Vendor) -> None:
    """A job's job has it too; and a job of no request gets one of its own."""
    with logs.request_scope("0123456789abcdef"):
        await kernel.call(plan_plan, Text(text="la?"))
    await kernel.call(plan_plan, Text(text="lu?"))
    await kernel.drain()
    told = {text: request_id for text, _, request_id in vendor.asked}
    assert told["la?"] == "0123456789abcdef"
    assert len(told["lu?"]) == 16
    assert told["lu?"] != told["la?"]
    assert logs.request_id() == ""


# Drains


async def test_a_drain_runs_jobs_in_the_order_of_their_times(kernel: Kernel) -> None:
    """Each at its own time by the clock, also those made on the way; later ones wait."""
    for text, minutes in (("third", 30), ("first", 0), ("second", 10), ("too late", 61)):
        await kernel.call(plan_note, Text(text=text, delay=timedelta(minutes=minutes)))
    await kernel.call(plan_question, Text(text="between", delay=timedelta(minutes=20)))
    assert await kernel.drain(until=NOW + timedelta(hours=1)) == 4
    assert await kernel.notes() == [
        "first at 12:00:00", "second at 12:10:00", "between at 12:20:00", "third at 12:30:00"
    ]  # fmt: skip
    assert kernel.clock.now() == NOW + timedelta(hours=1)


async def test_a_drain_without_an_end_runs_what_is_due(kernel: Kernel) -> None:
    """And leaves the clock and the timetable alone."""
    await kernel.call(plan_note, Text(text="now"))
    await kernel.call(plan_note, Text(text="later", delay=timedelta(seconds=1)))
    assert await kernel.drain(Cron("sweeper", "* * * * *", sweep)) == 1
    assert kernel.clock.now() == NOW


async def test_a_drain_runs_every_tick_once(kernel: Kernel) -> None:
    """At its time, among the other jobs, and not again when the next drain begins where this one ended."""
    timetable = (Cron("sweeper", "*/10 * * * *", sweep), Cron("asker", "15 12 * * *", question_on_time))
    await kernel.call(plan_note, Text(text="between", delay=timedelta(minutes=12)))
    assert await kernel.drain(*timetable, until=NOW + timedelta(minutes=20)) == 4
    assert await kernel.drain(*timetable, until=NOW + timedelta(minutes=20)) == 0
    assert await kernel.drain(*timetable, until=NOW + timedelta(minutes=31)) == 1
    assert await kernel.notes() == [
        "swept at 12:10:00", "between at 12:12:00", "swept at 12:20:00", "swept at 12:30:00"
    ]  # fmt: skip


async def test_two_drains_share_the_jobs(kernel: Kernel) -> None:
    """None is run twice."""
    for n in range(10):
        await kernel.call(plan_note, Text(text=str(n)))
    ran = await asyncio.gather(kernel.drain(), kernel.drain())
    assert sum(ran) == 10
    assert len(await kernel.notes()) == 10


# The loop


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


ALL_DONE = "select count(*) > 0 and bool_and(status = 'done') from jobs"


async def test_a_job_runs_as_soon_as_its_transaction_is_committed(kernel: Kernel) -> None:
    """By notification and not by looking now and then; a delayed one when its delay has passed."""
    worker = kernel.worker()
    async with working(worker, url=kernel.url):
        await worker.ready.wait()
        for delay in (timedelta(0), timedelta(milliseconds=300)):
            await kernel.call(plan_note, Text(text="la", delay=delay))
            async with asyncio.timeout(3):
                await kernel.until(ALL_DONE)
    assert len(await kernel.notes()) == 2
    assert await kernel.value("select count(*) from pgqueuer") == 0
    assert await kernel.value("select count(*) from pgqueuer_statistics") == 0


async def test_workers_share_jobs(make_kernel: MakeKernel) -> None:
    """Forty jobs that wait for each other need both workers, each of which takes only twenty; none runs twice."""
    together = asyncio.Barrier(40)

    class Waiting(Vendor):
        async def ask(self, text: str, now: datetime) -> None:
            self.asked.append((text, now, ""))
            await together.wait()

    vendors = Waiting(), Waiting()
    kernels = [await make_kernel(room, services={Vendor: vendor}) for vendor in vendors]
    for n in range(40):
        await kernels[0].call(plan_question, Text(text=str(n)))
    async with working(*[kernel.worker(at_once=TWENTY_ACTIONS) for kernel in kernels], url=kernels[0].url):
        await kernels[0].until(ALL_DONE)
    assert [len(vendor.asked) for vendor in vendors] == [20, 20]
    assert len({text for vendor in vendors for text, _, _ in vendor.asked}) == 40
    assert len(await kernels[0].notes()) == 40


async def test_g72_what_waits_for_a_vendor_keeps_nothing_else_waiting(kernel: Kernel, vendor: Vendor) -> None:
    """A vendor that does not answer uses up only the slots of its own lane."""
    vendor.may_answer.clear()
    for n in range(60):
        await kernel.call(plan_question, Text(text=str(n)))
    async with working(kernel.worker(), url=kernel.url):
        await until(lambda: _true(len(vendor.asked) == slots(Lane.ACCOUNTS, worker_module.AT_ONCE)))
        for n in range(60):
            await kernel.call(plan_note, Text(text=str(n)))
        await kernel.until("select count(*) = 60 from notes")
        assert len(vendor.asked) == slots(Lane.ACCOUNTS, worker_module.AT_ONCE)
        vendor.may_answer.set()
        await kernel.until(ALL_DONE)
    assert len(vendor.asked) == 60


async def test_g72_an_account_has_a_part_of_a_lane(kernel: Kernel, vendor: Vendor) -> None:
    """However many jobs one account has, others' come to their turn; and all of them are done in the end."""
    vendor.may_answer.clear()
    for n in range(20):
        await kernel.call(plan_question_for, Text(text=f"alice {n}"))
    await kernel.call(plan_question_for, Text(text="bob"))
    part = slots_of_account(Lane.ACCOUNTS, worker_module.AT_ONCE)
    async with working(kernel.worker(), url=kernel.url):
        await until(lambda: _true(any(text == "bob" for text, _, _ in vendor.asked)))
        await kernel.until("select count(*) = $1 from jobs where deferrals > 0", 20 - part)
        assert len([text for text, _, _ in vendor.asked if text != "bob"]) == part
        vendor.may_answer.set()
        await kernel.until("select count(*) > 10 from jobs where account is not null and status = 'done'")


async def _true(value: bool) -> bool:
    return value


async def test_more_jobs_than_connections_get_through(make_kernel: MakeKernel, vendor: Vendor) -> None:
    """Actions and mutations share two connections without a deadlock."""
    kernel = await make_kernel(room, services={Vendor: vendor}, max_connections=2)
    for n in range(40):
        await kernel.call(plan_question if n % 2 else plan_note, Text(text=str(n)))
    async with working(kernel.worker(), url=kernel.url):
        await kernel.until(ALL_DONE)
    assert len(await kernel.notes()) == 40


async def test_a_queue_row_delivered_again_is_dropped(kernel: Kernel) -> None:
    """The queue may carry a ticket twice; the job happens once."""
    await kernel.call(plan_note, Text(text="la"))
    again = """insert into pgqueuer (priority, status, entrypoint, payload)
               select 0, 'queued', 'daysong', convert_to(id || ':' || ticket, 'UTF8') from jobs"""
    await kernel.database.pool.execute(again)
    async with working(kernel.worker(), url=kernel.url):
        await kernel.until("select count(*) = 0 from pgqueuer")
        await kernel.database.pool.execute(again)
        await kernel.until("select count(*) = 0 from pgqueuer")
    assert len(await kernel.notes()) == 1
    assert (await kernel.job())["status"] == "done"


PROCESS = """
import asyncio, sys
from datetime import timedelta
from daysong.kernel.jobs import test_worker
asyncio.run(test_worker.work_and_hang(sys.argv[1]))
"""


async def work_and_hang(url: str) -> None:
    """A worker process that says when it has begun a job, and never ends it."""

    class Hanging(Vendor):
        async def ask(self, text: str, now: datetime) -> None:  # noqa: ARG002 - never answers
            print("begun", flush=True)
            await asyncio.Event().wait()

    kernel = Kernel(url, room, services={Vendor: Hanging()})
    await kernel.database.open()
    await kernel.worker(heartbeat=HEARTBEAT).run_forever(url)


async def test_a_killed_workers_job_is_finished_by_another(kernel: Kernel, vendor: Vendor) -> None:
    """SIGKILL in the middle of a job, without a shutdown: its heartbeat stops, and the job starts elsewhere."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, kernel.url, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    assert process.stdout is not None
    await kernel.call(plan_question, Text(text="la?"))
    async with asyncio.timeout(20):
        while b"begun" not in await process.stdout.readline():
            assert process.returncode is None
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert (await kernel.job())["status"] == "running"
    async with working(kernel.worker(heartbeat=HEARTBEAT), url=kernel.url):
        await kernel.until(ALL_DONE)
    assert (await kernel.job())["starts"] == 2
    assert len(vendor.asked) == len(await kernel.notes()) == 1


@pytest.fixture
async def outsider(kernel: Kernel) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is none of the kernel's, to cut those off and to look on."""
    connection = await asyncpg.connect(kernel.url)
    yield connection
    await connection.close()


DISCONNECT = """select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name like 'daysong%'"""


async def test_a_worker_survives_the_loss_of_its_connections(
    kernel: Kernel, vendor: Vendor, outsider: asyncpg.Connection
) -> None:
    """As when the server restarts, in the middle of a job: it comes to its end once, and others follow."""
    vendor.may_answer.clear()
    async with working(kernel.worker(heartbeat=HEARTBEAT), url=kernel.url):
        await kernel.call(plan_question, Text(text="la?"))
        await kernel.call(plan_note, Text(text="after", delay=timedelta(seconds=0.5)))
        async with asyncio.timeout(PATIENCE):
            await vendor.busy.wait()
        await outsider.execute(DISCONNECT)
        vendor.may_answer.set()
        await until(lambda: outsider.fetchval(ALL_DONE))
        await until(lambda: outsider.fetchval("select count(*) = 0 from pgqueuer"))
    assert await outsider.fetchval("select count(*) from notes") == 2


async def test_a_worker_that_went_deaf_listens_anew(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all connections only that is lost by which it is told of new jobs: soon it has another."""
    monkeypatch.setattr(worker_module, "LISTENER_CHECK", timedelta(seconds=0.2))
    listeners = """from pg_stat_activity where datname = current_database()
                   and application_name = 'daysong worker' and query ilike 'listen %'"""
    async with working(kernel.worker(), url=kernel.url):
        await kernel.until(f"select count(*) = 1 {listeners}")
        (lost,) = await kernel.fetch(f"select pid, pg_terminate_backend(pid) {listeners}")
        await kernel.until(f"select count(*) = 1 {listeners} and pid <> $1", lost["pid"])
        async with asyncio.timeout(PATIENCE):
            await kernel.call(plan_note, Text(text="la"))
            await kernel.until(ALL_DONE)


async def test_a_mutation_cut_off_in_the_middle_happens_once(
    kernel: Kernel, outsider: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server goes away while it waits for a lock: nothing of it is left, and it is run again."""
    monkeypatch.setattr(worker_module, "UNSETTLED_PAUSE", 0.2)
    async with working(kernel.worker(heartbeat=HEARTBEAT), url=kernel.url):
        async with outsider.transaction():
            await outsider.execute("lock table notes")
            await kernel.call(plan_note, Text(text="la"))
            blocked = "select count(*) > 0 from pg_locks where relation = 'notes'::regclass and not granted"
            await until(lambda: outsider.fetchval(blocked))
            await outsider.execute(DISCONNECT)
        await until(lambda: outsider.fetchval(ALL_DONE))
    assert await outsider.fetchval("select count(*) from notes") == 1


async def test_a_worker_waits_for_a_database_that_is_not_there(kernel: Kernel, tmp_path: Path) -> None:
    """It tries again with pauses, and can be stopped in one."""
    nowhere = f"postgresql:///nothing?host={tmp_path}"
    worker = kernel.worker()
    async with asyncio.timeout(PATIENCE), working(worker, url=nowhere) as (task,):
        await asyncio.wait({task}, timeout=0.2)
        assert not task.done()


async def test_stopping_waits_for_running_jobs(kernel: Kernel, vendor: Vendor) -> None:
    """They come to their end; no other is begun."""
    vendor.may_answer.clear()
    worker = kernel.worker()
    async with working(worker, url=kernel.url) as (task,):
        await kernel.call(plan_question, Text(text="la?"))
        async with asyncio.timeout(PATIENCE):
            await vendor.busy.wait()
        await worker.stop()
        await kernel.call(plan_note, Text(text="for another"))
        await asyncio.wait({task}, timeout=0.3)
        assert not task.done()
        vendor.may_answer.set()
    statuses = await kernel.fetch("select function, status from jobs order by function")
    assert [tuple(row) for row in statuses] == [("band:ask", "done"), ("band:note", "queued")]


async def test_jobs_that_outlast_a_stop_are_handed_on(kernel: Kernel, vendor: Vendor) -> None:
    """At once, and not when somebody notices that their heartbeat stopped."""
    vendor.may_answer.clear()
    await kernel.call(plan_question, Text(text="la?"))
    async with working(kernel.worker(grace=timedelta(seconds=0.1)), url=kernel.url):
        async with asyncio.timeout(PATIENCE):
            await vendor.busy.wait()
    assert await kernel.value("select status from pgqueuer") == "queued"
    vendor.may_answer.set()
    async with asyncio.timeout(PATIENCE), working(kernel.worker(), url=kernel.url):
        await kernel.until(ALL_DONE)
    assert len(vendor.asked) == 2
    assert len(await kernel.notes()) == 1


async def test_a_cancelled_worker_ends(kernel: Kernel, vendor: Vendor) -> None:
    """With its job in the middle, which another can have at once."""
    vendor.may_answer.clear()
    await kernel.call(plan_question, Text(text="la?"))
    task = asyncio.create_task(kernel.worker().run_forever(kernel.url))
    async with asyncio.timeout(10):
        await vendor.busy.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await kernel.value("select status from pgqueuer") == "queued"


async def test_a_job_that_cannot_be_settled_is_delivered_again(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The database refuses to be told: the job runs when it listens again, and nobody's words are written anywhere."""
    monkeypatch.setattr(worker_module, "UNSETTLED_PAUSE", 0.2)
    await kernel.database.pool.execute(
        f"""create function refuse() returns trigger language plpgsql as
            $$ begin raise exception '{DIARY}'; end $$;
            create trigger refusing before update on jobs for each row when (new.status <> 'running')
            execute function refuse()"""
    )
    try:
        async with working(kernel.worker(heartbeat=HEARTBEAT), url=kernel.url):
            await kernel.call(plan_note, Text(text="la"))
            await kernel.until("select count(*) > 0 from pgqueuer_log where traceback is not null")
            await kernel.database.pool.execute("drop trigger refusing on jobs")
            await kernel.until(ALL_DONE)
    finally:
        await kernel.database.pool.execute("drop function refuse cascade")
    written = await kernel.fetch("select traceback::text as text from pgqueuer_log where traceback is not null")
    assert not any(DIARY in row["text"] for row in written)
    assert DIARY not in caplog.text
    assert len(await kernel.notes()) == 1


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


async def test_g59_a_drain_and_the_worker_beside_it_run_no_job_twice(kernel: Kernel, vendor: Vendor) -> None:
    """What the worker runs is waited for; what the drain has taken, the worker lets go."""
    worker = kernel.worker()
    async with working(worker, url=kernel.url):
        vendor.may_answer.clear()
        await kernel.call(plan_question, Text(text="la?"))
        async with asyncio.timeout(PATIENCE):
            await vendor.busy.wait()
        drained = asyncio.create_task(worker.drain(until=None, clock=kernel.clock))
        await asyncio.wait({drained}, timeout=0.1)
        assert not drained.done()
        vendor.may_answer.set()
        assert await drained == 0
        await kernel.until(ALL_DONE)
    assert len(vendor.asked) == 1
    assert len(await kernel.notes()) == 1


async def test_g50_a_worker_gets_over_a_spell_of_read_only(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections were opened while nothing could be written; when that is over, it works without a restart."""
    name = urlsplit(kernel.url).path.strip("/")
    await kernel.call(plan_note, Text(text="la"))
    admin = await asyncpg.connect(kernel.url)
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(worker_module, "log", structlog.get_logger())

        async def has_failed() -> bool:
            return any(line["event"] == "worker restarting" for line in lines)

        try:
            await admin.execute(f'alter database "{name}" set default_transaction_read_only = on')
            await kernel.database.renew()
            async with working(kernel.worker(heartbeat=HEARTBEAT), url=kernel.url):
                await until(has_failed)
                await admin.execute(f'alter database "{name}" reset default_transaction_read_only')
                await kernel.until(ALL_DONE)
        finally:
            await admin.execute(f'alter database "{name}" reset default_transaction_read_only')
            await admin.close()
    assert len(await kernel.notes()) == 1
