"""Kie.ai: music videos, from a prompt or from a picture.

Kie answers errors with HTTP 200; the body's `code` decides, and the HTTP status only where there is no such body.
There is no idempotency key: a repeated order is a second clip, and paid for again.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import KieSettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.alarms import alarm
from daysong.vendors.http import client, retry_after
from daysong.vendors.kie.answers import KieTask, failure_reason, parse_task, whole_number
from daysong.vendors.text import fit

__all__ = ["IMAGE_MODEL", "TEXT_MODEL", "Kie", "KieTask", "VideoMaker", "seconds_of"]

OK = 200
TEXT_MODEL = "sora-2-text-to-video"
IMAGE_MODEL = "bytedance/v1-pro-fast-image-to-video"
# What is ordered of each model; also how long the clip plays.
TEXT_SECONDS = 10
IMAGE_SECONDS = 5
MAX_PROMPT = 5000

_FIRST_SERVER_ERROR = 500
_TOO_MANY = 429
_FREQUENT = "kie_429"
TOO_MANY_PAUSE = 10.0  # seconds: the window of the published limit

_log = logs.get_logger("kie")


class Rule(msgspec.Struct, frozen=True):
    """What one error code means for us.

    ambiguous   the order may have been accepted all the same
    alarm       an operator has to do something (the key, the credits): logged as an error
    """

    permanent: bool
    retry_after: float | None = None
    ambiguous: bool = False
    alarm: bool = False


RULES: dict[int, Rule] = {
    400: Rule(permanent=True),
    401: Rule(permanent=True, alarm=True),
    402: Rule(permanent=True, alarm=True),
    404: Rule(permanent=True, alarm=True),
    422: Rule(permanent=True),
    429: Rule(permanent=False, retry_after=TOO_MANY_PAUSE),
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
    ) -> None:
        self._clock = clock or SystemClock()
        self.enabled = settings.api_key is not None
        self._http = client(
            "kie",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            timeout=timeout,
            transport=transport,
            line=line,
        )

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
        data = await self._asked(
            "POST",
            "/api/v1/jobs/createTask",
            changes=True,
            json={"model": model, "callBackUrl": callback_url, "input": given},
        )
        task_id = data.get("taskId") if isinstance(data, dict) else None
        if not isinstance(task_id, str) or not task_id:
            raise VendorError("kie", "no taskId", permanent=False, ambiguous=True, code="unreadable_answer")
        return task_id

    async def task(self, task_id: str) -> KieTask:
        """Return the state of a task."""
        try:
            data = await self._asked("GET", "/api/v1/jobs/recordInfo", params={"taskId": task_id})
        except VendorError as error:
            # An id it does not know is answered with 422 "recordInfo is null".
            if error.code != "kie_422":
                raise
            data = None
        return parse_task(task_id, data)

    async def credits(self) -> int:
        """Return how many credits are left."""
        left = whole_number(await self._asked("GET", "/api/v1/chat/credit"))
        if left is None:
            raise VendorError("kie", "credits are not a number", permanent=False, code="unreadable_answer")
        return left

    async def _asked(self, method: Literal["GET", "POST"], path: str, *, changes: bool = False, **request: Any) -> Any:
        """Return the `data` of an answer with code 200; else a VendorError, ambiguous only if the call changes things.

        Errors: Deferred for too many requests.
        """
        try:
            return self._data(await self._http.request(method, path, **request))
        except VendorError as error:
            if error.code == _FREQUENT:
                pause = error.retry_after or TOO_MANY_PAUSE
                await self._http.hold(pause)
                # Waiting is no failure.
                raise Deferred("kie", pause, "too many requests", code=error.code) from None
            error.ambiguous = error.ambiguous and changes
            raise

    def _data(self, answer: httpx2.Response) -> Any:
        wait = retry_after(answer.headers, self._clock.now())
        try:
            envelope = msgspec.json.decode(answer.content)
            code = whole_number(envelope.get("code")) if isinstance(envelope, dict) else None
        except (msgspec.DecodeError, RecursionError):
            code = None
        if code is None:
            raise self._without_envelope(answer.status_code, wait)
        if code == OK and answer.status_code < httpx2.codes.BAD_REQUEST:
            return envelope.get("data")
        raise self._refused(code if code != OK else answer.status_code, wait)

    def _refused(self, code: int, wait: float | None) -> VendorError:
        rule = RULES.get(code) or Rule(permanent=code < _FIRST_SERVER_ERROR, ambiguous=code >= _FIRST_SERVER_ERROR)
        if rule.alarm:
            alarm(_log, "kie", f"kie_{code}")
        return VendorError(
            "kie",
            f"code {code}",
            permanent=rule.permanent,
            retry_after=rule.retry_after if wait is None else max(wait, rule.retry_after or 0.0),
            ambiguous=rule.ambiguous,
            code=f"kie_{code}",
            reason=failure_reason(code),
        )

    def _without_envelope(self, status: int, wait: float | None) -> VendorError:
        """Return the error for an answer that is not Kie's own, from a proxy say: only its HTTP status counts."""
        if status in {401, 403, 404}:
            alarm(_log, "kie", f"http_{status}")
        refused = httpx2.codes.BAD_REQUEST <= status < _FIRST_SERVER_ERROR
        return VendorError(
            "kie",
            f"unreadable answer with HTTP {status}",
            permanent=refused and status not in {408, 425, _TOO_MANY},
            retry_after=wait,
            ambiguous=not refused or status == httpx2.codes.REQUEST_TIMEOUT,
            code="unreadable_answer",
        )
