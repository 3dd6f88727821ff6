"""The shell commands of docs/DEPLOY.md, typed as they are written, on an empty database."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from daysong.embedded.server import EmbeddedPostgres
from rehearsal import databases as testing
from rehearsal.processes.server import CODE
from rehearsal.world import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
# What an operator fills in: keys of vendors that do not answer.
FILLED = {
    "MODULES": "blog",
    "SITE_URL": "https://api.example.test",
    "OPENAI_API_KEY": "none",
    "OPENAI_BASE_URL": "http://127.0.0.1:9",
    "SUNO_API_KEY": "none",
    "SUNO_BASE_URL": "http://127.0.0.1:9",
    "CLERK_FRONTEND_API_URL": "http://127.0.0.1:9",
    "CLERK_SECRET_KEY": "none",
    "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_c2VjcmV0LXNlY3JldA==",
}


async def test_g69_what_the_document_says_to_type_works(database_server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Settings are made and completed, the schema is migrated, the services of the units run and are ready."""
    settings, program = tmp_path / "etc/daysong/daysong.env", tmp_path / "daysong"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(CODE)} "$@"\n')
    program.chmod(0o755)
    ports = {"8000": str(free_port()), "9400": str(free_port())}
    wrapper = tmp_path / "bin/daysong"
    wrapper.parent.mkdir()

    def here(text: str) -> str:
        text = text.replace("/etc/daysong", str(settings.parent)).replace("/opt/daysong/src", str(ROOT))
        text = text.replace("/opt/daysong/bin/daysong", str(program))
        return re.sub("8000|9400", lambda port: ports[port[0]], text)

    # As the user of this test: there is no user of the services here.
    wrapper.write_text(here((ROOT / "deploy/systemd/daysong").read_text()).replace("runuser -u daysong -- ", ""))
    wrapper.chmod(0o755)

    def typed(block: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own document
            ["/bin/bash", "-euo", "pipefail", "-c", here(block)],
            env=os.environ | {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, block + done.stdout + done.stderr
        return done.stdout

    document = (ROOT / "docs/DEPLOY.md").read_text()
    making, migrating, looking = re.findall(r"^```sh\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    (settings.parent.parent).mkdir()
    typed(making)
    assert settings.stat().st_mode & 0o077 == 0
    database = await testing.create_database(database_server, "daysong_deployed", migrated=False)
    filled = FILLED | {"DATABASE_URL": f"'{database}'", "DAYSONG_DATA_DIR": str(tmp_path / "data")}
    text = settings.read_text()
    for name, value in filled.items():
        text = re.sub(rf"^{name}=.*\n", "", text, flags=re.MULTILINE) + f"{name}={value}\n"
    settings.write_text(text)
    printed = await asyncio.to_thread(typed, migrating)
    assert "applied 0001_schema.sql" in printed
    assert "Schema: up to date" in printed

    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    environ |= {line.split("=", 1)[0]: line.split("=", 1)[1].strip("'") for line in text.splitlines() if "=" in line}
    files = ("daysong-serve@.service", "daysong-work.service")
    units = [(ROOT / "deploy/systemd" / name).read_text().replace("%i", "8000") for name in files]
    # test_release.py has what the drain is for; here it would be five seconds of waiting.
    starts = [
        re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)[0].replace("--drain 5", "--drain 1") for unit in units
    ]
    commands = [here(start).split() for start in starts]
    with (tmp_path / "log").open("wb") as log:
        running = [
            subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)  # noqa: S603, ASYNC220
            for command in commands
        ]
    try:
        async with httpx2.AsyncClient(trust_env=False) as http, asyncio.timeout(40):
            for port in ports.values():
                while not await _is_ready(http, port):
                    await asyncio.sleep(0.1)
        assert "daysong_queue_jobs" in await asyncio.to_thread(typed, looking)
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)
        codes = [await asyncio.to_thread(process.wait, 40) for process in running]
    assert codes == [0, 0], (tmp_path / "log").read_text()


async def _is_ready(http: httpx2.AsyncClient, port: str) -> bool:
    try:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).is_success
    except httpx2.TransportError:
        return False
