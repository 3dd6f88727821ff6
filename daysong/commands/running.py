"""Runs what a command does, and prints what it says. Light to import, as cli.py is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from daysong.app import App

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end."""
    import asyncio

    return asyncio.run(work)


def with_app(data_dir: Path, work: Callable[[App], Awaitable[None]]) -> None:
    """Run a command with an app on the configured database, or on the embedded one."""
    from daysong.commands import local_app

    run(local_app.use(data_dir, work))


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
