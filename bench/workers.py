"""`daysong work` processes for measurements, and what is spent while they run."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.peers.client import cpu_of_tree
from bench.peers.servers import postmaster
from rehearsal.world import World

COUNTERS = """
    select xact_commit as transactions, tup_inserted + tup_updated + tup_deleted as writes,
           pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint as wal
    from pg_stat_database where datname = current_database()"""


@asynccontextmanager
async def running(world: World, count: int = 1) -> AsyncIterator[list[int]]:
    """Run that many workers on a world's database; yield their process ids."""
    workers = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from daysong.cli import main; main()", "work", env=world.environ(),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(count)
    ]  # fmt: skip
    try:
        yield [worker.pid for worker in workers]
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            await worker.wait()


@dataclass
class Written:
    """Transactions, written rows, and bytes of WAL."""

    transactions: int
    writes: int
    wal: int

    def since(self, earlier: Written) -> Written:
        """Return the difference."""
        return Written(
            self.transactions - earlier.transactions, self.writes - earlier.writes, self.wal - earlier.wal
        )  # fmt: skip

    def line(self, count: int) -> str:
        """Return what one of `count` wrote."""
        return (
            f"{self.transactions / count:.1f} commits, {self.writes / count:.1f} rows written,"
            f" {self.wal / count / 1024:.1f} KiB of WAL"
        )


async def written(connection: asyncpg.Connection) -> Written:
    """Return what was written until now."""
    return Written(**dict(await connection.fetchrow(COUNTERS)))


async def counted(connection: asyncpg.Connection) -> None:
    """Wait until PostgreSQL's other sessions have reported what they wrote."""
    await asyncio.sleep(1.5)
    await connection.execute("select pg_stat_clear_snapshot()")


def cpu(home: Path, worker: int) -> dict[str, float]:
    """Return CPU seconds until now: of a worker, of the PostgreSQL in `home`, and of this process, the vendors."""
    return {"worker": cpu_of_tree(worker), "postgres": cpu_of_tree(postmaster(home)), "vendors": time.process_time()}
