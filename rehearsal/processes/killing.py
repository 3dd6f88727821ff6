"""Worker processes killed at a chosen step, and the worker that finishes the jobs they left."""

from __future__ import annotations

import asyncio
import atexit
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from daysong.kernel.database.transactions import Transaction
from daysong.kernel.jobs.worker import Worker
from rehearsal.processes import mortal_worker
from rehearsal.world import World

NEVER = 60


class Mortals:
    """Processes of rehearsal/processes/mortal_worker.py, one at a time."""

    def __init__(self, parent: subprocess.Popen[bytes]) -> None:
        self._parent = parent

    async def die(self, environ: Mapping[str, str], boundary: int, function: str) -> bool:
        """Run a worker that dies at that boundary of that function's job; return whether it did."""
        wanted = {"boundary": boundary, "function": function, "environ": environ}
        async with asyncio.timeout(NEVER):
            code = int(await asyncio.to_thread(self._ask, json.dumps(wanted).encode() + b"\n"))
        assert code in {-signal.SIGKILL, mortal_worker.SURVIVED}, code
        return code == -signal.SIGKILL

    def _ask(self, line: bytes) -> bytes:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(line)
        self._parent.stdin.flush()
        return self._parent.stdout.readline()


@cache
def _parent() -> subprocess.Popen[bytes]:
    """Start the process whose children are killed: one for all tests of a process, since it imports the whole app."""
    command = [sys.executable, "-m", mortal_worker.__name__]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
    atexit.register(_end, parent)
    return parent


def _end(parent: subprocess.Popen[bytes]) -> None:
    with parent:
        parent.kill()


@contextmanager
def mortals() -> Iterator[Mortals]:
    """Yield a source of workers to be killed."""
    parent = _parent()
    try:
        yield Mortals(parent)
    except BaseException:
        # Its child may still run.
        _parent.cache_clear()
        _end(parent)
        raise


async def schedule(world: World, handler: Callable[..., Awaitable[Any]], args: msgspec.Struct) -> None:
    """Schedule a function as a job, now."""

    async def work(tx: Transaction) -> None:
        await world.app.runtime.queue.schedule(
            tx, handler, args, due_at=world.clock.now(), delay=timedelta(0), key=None
        )  # fmt: skip

    await world.db.mutate(work)


async def let_another_worker_finish(world: World) -> None:
    """Move the clock to now, and let a second worker notice missing heartbeats and run the jobs that are due."""
    world.clock.move_to(datetime.now(UTC))
    worker = Worker(world.app.runtime, (), heartbeat=timedelta(seconds=1))
    working = asyncio.create_task(worker.run_forever(world.settings.database_url or ""))
    async with asyncio.timeout(NEVER):
        while await world.db.pool.fetchval(
            "select true from jobs where status = 'running' or status = 'queued' and due_at <= $1 limit 1",
            world.clock.now(),
        ):
            await asyncio.sleep(0.05)
    await worker.stop()
    await working
