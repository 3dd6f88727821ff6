"""The contenders of `script/bench peers` as server processes, one each, on databases with the same data."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx2

from bench.peers.functions import REVENUECAT_SECRET, Contender
from daysong.commands.environment import free_port
from rehearsal.processes.server import DAYSONG, ISSUER, NO_TEST_MODE, ROOT, Keys, settings_for

STARTS_WITHIN = 40.0  # seconds
# daysong runs with its limits on: ten times as high, or a fast machine would reach those of one user.
LIMITS = {
    "TRUSTED_PROXIES": "127.0.0.1",
    "LIMIT_REQUESTS_VIEWER": "30000/60s",
    "LIMIT_REQUESTS_ACCOUNT": "12000/60s",
    "LIMIT_WRITES_VIEWER": "6000/60s",
    "LIMIT_WRITES_ACCOUNT": "2400/60s",
    "LIMIT_SONGS_VIEWER": "6000/60s",
    "LIMIT_SONGS_ACCOUNT": "2400/60s",
    "LIMIT_SONGS": "1000000/60s",
    **{f"LIMIT_COST_{name}": "100000000" for name in ("ACCOUNT", "OPENAI", "SUNO", "DAY")},
}


MADE_UP = "a-secret-that-is-made-up-for-benchmarks"


def environment_for(database_url: str, folder: Path, keys: Keys) -> dict[str, str]:
    """Return daysong's environment: as deployed, without vendors."""
    return {
        **settings_for(database_url, folder, keys),
        **NO_TEST_MODE,
        **LIMITS,
        "DAYSONG_ENV": "production",
        "DAYSONG_ADMIN_KEY": MADE_UP,
        "DAYSONG_HASH_KEY": MADE_UP,
        "SITE_URL": "https://daysong.test",
        "CLERK_SECRET_KEY": "none",
        "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_" + base64.b64encode(MADE_UP.encode()).decode(),
        "REVENUECAT_PROJECT_ID": "none",
        "VAPI_API_KEY": "none",
        "VAPI_PHONE_NUMBER_ID": "none",
        "VAPI_WEBHOOK_SECRET": MADE_UP,
        "VAPI_CREDENTIAL_ID": "none",
        "REVENUECAT_API_KEY": "none",
        "REVENUECAT_BASE_URL": "http://127.0.0.1:9",
        "REVENUECAT_WEBHOOK_SECRET": REVENUECAT_SECRET,
    }


class Process:
    """A contender's server: `with Process(contender, …) as process`. Its output goes to a file in `folder`."""

    def __init__(self, contender: Contender, database_url: str, folder: Path, keys: Keys) -> None:
        self.port = free_port()
        self._name = contender
        self._log = folder / f"{contender}.log"
        self._environ = environment_for(database_url, folder, keys)
        self._environ |= {
            "BENCH_DATABASE": database_url,
            "BENCH_JWKS": str(keys.jwks),
            "BENCH_ISSUER": ISSUER,
            "BENCH_SITE": self._environ["SITE_URL"],
            "BENCH_REVENUECAT_SECRET": REVENUECAT_SECRET,
            "PATH": os.environ.get("PATH", ""),
        }
        self._files = ExitStack()

    @property
    def _command(self) -> list[str]:
        port = ["--port", str(self.port)]
        match self._name:
            case "daysong":
                return [*DAYSONG, "serve", *port]
            case "floor":
                return [
                    sys.executable, "-m", "uvicorn", "bench.peers.floor:app", "--loop", "uvloop", "--http", "httptools",
                    "--no-access-log", "--no-proxy-headers", "--log-level", "warning", *port,
                ]  # fmt: skip
            case "usual":
                return [sys.executable, "-m", "uvicorn", "bench.peers.usual:app", *port]

    def __enter__(self) -> Self:
        out: IO[bytes] = self._files.enter_context(self._log.open("wb"))
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            self._command, env=self._environ, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._files.close()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def tail(self) -> str:
        """Return the end of its output."""
        return self._log.read_text(errors="replace")[-2000:]

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS_WITHIN
        with httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    if client.get("/healthz").is_success:
                        return
                except httpx2.TransportError:
                    pass
                time.sleep(0.05)
        raise RuntimeError(f"{self._name} does not answer:\n{self.tail()}")

    def ask(self, wire: bytes) -> bytes:
        """Send one request, and return the body of its response. RuntimeError unless it is a success."""
        head, _, body = wire.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, path, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        answer = httpx2.request(
            method, f"http://127.0.0.1:{self.port}{path}", headers=headers, content=body, trust_env=False
        )
        if not answer.is_success:
            raise RuntimeError(f"{self._name} answers {answer.status_code} to {path}: {answer.text}\n{self.tail()}")
        return answer.content


def postmaster(home: Path) -> int:
    """Return the process id of an embedded PostgreSQL."""
    return int((home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
