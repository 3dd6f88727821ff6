"""An earlier release of daysong, taken from the history of this repository, to run beside this one."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

from daysong.kernel.database import migrations
from rehearsal.processes.server import ROOT

MIGRATIONS = "daysong/migrations"


def earlier_commit() -> str | None:
    """Return the newest commit whose schema is an earlier one; None where the history does not reach back to it.

    That is the parent of the one that added the newest migration. The commit just before this one mostly has the same
    schema, so it would not show what a migration does to processes that do not know it; and the code of all commits
    since then differs as well.
    """
    [*_, newest] = migrations.read(migrations.FOLDER)
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", f"{MIGRATIONS}/{newest.name}").decode().strip()
    # In a shallow clone the oldest commit seems to add every file. It has no parent.
    found = _git("rev-parse", "--verify", "--quiet", f"{added}^") if added else b""
    return found.decode().strip() or None


def unpack(commit: str, folder: Path) -> Path:
    """Write the package as of that commit into a folder, and return the folder of its migrations."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit, "daysong"))) as files:
        files.extractall(folder, filter="data")
    return folder / MIGRATIONS


def code_in(folder: Path) -> dict[str, str]:
    """Return the environment in which Python takes daysong from a folder, whatever is installed."""
    return {"PYTHONPATH": os.fspath(folder), "PYTHONSAFEPATH": "1"}


def _git(*arguments: str) -> bytes:
    try:
        # Git refuses folders of other accounts, such as those of a container.
        command = ["git", "-c", f"safe.directory={ROOT}", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout  # noqa: S603
    except FileNotFoundError:
        return b""
