from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.attack import LIMITS, QUOTA, attack, count
from rehearsal.world import World, free_port

pytestmark = pytest.mark.anyio


async def test_g03_accounts_in_loops_cost_no_more_than_the_caps(database_url: str, tmp_path: Path) -> None:
    """Fifty free accounts call every public function in loops: spending and quotas stay capped, other users are served.

    A short run of what `script/bench attack` does for a minute; here everything runs in one process.
    """
    environ = LIMITS | {"LIMIT_COST_DAY": "1.00"}
    async with World(database_url, tmp_path, datetime.now(UTC), environ, port=free_port()) as world:
        working = asyncio.create_task(world.app.worker.run_forever(database_url))
        figures = await attack(world.origin, accounts=50, seconds=5)
        async with asyncio.timeout(30):
            while not await world.db.pool.fetchval("select true from vendor_costs where vendor = 'suno' limit 1"):
                await asyncio.sleep(0.05)
        await world.app.worker.stop()
        await working
        await count(world.db.pool, figures)
    print(figures)
    assert 0 < figures.spent <= 1_000_000
    assert figures.most_songs <= QUOTA
    assert figures.answers["DAILY_LIMIT_REACHED"] > 0
    assert figures.answers["failed"] == 0
    # Attackers and server share a processor here.
    assert figures.p95 < 10
