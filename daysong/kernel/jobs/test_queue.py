from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel import logs
from daysong.kernel.conftest import NOW, Kernel, MakeKernel
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, mutation, query
from daysong.kernel.functions.registry import module
from daysong.kernel.ids import DiaryId
from daysong.kernel.jobs import queue as jobs
from daysong.kernel.jobs.queue import Cron, Job, Superseded
from daysong.kernel.limits.lanes import Lane

pytestmark = pytest.mark.anyio


class Letter(Args):
    """The arguments of a letter."""

    to: str
    diary_id: str | None = None
    key: str | None = None
    delay: timedelta = timedelta(0)


@mutation
async def deliver(ctx: MutationContext, args: Letter) -> None:
    """The job: note that it came."""
    await ctx.db.execute("insert into notes (text) values ($1)", args.to)


@mutation
async def post(ctx: MutationContext, args: Letter) -> None:
    """Have a letter delivered."""
    await ctx.schedule(deliver, args, delay=args.delay, key=args.key)


@query
async def look(ctx: QueryContext, args: NoArgs) -> None:
    """No job."""


@mutation
async def schedule_a_look(ctx: MutationContext, args: NoArgs) -> None:
    """What cannot be."""
    await ctx.schedule(look, NoArgs())


FOR_ALICE = Letter(to="alice")


@pytest.fixture
async def kernel(make_kernel: MakeKernel) -> Kernel:
    """A kernel with the room above."""
    return await make_kernel(room)


async def queue_rows(kernel: Kernel) -> list[asyncpg.Record]:
    """What pgqueuer has to carry."""
    return await kernel.fetch("select * from pgqueuer order by id")


async def test_a_scheduled_job_has_a_row_and_a_ticket(kernel: Kernel) -> None:
    """Its function, arguments and time in our table; in the queue, its id and ticket, due after the same delay."""
    with logs.request_scope("0123456789abcdef"):
        await kernel.call(post, Letter(to="alice", diary_id=DiaryId("diary_1"), delay=timedelta(hours=1)))
    job = await kernel.job()
    assert (job["function"], job["status"], job["request_id"]) == ("letters:deliver", "queued", "0123456789abcdef")
    assert job["args"] == {"to": "alice", "diaryId": "diary_1", "key": None, "delay": "PT3600S"}
    assert job["due_at"] == NOW + timedelta(hours=1)
    (row,) = await queue_rows(kernel)
    assert row["payload"].decode() == row["dedupe_key"] == await kernel.ticket()
    assert row["execute_after"] - row["created"] == timedelta(hours=1)


async def test_a_job_is_queued_as_the_library_queues_it(kernel: Kernel) -> None:
    """The row that comes with the job has what pgqueuer's own `enqueue` writes. Ours is not logged."""
    await kernel.call(post, Letter(to="alice", delay=timedelta(seconds=90)))
    job_id, _, ticket = (await kernel.ticket()).partition(":")

    async def enqueue(tx: Transaction) -> None:
        await tx.execute("update pgqueuer set dedupe_key = 'first'")
        await jobs.enqueue(tx, job_id, ticket, timedelta(seconds=90), Lane.QUICK)

    await kernel.database.mutate(enqueue)
    ours, theirs = [
        dict(row)
        for row in await kernel.fetch(
            """select priority, entrypoint, payload, execute_after - created as delay, headers::text, status,
                      queue_manager_id, attempts
               from pgqueuer order by id"""
        )
    ]
    assert ours == theirs


async def test_a_delay_in_the_past_is_none(kernel: Kernel) -> None:
    """Due at once, for the queue too."""
    await kernel.call(post, Letter(to="alice", delay=timedelta(hours=-1)))
    (row,) = await queue_rows(kernel)
    assert row["execute_after"] == row["created"]


async def test_one_key_makes_one_job(kernel: Kernel) -> None:
    """However often and however many at once ask for it; also after it has run."""
    letter = Letter(to="alice", key="birthday")
    await asyncio.gather(*[kernel.call(post, letter) for _ in range(6)])
    await kernel.call(post, letter)
    assert await kernel.value("select count(*) from jobs") == len(await queue_rows(kernel)) == 1
    assert await kernel.drain() == 1
    await kernel.call(post, letter)
    assert await kernel.drain() == 0
    await kernel.call(post, Letter(to="bob", key="another"))
    assert await kernel.drain() == 1


async def test_a_query_makes_no_job(kernel: Kernel) -> None:
    """A query cannot be scheduled, since its result would be lost."""
    with pytest.raises(DaysongError, match="letters:look is a query"):
        await kernel.call(schedule_a_look)


