"""What a crowd of different users costs: the same calls by all at once, and over 16 connections.

    script/bench crowd [--people 64 200]        DAYSONG_TEST_LIMITS=1 script/bench crowd, with limits and caps

Starts PostgreSQL, one `daysong serve` and one `daysong work`. For each function: how long a call takes and how long all
take, with all users at once and with 16 at a time (different users each time, so that both start alike), and rollbacks
per call. All at once should take at most 1.5 times as long as 16 at a time, which only an otherwise idle machine can
show. Each user comes through a proxy, from a different address. Fails when a call fails, or at more than half a
rollback per call.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
from standardwebhooks import Webhook

from rehearsal import databases as testing
from rehearsal.processes.server import Keys, Server, settings_for

AT_A_TIME = 16
ROLLBACKS_EACH = 0.5
SECRET = "whsec_" + base64.b64encode(b"a-signing-secret-for-benchmarks!").decode()
WEBHOOKS = "clerk webhooks"


@dataclass(frozen=True)
class Person:
    """A user of the crowd: a unique number, and a token."""

    number: int
    token: str

    @property
    def clerk_id(self) -> str:
        """Return the Clerk id."""
        return f"user_crowd_{self.number}"

    @property
    def address(self) -> str:
        """Return the address the proxy names, by which limits count."""
        return f"198.18.{self.number // 256 % 256}.{self.number % 256}"


def call(kind: str, path: str, args: Callable[[Person], dict[str, Any]]) -> Callable[[Person], bytes]:
    """Return what builds the HTTP request of a user's call."""

    def request(person: Person) -> bytes:
        body = json.dumps({"path": path, "args": args(person)}).encode()
        return _post(
            f"/api/{kind}", body, {"Authorization": f"Bearer {person.token}", "X-Forwarded-For": person.address}
        )

    return request


def clerk_webhook(person: Person) -> bytes:
    """Return Clerk's webhook for a user who has just signed up."""
    now = datetime.now(UTC)
    at = int(now.timestamp() * 1000)
    data = {"id": person.clerk_id, "email_addresses": [], "created_at": at, "updated_at": at, "object": "user"}
    body = json.dumps({"type": "user.created", "object": "event", "timestamp": at, "data": data})
    message = f"msg_crowd_{person.number}"
    signature = Webhook(SECRET).sign(message, now, body)
    return _post(
        "/http/clerk-webhook",
        body.encode(),
        {"svix-id": message, "svix-timestamp": str(int(now.timestamp())), "svix-signature": signature},
    )


def _post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


STEPS: dict[str, Callable[[Person], bytes]] = {
    WEBHOOKS: clerk_webhook,  # first: the jobs of later steps keep the worker busy
    "ensureCurrentUser": call("mutation", "users:ensureCurrentUser", lambda _: {}),
    "createDiary": call("mutation", "diaries:createDiary", lambda one: {"content": f"Rain, day {one.number}."}),
    "startDiaryMusicGeneration": call(
        "action", "music:startDiaryMusicGeneration", lambda one: {"content": f"Sun, day {one.number}."}
    ),
    "upsertCallSettings": call(
        "mutation",
        "callSettings:upsertCallSettings",
        lambda one: {
            "phoneE164": f"+1212{2_000_000 + one.number}", "timezone": "America/New_York", "timeOfDay": "12:30",
            "cadence": "daily", "active": True,
        },
    ),
    "deleteAccount": call("mutation", "users:deleteAccount", lambda _: {}),
}  # fmt: skip


@dataclass
class Result:
    """The results of one step of one crowd: seconds of each call and of all, failures, and rollbacks per call."""

    each: list[float]
    all: float
    failed: int
    rollbacks: float


