"""Commits that do not wait for the disk, and mutations of one statement."""

from __future__ import annotations

import asyncpg
import pytest

from daysong.kernel.conftest import Kernel, MakeKernel
from daysong.kernel.database import transactions as database_module
from daysong.kernel.database.transactions import LOST, UNFLUSHED, Database, Statement, Transaction
from daysong.kernel.errors import DatabaseUnavailable, TooBusy
from daysong.kernel.functions import runtime as runtime_module
from daysong.kernel.functions.context import MutationContext, StatementContext
from daysong.kernel.functions.declarations import Args, mutation
from daysong.kernel.functions.registry import module

pytestmark = pytest.mark.anyio


class Named(Args):
    """Whose tally."""

    name: str


def _begin_at_once(ctx: StatementContext, args: Named) -> Statement:
    writes = "with begun as (insert into tally values ($1, 0) on conflict do nothing returning name)"
    return Statement(writes, "select from begun", (args.name,), "at once")


@mutation(at_once=_begin_at_once)
async def begin_tally(ctx: MutationContext, args: Named) -> str:
    """Insert a tally, if there is none."""
    await ctx.db.execute("insert into tally values ($1, 0) on conflict do nothing", args.name)
    return "by the handler"


room = module("tallies", internal=(begin_tally,))


@pytest.fixture
async def kernel(make_kernel: MakeKernel) -> Kernel:
    """A kernel with the room above."""
    return await make_kernel(room)


async def test_a_mutation_is_on_disk_when_it_returns(database_url: str) -> None:
    """Although its own commit does not wait for the disk. Here the server writes to the log in time, without fsync."""
    writer = await asyncpg.connect(database_url, server_settings={"synchronous_commit": "on"})
    watcher = await asyncpg.connect(database_url)
    for number in range(20):
        await writer.execute(database_module.BEGIN)
        await writer.execute("insert into feature_flags values ($1, 0, now(), now())", f"flag-{number}")
        written = await writer.fetchval("select pg_current_wal_insert_lsn()")
        await writer.execute(database_module.COMMIT)
        assert await watcher.fetchval("select pg_current_wal_flush_lsn() >= $1::pg_lsn", written)
        written = await writer.fetchval(
            f"""with written as (update feature_flags set percent = $2 where key = $1 returning key)
                select pg_current_wal_insert_lsn(), {UNFLUSHED} from written""",  # noqa: S608
            f"flag-{number}", number,
        )  # fmt: skip
        assert await writer.fetchval("select current_setting('synchronous_commit')") == "on"
        await writer.execute(database_module.FLUSH)
        assert await watcher.fetchval("select pg_current_wal_flush_lsn() >= $1::pg_lsn", written)
    await writer.close()
    await watcher.close()


async def test_a_mutation_may_be_one_statement(kernel: Kernel) -> None:
    """The handler runs only when the statement has changed nothing; it is then not tried for some calls."""
    assert await kernel.call(begin_tally, Named(name="alice")) == "at once"
    assert await kernel.call(begin_tally, Named(name="alice")) == "by the handler"
    assert await kernel.call(begin_tally, Named(name="bob")) == "by the handler"
    for _ in range(runtime_module.UNTRIED - 1):
        await kernel.call(begin_tally, Named(name="bob"))
    assert await kernel.call(begin_tally, Named(name="charlie")) == "at once"
    assert await kernel.value("select count(*) from tally") == 3


async def test_a_statement_whose_answer_is_lost_is_run_again(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was committed, and the connection broke before it was known to be on disk."""
    monkeypatch.setattr(
        database_module, "FLUSH", "select pg_terminate_backend(pg_backend_pid()) from tally where count = 0"
    )
    tries = 0

    async def work(tx: Transaction) -> int:
        nonlocal tries
        tries += 1
        sql = "insert into tally values ('alice', 0) on conflict (name) do update set count = tally.count + 1"
        return int(await tx.fetchval(f"{sql} returning count"))

    assert await kernel.database.mutate(work, one_statement=True) == 1
    assert tries == 2


@pytest.mark.parametrize(
    "then", [DatabaseUnavailable("No database answers."), TooBusy("No connection is free.")], ids=str
)
async def test_a_statement_that_may_have_been_committed_is_not_reported_as_undone(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, then: Exception
) -> None:
    """DatabaseUnavailable and TooBusy say that nothing was changed: a client that tries again would do it twice."""
    monkeypatch.setattr(database_module, "FLUSH", "select pg_terminate_backend(pg_backend_pid())")

    class Away:
        """A pool whose server does not come back."""

        def acquire(self) -> None:
            raise then

    pools = iter([kernel.database.pool, Away()])
    with monkeypatch.context() as patch:
        patch.setattr(Database, "pool", property(lambda _: next(pools)))
        with pytest.raises(LOST) as lost:
            await kernel.call(begin_tally, Named(name="alice"))
    assert not isinstance(lost.value, DatabaseUnavailable)
    assert await kernel.value("select count(*) from tally") == 1
