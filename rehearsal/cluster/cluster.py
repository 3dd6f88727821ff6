"""A whole installation on one machine: three PostgreSQL nodes under Patroni and etcd, HAProxy, PgBouncer, an S3, the
sandbox as vendors, two `serve` of two processes each, and two `work`.

Everything listens on 127.0.0.1 and keeps its files in one temporary folder. What was started is ended by its process
id.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx2

from daysong.commands import environment
from daysong.embedded.home import give_to_server
from daysong.sandbox.app import Sandbox
from rehearsal.cluster import configs
from rehearsal.cluster.configs import DATABASE, HOST, Node, Ports
from rehearsal.cluster.programs import POSTGRES, Program, found, until
from rehearsal.processes.server import ADMIN_KEY, DAYSONG, ROOT, Server

MOTO = ROOT / ".venv-s3" / "bin" / "moto_server"
BUCKET = "daysong"
FIRST_PORT = 9450


class Cluster:
    """`with Cluster(ports, say) as cluster`: all of it, running.

    nodes     the PostgreSQL nodes
    origin    where clients reach daysong, through HAProxy
    vendors   where the sandbox is
    environ   the settings of `serve`, `work` and other commands
    """

    def __init__(self, ports: Ports, say: Callable[[str], None], *, keep_logs: Path | None = None) -> None:
        self.ports = ports
        self._keep_logs = keep_logs
        self._say = say
        self._stack = ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="daysong-cluster-"))
        self.folder.chmod(0o755)
        self.logs = self.folder / "logs"
        self.nodes = [
            Node(f"node{at}", self.folder / f"node{at}", *pair) for at, pair in enumerate(ports.nodes, 1)
        ]  # fmt: skip
        self.origin = f"http://{HOST}:{ports.web}"
        self.vendors = f"http://{HOST}:{ports.vendors}"
        self._patronis: dict[str, Program] = {}
        self.serves: list[Server] = []
        self.works: list[Program] = []
        self.environ = self._environ()

    def _environ(self) -> dict[str, str]:
        ports, kept = self.ports, {"PATH", "HOME", "LANG", "TMPDIR"}
        given = {
            **{name: value for name, value in os.environ.items() if name in kept},
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": f"postgresql://{DATABASE}@{HOST}:{ports.pooler}/{DATABASE}",
            "DATABASE_DIRECT_URL": f"postgresql://{DATABASE}@{HOST}:{ports.primary}/{DATABASE}",
            "DATABASE_REPLICA_URL": f"postgresql://{DATABASE}@{HOST}:{ports.standbys}/{DATABASE}",
            "DATABASE_POOL": "12",
            "DAYSONG_DATA_DIR": str(self.folder / "daysong"),
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_HASH_KEY": "a-hash-key-for-a-cluster",
            "SITE_URL": self.origin,
            "TRUSTED_PROXIES": f"{HOST}/32",
            "STORAGE_URL": f"s3://{BUCKET}",
            "AWS_ENDPOINT": f"http://{HOST}:{ports.s3}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "cluster",
            "AWS_SECRET_ACCESS_KEY": "cluster",
            # All clients of this machine have few addresses.
            "LIMIT_SIGN_UPS_VIEWER": "off",
        }
        sandbox = Sandbox(self.vendors, data_dir=self.folder / "settings", http=httpx2.AsyncClient())
        return given | environment.with_sandbox(sandbox, given)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes, the last one first, and delete the folder."""
        # A second Ctrl-C must not leave anything behind.
        before = [(number, signal.signal(number, signal.SIG_IGN)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            for program in self.works:
                if program.runs:
                    program.process.terminate()
            for serve in self.serves:
                if serve.process.poll() is None:
                    serve.process.terminate()
            self._stack.close()
            for node in self.nodes:
                self._kill_postgres(node)
            if self._keep_logs is not None:
                shutil.copytree(self.logs, self._keep_logs, dirs_exist_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    # Starting

    def _start(self) -> None:
        self.logs.mkdir()
        give_to_server(self.logs)
        began = time.monotonic()
        endpoints = self._start_etcd()
        for node in self.nodes:
            node.folder.mkdir()
            give_to_server(node.folder)
            (node.folder / "patroni.yml").write_text(configs.patroni(node, endpoints, POSTGRES))
            self.start_node(node)
        self._start_storage()
        self._program("vendors", [*_PYTHON, "-m", "rehearsal.cluster.vendors", self.ports.vendors, self.folder / "v"])
        self._configured("haproxy", configs.haproxy(self.ports, self.nodes), "-db", "-f")
        until("a primary with two standbys", self.is_whole, within=180)
        self._say(f"PostgreSQL: a primary and two standbys after {time.monotonic() - began:.0f} s")
        asyncio.run(self._make_database())
        self._configured("pgbouncer", configs.pgbouncer(self.ports))
        self.command("migrate")
        for at, port in enumerate(self.ports.serves, 1):
            serve = Server(self.environ, self.logs, f"serve{at}", processes=2, port=port)
            self._stack.callback(serve.stop)
            self.serves.append(serve)
        for at, port in enumerate(self.ports.works, 1):
            command = [*DAYSONG, "work", "--metrics-port", str(port)]
            self.works.append(self._program(f"work{at}", command))
        for serve in self.serves:
            serve.wait()
        for port in (self.ports.web, *self.ports.works):
            until("readiness", lambda port=port: answers(f"http://{HOST}:{port}/readyz"))  # type: ignore[misc]
        self._say(f"all of it: ready after {time.monotonic() - began:.0f} s")

    def _program(self, name: str, command: list[Any], *, as_server: bool = False) -> Program:
        environ = None if as_server else self.environ
        program = Program(
            name, [str(one) for one in command], self.logs, environ=environ, as_server=as_server
        )  # fmt: skip
        self._stack.callback(program.stop)
        return program

    def _configured(self, name: str, text: str, *options: str) -> Program:
        file = self.folder / f"{name}.cfg"
        file.write_text(text)
        return self._program(name, [found(name), *options, file], as_server=True)

    def _start_etcd(self) -> list[str]:
        members = [
            (f"etcd{at}", f"http://{HOST}:{client}", f"http://{HOST}:{peer}")
            for at, (client, peer) in enumerate(self.ports.etcd, 1)
        ]
        everyone = ",".join(f"{name}={peer}" for name, _, peer in members)
        for name, client, peer in members:
            folder = self.folder / name
            folder.mkdir()
            give_to_server(folder)
            self._program(name, [
                found("etcd"), "--name", name, "--data-dir", folder / "data", "--initial-cluster", everyone,
                "--listen-client-urls", client, "--advertise-client-urls", client,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--heartbeat-interval", "200", "--election-timeout", "2000",
            ], as_server=True)  # fmt: skip
        for _, client, _ in members:
            until("etcd", lambda client=client: answers(f"{client}/health"))  # type: ignore[misc]
        return [client.removeprefix("http://") for _, client, _ in members]

    def start_node(self, node: Node) -> None:
        """Start a node's Patroni, which starts its PostgreSQL."""
        self._patronis[node.name] = self._program(
            node.name, [found("patroni"), node.folder / "patroni.yml"], as_server=True
        )  # fmt: skip

    def _start_storage(self) -> None:
        self._program("s3", [MOTO, "-H", HOST, "-p", self.ports.s3])
        until("the S3", lambda: answers(f"http://{HOST}:{self.ports.s3}/moto-api/"))
        request = urllib.request.Request(f"http://{HOST}:{self.ports.s3}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self.url("postgres", "postgres"))
        try:
            await connection.execute(f"create role {DATABASE} login")
            await connection.execute(f"create database {DATABASE} owner {DATABASE}")
        finally:
            await connection.close()

    # Looking and killing

    def url(self, user: str = DATABASE, database: str = DATABASE) -> str:
        """Return the address of the primary's database, through HAProxy."""
        return f"postgresql://{user}@{HOST}:{self.ports.primary}/{database}"

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of daysong with the cluster's settings."""
        done = subprocess.run(  # noqa: S603 - ourselves
            [*DAYSONG, *arguments], env=self.environ, capture_output=True, text=True, timeout=300, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"daysong {arguments[0]}: {done.stdout}{done.stderr}")
        return done

    def members(self) -> dict[str, dict[str, Any]]:
        """Return what Patroni says of each node, by name; nothing when no Patroni answers."""
        for node in self.nodes:
            address = f"http://{HOST}:{node.rest}/cluster"
            with suppress(OSError, ValueError), urllib.request.urlopen(address, timeout=1) as answer:
                return {one["name"]: one for one in json.load(answer)["members"]}
        return {}

    def is_whole(self) -> bool:
        """Whether a primary has two standbys, and one of them is synchronous."""
        members = list(self.members().values())
        up = [one for one in members if one.get("state") in {"running", "streaming"}]
        roles = sorted(str(one["role"]) for one in up)
        lags = [one.get("lag", 0) for one in up]
        return roles == ["leader", "replica", "sync_standby"] and all(isinstance(lag, int) for lag in lags)

    def primary(self) -> Node | None:
        """Return the node that leads, as it says itself."""
        for node in self.nodes:
            if answers(f"http://{HOST}:{node.rest}/primary", within=0.5):
                return node
        return None

    def kill_server(self, node: Node) -> None:
        """Kill a node's PostgreSQL with SIGKILL; its Patroni stays."""
        self._kill_postgres(node)

    def kill_node(self, node: Node) -> None:
        """Kill a node's Patroni and PostgreSQL with SIGKILL, as if the machine were gone."""
        self._patronis[node.name].kill()
        self._kill_postgres(node)

    def _kill_postgres(self, node: Node) -> None:
        try:
            pid = int((node.folder / "data" / "postmaster.pid").read_text().split()[0])
            name = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return
        # A file that a crash left may name a process of others.
        if str(node.folder).encode() in name:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


_PYTHON = DAYSONG[:1]


def answers(address: str, *, within: float = 2.0) -> bool:
    """Return whether an address answers with 200."""
    try:
        with urllib.request.urlopen(address, timeout=within) as answer:  # noqa: S310 - ours
            return int(answer.status) == 200  # noqa: PLR2004
    except (OSError, urllib.error.URLError, ValueError):
        return False
