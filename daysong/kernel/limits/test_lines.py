from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator

import pytest

from daysong.kernel.database.transactions import Database
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lines import Line, on_behalf_of
from daysong.kernel.limits.rates import Rate
from daysong.kernel.limits.store import RateStore

pytestmark = pytest.mark.anyio

FAST = Rate(20, 0.5, strict=True)
SLOW = Rate(5, 60, strict=True)


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """The database as two processes have it."""
    both = Database(database_url, max_connections=4), Database(database_url, max_connections=4)
    for database in both:
        await database.open()
    yield both
    for database in both:
        await database.close()


async def test_g14_processes_share_a_vendors_rate(databases: tuple[Database, Database]) -> None:
    """However many processes ask, in no window is the vendor asked more often than it allows."""
    lines = [Line("suno", FAST, RateStore(database)) for database in databases]
    gone: list[float] = []

    async def ask(line: Line) -> None:
        await line.wait()
        gone.append(time.perf_counter())

    await asyncio.gather(*(ask(lines[place % 2]) for place in range(40)))
    assert len(gone) == 40
    gone.sort()
    # 25 ms are for a loop that is late; the rate itself leaves room for one request.
    assert all(later - earlier > FAST.seconds - 0.025 for earlier, later in zip(gone, gone[21:], strict=False))


async def test_g14_an_account_with_much_to_ask_does_not_keep_others_waiting(
    databases: tuple[Database, Database],
) -> None:
    """Waiting accounts are served round-robin, whatever the order of arrival."""
    line = Line("suno", FAST, RateStore(databases[0]))
    order: list[str] = []

    async def ask(account: str) -> None:
        with on_behalf_of(account):
            await line.wait()
        order.append(account)

    many = [asyncio.create_task(ask("alice")) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.gather(*many, asyncio.create_task(ask("bob")), asyncio.create_task(ask("charlie")))
    assert order.index("bob") < 8
    assert order.index("charlie") < 8


async def test_g14_a_pause_one_caller_was_asked_for_holds_for_all_processes(
    databases: tuple[Database, Database],
) -> None:
    """retry-after of one answer is the business of everybody who asks that vendor."""
    first, second = (Line("suno", FAST, RateStore(database)) for database in databases)
    await second.wait()
    await first.hold(0.3)
    started = time.perf_counter()
    await second.wait()
    assert time.perf_counter() - started > 0.25


async def test_g14_who_would_wait_for_long_is_sent_back_to_the_queue(databases: tuple[Database, Database]) -> None:
    """A long line holds no slot: each request is deferred to a moment of its own."""
    line = Line("suno", SLOW, RateStore(databases[0]))
    await line.hold(60)
    ends = await asyncio.gather(*(line.wait() for _ in range(4)), return_exceptions=True)
    assert all(isinstance(end, Deferred) for end in ends)
    moments = sorted(end.retry_after or 0 for end in ends if isinstance(end, Deferred))
    assert moments[0] > 59
    assert all(later - earlier > SLOW.interval / 2 for earlier, later in itertools.pairwise(moments))


async def test_g14_who_comes_back_goes_before_who_is_new(databases: tuple[Database, Database]) -> None:
    """While others are to come back, a new caller goes behind them; one who came back gets its turn."""
    line = Line("suno", SLOW, RateStore(databases[0]), patience=0.2)
    await line.wait()
    with pytest.raises(Deferred):
        await line.wait()
    line._free_at = 0  # as if the time had passed that frees the line
    await databases[0].pool.execute("update rate_limits set next_at = clock_timestamp()")
    with pytest.raises(Deferred):
        await line.wait()
    with on_behalf_of("alice", returning=True):
        await line.wait()


async def test_without_a_database_nobody_waits_for_ever(databases: tuple[Database, Database]) -> None:
    """A line whose database is away sends callers back."""
    line = Line("suno", FAST, RateStore(databases[0]))
    await databases[0].close()
    with pytest.raises(Deferred):
        await line.wait()


async def test_bytes_are_reserved_without_counting_them_one_by_one(databases: tuple[Database, Database]) -> None:
    """A gigabyte costs as little of the event loop's time as one request."""
    before = time.thread_time()
    reserved = await RateStore(databases[0]).take("bytes", "someone", Rate(2**31, 60), 2**30)
    assert time.thread_time() - before < 0.5
    assert reserved is not None
    assert (reserved.size, reserved.wait(2**30 - 1)) == (2**30, 0.0)
    assert next(reserved.waits) == 0.0
