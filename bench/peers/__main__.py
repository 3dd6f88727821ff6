"""daysong beside the floor and the usual: the same functions, data and load, in interleaved rounds.

    script/bench peers [function…] [--seconds 4] [--rounds 5]
    script/bench quick                                          two to three minutes; the table is only printed

Each contender is one server process with a database of its own in one PostgreSQL, with durability on; all run on the
same two cores as the load generator: 32 connections, 512 users in turn. Responses and written rows are compared
before anything is measured. A whole run of `peers` writes its table into docs/PERFORMANCE.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from bench.peers import data, report
from bench.peers.client import NUMBER, Load, Measured
from bench.peers.functions import CONTENDERS, FUNCTIONS, Contender, Measurable, Someone, comparable
from bench.peers.servers import Process, environment_for, postmaster
from daysong.embedded import server as embedded
from daysong.kernel import settings
from daysong.kernel.database import migrations
from rehearsal.processes.server import ROOT, Keys

CORES = 2
CONNECTIONS = 32
COMPARED = (0, 1, data.PEOPLE - 1)
TABLES = (
    "diaries", "usage_charges", "generations", "music", "jobs", "pgqueuer", "pgqueuer_log", "webhook_events",
    "mailbox_usage", "subscriptions", "users",
)  # fmt: skip


class Bench:
    """All contenders, running, with their databases."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._keys = Keys(folder / "keys")
        self.urls: dict[Contender, str] = {}
        self.servers: dict[Contender, Process] = {}
        self._watches: dict[Contender, asyncpg.Connection] = {}
        self._people: list[Someone] = []
        # Numbers that no earlier request to that contender had.
        self._next = dict.fromkeys(CONTENDERS, 1)

    async def open(self) -> None:
        """Start PostgreSQL, fill a database, copy it for each contender, and start their servers."""
        postgres = self._stack.enter_context(embedded.start(self._folder / "postgres"))
        self._postmaster = postmaster(postgres.home)
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("create database filled")
        url = embedded.database_url(postgres.home, "filled")
        await migrations.migrate(url)
        filling = await asyncpg.connect(url)
        self.since: datetime = await data.fill(filling, settings.load(environment_for(url, self._folder, self._keys)))
        samples = await data.samples(filling)
        await filling.close()
        for contender in CONTENDERS:
            await connection.execute(f"create database {contender} template filled", timeout=120)
            self.urls[contender] = embedded.database_url(postgres.home, contender)
        await connection.execute("checkpoint")
        await connection.close()
        self._people = [
            Someone(number, self._keys.token(f"user_bench_{number}", lasts=86_400), sample)
            for number, sample in enumerate(samples)
        ]
        for contender, url in self.urls.items():
            self._watches[contender] = await asyncpg.connect(url)
            server = Process(contender, url, self._folder, self._keys)
            self.servers[contender] = self._stack.enter_context(server)

    async def compare(self, function: Measurable) -> None:
        """Check that all contenders give the same response and write as many rows. ValueError when they do not."""
        for number in COMPARED:
            found = [await self._asked(contender, function, self._people[number]) for contender in CONTENDERS]
            for contender, each in zip(CONTENDERS, found, strict=True):
                if each != found[0]:
                    raise ValueError(
                        f"{function.name}: {contender} differs from {CONTENDERS[0]}\n"
                        + "\n".join(json.dumps(one)[:3000] for one in (found[0], each))
                    )

    async def _asked(self, contender: Contender, function: Measurable, someone: Someone) -> Any:
        """Return the response to one request, and the numbers of rows it has written."""
        request = function.request(contender, someone).replace(NUMBER, b"%08d" % self._next[contender])
        self._next[contender] += 1
        before = await self._rows(contender)
        answer = await asyncio.to_thread(self.servers[contender].ask, request)
        after = await self._rows(contender)
        return [comparable(answer), {name: after[name] - before[name] for name in after}]

    async def _rows(self, contender: Contender) -> dict[str, int]:
        counts = ", ".join(f"(select count(*) from {name}) as {name}" for name in TABLES)  # noqa: S608 - constants
        return dict(await self._watches[contender].fetchrow(f"select {counts}"))

    async def measure(self, contender: Contender, function: Measurable, seconds: float) -> Measured:
        """Measure one contender once, and remove what it wrote."""
        load = Load(
            port=self.servers[contender].port,
            requests=[function.request(contender, someone) for someone in self._people],
            seconds=seconds,
            connections=CONNECTIONS,
            first=self._next[contender],
            trees={"server": self.servers[contender].pid, "postgres": self._postmaster},
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.peers.client",
            cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate(msgspec.json.encode(load))
        if process.returncode:
            raise RuntimeError(
                f"{function.name}: {contender} failed under load; see above\n{self.servers[contender].tail()}"
            )
        measured = msgspec.json.decode(out, type=Measured)
        self._next[contender] = measured.next
        if function.writes:
            await data.remove_written(self._watches[contender], self.since)
        return measured

    async def remove_written(self) -> None:
        """Remove what comparing has written."""
        for watch in self._watches.values():
            await data.remove_written(watch, self.since)

    async def close(self) -> None:
        """Close the connections."""
        for watch in self._watches.values():
            await watch.close()


async def bench(folder: Path, functions: list[Measurable], seconds: float, rounds: int) -> dict[str, report.Rounds]:
    """Compare, measure, print a line for each function, and return all that was measured."""
    results: dict[str, report.Rounds] = {}
    with ExitStack() as stack:
        peers = Bench(folder, stack)
        try:
            await peers.open()
            for function in functions:
                await peers.compare(function)
            print("all contenders give the same responses and write the same rows", flush=True)
            if rounds == 0:
                return results
            await peers.remove_written()
            print(report.HEAD, flush=True)
            for function in functions:
                taken: dict[Contender, list[Measured]] = {contender: [] for contender in CONTENDERS}
                for _ in range(rounds):
                    for contender in CONTENDERS:
                        taken[contender].append(await peers.measure(contender, function, seconds))
                results[function.name] = taken
                print(report.line(function, taken), flush=True)
        finally:
            await peers.close()
    return results


def main() -> None:
    """Parse the arguments, measure, and write the table after a whole run."""
    names = {function.name.lower(): function for function in FUNCTIONS}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("functions", nargs="*", type=str.lower, metavar="function", help="all without a name")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    unknown = set(options.functions) - set(names)
    if unknown:
        parser.error(f"no such function: {', '.join(sorted(unknown))}")
    seconds, rounds = (0.8, 2) if options.quick else (options.seconds, options.rounds)
    os.environ.pop("DATABASE_URL", None)
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)
    # In their order: what a function writes when the contenders are compared is seen by those that read.
    chosen = [one for name, one in names.items() if not options.functions or name in options.functions]
    folder = Path(tempfile.mkdtemp(prefix="daysong-peers-"))
    folder.chmod(0o711)  # as root, the server's account must be able to traverse it
    try:
        results = asyncio.run(bench(folder, chosen, seconds, rounds))
    finally:
        embedded.remove(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)
    how = f"{rounds} rounds of {seconds:g} s, {CONNECTIONS} connections, {data.PEOPLE} users; medians."
    if rounds and not (options.quick or options.functions):
        report.write(report.table(results, chosen, how))
        print(f"written to {report.DOCUMENT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
