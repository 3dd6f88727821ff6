"""What live sockets cost: memory of each, which ones a write wakes, and how soon.

    script/bench live [--people 1000] [--sockets 5] [--writes 50] [--seconds 20]

Starts PostgreSQL, one `daysong serve` and one process with all the apps, each subscribed to three queries. Writes
entries over HTTP meanwhile. Fails when a socket takes too much memory, or pushes take too long.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import httpx2

from rehearsal import databases as testing
from rehearsal.processes.server import Keys, Server, settings_for

PREFIX = "bench "
KB_PER_SOCKET = 40
WITHIN = 0.250  # seconds for 95 of 100 pushes


def resident(server: Server) -> int:
    """Return the memory of the serving processes, in KB."""
    status = [Path(f"/proc/{pid}/status").read_text() for pid in server.workers()]
    return sum(int(line.split()[1]) for text in status for line in text.splitlines() if line.startswith("VmRSS"))


class Caller:
    """Calls functions as many users, over a few connections."""

    def __init__(self, origin: str, tokens: list[str]) -> None:
        self._tokens = tokens
        self._http = httpx2.AsyncClient(base_url=origin, trust_env=False)

    async def mutation(self, person: int, path: str, **args: Any) -> None:
        """Call a mutation; fails when it does."""
        headers = {"Authorization": f"Bearer {self._tokens[person]}"}
        answer = await self._http.post("/api/mutation", json={"path": path, "args": args}, headers=headers)
        if answer.raise_for_status().json()["status"] != "success":
            raise RuntimeError(answer.text)

    async def everybody(self, path: str, *, at_once: int = 8) -> None:
        """Call a mutation as every user."""
        people = iter(range(len(self._tokens)))

        async def some() -> None:
            for person in people:
                await self.mutation(person, path)

        await asyncio.gather(*(some() for _ in range(at_once)))

    async def write(self, rate: float, seconds: float) -> Counter[int]:
        """Write entries at that rate, one user after another; return the number of writes by user."""
        written: Counter[int] = Counter()
        people = itertools.cycle(range(len(self._tokens)))
        started, under_way = time.monotonic(), set()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            person = next(people)
            content = f"{PREFIX}{person}:{time.monotonic():.6f}"
            task = asyncio.create_task(self.mutation(person, "diaries:createDiary", content=content))
            under_way.add(task)
            written[person] += 1
        await asyncio.gather(*under_way)
        return written

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


async def bench(options: argparse.Namespace) -> bool:
    """Measure, print, and return whether all is within its bounds."""
    folder = Path(tempfile.mkdtemp())
    with testing.server() as postgres:
        url = await testing.create_database(postgres, "bench", migrated=True)
        keys = Keys(folder / "keys")
        tokens = [
            keys.token(f"user_bench_{number}", email=f"bench{number}@example.test") for number in range(options.people)
        ]
        with Server(settings_for(url, folder, keys), folder) as server:
            caller = Caller(server.origin, tokens)
            try:
                return await measured(server, caller, tokens, options)
            finally:
                await caller.close()
                for line in server.complaints()[:10]:
                    print(f"the server logs an error: {line}")


async def measured(server: Server, caller: Caller, tokens: list[str], options: argparse.Namespace) -> bool:
    """Measure one server."""
    await caller.everybody("users:ensureCurrentUser")
    await caller.everybody("users:ensureCurrentUser")  # so that first-call allocations exist before
    before = resident(server)
    apps = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.sockets", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        limit=1 << 28,
    )  # fmt: skip
    assert apps.stdin is not None
    assert apps.stdout is not None
    asked = {"origin": server.origin, "tokens": tokens, "sockets": options.sockets, "prefix": PREFIX}
    apps.stdin.write(json.dumps(asked).encode() + b"\n")
    ready = json.loads(await apps.stdout.readline())
    await settled(server)
    count, idle = ready["ready"], resident(server)
    each = (idle - before) / count
    print(f"{count} sockets with 3 queries each, opened in {ready['seconds']:.1f} s")
    print(f"memory: {before / 1024:.0f} MB before, {idle / 1024:.0f} MB with them: {each:.1f} KB each")
    written = await caller.write(options.writes, options.seconds)
    await asyncio.sleep(2)
    print(f"memory after {sum(written.values())} writes: {resident(server) / 1024:.0f} MB")
    apps.stdin.close()
    report = json.loads(await apps.stdout.readline())
    await apps.wait()
    return verdict(report, written, each, options)


async def settled(server: Server) -> None:
    """Wait until the server's memory grows no more."""
    last = -1
    while (now := resident(server)) != last:
        last = now
        await asyncio.sleep(1)


def verdict(report: dict[str, Any], written: Counter[int], each: float, options: argparse.Namespace) -> bool:
    """Print what the sockets received; return whether it is within the bounds."""
    heard = report["heard"]
    latencies = sorted(latency for one in heard for latency in one["latencies"])
    shares = quantiles(latencies, n=100)
    asleep = sum(one["wakes"] for one in heard if not written[one["owner"]])
    # Of two entries written close together, the newer may be the only one pushed.
    missed = sum(1 for one in heard if written[one["owner"]] and not one["latencies"])
    most = max((one["wakes"] - written[one["owner"]] for one in heard), default=0)
    print(f"{sum(written.values())} writes at {options.writes}/s by {len(written)} people, {len(latencies)} pushes:")
    print(f"  p50 {median(latencies) * 1000:.0f} ms, p95 {shares[94] * 1000:.0f} ms, p99 {shares[98] * 1000:.0f} ms")
    print(f"  wakes of sockets of people who wrote nothing: {asleep}; most wakes beyond a socket's own writes: {most}")
    print(f"  sockets that missed a push: {missed}; sockets lost: {report['lost']}")
    checks = {
        f"memory per socket under {KB_PER_SOCKET} KB": each < KB_PER_SOCKET,
        f"p95 under {WITHIN * 1000:.0f} ms": shares[94] < WITHIN,
        "only the writer's sockets wake": asleep == 0 and most <= 0,
        "every socket receives its pushes": missed == 0 and report["lost"] == 0,
    }
    for what, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {what}")
    return all(checks.values())


def main() -> None:
    """Parse the arguments, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--sockets", type=int, default=5, help="of each")
    parser.add_argument("--writes", type=float, default=50, help="a second")
    parser.add_argument("--seconds", type=float, default=16)
    options = parser.parse_args()
    os.environ.pop("DATABASE_URL", None)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    testing.begin_run()
    try:
        fine = asyncio.run(bench(options))
    finally:
        testing.end_run()
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
