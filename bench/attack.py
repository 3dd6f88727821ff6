"""An attack: many free accounts call every public function in loops, while a few other users use their app.

    script/bench attack [--accounts 50] [--seconds 60] [--cap 5]

Serves a whole daysong with its sandbox and a worker, and limits on, in one process. All requests come from one address,
so the limits by address are off: an attacker has many addresses. Prints the responses, the spending, and how long the
other users waited. Fails when spending exceeds the daily cap, when an account gets more songs than its quota, or when
the other users' p95 latency exceeds a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from daysong.kernel import logs
from rehearsal import databases as testing
from rehearsal.world import World, free_port, public_functions

QUOTA = 5
OTHERS = 5
LIMITS = {
    "DAYSONG_TEST_LIMITS": "1",
    "LIMIT_REQUESTS_VIEWER": "off",
    "LIMIT_WRITES_VIEWER": "off",
    "LIMIT_SONGS_VIEWER": "off",
    "LIMIT_SIGN_UPS_VIEWER": "off",
    "LIMIT_SHARE_VIEWS_VIEWER": "off",
}
# What attackers call most: whatever costs money, and whatever might refund charges.
FAVORITES = (
    "music:startDiaryMusicGeneration",
    "diaries:deleteDiary",
    "music:softDeleteMusic",
    "callSettings:sendTestCall",
)
FAVORED = 0.5
LEAVES = 0.02
REMAKES = 0.3
TAGGED = 10
REFUSALS = 5


@dataclass
class Figures:
    """The results of an attack: responses by outcome, the other users' latencies in seconds, and money in
    micro-dollars.
    """

    answers: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    spent: int = 0
    most_songs: int = 0
    songs: int = 0

    @property
    def p95(self) -> float:
        """Return the p95 latency of the other users."""
        return statistics.quantiles(self.waits, n=20)[-1] if len(self.waits) > 1 else 0.0

    def __str__(self) -> str:
        answers = ", ".join(f"{outcome} {count}" for outcome, count in self.answers.most_common(12))
        return (
            f"answers: {answers}\nsongs paid: {self.songs}, most of one account: {self.most_songs}\n"
            f"spent: {self.spent / 1e6:.2f} $\n"
            f"others: {len(self.waits)} calls, p50 {statistics.median(self.waits):.3f} s, p95 {self.p95:.3f} s"
        )


class Attacker:
    """An account that calls in a loop."""

    def __init__(self, http: httpx2.AsyncClient, token: str, figures: Figures, seed: int) -> None:
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}
        self._figures = figures
        self._random = random.Random(seed)  # noqa: S311
        self._diaries: list[str] = []
        self._music: list[str] = []

    async def run(self, until: float) -> None:
        """Call one function after another."""
        kinds = {function.identifier: function.kind.value.lower() for function in public_functions()}
        names = sorted(kinds)
        while time.perf_counter() < until:
            name = self._random.choice(FAVORITES if self._random.random() < FAVORED else names)
            if name == "users:deleteAccount" and self._random.random() > LEAVES:
                continue
            value = await self._call(kinds[name], name, self._args(name))
            if name == "music:startDiaryMusicGeneration" and isinstance(value, dict):
                self._diaries.append(value["diaryId"])
            if name == "music:listPlaylistMusic" and isinstance(value, list):
                self._music = [row["_id"] for row in value]

    def _args(self, name: str) -> dict[str, Any]:
        diary = self._random.choice(self._diaries) if self._diaries else "diary_none"
        music = self._random.choice(self._music) if self._music else "music_none"
        match name.partition(":")[2]:
            case "startDiaryMusicGeneration":
                remake = self._diaries and self._random.random() < REMAKES
                return {"content": "Rain."} | ({"diaryId": diary} if remake else {})
            case "createDiary":
                return {"content": "Rain."}
            case "updateDiary":
                return {"diaryId": diary, "content": "Sun."}
            case "deleteDiary" | "getDiary":
                return {"diaryId": diary}
            case "softDeleteMusic" | "getMusic" | "createShareLink":
                return {"musicId": music}
            case "getSharedMusic" | "recordShareView":
                return {"shareId": "2345678923"}
            case "upsertCallSettings":
                phone = f"+1212555{self._random.randrange(10_000):04}"
                return {"phoneE164": phone, "timezone": "UTC", "timeOfDay": "12:00", "cadence": "daily", "active": True}
        return {}

    async def _call(self, kind: str, name: str, args: dict[str, Any]) -> Any:
        body = {"path": name, "args": args, "format": "json"}
        try:
            answer = await self._http.post(f"/api/{kind}", json=body, headers=self._headers)
        except httpx2.HTTPError as error:
            self._figures.answers[type(error).__name__] += 1
            return None
        if answer.status_code != httpx2.codes.OK:
            self._figures.answers[f"HTTP {answer.status_code}"] += 1
            # A client that reads the response at all waits a little.
            await asyncio.sleep(0.05)
            return None
        said = answer.json()
        if said["status"] == "success":
            value = said["value"]
            self._figures.answers[value.get("code", "success") if isinstance(value, dict) else "success"] += 1
            return value
        self._figures.answers[(said.get("errorData") or {}).get("code", "refused")] += 1
        return None


async def other(http: httpx2.AsyncClient, token: str, figures: Figures, until: float) -> None:
    """Write an entry and read the list now and then, as a regular user does."""
    headers = {"Authorization": f"Bearer {token}"}
    while time.perf_counter() < until:
        for kind, path, args in (
            ("mutation", "diaries:createDiary", {"content": "A quiet day."}),
            ("query", "diaries:listDiaries", {}),
        ):
            started = time.perf_counter()
            body = {"path": path, "args": args, "format": "json"}
            answer = await http.post(f"/api/{kind}", json=body, headers=headers)
            figures.waits.append(time.perf_counter() - started)
            assert answer.json()["status"] == "success", answer.text
        await asyncio.sleep(0.5)


async def attack(origin: str, accounts: int, seconds: float) -> Figures:
    """Sign up all accounts, then let them call for so long."""
    figures = Figures()
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=origin, trust_env=False, timeout=60, limits=limits) as http:
        tokens = []
        for number in range(accounts + OTHERS):
            # The first ten belong to one mailbox.
            mail = f"mallory+{number}@example.test" if number < TAGGED else f"person{number}@example.test"
            who = {"sub": f"user_{number}", "email": mail, "ttl": 86_400}
            tokens.append((await http.post("/sandbox/clerk/sign-in", json=who)).raise_for_status().json()["jwt"])
        await http.post("/sandbox/openai/faults", json={"answer": "refusal", "times": REFUSALS})
        until = time.perf_counter() + seconds
        attackers = [Attacker(http, token, figures, seed).run(until) for seed, token in enumerate(tokens[OTHERS:])]
        await asyncio.gather(*attackers, *(other(http, token, figures, until) for token in tokens[:OTHERS]))
    return figures


async def count(database: Any, figures: Figures) -> None:
    """Add what was charged, from the ledger."""
    figures.spent = await database.fetchval("select coalesce(sum(amount), 0)::bigint from vendor_costs")
    songs = await database.fetch("select count(*) from vendor_costs where vendor = 'suno' group by account")
    figures.songs = sum(row["count"] for row in songs)
    figures.most_songs = max((row["count"] for row in songs), default=0)


async def serve(database_url: str, folder: Path, port: int, cap: str) -> None:
    """Serve a whole daysong, until stopped."""
    # The parent process reads no log.
    logs.configure(readable=True, silent=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    environ = LIMITS | {"LIMIT_COST_DAY": cap}
    async with World(database_url, folder, datetime.now(UTC), environ, port=port) as world:
        working = asyncio.create_task(world.app.worker.run_forever(database_url))
        print("ready", flush=True)
        await stop.wait()
        await world.app.worker.stop()
        await working
        figures = Figures()
        await count(world.db.pool, figures)
        print(json.dumps([figures.spent, figures.songs, figures.most_songs]), flush=True)


def _attacked(database_url: str, options: argparse.Namespace) -> Figures:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "server.log").open("wb") as complaints:
        command = [sys.executable, "-m", "bench.attack", "--cap", options.cap, "--serve"]
        command += [database_url, folder, str(port)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, text=True) as server:  # noqa: S603
            assert server.stdout is not None
            next(line for line in server.stdout if line.startswith("ready"))
            try:
                figures = asyncio.run(attack(f"http://127.0.0.1:{port}", options.accounts, options.seconds))
            finally:
                server.send_signal(signal.SIGTERM)
            last = [line for line in server.stdout if line.startswith("[")][-1]
    figures.spent, figures.songs, figures.most_songs = json.loads(last)
    return figures


def main() -> None:
    """Start a server, attack it, and print the figures."""
    parser = argparse.ArgumentParser(prog="script/bench attack")
    parser.add_argument("--accounts", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cap", default="5", help="dollars that may be spent in the day")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        url, folder, port = options.serve
        asyncio.run(serve(url, Path(folder), int(port), options.cap))
        return
    testing.begin_run()
    try:
        with testing.server() as postgres, testing.own_database(postgres) as database:
            figures = _attacked(database.url, options)
    finally:
        testing.end_run()
    print(figures)
    cap = float(options.cap) * 1e6
    if figures.spent > cap or figures.most_songs > QUOTA or figures.p95 > 1:
        sys.exit("the attack succeeded")


if __name__ == "__main__":
    main()
