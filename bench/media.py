"""What audio costs: MB a second and CPU per MB of one server process, beside a bare ASGI file answer.

    script/bench media [--seconds 2] [--rounds 5] [--connections 8]

One song of 4 MiB in a folder, answered whole, and in ranges of 256 KiB and of 64 KiB, as players ask. daysong looks up
the file; bench/bare_files.py does nothing but read it. Rounds are interleaved; ratios are medians.

Where nginx is installed, the same through it: what it passes on, and with MEDIA_ACCEL, where it sends the file itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import asyncpg

from bench import machine
from bench.peers.client import cpu_of_tree
from bench.peers.servers import environment_for
from daysong.commands.environment import free_port
from daysong.kernel.ids import FileId
from rehearsal.processes import proxies
from rehearsal.processes.server import DAYSONG, ROOT, Keys

SIZE = 4 * 2**20
# What is asked for: bytes in one request, or all.
PARTS = {"whole song": None, "ranges of 256 KiB": 256 * 1024, "ranges of 64 KiB": 64 * 1024}
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
GOAL = 0.8
MB = 1e6


# A proxy without TLS, which would cost the client more than all else here.
NGINX = """
    upstream daysong {{ server 127.0.0.1:{behind}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port};
        sendfile on;
        tcp_nopush on;
        keepalive_requests 100000000;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://daysong; }}
        location /stored/ {{ internal; alias {files}/; }}
    }}"""


class Measured(NamedTuple):
    """MB a second, and ms of CPU for each MB: the server's, and that of a proxy in front of it."""

    rate: float
    cpu: float
    proxy: float = 0.0


