"""`daysong dev --reload`: runs `daysong dev` in a process of its own, and again after each change of the code.

The embedded PostgreSQL stays up between runs. A run that ends by itself, for example with a syntax error, is followed
by another after the next change.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import daysong
from daysong.commands import environment
from daysong.embedded import server as embedded
from daysong.kernel import logs

POLL = 0.5  # seconds
GRACE = 30.0  # seconds that a run gets to stop
SUFFIXES = frozenset({".py", ".sql", ".html", ".css", ".js"})
PACKAGE = Path(daysong.__file__).parent

Files = Mapping[Path, int]

log = logs.get_logger("reload")


def files_below(folder: Path) -> Files:
    """Return the files of code below a folder, each with the time of its last change."""
    found: dict[Path, int] = {}
    for path in folder.rglob("*"):
        if path.suffix in SUFFIXES:
            try:
                found[path] = path.stat().st_mtime_ns
            except OSError:  # removed just now
                continue
    return found


def changed(before: Files, after: Files) -> list[str]:
    """Return the names of files that were added, changed or removed, in order."""
    return sorted(path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path))


async def dev(*, host: str, port: int, data_dir: Path, sandbox: bool) -> None:
    """Run `daysong dev` until asked to stop, and restart it after each change of the code."""
    arguments = ["dev", "--host", host, "--port", str(port), "--data-dir", str(data_dir)]
    server = None
    if not (os.environ.get("DATABASE_URL") or os.environ.get("DATABASE_URL_FILE")):
        server = await asyncio.to_thread(embedded.start, data_dir)
    try:
        await run([*arguments, "--sandbox" if sandbox else "--no-sandbox"])
    finally:
        if server is not None:
            await asyncio.to_thread(server.stop)


async def run(arguments: list[str], folder: Path = PACKAGE, poll: float = POLL) -> None:
    """Run `daysong` with these arguments until asked to stop, and again after each change below `folder`."""
    stop = environment.until_asked_to_stop()
    stopping = asyncio.create_task(stop.wait())
    seen = files_below(folder)
    try:
        while not stop.is_set():
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "daysong.cli", *arguments)
            ended = asyncio.create_task(process.wait())
            try:
                while not stop.is_set():
                    await asyncio.wait({stopping}, timeout=poll)
                    now = await asyncio.to_thread(files_below, folder)
                    if names := changed(seen, now):
                        seen = now
                        log.info("code changed, restarting", files=names[:5])
                        break
            finally:
                if process.returncode is None:
                    process.terminate()
                await asyncio.wait({ended}, timeout=GRACE)
                if process.returncode is None:
                    process.kill()
                await ended
    finally:
        stopping.cancel()
