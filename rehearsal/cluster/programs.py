"""The programs of a cluster: which are installed, and processes that are ended by their id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from daysong.embedded.home import server_account

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
POSTGRES = Path("/usr/lib/postgresql/15/bin")
# What each Debian package brings.
PACKAGES = {
    "etcd-server": "etcd",
    "patroni": "patroni",
    "haproxy": "haproxy",
    "pgbouncer": "pgbouncer",
    "postgresql-15": str(POSTGRES / "postgres"),
}
ENDS_WITHIN = 25.0  # seconds


def found(name: str) -> str | None:
    """Return the path of a program, if it is installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def missing() -> list[str]:
    """Return the Debian packages that are not installed."""
    return [package for package, name in PACKAGES.items() if found(name) is None]


def install(packages: Sequence[str]) -> None:
    """Install Debian packages, as root, without starting their services."""
    # A service of the system would take the usual ports; this file refuses their start, as in an image.
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (["update", "-qq"], ["install", "-qq", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(  # noqa: S603 - constants
                ["/usr/bin/apt-get", *command], check=False, env=environ, stdout=subprocess.DEVNULL, timeout=600
            )
    finally:
        if ours:
            policy.unlink(missing_ok=True)


class Program:
    """A process with its log, in a process group of its own."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environ: Mapping[str, str] | None = None,
        as_server: bool = False,
    ) -> None:
        """Start it; `as_server` as the account that PostgreSQL runs as, since it refuses to run as root."""
        self.name = name
        self.log = folder / f"{name}.log"
        account = server_account() if as_server else None
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: S603 - programs of this machine, arguments of ours
                command, env=dict(environ or _plain()), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                user=account.pw_uid if account else None, group=account.pw_gid if account else None,
                extra_groups=[] if account else None, start_new_session=True, cwd=folder,
            )  # fmt: skip

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End it with SIGTERM, and with SIGKILL if that takes too long."""
        if self.runs:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDS_WITHIN)
        self.kill()

    def kill(self) -> None:
        """End it, and what it started in its group, with SIGKILL."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(ENDS_WITHIN)


def _plain() -> dict[str, str]:
    return {"PATH": f"/usr/bin:/bin:{SBIN}", "LC_ALL": "C.UTF-8"}


def until(what: str, holds: Callable[[], bool], *, within: float = 60.0, every: float = 0.1) -> float:
    """Wait until something holds, and return the seconds it took; RuntimeError when it takes too long."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > within:
            raise RuntimeError(f"{what}: not within {within:.0f} seconds")
        time.sleep(every)
    return time.monotonic() - began
