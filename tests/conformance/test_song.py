"""A song in the npm client, with a worker and the vendors' sandbox running."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daysong.kernel.jobs.worker import Worker
from rehearsal.processes.server import Keys
from rehearsal.world import ADMIN_KEY, World, free_port
from tests.conformance.test_node import HERE, node

__all__ = ["node"]
pytestmark = pytest.mark.anyio

LIMIT = 60  # seconds the program may take


async def test_g10_a_refused_song_shows_pending_and_then_failed_within_two_seconds(
    node: str, database_url: str, tmp_path: Path, keys: Keys
) -> None:
    """Live queries of the playlist and of the entries both show it, with the reason."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        alice = await world.person("alice")
        await world.fault("openai", answer="refusal")
        worker = Worker(world.app.runtime, ())
        working = asyncio.create_task(worker.run_forever(world.settings.database_url or ""))
        environ = {
            "PATH": os.environ["PATH"],
            "DAYSONG_ORIGIN": world.origin,
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_KEYS": str(keys.private.parent),
            "DAYSONG_TOKEN": alice.headers["Authorization"].removeprefix("Bearer "),
        }
        program = await asyncio.create_subprocess_exec(
            node, "song.mjs", cwd=HERE, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(LIMIT):
            printed, complaints = await program.communicate()
        await worker.stop()
        await working
        assert program.returncode == 0, complaints.decode()
        seen = json.loads(printed)
        reason = await world.db.pool.fetchval("select failure_reason from generations")
    assert seen["playlist"] == seen["diary"] == ["pending", "failed"]
    assert seen["last"] == [{"status": "failed", "reason": reason}] * 2
    assert seen["took"] < 2000, seen
