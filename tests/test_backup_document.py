"""The drill of docs/BACKUP.md, typed into a shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from daysong.embedded.server import EmbeddedPostgres
from rehearsal import databases as testing

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "BACKUP.md"


@pytest.mark.slow
async def test_the_drill_of_the_document_can_be_typed(tmp_path: Path, database_server: EmbeddedPostgres) -> None:
    """Backup, sums, restore and resume, by the commands as they are printed."""
    url = await testing.create_database(database_server, "daysong_document", migrated=True)
    [block] = re.findall(r"```sh\n(daysong backup .*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DATABASE_URL": url,
        "DAYSONG_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(  # noqa: ASYNC221, S603 - our own document
        ["/bin/sh", "-ec", block], check=False, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "On hold" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Jobs and crons run again")
