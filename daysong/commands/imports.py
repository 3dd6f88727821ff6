"""`daysong import convex`: moves accounts of the earlier backend in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from daysong.app import App
from daysong.workflows.moving.archive import Archive
from daysong.workflows.moving.run import Import, as_text

Tell = Callable[[str], None]


def chosen_users(file: Path | None) -> frozenset[str] | None:
    """Return the ids in a file, one a line; None without a file."""
    return None if file is None else frozenset(file.read_text().split())


async def import_convex(
    app: App, tell: Tell, archive: Archive, *, apply: bool, only: frozenset[str] | None, as_json: bool
) -> None:
    """Import a snapshot export, or say what would be imported, and print the report."""
    try:
        importing = Import(
            archive, app.database, app.runtime.queue, app.files, app.settings, app.clock.now(),
            tell=(lambda _: None) if as_json else tell, only=only,
        )  # fmt: skip
        report = await importing.run(apply=apply)
    finally:
        archive.close()
    if as_json:
        tell(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    for line in as_text(report):
        tell(line)