class Crowd:
    """Sends the same request for many users, over keep-alive connections."""

    def __init__(self, port: int, watch: asyncpg.Connection) -> None:
        self._port = port
        self._watch = watch

    async def run(self, step: str, people: list[Person], at_once: int) -> Result:
        """Take the step for every user, `at_once` of them at a time."""
        connections = [await asyncio.open_connection("127.0.0.1", self._port) for _ in range(at_once)]
        requests = iter([STEPS[step](person) for person in people])
        before = await self._rollbacks()
        each: list[float] = []
        failed = 0

        async def work(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal failed
            for request in requests:
                started = time.perf_counter()
                writer.write(request)
                status, body = await _answer(reader)
                each.append(time.perf_counter() - started)
                failed += status != 200 or b'"status":"error"' in body or b'"success":false' in body  # noqa: PLR2004

        started = time.perf_counter()
        await asyncio.gather(*[work(*connection) for connection in connections])
        if step == WEBHOOKS:
            failed += await self._unhandled(people)
        took = time.perf_counter() - started
        for _, writer in connections:
            writer.close()
        rollbacks = await self._rollbacks() - before
        return Result(each, took, failed, rollbacks / len(people))

    async def _unhandled(self, people: list[Person]) -> int:
        names = [person.clerk_id for person in people]
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            made: int = await self._watch.fetchval("select count(*) from users where clerk_id = any($1)", names)
            if made == len(people):
                return 0
            await asyncio.sleep(0.02)
        return len(people) - made

    async def _rollbacks(self) -> int:
        """Return the rollbacks so far, once idle connections have reported theirs: a second after their last work."""
        await asyncio.sleep(1.5)
        count: int = await self._watch.fetchval(
            "select xact_rollback from pg_stat_database where datname = current_database()"
        )
        return count


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def bench(sizes: list[int]) -> bool:
    """Measure, print, and return whether all is within its bounds."""
    folder = Path(tempfile.mkdtemp())
    with testing.server() as postgres:
        url = await testing.create_database(postgres, "bench", migrated=True)
        keys = Keys(folder / "keys")
        environ = settings_for(url, folder, keys) | {
            "CLERK_WEBHOOK_SIGNING_SECRET": SECRET,
            "TRUSTED_PROXIES": "127.0.0.1",
            "DAYSONG_TEST_LIMITS": os.environ.get("DAYSONG_TEST_LIMITS", "0"),
        }
        watch = await asyncpg.connect(url)
        with Server(environ, folder) as server, (folder / "work.log").open("wb") as log:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                "from daysong.cli import main; main()",
                "work",
                env=environ,
                stdout=log,
                stderr=log,
            )
            try:
                return await table(Crowd(server.port, watch), keys, sizes)
            finally:
                worker.terminate()
                await worker.wait()
                await watch.close()


async def table(crowd: Crowd, keys: Keys, sizes: list[int]) -> bool:
    """Print one line for each step and size."""
    numbers = iter(range(1, 1_000_000))

    def people(count: int) -> list[Person]:
        some = [next(numbers) for _ in range(count)]
        return [
            Person(number, keys.token(f"user_crowd_{number}", email=f"crowd{number}@example.test")) for number in some
        ]

    for step in STEPS:  # so that first-call allocations and prepared statements exist before
        await crowd.run(step, people(4), 4)
    head = "people failed rollbacks     p50     p95     all 16 at a time ratio"
    print(f"{'':26} {head}")
    fine = True
    for size in sizes:
        groups = {kind: (people(size), people(size)) for kind in (WEBHOOKS, "functions")}
        for step in STEPS:
            together, apart = groups.get(step, groups["functions"])
            slow = await crowd.run(step, apart, AT_A_TIME)
            done = await crowd.run(step, together, size)
            ratio = done.all / slow.all
            fine &= not (done.failed or slow.failed) and done.rollbacks < ROLLBACKS_EACH
            each = sorted(done.each)
            print(
                f"{step:>26} {size:6} {done.failed:6} {done.rollbacks:9.2f} {median(each):6.2f}s"
                f" {each[int(len(each) * 0.95)]:6.2f}s {done.all:6.2f}s {slow.all:11.2f}s {ratio:5.2f}"
            )
    return fine


def main() -> None:
    """Parse the arguments, measure, and exit with 1 when something is out of bounds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[64, 200])
    options = parser.parse_args()
    os.environ.pop("DATABASE_URL", None)
    testing.begin_run()
    try:
        fine = asyncio.run(bench(options.people))
    finally:
        testing.end_run()
    if not fine:
        sys.exit("out of bounds")


if __name__ == "__main__":
    main()