async def test_claiming_counts_the_start(kernel: Kernel) -> None:
    """Before it runs, so that a job that kills its worker is noticed; after such a death it can be taken again."""
    await kernel.call(post, FOR_ALICE)
    job = await kernel.claim()
    assert (job.function, job.args["to"], job.starts, job.failures) == ("letters:deliver", "alice", 1, 0)
    assert (await kernel.job())["status"] == "running"
    assert (await kernel.claim()).starts == 2


@pytest.mark.parametrize("ticket", ["", ":", "job_none:x", "nothing", "a:b:c"])
async def test_a_foreign_ticket_takes_nothing(kernel: Kernel, ticket: str) -> None:
    """Whatever a queue row carries."""
    await kernel.call(post, FOR_ALICE)
    assert await kernel.queue.claim(ticket, NOW) is None


async def test_a_ticket_is_good_until_the_job_has_another(kernel: Kernel) -> None:
    """Put back, retried, rescued, taken by a drain or done: the old queue row is dropped when it is delivered again."""
    await kernel.call(post, FOR_ALICE)
    old = await kernel.ticket()
    job = await kernel.claim()
    await kernel.database.mutate(lambda tx: put_back(kernel, tx, job))
    assert await kernel.queue.claim(old, NOW) is None
    again = await kernel.claim()
    assert (again.starts, again.failures) == (1, 1)
    await kernel.database.mutate(lambda tx: kernel.queue.mark_done(tx, again, NOW))
    assert await kernel.queue.claim(await kernel.ticket(), NOW) is None


async def put_back(kernel: Kernel, tx: Transaction, job: Job, error: str | None = "it rained") -> None:
    delay = timedelta(seconds=2)
    await kernel.queue.put_back(tx, job, failures=job.failures + 1, due_at=NOW + delay, delay=delay, error=error)


async def test_only_who_holds_a_job_can_end_it(kernel: Kernel) -> None:
    """A worker thought dead comes back late: it may still say that the job is done, but not that it failed."""
    await kernel.call(post, FOR_ALICE)
    late, current = await kernel.claim(), await kernel.claim()
    for failure in (
        lambda tx: put_back(kernel, tx, late),
        lambda tx: kernel.queue.mark_dead(tx, late, NOW, "it rained"),
    ):
        with pytest.raises(Superseded):
            await kernel.database.mutate(failure)
    assert (await kernel.job())["status"] == "running"
    await kernel.database.mutate(lambda tx: kernel.queue.mark_done(tx, late, NOW))
    for ending in (
        lambda tx: kernel.queue.mark_done(tx, current, NOW),
        lambda tx: put_back(kernel, tx, current),
        lambda tx: kernel.queue.mark_dead(tx, current, NOW, "it rained"),
    ):
        with pytest.raises(Superseded):
            await kernel.database.mutate(ending)
    assert (await kernel.job())["status"] == "done"
    assert len(await queue_rows(kernel)) == 1


async def test_a_job_put_back_waits_again(kernel: Kernel) -> None:
    """With a new ticket, a new queue row and the reason to be read."""
    await kernel.call(post, FOR_ALICE)
    job = await kernel.claim()
    await kernel.database.mutate(lambda tx: put_back(kernel, tx, job))
    row = await kernel.job()
    assert (row["status"], row["due_at"], row["starts"], row["failures"], row["last_error"]) == (
        "queued", NOW + timedelta(seconds=2), 0, 1, "it rained"
    )  # fmt: skip
    assert [each["dedupe_key"] for each in await queue_rows(kernel)][1:] == [await kernel.ticket()]


async def test_dead_jobs_are_listed_and_can_be_retried(kernel: Kernel) -> None:
    """They stay, with what went wrong, and start a new life when asked to; only dead ones do."""
    await kernel.call(post, FOR_ALICE)
    job = await kernel.claim()
    assert not await kernel.queue.retry(job.id, NOW)
    await kernel.database.mutate(lambda tx: kernel.queue.mark_dead(tx, job, NOW, "it rained"))
    (dead,) = await kernel.queue.list("dead", 10)
    assert (dead["id"], dead["function"], dead["failures"], dead["last_error"]) == (
        job.id, "letters:deliver", 1, "it rained"
    )  # fmt: skip
    assert await kernel.drain() == 0
    assert await kernel.queue.retry(job.id, NOW)
    assert not await kernel.queue.retry(job.id, NOW)
    assert not await kernel.queue.retry("job_none", NOW)
    assert await kernel.drain() == 1
    assert await kernel.notes() == ["alice"]
    assert [row["status"] for row in await kernel.queue.list(None, 10)] == ["done"]
    assert await kernel.queue.list("dead", 10) == []


