from __future__ import annotations

import asyncio
import functools
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from daysong.kernel.conftest import Kernel, MakeKernel
from daysong.kernel.database import transactions as database_module
from daysong.kernel.database.transactions import Database, SecondStatement, Transaction, lock
from daysong.kernel.errors import DatabaseUnavailable, DaysongError, TooBusy
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, mutation, query
from daysong.kernel.functions.registry import module
from daysong.kernel.ids import DiaryId

pytestmark = pytest.mark.anyio


class Named(Args):
    """Whose tally."""

    name: str


class Noted(Args):
    """What to note."""

    text: str
    then_fail: bool = False


class Quarrel(Exception):
    """Something a function did not expect."""


@mutation(isolation="serializable")
async def count_up(ctx: MutationContext, args: Named) -> int:
    """One more, by reading first and writing then."""
    count = int(await ctx.db.fetchval("select count from tally where name = $1", args.name) or 0) + 1
    await ctx.db.execute(
        "insert into tally values ($1, $2) on conflict (name) do update set count = $2", args.name, count
    )
    return count


@mutation(isolation="serializable")
async def register(ctx: MutationContext, args: Named) -> bool:
    """Take a name if it is free, by looking first."""
    if await ctx.db.fetchval("select true from tally where name = $1", args.name):
        return False
    await ctx.db.execute("insert into tally values ($1, 0)", args.name)
    return True


@mutation
async def note(ctx: MutationContext, args: Noted) -> None:
    """Note it, and have it noted again by a job."""
    await ctx.db.execute("insert into notes (text) values ($1)", args.text)
    await ctx.schedule(note, Noted(text="again"), delay=timedelta(hours=1))
    if args.then_fail:
        raise Quarrel(args.text)


@query(reads=("tally",))
async def one_look(ctx: QueryContext, args: Named) -> int | None:
    """One statement."""
    count: int | None = await ctx.db.fetchval("select count from tally where name = $1", args.name)
    return count


@query(reads=("tally",))
async def two_looks(ctx: QueryContext, args: NoArgs) -> None:
    """Two statements, undeclared."""
    await ctx.db.fetch("select 1")
    await ctx.db.fetchrow("select 2")


room = module("tallies", internal=(count_up, register, note, one_look, two_looks))


@pytest.fixture
async def kernel(make_kernel: MakeKernel) -> Kernel:
    """A kernel with the room above."""
    return await make_kernel(room)