class _Download:
    """A connection that asks for parts of a file, one after the other, and throws them away."""

    def __init__(self, port: int, path: str, part: int | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n".encode()
        self._part = part
        self._left = 0
        self._buffer = bytearray(2**18)

    def ask(self) -> None:
        wanted = b""
        if self._part is not None:
            start = random.randrange(0, SIZE, self._part)  # noqa: S311
            wanted = b"Range: bytes=%d-%d\r\n" % (start, start + self._part - 1)
        self.socket.sendall(self._head + wanted + b"\r\n")

    def receive(self) -> int:
        """Receive some bytes, ask anew after the last one, and return how many of a body they were."""
        got = self.socket.recv_into(self._buffer)
        if not got:
            raise RuntimeError("the server hung up")
        if not self._left:
            head, found, _ = bytes(self._buffer[:got]).partition(b"\r\n\r\n")
            length = LENGTH.search(head)
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 206")) or length is None or not found:
                raise RuntimeError(head.decode(errors="replace"))
            self._left = int(length[1])
            got -= len(head) + len(found)
        self._left -= got
        if not self._left:
            self.ask()
        return got


def load(
    port: int, path: str, part: int | None, seconds: float, connections: int, server: int, proxy: int | None = None
) -> Measured:
    """Download for so many seconds, and measure."""

    def cpus() -> tuple[float, float]:
        return cpu_of_tree(server), cpu_of_tree(proxy) if proxy else 0.0

    poll, downloads = select.epoll(), {}
    for _ in range(connections):
        one = _Download(port, path, part)
        downloads[one.socket.fileno()] = one
        poll.register(one.socket.fileno(), select.EPOLLIN)
        one.ask()
    received, before, started = 0, cpus(), time.perf_counter()
    while (now := time.perf_counter()) < started + seconds:
        for descriptor, _ in poll.poll(1):
            received += downloads[descriptor].receive()
    own, others = (after - earlier for earlier, after in zip(before, cpus(), strict=True))
    for one in downloads.values():
        one.socket.close()
    return Measured(received / MB / (now - started), 1000 * own / (received / MB), 1000 * others / (received / MB))


@contextmanager
def running(command: list[str], environ: dict[str, str], port: int) -> Iterator[int]:
    """Run a server until the end, and yield its process id once it listens."""
    process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603 - ourselves
    try:
        for _ in range(1200):
            if process.poll() is not None:
                raise RuntimeError("a server does not start")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


async def stored(url: str, folder: Path) -> tuple[str, Path]:
    """Store a song; return its path, and its file."""
    file_id = FileId.new()
    path = folder / "files" / file_id
    path.parent.mkdir()
    path.write_bytes(random.randbytes(SIZE))  # noqa: S311
    connection = await asyncpg.connect(url)
    await connection.execute("insert into users (id, clerk_id, created_at, updated_at) values ('a', 'a', now(), now())")
    await connection.execute(
        "insert into files (id, user_id, content_type, size, created_at) values ($1, 'a', 'audio/mpeg', $2, now())",
        file_id, SIZE,
    )  # fmt: skip
    await connection.close()
    return f"/media/{file_id}", path


def bench(seconds: float, rounds: int, connections: int) -> None:
    """Measure, and print a table."""
    with machine.postgres("media") as (postgres, folder):
        environ = environment_for(postgres.url, folder, Keys(folder / "keys"))
        environ["PATH"] = os.environ.get("PATH", "")
        # One address asks for thousands of ranges a second.
        environ["LIMIT_REQUESTS_VIEWER"] = "10000000/60s"
        subprocess.run([*DAYSONG, "migrate"], env=environ, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        address, file = asyncio.run(stored(postgres.url, folder))
        port, bare_port = free_port(), free_port()
        serve = [*DAYSONG, "serve", "--port", str(port)]
        bare = [
            sys.executable, "-m", "uvicorn", "bench.bare_files:app", "--loop", "uvloop", "--http", "httptools",
            "--no-access-log", "--log-level", "warning", "--port", str(bare_port),
        ]  # fmt: skip
        print(machine.line())
        print(f"{'':20}{'daysong':>26}{'bare':>26}{'of bare':>10}")
        with (
            running(serve, environ, port) as own,
            running(bare, environ | {"BENCH_FILE": str(file)}, bare_port) as other,
        ):
            for name, part in PARTS.items():
                pairs = [
                    (
                        load(port, address, part, seconds, connections, own),
                        load(bare_port, "/", part, seconds, connections, other),
                    )
                    for _ in range(rounds)
                ]
                print(line(name, pairs))

        def measuring(port: int, part: int | None, server: int, proxy: int) -> Measured:
            return load(port, address, part, seconds, connections, server, proxy)

        through_nginx(lambda port: [*DAYSONG, "serve", "--port", str(port)], environ, folder, file, measuring, rounds)


def through_nginx(
    serve: Callable[[int], list[str]], environ: dict[str, str], folder: Path, file: Path,
    measuring: Callable[[int, int | None, int, int], Measured], rounds: int,
) -> None:  # fmt: skip
    """Measure what nginx passes on, and what it sends itself, and print a table."""
    program = proxies.program("nginx")
    if program is None:
        print("nginx is not installed")
        return
    print("\nthrough nginx: MB/s, ms of daysong's CPU and of nginx's for each MB")
    print(f"{'':20}{'passed on':>30}{'MEDIA_ACCEL':>30}")
    with ExitStack() as stack:
        sides = []
        for name, more in (("passed", {}), ("accel", {"MEDIA_ACCEL": "/stored"})):
            port, behind, settings = free_port(), free_port(), folder / name
            settings.mkdir()
            (settings / "daysong.conf").write_text(NGINX.format(port=port, behind=behind, files=file.parent))
            server = stack.enter_context(running(serve(behind), environ | more, behind))
            proxy = stack.enter_context(running(proxies.nginx(program, settings), environ, port))
            sides.append((port, server, proxy))
        for name, part in PARTS.items():
            found = [[measuring(port, part, server, proxy) for port, server, proxy in sides] for _ in range(rounds)]
            medians = [Measured(*map(median, zip(*side, strict=True))) for side in zip(*found, strict=True)]
            shown = (f"{one.rate:7.0f} MB/s {one.cpu:5.2f} + {one.proxy:4.2f} ms/MB" for one in medians)
            print(f"{name:20}{''.join(f'{text:>30}' for text in shown)}")


def line(name: str, pairs: list[tuple[Measured, Measured]]) -> str:
    """Return the medians of some rounds."""
    own, bare = (Measured(*map(median, zip(*side, strict=True))) for side in zip(*pairs, strict=True))
    ratio = median(one.rate / other.rate for one, other in pairs)
    shown: Callable[[Measured], str] = lambda found: f"{found.rate:7.0f} MB/s {found.cpu:5.2f} ms/MB"  # noqa: E731
    return f"{name:20}{shown(own):>26}{shown(bare):>26}{ratio:10.2f}{'' if ratio >= GOAL else f'  goal {GOAL}'}"


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    bench(options.seconds, options.rounds, options.connections)


if __name__ == "__main__":
    main()
