"""An app on this machine, for as long as one command needs it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2

from daysong import app as composition
from daysong.commands import environment
from daysong.kernel import logs, settings
from daysong.kernel.database import migrations
from daysong.kernel.settings import Settings
from daysong.sandbox.app import Sandbox


async def use(data_dir: Path, work: Callable[[composition.App], Awaitable[None]]) -> None:
    """Do some work with an app on the configured database, or on the embedded one."""
    logs.configure(readable=True, quiet=True)
    async with environment.database(local_settings(data_dir), migrate=False) as configured:
        app = composition.build(configured)
        await app.open()
        try:
            await work(app)
        finally:
            await app.close()


def local_settings(data_dir: Path) -> Settings:
    """The settings of a command on this machine: those of a development installation where none are given."""
    data_dir = data_dir.absolute()
    defaults = environment.local_defaults(data_dir, environment.remembered_origin(data_dir))
    vendors = Sandbox(defaults["SITE_URL"], data_dir=data_dir, http=httpx2.AsyncClient())
    return settings.load(os.environ, defaults | environment.with_sandbox(vendors, os.environ))


async def migrate(data_dir: Path) -> str:
    """Bring the schema up to date, and return what was done, as text."""
    configured, _ = settings.read(os.environ)
    if configured.database_url:
        applied = await migrations.migrate(configured.listen_url, migrations.FOLDER)
        return "\n".join(f"applied {name}" for name in applied) or "nothing to apply"
    async with environment.database(local_settings(data_dir), migrate=True):
        return "the embedded database is up to date"
