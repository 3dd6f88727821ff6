"""How `serve` and `work` begin: logging, the report of errors, and their settings."""

from __future__ import annotations

import os

from daysong.commands import environment
from daysong.kernel import logs, settings
from daysong.kernel.monitoring.error_reports import Reporter
from daysong.kernel.settings import Settings


def configured_for(command: str, played_at: str | None) -> Settings:
    """Return the settings of a command that serves or works, once logging is configured.

    `played_at` is where the sandbox plays vendors, if it does.
    """
    found, _ = settings.read(os.environ)
    reporter = Reporter(found.sentry_dsn, found.environment) if found.sentry_dsn else None
    logs.configure(readable=not found.production, reporter=reporter)
    if played_at is None:
        return environment.configured()
    from daysong.commands import staging  # noqa: PLC0415 - an installation without the extra has no sandbox

    return staging.configured(played_at, command=command)
