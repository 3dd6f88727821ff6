"""A worker process that kills itself with SIGKILL at one boundary between two steps of a job, for a test.

    python -m rehearsal.mortal_worker <boundary>

Settings come from the environment. A boundary lies before and after every transaction and every vendor call of the job
that makes a song. Exit code SURVIVED says that the job ended before that boundary was reached.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from daysong import app as composition
from daysong.kernel import settings
from daysong.kernel.clock import Clock
from daysong.kernel.context import ActionContext
from daysong.kernel.jobs import Job
from daysong.kernel.worker import Worker

SURVIVED = 42
JOB = "musicActions:requestSunoGeneration"


class Fate:
    """Counts boundaries, and ends the process at one of them as nothing else would: without any warning."""

    def __init__(self, boundary: int) -> None:
        self._left = boundary
        self.watching = False

    def boundary(self) -> None:
        """One more boundary was reached."""
        if self.watching:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """`step` with a boundary before and after it."""

        async def between(*args: Any, **named: Any) -> Any:
            self.boundary()
            result = await step(*args, **named)
            self.boundary()
            return result

        return between


class Vendor:
    """A vendor's client whose calls are steps."""

    def __init__(self, client: Any, fate: Fate) -> None:
        self._client = client
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        return self._fate.around(getattr(self._client, name))


class MortalWorker(Worker):
    """Runs one job that makes a song, and then leaves."""

    fate: Fate

    async def run(self, job: Job, clock: Clock) -> None:
        """Run a job under its fate; the others undisturbed."""
        self.fate.watching = job.function == JOB
        await super().run(job, clock)
        if job.function == JOB:
            os._exit(SURVIVED)


async def main(boundary: int) -> None:
    """Work until death or the end of the job."""
    fate = Fate(boundary)
    # The steps of an action are its transactions and its vendors' calls: both are what the context hands out.
    run_mutation, vendor = ActionContext.run_mutation, ActionContext.vendor
    setattr(ActionContext, "run_mutation", fate.around(run_mutation))  # noqa: B010 - to a type checker, a method is final
    setattr(ActionContext, "vendor", lambda self, kind: Vendor(vendor(self, kind), fate))  # noqa: B010
    app = composition.build(settings.load(os.environ))
    await app.open()
    worker = MortalWorker(app.runtime, ())
    worker.fate = fate
    await worker.run_forever(app.settings.database_url or "")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
