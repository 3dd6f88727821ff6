"""The PyPI client: runs `python_client.py` in a process that can be killed when the client hangs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rehearsal.processes.server import Keys, Server

LIMIT = 90  # seconds
TESTS = Path(__file__).parent / "python_client.py"


def test_the_pypi_client(server: Server, keys: Keys) -> None:
    """Every test there passes, none is skipped, and the server logs no errors."""
    complaints = len(server.complaints())
    options = ["-q", "-p", "no:cacheprovider", "--timeout=30", "--timeout-method=thread"]
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", *options, str(TESTS)],
        env={**os.environ, "DAYSONG_ORIGIN": server.origin, "DAYSONG_KEYS": str(keys.private.parent)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-15_000:] + ran.stderr[-5_000:]
    assert re.search(r"skip|xfail", ran.stdout) is None
    assert [line for line in server.complaints()[complaints:] if "errors:" not in line] == []
