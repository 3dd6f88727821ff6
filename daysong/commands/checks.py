"""The checks of `daysong doctor` for the console of a running process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from daysong.kernel.settings import Settings
from daysong.transport.pages.console.records import Checks, Finding


def of(configured: Settings) -> Checks:
    """Return the checks of these settings; what they need is loaded when they are run."""

    def run() -> AsyncIterator[Finding]:
        from daysong.commands import doctor  # noqa: PLC0415

        return doctor.findings(configured, [], os.environ)

    return run
