"""How jobs end: done, retried, deferred or dead; and drains."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from daysong.kernel import logs
from daysong.kernel.conftest import NOW, Kernel, MakeKernel
from daysong.kernel.errors import VendorError
from daysong.kernel.jobs.conftest import (
    DIARY,
    Refused,
    Text,
    Vendor,
    elsewhere,
    plan_breakdown,
    plan_elsewhere,
    plan_note,
    plan_plan,
    plan_question,
    question_on_time,
    room,
    sweep,
    unreachable,
)
from daysong.kernel.jobs.outcomes import MAX_STARTS, MOST_WAITS
from daysong.kernel.jobs.queue import Cron
from daysong.kernel.limits.errors import Deferred

pytestmark = pytest.mark.anyio

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
    await kernel.fetch("update jobs set deferrals = $1", MOST_WAITS)
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
