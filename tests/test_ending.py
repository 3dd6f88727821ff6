"""Processes stop on every termination signal and leave nothing behind; a worker waits for its database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from rehearsal.processes.frozen_proxy import proxy_to
from rehearsal.processes.server import DAYSONG, STARTS_WITHIN

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ENDS_WITHIN = 60  # seconds, on a busy machine


def begin(words: list[str], environ: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a daysong command in its own session, with its output in a file."""
    with log.open("wb") as out:
        return subprocess.Popen(  # noqa: S603 - ourselves
            [*DAYSONG, *words], env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def until_said(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the command has printed a text."""
    deadline = time.monotonic() + STARTS_WITHIN
    while text not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(log.read_text(errors="replace"))
        time.sleep(0.05)


def postmasters(folder: Path) -> list[Path]:
    """Return the pid files of embedded servers for data folders below a folder."""
    pointer = folder / "postgres-location.txt"
    home = Path(pointer.read_text().splitlines()[0]) if pointer.exists() else folder / "postgres"
    return list(home.glob("data/postmaster.pid"))


def test_g55_a_closed_terminal_ends_dev_with_its_postgresql(tmp_path: Path) -> None:
    """SIGHUP, as from a closed terminal whose output is gone, shuts everything down in order."""
    folder = tmp_path / "data"
    folder.mkdir()
    environ = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    log = tmp_path / "log"
    process = begin(["dev", "--port", "0", "--data-dir", str(folder)], environ, log)
    try:
        until_said(log, "daysong ready on", process)
        assert postmasters(folder)
        process.send_signal(signal.SIGHUP)
        assert process.wait(ENDS_WITHIN) == 0
        assert not postmasters(folder)
    finally:
        process.kill()
        process.wait()


async def test_g78_a_worker_waits_for_its_database(
    environ: dict[str, str], outside_database: str, tmp_path: Path
) -> None:
    """Started before PostgreSQL, it logs that it waits, and starts once the server is up; a wrong name ends it with a
    message.
    """
    log = tmp_path / "log"
    async with proxy_to(outside_database) as proxy:
        proxy.freeze(also_new=True)
        process = begin(["work"], environ | {"DATABASE_URL": proxy.url(outside_database)}, log)
        try:
            await _eventually(log, "waiting for the database", process)
            proxy.thaw()
            admin = await asyncpg.connect(outside_database)
            async with asyncio.timeout(STARTS_WITHIN):
                while not await admin.fetchval(
                    "select count(*) from pg_stat_activity where application_name = 'daysong worker' and datname = $1",
                    urlsplit(outside_database).path.strip("/"),
                ):
                    await asyncio.sleep(0.05)
            await admin.close()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, ENDS_WITHIN) == 0
        finally:
            process.kill()
            process.wait()
        assert "Traceback" not in log.read_text()

        wrong = begin(["work"], environ | {"DATABASE_URL": proxy.url("postgresql://h/nowhere")}, log)
        assert await asyncio.to_thread(wrong.wait, ENDS_WITHIN) == 1
        assert "has no such database" in log.read_text()
        assert len(log.read_text().strip().splitlines()) == 1


async def _eventually(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    await asyncio.to_thread(until_said, log, text, process)
