"""The npm client, in Node: one test for each file of tests beside this one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from rehearsal.processes.server import ADMIN_KEY, Keys, Server

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("*.test.mjs"))
OLDEST_NODE = 20
LIMIT = 100  # seconds a file may take


def missing() -> str | None:
    """Return why these tests cannot run here; None when they can."""
    node = shutil.which("node")
    if node is None:
        return "there is no Node here"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        return f"Node is {version}; the client needs {OLDEST_NODE} or newer"
    if not (HERE / "node_modules" / "convex").exists():
        return "the npm packages are not there: script/clients installs them"
    return None


@pytest.fixture(scope="session")
def node() -> str:
    """Return the path of Node; without it the test is skipped, or fails where it must run."""
    why = missing()
    if why is not None and os.environ.get("DAYSONG_CLIENTS_REQUIRED"):
        pytest.fail(why)
    if why is not None:
        pytest.skip(why)
    return shutil.which("node") or ""


def test_there_are_files_to_run() -> None:
    assert len(FILES) >= 8


@pytest.mark.parametrize("file", FILES)
def test_the_npm_client(node: str, server: Server, keys: Keys, file: str) -> None:
    """Every test in the file passes, none is skipped, and the server logs no errors."""
    complaints = len(server.complaints())
    ran = subprocess.run(  # noqa: S603
        [node, "--test", "--test-force-exit", "--test-reporter=tap", file],
        cwd=HERE,
        env={
            "PATH": os.environ["PATH"],
            "DAYSONG_ORIGIN": server.origin,
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_KEYS": str(keys.private.parent),
        },
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    counts = dict(re.findall(r"^# (pass|fail|cancelled|skipped|todo) (\d+)$", ran.stdout, re.MULTILINE))
    failed = re.findall(r"^ *not ok .*(?:\n(?! *(?:not )?ok |# Subtest).*)*", ran.stdout, re.MULTILINE)
    assert ran.returncode == 0, "\n".join(failed)[:20_000] or ran.stdout[-4000:] + ran.stderr[-4000:]
    assert int(counts["pass"]) > 0
    assert [counts[word] for word in ("fail", "cancelled", "skipped", "todo")] == ["0"] * 4
    # Functions that fail on purpose are logged; nothing else is.
    unexpected = [line for line in server.complaints()[complaints:] if "errors:" not in line]
    assert unexpected == []
