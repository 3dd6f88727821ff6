"""What people write, sing, own and know is never logged: a whole journey is searched for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from rehearsal import log_leaks

pytestmark = pytest.mark.anyio


async def test_f63_nothing_private_is_logged(database_url: str, tmp_path: Path) -> None:
    """Diary, lyrics, name, e-mail, phone, codes, tokens, keys, secrets and links: in no line, whatever went wrong."""
    out = tmp_path / "private.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", log_leaks.__name__, str(out), env=os.environ | {"DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 100)
    logged = output.decode()
    assert process.returncode == 0, logged[-3000:]
    private = json.loads(out.read_text())
    assert len(private) > len(log_leaks.NEEDLES) + len(log_leaks.SECRETS) + 5
    # That there was something to look through.
    for expected in (
        "function failed",
        "job failed",
        "job dead",
        "webhook received",
        "vendor call",
        "call reported",
        "account erased",
    ):
        assert expected in logged
    found = {text: [line for line in logged.splitlines() if text.lower() in line.lower()][:2] for text in private}
    assert {text: lines for text, lines in found.items() if lines} == {}
