"""The calls of the web and mobile apps, in the official clients, over HTTP and WebSocket, with the vendors' sandbox."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rehearsal.calls.phones import noon_at
from rehearsal.world import ADMIN_KEY, World, free_port, public_functions
from tests.conformance.test_node import HERE, node

__all__ = ["node"]
pytestmark = [pytest.mark.anyio, pytest.mark.slow(16)]

# The oldest version that the apps have, a later one, and the newest there is.
CLIENTS = ["convex-1-28", "convex-1-31", "convex"]
LIMIT = 100  # seconds for all of them; about 20 on a quiet machine
# Public functions that no app calls, each with the reason.
NOT_DRIVEN: dict[str, str] = {}


async def test_every_public_function_answers_the_apps(node: str, database_url: str, tmp_path: Path) -> None:
    """From signing in to deleting the account, with each version and transport: results have the fields the apps read.

    A new public function fails this test until `journey.mjs` calls it.
    """
    if not all((HERE / "node_modules" / client).exists() for client in CLIENTS):
        stop = pytest.fail if os.environ.get("DAYSONG_CLIENTS_REQUIRED") else pytest.skip
        stop("not every version of the client is there: script/clients installs them")
    kinds = {function.identifier: function.kind.value.lower() for function in public_functions()}
    assert NOT_DRIVEN.keys() <= kinds.keys()
    ends: list[dict[str, Any]] = []
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        program = await asyncio.create_subprocess_exec(
            node, "run_apps.mjs", cwd=HERE,
            env={
                "PATH": os.environ["PATH"],
                "DAYSONG_ORIGIN": world.origin,
                "DAYSONG_ADMIN_KEY": ADMIN_KEY,
                "DAYSONG_CLIENTS": json.dumps(CLIENTS),
                "DAYSONG_PUBLIC": json.dumps(kinds),
            },
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        complaints = asyncio.create_task(program.stderr.read())
        try:
            async with asyncio.timeout(LIMIT):
                async for line in program.stdout:
                    said = json.loads(line)
                    if "done" in said:
                        ends.append(said)
                        continue
                    await (world.pass_time(timedelta(minutes=said["pass"])) if said["pass"] else world.settle())
                    now = world.clock.now()
                    reply = {"now": now.timestamp() * 1000, "zone": noon_at(now)}
                    program.stdin.write(json.dumps(reply).encode() + b"\n")
                await program.wait()
        finally:
            if program.returncode is None:
                program.kill()
        assert program.returncode == 0, (await complaints).decode()
    failures = [f"{end['done']}: {end['failure']}" for end in ends if end["failure"]]
    assert not failures, "\n".join(failures)
    assert len(ends) == 2 * len(CLIENTS)
    for end in ends:
        assert kinds.keys() - end["driven"] == NOT_DRIVEN.keys(), end["done"]
