"""PostgreSQL servers of other versions than the embedded one, for tests: those installed on this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from daysong.embedded.home import server_account

DEBIAN = Path("/usr/lib/postgresql")
# Folders of further servers' programs, separated by colons: /opt/postgresql-14/bin
FURTHER = "DAYSONG_POSTGRES_BINS"
HOST = "127.0.0.1"


def installed() -> list[Path]:
    """Return the folders of programs (initdb, pg_ctl, ...) of every server found, oldest first by name."""
    debian = sorted(DEBIAN.glob("*/bin")) if DEBIAN.is_dir() else []
    further = [Path(folder) for folder in os.environ.get(FURTHER, "").split(":") if folder]
    return [folder for folder in (*debian, *further) if (folder / "initdb").exists()]


class InstalledPostgres:
    """A running server of a cluster of its own; `url` of a database is what asyncpg takes."""

    def __init__(self, programs: Path, folder: Path, port: int) -> None:
        self.programs = programs
        self.folder = folder
        self.port = port

    def url(self, database: str = "postgres", *, port: int | None = None) -> str:
        """Return the DSN of a database over TCP; `port` is that of a pooler in front of the server, if any."""
        return f"postgresql://postgres@{HOST}:{port or self.port}/{database}"

    def create_database(self, name: str) -> None:
        """Create an empty database."""

        async def create() -> None:
            connection = await asyncpg.connect(self.url())
            try:
                await connection.execute(f'create database "{name}"')
            finally:
                await connection.close()

        asyncio.run(create())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.run("pg_ctl", "start", "--pgdata=data", "--log=server.log", "--silent", "--wait")

    def kill(self) -> None:
        """Stop it as a crash would, if it runs."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.run("pg_ctl", "stop", "--pgdata=data", "--silent", "--wait", "--mode=immediate")

    def run(self, program: str, *arguments: str) -> None:
        """Run a server program as the account that owns the cluster; CalledProcessError on failure."""
        account = server_account()
        subprocess.run(  # noqa: S603 - programs of the server, arguments of ours
            [self.programs / program, *arguments],
            check=True, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            user=account.pw_uid if account else None, group=account.pw_gid if account else None,
            extra_groups=[] if account else None, umask=0o077, start_new_session=True, timeout=120,
        )  # fmt: skip


@contextmanager
def standby_of(primary: InstalledPostgres) -> Iterator[InstalledPostgres]:
    """Start a streaming standby of a server on a free local port; stop and delete it at the end."""
    with _folder() as folder:
        standby = InstalledPostgres(primary.programs, folder, _port())
        standby.run("pg_basebackup", "--pgdata=data", "--write-recovery-conf", "--checkpoint=fast", "--no-sync",
                    "--username=postgres", f"--host={HOST}", f"--port={primary.port}")  # fmt: skip
        with (folder / "data" / "postgresql.auto.conf").open("a") as options:
            options.write(f"port = {standby.port}\nunix_socket_directories = '{folder}'\n")
        with _started(standby):
            yield standby


@contextmanager
def running(programs: Path, **settings: str) -> Iterator[InstalledPostgres]:
    """Start a server with an empty cluster on a free local port; stop and delete it at the end."""
    with _folder() as folder:
        server = InstalledPostgres(programs, folder, _port())
        options = {
            "listen_addresses": HOST, "port": str(server.port), "unix_socket_directories": str(folder), "fsync": "off",
            "synchronous_commit": "off", "full_page_writes": "off", "jit": "off",
        } | settings  # fmt: skip
        server.run("initdb", "--pgdata=data", "--username=postgres", "--auth=trust", "--encoding=UTF8",
                   "--locale=C", "--no-sync")  # fmt: skip
        (folder / "data" / "postgresql.auto.conf").write_text(
            "".join(f"{name} = '{value}'\n" for name, value in options.items())
        )
        with _started(server):
            yield server


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="daysong-postgres-"))
    account = server_account()
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _started(server: InstalledPostgres) -> Iterator[None]:
    server.start()
    try:
        yield
    finally:
        server.kill()


def _port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
