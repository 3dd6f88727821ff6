"""Runs files of tests of Node in Debian's Chromium, on the server of a World."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from rehearsal.world import World
from tests.conformance.test_node import OLDEST_NODE

HERE = Path(__file__).parent
# Seconds between a vendor's order and its callback, so that each stage can be seen.
PAUSE = 0.1


def missing() -> str | None:
    """Return why these tests cannot run here; None when they can."""
    if shutil.which("chromium") is None:
        return "there is no Chromium here; .ci/run installs Debian's"
    if shutil.which("node") is None:
        return f"there is no Node here; {OLDEST_NODE} or newer is needed"
    if not (HERE / "node_modules" / "playwright-core").exists():
        return "the npm packages are not there: script/clients installs them"
    return None


async def assert_passes(
    world: World, home: Path, files: Sequence[str], *, limit: float, environ: Mapping[str, str], jobs: bool = False
) -> None:
    """Run the files, in one process: every test passes, and none is skipped.

    limit    seconds until the process is killed
    environ  its environment, besides the address of the server
    jobs     whether jobs run meanwhile, and callbacks are delivered
    """
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "DAYSONG_ORIGIN": world.origin,
        "DAYSONG_CHROMIUM": shutil.which("chromium") or "",
        **environ,
    }
    async with AsyncExitStack() as stack:
        if jobs:
            await stack.enter_async_context(_running_jobs(world))
        program = await asyncio.create_subprocess_exec(
            shutil.which("node") or "", "--test", "--test-force-exit", "--test-reporter=tap", *files,
            cwd=HERE, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(limit):
                said = (await program.communicate())[0].decode()
        except TimeoutError:
            program.kill()
            raise
    print(said)
    failed = re.findall(r"^ *not ok .*(?:\n(?! *(?:not )?ok |# Subtest).*)*", said, re.MULTILINE)
    assert program.returncode == 0, "\n".join(failed)[:20_000] or said[-4000:]
    counts = dict(re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", said, re.MULTILINE))
    assert [counts[word] for word in ("fail", "cancelled", "skipped", "todo")] == ["0"] * 4


@asynccontextmanager
async def _running_jobs(world: World) -> AsyncIterator[None]:
    running = asyncio.create_task(_run_jobs(world))
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _run_jobs(world: World) -> None:
    """Run jobs and deliver callbacks as they come up, with the clock at the present."""
    while True:
        world.clock.move_to(datetime.now(UTC))
        await world.app.worker.drain(until=None, clock=world.clock)
        await asyncio.sleep(PAUSE)
        await world.sandbox.settle()
