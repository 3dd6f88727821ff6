"""`/metrics`: the samples of all processes of this server, then what the database holds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.jobs.queue import Cron
from daysong.transport.metrics.processes import Processes, merged, own_samples
from daysong.transport.metrics.state import State

CONTENT_TYPE = CONTENT_TYPE_LATEST


class MetricsPage:
    """Renders the metrics of a process, or of the several processes of a server."""

    def __init__(self, runtime: Runtime, timetable: Sequence[Cron] = (), processes: Processes | None = None) -> None:
        self._state = State(runtime, timetable)
        self._processes = processes

    async def text(self) -> str:
        """Return all metrics in Prometheus's text format."""
        state = generate_latest(_Families(await self._state.families())).decode()
        if self._processes is None:
            return own_samples() + state
        texts = await self._processes.texts()
        return await asyncio.to_thread(merged, texts, self._processes.count) + state


class _Families:
    """Metric families with the interface of a registry."""

    def __init__(self, families: list[Any]) -> None:
        self._families = families

    def collect(self) -> list[Any]:
        """Return them."""
        return self._families


def handlers(page: MetricsPage) -> list[HTTPRouteHandler]:
    """Return the route. Who may read it is decided by transport/callers/gate.py."""

    @get("/metrics")
    async def metrics() -> Response[str]:
        return Response(await page.text(), media_type=CONTENT_TYPE)

    return [metrics]
