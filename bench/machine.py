"""What measurements share: the line that says where they were taken, a PostgreSQL of their own, and a server."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daysong.embedded import server as embedded
from daysong.kernel import logs

ROOT = Path(__file__).parents[1]


@contextmanager
def postgres(name: str) -> Iterator[tuple[embedded.EmbeddedPostgres, Path]]:
    """Run a PostgreSQL with durability, and yield it with a temporary folder; both are removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"daysong-{name}-"))
    folder.chmod(0o711)  # as root, the server's account must be able to traverse it
    try:
        with embedded.start(folder / "postgres") as running:
            yield running, folder
    finally:
        embedded.remove(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


def measure(name: str, parser: argparse.ArgumentParser, bench: Callable[..., Coroutine[Any, Any, None]]) -> None:
    """Parse the arguments, and call `bench` with a PostgreSQL, its folder, and each option by its name."""
    options: dict[str, Any] = vars(parser.parse_args())
    os.environ.pop("DATABASE_URL", None)
    logs.configure(readable=True, quiet=True)
    with postgres(name) as (running, folder):
        print(line())
        asyncio.run(bench(running, folder, **options))


def line() -> str:
    """Return when, of which commit and on which machine something is measured."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}, {_machine()}"


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],  # noqa: S607
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _machine() -> str:
    model = "an unknown processor"
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            model = text.partition(":")[2].strip()
            break
    return (
        f"{len(os.sched_getaffinity(0))} cores of {model}, load {os.getloadavg()[0]:.1f} at the start,"
        f" Python {platform.python_version()}"
    )
