"""How due jobs are shared out to the slots of lanes."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any
from unittest.mock import sentinel

import pytest

from daysong.kernel.conftest import MakeKernel
from daysong.kernel.database import job_queue
from daysong.kernel.functions.registry import module

pytestmark = pytest.mark.anyio

BATCH = 10


async def test_a_full_lane_gets_no_more_and_no_lane_waits_for_another(
    make_kernel: MakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lanes with room share a statement; when that returns a whole batch, each lane is asked by itself."""
    kernel = await make_kernel(module("none"))
    job_queue.load()
    from daysong.kernel.jobs.lane_manager import LaneManager

    await kernel.fetch(
        """insert into pgqueuer (priority, status, entrypoint, execute_after)
           select 0, 'queued', case when n <= 25 then 'old' when n = 26 then 'new' else 'narrow' end,
                  now() - interval '1 second'
           from generate_series(1, 30) n"""
    )
    manager = LaneManager(job_queue.queries_on_pool(kernel.database.pool), {"old": 20, "new": 10, "narrow": 3})
    statements: list[int] = []
    dequeue = manager.queries.dequeue

    async def counted(**options: Any) -> Any:
        statements.append(len(options["entrypoints"]))
        return await dequeue(**options)

    monkeypatch.setattr(manager.queries, "dequeue", counted)
    started: list[str] = []

    async def start() -> None:
        async for row in manager.fetch_jobs(BATCH, None, timedelta(seconds=30)):
            manager.job_context[row.id] = sentinel.context
            started.append(row.entrypoint)

    await start()
    assert Counter(started) == {"old": 20, "new": 1, "narrow": 3}
    assert started.index("new") < 2 * BATCH + 1, "it waits for two batches at most"
    await kernel.fetch("delete from pgqueuer")
    manager.job_context.clear()
    statements.clear()
    await start()
    assert statements == [2, 1], (
        "nothing is due: one statement for both lanes with room for a batch, and the narrow one"
    )
