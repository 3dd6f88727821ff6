"""A worker process that kills itself with SIGKILL at one boundary between two steps of a job, for a test.

    python -m rehearsal.processes.mortal_worker <boundary> [<function>]
    python -m rehearsal.processes.mortal_worker

Settings come from the environment. It dies in its first job of that function, by default the one that makes a song;
other jobs it claims stay claimed until another worker rescues them. A boundary lies before and after every transaction
and every vendor call, and, in a job that is one transaction, before its commit too. Exit code SURVIVED means that the
job ended before that boundary.

Without arguments it forks: each line on stdin, {"boundary": …, "function": …, "environ": …}, starts one child, whose
exit code is printed. Children need not import everything anew.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NoReturn

from daysong import app as composition
from daysong.kernel import settings
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.functions.context import ActionContext
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.queue import Job
from daysong.kernel.jobs.worker import Worker

SURVIVED = 42
SONG = "musicActions:requestSunoGeneration"
# Longer than any test, so that it takes over no other worker's job.
HEARTBEAT = timedelta(minutes=10)

_doomed: ContextVar[bool] = ContextVar("doomed", default=False)


class Fate:
    """Counts the boundaries of one job, and kills the process at one of them with SIGKILL."""

    def __init__(self, boundary: int, function: str) -> None:
        self.function = function
        self.begun = False
        self._left = boundary

    def boundary(self) -> None:
        """Count a boundary, and die if it is the chosen one."""
        if _doomed.get():
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Return `step` with a boundary before and after it, however it ends."""

        async def between(*args: Any, **named: Any) -> Any:
            self.boundary()
            try:
                return await step(*args, **named)
            finally:
                self.boundary()

        return between

    def in_transactions(self, mutate: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Wrap `Runtime.mutate` with a boundary before and after it, and before its commit if it is a whole job."""

        async def between(
            *args: Any, afterwards: Callable[[Transaction], Awaitable[None]] | None = None, **options: Any
        ) -> Any:
            async def last(tx: Transaction) -> None:
                assert afterwards is not None
                await afterwards(tx)
                self.boundary()

            return await mutate(*args, afterwards=afterwards and last, **options)

        return self.around(between)


class Vendor:
    """A vendor's client whose calls are steps."""

    def __init__(self, client: Any, fate: Fate) -> None:
        self._client = client
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return self._fate.around(found) if inspect.iscoroutinefunction(found) else found


class MortalWorker(Worker):
    """Runs one job, then exits."""

    fate: Fate

    async def run(self, job: Job) -> None:
        """Run the job if it is the chosen one; leave any other claimed."""
        if job.function != self.fate.function or self.fate.begun:
            await asyncio.Event().wait()
        self.fate.begun = True
        _doomed.set(True)
        await super().run(job)
        os._exit(SURVIVED)


async def live(boundary: int, function: str, environ: Mapping[str, str]) -> None:
    """Work until death or the end of the job."""
    fate = Fate(boundary, function)
    # The steps of a job are its transactions and its vendor calls. To a type checker, a method is final.
    vendor = ActionContext.vendor
    setattr(ActionContext, "vendor", lambda self, kind: Vendor(vendor(self, kind), fate))  # noqa: B010
    setattr(Runtime, "mutate", fate.in_transactions(Runtime.mutate))  # noqa: B010
    app = composition.build(settings.load(environ))
    await app.open()
    worker = MortalWorker(app.runtime, (), heartbeat=HEARTBEAT)
    worker.fate = fate
    await worker.run_forever(app.settings.listen_url)


def have_children() -> None:
    """Fork children one after another, as stdin says."""
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if not child:
            _be_a_child(**wanted)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _be_a_child(**wanted: Any) -> NoReturn:
    try:
        # The child's output must not mix with the exit codes its parent prints.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (sys.stdin, sys.stdout):
            os.dup2(nowhere, stream.fileno())
        asyncio.run(live(**wanted))
    finally:
        os._exit(1)


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            have_children()
        case [number]:
            asyncio.run(live(int(number), SONG, os.environ))
        case [number, function]:
            asyncio.run(live(int(number), function, os.environ))
