"""Kie.ai: music videos, from a prompt or from a picture.

A repeated order is a second clip, and paid for again. See vendors/envelopes.py for the answers.
"""

from __future__ import annotations

from typing import Any, Protocol

import httpx2

from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import KieSettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.envelopes import TOO_MANY_PAUSE, Envelopes, Rule
from daysong.vendors.http import client
from daysong.vendors.kie.answers import KieTask, failure_reason, parse_task
from daysong.vendors.text import fit

__all__ = ["IMAGE_MODEL", "TEXT_MODEL", "Kie", "KieTask", "VideoMaker", "seconds_of"]

TEXT_MODEL = "sora-2-text-to-video"
IMAGE_MODEL = "bytedance/v1-pro-fast-image-to-video"
# What is ordered of each model; also how long the clip plays.
TEXT_SECONDS = 10
IMAGE_SECONDS = 5
MAX_PROMPT = 5000

RULES: dict[int, Rule] = {
    400: Rule(permanent=True),
    401: Rule(permanent=True, alarm=True),
    402: Rule(permanent=True, alarm=True),
    404: Rule(permanent=True, alarm=True),
    422: Rule(permanent=True),
    429: Rule(permanent=False, retry_after=TOO_MANY_PAUSE, deferred=True),
    455: Rule(permanent=False, retry_after=300.0),
    500: Rule(permanent=False, ambiguous=True),
    501: Rule(permanent=True),
    505: Rule(permanent=True, alarm=True),
}


class VideoMaker(Protocol):
    """Makes clips from a prompt, and from a picture if there is one."""

    @property
    def enabled(self) -> bool: ...

    async def generate(self, *, prompt: str, image_url: str | None, callback_url: str) -> str: ...

    async def task(self, task_id: str) -> KieTask: ...


def seconds_of(*, with_image: bool) -> int:
    """Return how long an ordered clip plays."""
    return IMAGE_SECONDS if with_image else TEXT_SECONDS


class Kie:
    """The real Kie, or the sandbox that speaks like it."""

    def __init__(
        self,
        settings: KieSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = 30.0,
        clock: Clock | None = None,
        line: Line | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self.enabled = settings.api_key is not None
        self._http = client(
            "kie",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            timeout=timeout,
            transport=transport,
            line=line,
            breaker=breaker,
        )
        self._api = Envelopes("kie", self._http, clock or SystemClock(), RULES, reason=failure_reason)

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def generate(self, *, prompt: str, image_url: str | None, callback_url: str) -> str:
        """Order a portrait clip, which begins with the picture if one is given; return the task's id.

        An ambiguous VendorError means that the order may stand.
        """
        text = fit(prompt, MAX_PROMPT)
        if image_url is None:
            model = TEXT_MODEL
            given: dict[str, Any] = {
                "prompt": text,
                "aspect_ratio": "portrait",
                "n_frames": str(TEXT_SECONDS),
                "remove_watermark": True,
            }
        else:
            model = IMAGE_MODEL
            given = {"prompt": text, "image_url": image_url, "resolution": "720p", "duration": str(IMAGE_SECONDS)}
        order = {"model": model, "callBackUrl": callback_url, "input": given}
        return await self._api.order("/api/v1/jobs/createTask", order)

    async def task(self, task_id: str) -> KieTask:
        """Return the state of a task."""
        return parse_task(task_id, await self._api.record("/api/v1/jobs/recordInfo", task_id))

    async def credits(self) -> int:
        """Return the remaining credits."""
        return await self._api.credits("/api/v1/chat/credit")
