"""A real PgBouncer in front of a server, for tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daysong.commands.environment import free_port
from daysong.embedded.home import server_account
from rehearsal.processes.installed_postgres import HOST, InstalledPostgres

STARTS_WITHIN = 20.0  # seconds


def program() -> str | None:
    """Return the path of PgBouncer, if it is installed."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def running(server: InstalledPostgres, mode: str, *, server_connections: int = 4) -> Iterator[int]:
    """Run PgBouncer in that pool mode, with few server connections; yield its port. Stopped at the end."""
    path = program()
    assert path is not None
    account, port = server_account(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="daysong-pgbouncer-"))
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"""[databases]
* = host={HOST} port={server.port} user=postgres
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {server_connections}
max_client_conn = 200
"""
    )
    folder.chmod(0o755)
    config.chmod(0o644)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a program of this machine, arguments of ours
            [path, config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            user=account.pw_uid if account else None, group=account.pw_gid if account else None,
            extra_groups=[] if account else None, start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + STARTS_WITHIN
            while True:
                try:
                    socket.create_connection((HOST, port), timeout=1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError((folder / "log").read_text()) from None
                    time.sleep(0.02)
            yield port
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