async def test_a_mutation_that_loses_a_race_is_run_again(kernel: Kernel) -> None:
    """Two count up at once from the same number: the loser starts over, and both effects are there."""
    both_have_read = asyncio.Barrier(2)
    tries = 0

    async def count(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        before = await tx.fetchval("select count from tally")
        if tries <= 2:
            await both_have_read.wait()
        await tx.execute("update tally set count = $1", before + 1)

    await kernel.database.pool.execute("insert into tally values ('alice', 0)")
    mutate = functools.partial(kernel.database.mutate, isolation="serializable")
    await asyncio.gather(mutate(count), mutate(count))
    assert await kernel.value("select count from tally") == 2
    assert tries == 3


async def test_a_race_between_rows_is_lost_too(kernel: Kernel) -> None:
    """Each of two looks whether the other is there and comes only if not: never do both come."""
    both_have_looked = asyncio.Barrier(2)
    tries = 0

    def come(name: str, other: str) -> Any:
        async def work(tx: Transaction) -> bool:
            nonlocal tries
            tries += 1
            free = not await tx.fetchval("select count(*) from tally where name = $1", other)
            if tries <= 2:
                await both_have_looked.wait()
            if free:
                await tx.execute("insert into tally values ($1, 0)", name)
            return free

        return work

    mutate = functools.partial(kernel.database.mutate, isolation="serializable")
    assert sorted(await asyncio.gather(mutate(come("alice", "bob")), mutate(come("bob", "alice")))) == [False, True]
    assert await kernel.value("select count(*) from tally") == 1


async def test_a_name_looked_up_first_is_taken_once(kernel: Kernel) -> None:
    """Looking first and inserting then is enough: who comes second learns that it is taken, and does not fail."""
    taken = await asyncio.gather(*[kernel.call(register, Named(name="alice")) for _ in range(8)])
    assert sorted(taken) == [False] * 7 + [True]


async def test_many_at_once_lose_nothing(kernel: Kernel) -> None:
    """All of them are counted, however often they meet."""
    counts = await asyncio.gather(*[kernel.call(count_up, Named(name="alice")) for _ in range(10)])
    assert sorted(counts) == list(range(1, 11))


async def test_who_waits_for_a_lock_reads_what_its_holder_has_committed(kernel: Kernel) -> None:
    """Without more than READ COMMITTED: what is read after a lock by name is the newest, and nothing is run again."""
    tries = 0

    async def count(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await lock(tx, "the tally of alice", "another")
        before = await tx.fetchval("select count from tally")
        await tx.execute("update tally set count = $1", before + 1)

    await kernel.database.pool.execute("insert into tally values ('alice', 0)")
    await asyncio.gather(*[kernel.database.mutate(count) for _ in range(20)])
    assert await kernel.value("select count from tally") == 20
    assert tries == 20


async def test_names_locked_in_any_order_do_not_deadlock(kernel: Kernel) -> None:
    """Two transactions that lock the same names, named in opposite orders, never undo each other."""
    tries = 0

    def locking(*names: str) -> Any:
        async def work(tx: Transaction) -> None:
            nonlocal tries
            tries += 1
            await tx.execute("set local deadlock_timeout = '10ms'")
            await lock(tx, *names)

        return work

    both = [locking("alice", "bob"), locking("bob", "alice")] * 20
    await asyncio.gather(*[kernel.database.mutate(work) for work in both])
    assert tries == len(both)


async def test_a_deadlock_is_a_lost_race(kernel: Kernel) -> None:
    """Two that lock in opposite order both get through in the end."""
    await kernel.database.pool.execute("insert into tally values ('alice', 0), ('bob', 0)")
    both_have_one = asyncio.Barrier(2)
    tries = 0

    def lock(first: str, second: str) -> Any:
        async def work(tx: Transaction) -> None:
            nonlocal tries
            tries += 1
            await tx.execute("set local deadlock_timeout = '10ms'")
            await tx.execute("select from tally where name = $1 for update", first)
            if tries <= 2:
                await both_have_one.wait()
            await tx.execute("select from tally where name = $1 for update", second)

        return work

    await asyncio.gather(kernel.database.mutate(lock("alice", "bob")), kernel.database.mutate(lock("bob", "alice")))
    assert tries == 3


async def test_a_mutation_that_loses_every_connection_ends_with_database_unavailable(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pooler may accept connections for a server that is away: that is no conflict with others' changes."""
    monkeypatch.setattr(database_module, "MAX_ATTEMPTS", 3)

    async def work(tx: Transaction) -> None:
        await tx.execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(DatabaseUnavailable):
        await kernel.database.mutate(work)


async def test_who_loses_every_race_is_told_to_come_back(kernel: Kernel) -> None:
    """After a bounded number of tries: TooBusy, and nothing is left of any of them."""
    await kernel.database.pool.execute("insert into tally values ('alice', 0)")
    tries = 0

    async def work(tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await tx.fetchval("select count from tally")
        await kernel.database.pool.execute("update tally set count = count + 1")
        await tx.execute("insert into notes (text) values ('lost')")
        await tx.execute("update tally set count = 0")

    with pytest.raises(TooBusy):
        await kernel.database.mutate(work, isolation="serializable")
    assert tries == database_module.MAX_ATTEMPTS
    assert await kernel.value("select count from tally") == tries
    assert await kernel.notes() == []


async def test_a_failing_mutation_leaves_no_trace(kernel: Kernel) -> None:
    """Neither its rows nor its job nor the job's queue row, and it is not run again."""
    with pytest.raises(Quarrel):
        await kernel.call(note, Noted(text="Rain.", then_fail=True))
    assert await kernel.notes() == []
    assert await kernel.value("select count(*) from jobs") == 0
    assert await kernel.value("select count(*) from pgqueuer") == 0
    await kernel.call(note, Noted(text="Sun."))
    assert await kernel.notes() == ["Sun."]
    assert await kernel.value("select count(*) from jobs") == 1


async def test_a_query_runs_one_statement(kernel: Kernel) -> None:
    """A second one might see another moment, and is refused."""
    await kernel.call(count_up, Named(name="alice"))
    assert await kernel.call(one_look, Named(name="alice")) == 1
    with pytest.raises(SecondStatement):
        await kernel.call(two_looks)


async def test_a_snapshot_sees_one_moment(kernel: Kernel) -> None:
    """What others commit meanwhile is not in it."""
    await kernel.call(count_up, Named(name="alice"))
    async with kernel.database.snapshot() as db:
        assert await db.fetchval("select count from tally") == 1
        await kernel.call(count_up, Named(name="alice"))
        assert await db.fetchval("select count from tally") == 1
    assert await kernel.call(one_look, Named(name="alice")) == 2


async def test_a_snapshot_only_reads(kernel: Kernel) -> None:
    """A query that writes is refused by the database itself."""
    async with kernel.database.snapshot() as db:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await db.fetch("delete from tally returning name")


async def test_a_cancelled_call_leaves_nothing_behind(kernel: Kernel) -> None:
    """A request given up in the middle of its transaction: no row, no lock, and its connection serves the next."""
    kernel = Kernel(kernel.url, room, max_connections=1)
    await kernel.database.open()
    waiting = asyncio.Event()

    async def work(tx: Transaction) -> None:
        await tx.execute("insert into tally values ('alice', 0)")
        waiting.set()
        await tx.execute("select pg_sleep(60)")

    call = asyncio.create_task(kernel.database.mutate(work))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    async with asyncio.timeout(5):
        assert await kernel.call(count_up, Named(name="alice")) == 1
        assert not await kernel.value(
            """select count(*) from pg_stat_activity
               where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()"""
        )
    await kernel.database.close()


async def test_calls_wait_for_a_connection(kernel: Kernel) -> None:
    """Far more mutations at once than connections: each gets its turn, with queries in between."""
    small = Kernel(kernel.url, room, max_connections=2)
    await small.database.open()
    calls = [small.call(count_up, Named(name=str(n))) for n in range(40)]
    looks = [small.call(one_look, Named(name=str(n))) for n in range(40)]
    done = await asyncio.gather(*calls, *looks)
    assert done[:40] == [1] * 40
    await small.database.close()


async def test_nothing_takes_for_ever(kernel: Kernel) -> None:
    """A statement is given up, and so is the transaction of a process that froze and would keep its locks."""
    assert await kernel.value("select current_setting('statement_timeout')") == "20s"
    assert await kernel.value("select current_setting('idle_in_transaction_session_timeout')") == "20s"


async def test_connections_lost_are_replaced(kernel: Kernel) -> None:
    """The server restarts or fails over: calls after it work again."""
    await kernel.call(count_up, Named(name="alice"))
    async with kernel.database.pool.acquire() as connection:
        await connection.execute(
            """select pg_terminate_backend(pid) from pg_stat_activity
               where application_name = 'daysong' and datname = current_database() and pid <> pg_backend_pid()"""
        )
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        pid = connection.get_server_pid()
        other = await asyncpg.connect(kernel.url)
        await other.execute("select pg_terminate_backend($1)", pid)
        await other.close()
        async with asyncio.timeout(5):
            await ended.wait()
    assert await kernel.call(count_up, Named(name="alice")) == 2


async def test_json_comes_back_as_it_was_stored(kernel: Kernel) -> None:
    """jsonb columns take and give Python values, typed ids among them."""
    values: list[Any] = [{"a": [1, 2.5, None, "text", True]}, [], {}, {"id": DiaryId("diary_1")}]
    for value in values:
        assert await kernel.value("select $1::jsonb", value) == value


async def test_a_closed_database_says_so() -> None:
    """A call before `open` or after `close` fails with the reason; closing twice is fine."""
    database = Database("postgresql:///nothing")
    await database.close()
    with pytest.raises(DaysongError, match="not open"):
        database.one_statement()


async def test_g59_a_reset_empties_the_schema_that_is_used(kernel: Kernel) -> None:
    """Tables may live in another schema than public, by the search path of the role or of the address."""
    await kernel.fetch("create schema elsewhere")
    await kernel.fetch("create table elsewhere.things (n integer)")
    await kernel.fetch("insert into elsewhere.things values (1)")
    await kernel.fetch("insert into tally values ('alice', 1)")
    try:
        await kernel.fetch(f'alter database "{urlsplit(kernel.url).path[1:]}" set search_path = elsewhere, public')
        await kernel.database.renew()
        await kernel.database.empty()
        assert await kernel.value("select count(*) from things") == 0
        assert await kernel.value("select count(*) from tally") == 1
    finally:
        await kernel.fetch(f'alter database "{urlsplit(kernel.url).path[1:]}" reset search_path')
        await kernel.fetch("drop schema elsewhere cascade")