async def test_an_end_without_an_error_keeps_the_last_one(kernel: Kernel) -> None:
    """The first error is kept."""
    await kernel.call(post, FOR_ALICE)
    first = await kernel.claim()
    await kernel.database.mutate(lambda tx: put_back(kernel, tx, first, "it rained"))
    second = await kernel.claim()
    await kernel.database.mutate(lambda tx: put_back(kernel, tx, second, None))
    third = await kernel.claim()
    await kernel.database.mutate(lambda tx: kernel.queue.mark_dead(tx, third, NOW, None))
    assert (await kernel.job())["last_error"] == "it rained"


async def test_pending_counts_what_is_not_finished(kernel: Kernel) -> None:
    """Queued and running jobs, whenever due."""
    await kernel.call(post, FOR_ALICE)
    await kernel.call(post, Letter(to="bob", delay=timedelta(days=1)))
    assert await kernel.queue.pending() == 2
    await kernel.drain()
    assert await kernel.queue.pending() == 1


async def test_a_job_whose_queue_row_vanished_is_rescued(kernel: Kernel) -> None:
    """Queued or running, once it is a minute late; its starts stay counted, and it is rescued once."""
    await kernel.call(post, FOR_ALICE)
    await kernel.claim()
    await kernel.database.pool.execute("delete from pgqueuer")
    assert await kernel.queue.rescue(NOW + jobs.RESCUE_AFTER) == 0
    later = NOW + jobs.RESCUE_AFTER + timedelta(seconds=1)
    assert sorted(await asyncio.gather(*[kernel.queue.rescue(later) for _ in range(3)])) == [0, 0, 1]
    assert len(await queue_rows(kernel)) == 1
    assert (await kernel.claim()).starts == 2
    await kernel.database.pool.execute("update jobs set status = 'queued', started_at = null")
    await kernel.database.pool.execute("delete from pgqueuer")
    assert await kernel.queue.rescue(later) == 1


async def test_jobs_that_are_well_are_not_rescued(kernel: Kernel) -> None:
    """Those still to come, those waiting or at work with a queue row, and those that have ended."""
    await kernel.call(post, Letter(to="waiting"))
    await kernel.call(post, Letter(to="to come", delay=timedelta(days=1)))
    await kernel.call(post, Letter(to="at work"))
    await kernel.call(post, Letter(to="done"))
    await kernel.call(post, Letter(to="dead"))
    for to, status in (("at work", "running"), ("done", "done"), ("dead", "dead")):
        await kernel.database.pool.execute(
            """update jobs set status = $2, started_at = $3,
                 finished_at = case when $2::text = 'running' then null else $3::timestamptz end
               where args->>'to' = $1""",
            to, status, NOW,
        )  # fmt: skip
    await kernel.database.pool.execute(
        """delete from pgqueuer using jobs
           where dedupe_key = jobs.id || ':' || ticket and args->>'to' in ('done', 'dead', 'to come')"""
    )
    await kernel.database.pool.execute(
        "update pgqueuer set status = 'picked' where id = (select max(id) from pgqueuer)"
    )
    assert await kernel.queue.rescue(NOW + timedelta(hours=1)) == 0


async def test_a_tick_is_scheduled_once(kernel: Kernel) -> None:
    """However many workers notice the time at the same moment."""
    cron = Cron("sweeper", "* * * * *", deliver_to_all)
    await asyncio.gather(*[kernel.queue.tick(cron, NOW, NoArgs()) for _ in range(5)])
    await kernel.queue.tick(cron, NOW, NoArgs())
    assert await kernel.value("select count(*) from jobs") == 1
    await kernel.queue.tick(cron, NOW + timedelta(minutes=1), NoArgs())
    await kernel.queue.tick(Cron("other", "* * * * *", deliver_to_all), NOW, NoArgs())
    assert await kernel.value("select count(*) from jobs") == 3


@mutation
async def deliver_to_all(ctx: MutationContext, args: NoArgs) -> None:
    """A cron's job."""
    await ctx.db.execute("insert into notes (text) values ($1)", f"all at {ctx.now:%H:%M}")


room = module("letters", internal=(deliver, post, look, schedule_a_look, deliver_to_all))


moments = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - strategy's
crons = st.sampled_from(["* * * * *", "*/5 * * * *", "30 3 * * *", "0 0 * * 1", "0 12 1 * *"]).map(
    lambda expression: Cron("cron", expression, deliver_to_all)
)


@given(crons, moments)
def test_now_lies_between_the_latest_tick_and_the_next(cron: Cron, now: datetime) -> None:
    """A tick counts from the very moment on; both are whole UTC minutes, with nothing between them."""
    latest, following = cron.latest_tick(now), cron.next_tick(now)
    assert latest <= now < following
    assert latest.tzinfo is not None and latest.second == latest.microsecond == 0  # noqa: PT018 - one thought
    assert cron.latest_tick(latest) == cron.latest_tick(following - timedelta(microseconds=1)) == latest
    assert cron.next_tick(latest) == cron.latest_tick(following) == following
