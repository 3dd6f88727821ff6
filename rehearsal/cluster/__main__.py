"""`script/cluster`: a whole installation on this machine, used while its primary is killed twice.

    script/cluster [--people 16] [--calm 10] [--port 9450] [--logs FOLDER] [--json]

The first time PostgreSQL alone is killed, the second time its Patroni too, as when a machine is lost; then that machine
comes back. Prints what clients noticed, and fails when an acknowledged write is lost, a song is not charged or ordered
exactly once, or a socket takes ten seconds or more to show a new entry.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from rehearsal.cluster import programs
from rehearsal.cluster.cluster import FIRST_PORT, MOTO, Cluster
from rehearsal.cluster.configs import ports_from
from rehearsal.cluster.journeys import Observations, Person
from rehearsal.cluster.report import Figures, Kill, counted, in_progress
from rehearsal.cluster.sharing import Sharing, places

PAUSE = 1.5  # seconds, about, between two entries of a person over HTTP, and over the socket
SONGS_WITHIN = 330.0  # seconds: a callback that was lost is asked for after three minutes
AWAY = 10.0  # seconds until a machine that was lost is back


class Run:
    """One run: people use the cluster, and its primary is killed twice."""

    def __init__(self, cluster: Cluster, people: int, calm: float) -> None:
        self._cluster = cluster
        self._count = people
        self._calm = calm
        self.observed = Observations()
        self.kills: list[Kill] = []

    async def __call__(self) -> Figures:
        """Run it, and return the figures."""
        limits = httpx2.Limits(max_connections=None)
        timeout = httpx2.Timeout(15)
        async with httpx2.AsyncClient(
            base_url=self._cluster.origin, trust_env=False, timeout=timeout, limits=limits
        ) as http:
            people = [
                Person(number, self._cluster.origin, http, await self._token(number), self.observed)
                for number in range(self._count)
            ]
            sharing = Sharing(http, await self._token(self._count))
            share = await sharing.song()
            began = time.monotonic()
            span = 2 * self._calm + 60
            using = [
                asyncio.create_task(work)
                for person in people
                for work in (person.write(PAUSE), person.live(PAUSE), person.sing(span / 4))
            ]
            using.append(asyncio.create_task(sharing.change(share)))
            try:
                await self._kill_twice()
            finally:
                sharing.stop()
                for person in people:
                    person.stop()
                done, late = await asyncio.wait(using, timeout=30)
                for task in late:
                    task.cancel()
                await asyncio.wait(using)
            for task in done:
                task.result()
            used = time.monotonic() - began
            ready = await self._until_sung()
        doctor = json.loads((await asyncio.to_thread(self._cluster.command, "doctor", "--json", check=False)).stdout)
        figures = await counted(self._cluster, self.observed, self.kills, used)
        figures.add_reads(sharing.reads, await places([f"{serve.origin}/metrics" for serve in self._cluster.serves]))
        return figures.with_end(ready, doctor)

    async def _token(self, number: int) -> str:
        """Sign a user in; return the session's token."""
        who = {"sub": f"user_cluster_{number}", "email": f"cluster{number}@example.test", "ttl": 86_400}
        async with httpx2.AsyncClient(base_url=self._cluster.vendors, trust_env=False) as vendors:
            return str((await vendors.post("/sandbox/clerk/sign-in", json=who)).raise_for_status().json()["jwt"])

    async def _kill_twice(self) -> None:
        cluster = self._cluster
        await asyncio.sleep(self._calm)
        first = await self._killed("PostgreSQL", cluster.kill_server)
        await self._whole(first)
        await asyncio.sleep(self._calm)
        second = await self._killed("PostgreSQL and its Patroni", cluster.kill_node)
        await asyncio.sleep(AWAY)
        cluster.start_node(second.node)
        await self._whole(second, back=AWAY)
        await asyncio.sleep(self._calm)

    async def _killed(self, what: str, kill: Any) -> Kill:
        node = await asyncio.to_thread(self._cluster.primary)
        if node is None:
            raise RuntimeError("there is no primary to kill")
        kill(node)
        found = Kill(what, node, time.monotonic())
        self.kills.append(found)
        say(f"killed {what} on {node.name}")

        def taken_over() -> bool:
            return self._cluster.primary() not in {node, None}

        await asyncio.to_thread(programs.until, "a new primary", taken_over, within=120)
        found.primary = time.monotonic() - found.at
        say(f"another node leads after {found.primary:.1f} s")
        return found

    async def _whole(self, kill: Kill, *, back: float = 0.0) -> None:
        await asyncio.to_thread(programs.until, "three nodes", self._cluster.is_whole, within=180)
        kill.whole = time.monotonic() - kill.at - back
        say(f"the node that was killed is a standby again after {kill.whole:.1f} s")

    async def _until_sung(self) -> float:
        """Wait until no song is in progress, and return the seconds it took."""
        began = time.monotonic()
        while await in_progress(self._cluster) and time.monotonic() - began < SONGS_WITHIN:
            await asyncio.sleep(1)
        return time.monotonic() - began


def say(text: str) -> None:
    """Say what happens, with the time since the start."""
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)


STARTED = time.monotonic()


def machine() -> str:
    """Return what the figures were measured on."""
    cores, load = os.cpu_count(), os.getloadavg()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} cores, {memory:.0f} GB, load {load:.1f} at the end, Python {platform.python_version()}"


def main() -> None:
    """Parse the arguments, install what is missing, run."""
    parser = argparse.ArgumentParser(prog="script/cluster", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--calm", type=float, default=10, help="seconds before, between and after the kills")
    parser.add_argument("--port", type=int, default=FIRST_PORT, help="the first of about 30 ports that are used")
    parser.add_argument("--logs", type=Path, help="a folder to keep the logs in")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if programs.missing() and os.geteuid() == 0:
        say(f"installing {', '.join(programs.missing())}")
        programs.install(programs.missing())
    if programs.missing() or not MOTO.exists():
        lacking = programs.missing() or [str(MOTO)]
        sys.exit(f"script/cluster needs {', '.join(lacking)}: apt-get install {' '.join(programs.missing())}")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with Cluster(ports_from(options.port), say, keep_logs=options.logs) as cluster:
        figures = asyncio.run(Run(cluster, options.people, options.calm)())
    if options.json:
        print(json.dumps(figures.as_json(), indent=2))
    else:
        print(f"script/cluster, {datetime.now(UTC):%d %B %Y %H:%M} UTC; {machine()}\n")
        print(figures)
    sys.exit(0 if figures.holds else 1)


def _end(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: everything that was started has been ended")
