"""The small server of `daysong work --metrics-port`: /metrics, /healthz and /readyz of a worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from daysong.kernel.errors import DaysongError
from daysong.kernel.jobs.worker import Worker
from daysong.transport.http.health import Readiness
from daysong.transport.http.routes import Reply, json_reply
from daysong.transport.metrics.page import CONTENT_TYPE, MetricsPage
from daysong.transport.refusals import Refused

JSON = "application/json"

MayRead = Callable[[Any], Awaitable[bool]]


class WorkerApp:
    """An ASGI app. /metrics is for METRICS_FROM and the admin key, as on `serve`."""

    def __init__(self, page: MetricsPage, may_read: MayRead, worker: Worker, readiness: Readiness) -> None:
        self._page = page
        self._may_read = may_read
        self._worker = worker
        self._readiness = readiness

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG002 - ASGI
        """Serve a request."""
        if scope["type"] != "http":
            raise DaysongError("the worker serves HTTP alone")
        reply, content_type = await self._answer(scope)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(reply.body)).encode())]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    async def _answer(self, scope: Any) -> tuple[Reply, str]:
        match scope["path"]:
            case "/healthz":
                return Reply(b'{"status":"ok"}'), JSON
            case "/readyz":
                return await self._ready(), JSON
            case "/metrics" if await self._may_read(scope):
                return Reply((await self._page.text()).encode()), CONTENT_TYPE
            case "/metrics":
                return json_reply(403, "Forbidden", "Metrics are for METRICS_FROM and the admin key."), JSON
        return json_reply(404, "NotFound", "There is no such page here"), JSON

    async def _ready(self) -> Reply:
        try:
            await self._readiness.require()
        except Refused as error:
            return json_reply(error.status, error.code, error.message)
        if not self._worker.is_working:
            return json_reply(503, "ServiceUnavailable", "The worker takes no jobs at the moment.")
        return Reply(b'{"status":"ready"}')
