"""The worker's loop: picking up jobs, sharing them, surviving lost connections, stopping."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import structlog

from daysong.kernel.conftest import PATIENCE, Kernel, MakeKernel, until
from daysong.kernel.jobs import worker as worker_module
from daysong.kernel.jobs.conftest import (
    ALL_DONE,
    DIARY,
    HEARTBEAT,
    TWENTY_ACTIONS,
    Text,
    Vendor,
    plan_note,
    plan_question,
    plan_question_for,
    room,
    working,
)
from daysong.kernel.limits.lanes import Lane, slots, slots_of_account

pytestmark = pytest.mark.anyio

# The loop


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
    assert await kernel.value("select count(*) from pgqueuer_log") == 0, "its steps are not logged either"


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
    """Of all connections only that is lost that notifies it of new jobs: soon it has another."""
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
    """At once, and not when their heartbeat is missed."""
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
    """The outcome cannot be stored: the job runs again later, and no private text is logged."""
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


LOADERS = """
import threading
from daysong.kernel.database import job_queue

failed = []
threading.excepthook = failed.append

def load_loop():
    job_queue.load()
    from daysong.kernel.jobs.lane_manager import LaneManager

threads = [threading.Thread(target=one) for one in (job_queue.load, load_loop, job_queue.load, load_loop)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
raise SystemExit(len(failed))
"""


def test_the_queue_library_is_loaded_by_one_thread_at_a_time() -> None:
    """Its modules import each other in circles: two threads that began at two ends both failed, and so did a worker."""
    assert subprocess.run([sys.executable, "-c", LOADERS], check=False, capture_output=True).returncode == 0  # noqa: S603
