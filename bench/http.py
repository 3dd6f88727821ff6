"""How many calls a second one server process answers, relative to a bare route on the same machine.

    script/bench [--seconds 3] [--connections 16]

Starts PostgreSQL and one `daysong serve`, with a library of entries and songs. Machines differ and are noisy, so look
at the ratios: each line is compared with the bare route of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rehearsal import databases as testing
from rehearsal.world import Person, World, free_port

ENTRIES = 50


def request(origin: str, path: str, body: Any, headers: dict[str, str]) -> bytes:
    """Return an HTTP request as bytes; a GET without a body."""
    content = b"" if body is None else json.dumps(body).encode()
    lines = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", f"Host: {urlsplit(origin).netloc}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


async def ask(origin: str, wire: bytes, until: float) -> int:
    """Send the request over one connection until that moment; return the number of responses."""
    address = urlsplit(origin)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    answers = 0
    while time.perf_counter() < until:
        writer.write(wire)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        if b'"status":"error"' in body:
            raise RuntimeError(body.decode())
        answers += 1
    writer.close()
    return answers


async def measure(origin: str, wire: bytes, seconds: float, connections: int) -> float:
    """Return responses a second, over that many connections."""
    started = time.perf_counter()
    counts = await asyncio.gather(*(ask(origin, wire, started + seconds) for _ in range(connections)))
    return sum(counts) / (time.perf_counter() - started)


async def prepared(world: World) -> Person:
    """Return a person with a library."""
    alice = await world.person("alice")
    song = await alice.song()
    for number in range(ENTRIES - 1):
        await alice.mutation("diaries:createDiary", content=f"Day {number} " + "of rain and sun " * 20)
    await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    return alice


async def bench(seconds: float, connections: int) -> None:
    """Measure, and print a table."""
    with testing.server() as server:
        url = await testing.create_database(server, "bench", migrated=True)
        async with World(url, Path(tempfile.mkdtemp()), datetime.now(UTC), port=free_port()) as world:
            alice = await prepared(world)
            port = free_port()
            environ = {**world.environ(), "SITE_URL": f"http://127.0.0.1:{port}"}
            command = [sys.executable, "-c", "from daysong.cli import main; main()", "serve", "--port", str(port)]
            process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603, ASYNC220
            try:
                await table(f"http://127.0.0.1:{port}", alice, seconds, connections)
            finally:
                process.terminate()
                process.wait(20)


async def table(origin: str, alice: Person, seconds: float, connections: int) -> None:
    """Print one line for each request."""
    await up(origin)
    calls: list[tuple[str, str, str, dict[str, Any]]] = [
        ("query", "usage:canCurrentUserGenerateMusic", "one row", {}),
        ("query", "diaries:listDiaries", f"{ENTRIES} entries", {}),
        ("query", "music:listPlaylistMusic", "one song, with timed words", {}),
        ("mutation", "diaries:createDiary", "one transaction", {"content": "Rain."}),
    ]
    bare = await measure(origin, request(origin, "/healthz", None, {}), seconds, connections)
    print(f"{'what':58} {'per second':>10} {'of bare':>8}")
    print(f"{'GET /healthz (bare route)':58} {bare:10.0f} {1:8.2f}")
    for kind, path, what, args in calls:
        body = {"path": path, "args": [args], "format": "convex_encoded_json"}
        rate = await measure(origin, request(origin, f"/api/{kind}", body, alice.headers), seconds, connections)
        print(f"{f'{path} ({what})':58} {rate:10.0f} {rate / bare:8.2f}")


async def up(origin: str) -> None:
    """Wait until the server answers."""
    address = urlsplit(origin)
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(address.hostname, address.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def main() -> None:
    """Parse the arguments, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    os.environ.pop("DATABASE_URL", None)
    testing.begin_run()
    try:
        asyncio.run(bench(options.seconds, options.connections))
    finally:
        testing.end_run()


if __name__ == "__main__":
    main()
