"""The sandboxed Suno's callbacks: three stages, retried, and faulty on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import SunoFaults
from daysong.sandbox.suno.tasks import STAGES, Stage, Studio, Task

TRIES = 4  # the delivery and three retries
DEADLINE = 15.0  # seconds an endpoint has to answer with 200
RETRY_PAUSE = 0.5

TOLD = {
    "text": "Text generated successfully.",
    "first": "First audio generated successfully.",
    "complete": "All generated successfully.",
}
FAILURES = {
    400: "Song Description contained a blocked term.",
    408: "Timeout",
    413: "The lyrics match an existing work.",
    451: "Failed to download the related file.",
    500: "Internal Error, Please try again later.",
    501: "Audio generation failed",
    531: "Server error. The generation failed and the credits were returned.",
}

_log = logs.get_logger("sandbox")


class Pace(msgspec.Struct, frozen=True):
    """Seconds after the order at which each stage is reached."""

    text: float = 0.3
    first: float = 1.5
    complete: float = 2.5


class Delivery(msgspec.Struct, frozen=True, rename="camel"):
    """One callback that was attempted; `status` is the endpoint's last answer, None when there was none."""

    task_id: str
    stage: Stage
    status: int | None


class Callbacks:
    """Advances tasks and sends their callbacks, at a pace or on request."""

    def __init__(
        self,
        clock: Clock,
        http: httpx2.AsyncClient,
        studio: Studio,
        base_url: str,
        pace: Pace | None,
        *,
        faults: Callable[[], SunoFaults],
    ) -> None:
        self._clock = clock
        self._http = http
        self._studio = studio
        self._base_url = base_url
        self._pace = pace
        self._faults = faults
        self._paced: set[asyncio.Task[None]] = set()

    def begin(self, task: Task) -> None:
        """Start advancing a new task, if there is a pace."""
        if self._pace is None:
            return
        for take in range(len(task.audio_ids)):
            self._studio.prepare(task, take)
        paced = asyncio.create_task(self._at_pace(task, self._pace))
        self._paced.add(paced)
        paced.add_done_callback(self._paced.discard)

    async def close(self) -> None:
        """Stop all tasks under way."""
        for paced in list(self._paced):
            paced.cancel()
        await asyncio.gather(*self._paced, return_exceptions=True)

    async def _at_pace(self, task: Task, pace: Pace) -> None:
        started = asyncio.get_running_loop().time()
        for place, due in enumerate((pace.text, pace.first, pace.complete), start=1):
            await asyncio.sleep(max(0.0, started + due - asyncio.get_running_loop().time()))
            try:
                async with task.lock:
                    if task.stage < place:
                        await self._forward(task)
            except Exception as error:  # noqa: BLE001 - this task is not awaited: its failure must be logged
                _log.error("sandboxed song failed", error=logs.describe(error))
                return

    async def finish(self, task: Task) -> list[Delivery]:
        """Bring a task to its end, sending a callback for each stage."""
        delivered: list[Delivery] = []
        async with task.lock:
            while not task.settled:
                delivered += await self._forward(task)
        return delivered

    async def by_hand(self, task: Task, stage: Stage, code: int) -> list[Delivery]:
        """Send the callback of one stage, due or not; the task never moves backwards."""
        async with task.lock:
            if stage == "error":
                self._fail(task, code)
            else:
                place = STAGES.index(stage) + 1
                await self._sing(task, place)
                task.stage = max(task.stage, place)
            return [await self._tell(task, stage)]

    async def _forward(self, task: Task) -> list[Delivery]:
        """Advance by one stage; the faults decide which callbacks are sent."""
        if task.settled:
            return []
        faults = self._faults()
        if faults.callback_code is not None:
            self._fail(task, faults.callback_code)
            stages: list[Stage] = ["error"]
        else:
            await self._sing(task, task.stage + 1)
            task.stage += 1
            stages = [STAGES[task.stage - 1]]
            if faults.callbacks == "reordered":
                stages = list(reversed(STAGES)) if task.settled else []
        if faults.callbacks == "lost" or task.unheard:
            return []
        times = 2 if faults.callbacks == "duplicated" else 1
        return [await self._tell(task, stage) for stage in stages for _ in range(times)]

    async def _sing(self, task: Task, place: int) -> None:
        await asyncio.gather(*(self._studio.recording(task, take) for take in range(task.takes_sung_at(place))))

    def _fail(self, task: Task, code: int) -> None:
        task.failed = (code, FAILURES.get(code, "The sandbox was told to fail."))

    async def _tell(self, task: Task, stage: Stage) -> Delivery:
        """Post one callback; after three failed retries the task ends as CALLBACK_EXCEPTION."""
        body = self._body(task, stage)
        status: int | None = None
        for attempt in range(TRIES):
            if attempt and self._pace is not None:
                await asyncio.sleep(RETRY_PAUSE)
            try:
                async with asyncio.timeout(DEADLINE):
                    answer = await self._http.post(
                        task.order.callback_url, content=body, headers={"Content-Type": "application/json"}
                    )
                status = answer.status_code
            except (httpx2.RequestError, httpx2.InvalidURL, VendorError, TimeoutError):
                status = None
            if status == httpx2.codes.OK:
                return Delivery(task.task_id, stage, status)
        task.unheard = True
        return Delivery(task.task_id, stage, status)

    def _body(self, task: Task, stage: Stage) -> bytes:
        faults = self._faults()
        if faults.callbacks == "malformed":
            return b'{"code": 200, "msg": "All generated'
        code, message = task.failed or (501, FAILURES[501]) if stage == "error" else (200, TOLD[stage])
        tracks: list[dict[str, Any]] | None = None
        if stage != "error":
            sung = 0 if faults.callbacks == "no_audio" else task.takes_sung_at(STAGES.index(stage) + 1)
            now = int(to_ms(self._clock.now()))
            tracks = [
                task.track(
                    self._base_url,
                    self._studio,
                    take,
                    sung=sung,
                    created_ms=now,
                    nameless=faults.spoils("nameless", take),
                )
                for take in range(len(task.audio_ids))
            ]
        data = {"callbackType": stage, "data": tracks, "task_id": task.task_id}
        return msgspec.json.encode({"code": code, "msg": message, "data": data})
