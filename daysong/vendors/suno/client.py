"""Suno's client, through sunoapi.org.

Suno returns errors with HTTP 200; the body's `code` decides, or the HTTP status when there is no such body. Each
request makes two tracks and is charged. There is no idempotency key: a repeated request makes a second song.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import SunoSettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.alarms import alarm
from daysong.vendors.http import client, retry_after
from daysong.vendors.suno.answers import (
    AlignedWord,
    MalformedCallback,
    SunoCallback,
    SunoTask,
    SunoTrack,
    TimedLyrics,
    failure_reason,
    parse_callback,
    parse_task,
    parse_timed_lyrics,
    whole_number,
)
from daysong.vendors.text import fit, fit_tags

__all__ = [
    "AlignedWord",
    "MalformedCallback",
    "SongMaker",
    "Suno",
    "SunoCallback",
    "SunoTask",
    "SunoTrack",
    "TimedLyrics",
    "failure_reason",
    "parse_callback",
]

OK = 200
MAX_TITLE = 80
_FIRST_SERVER_ERROR = 500


class Limits(msgspec.Struct, frozen=True):
    """The maximum lengths a model accepts, in characters."""

    lyric: int = 5000
    style: int = 1000
    title: int = MAX_TITLE


_LIMITS = {"V4": Limits(lyric=3000, style=200)}


class Rule(msgspec.Struct, frozen=True):
    """How an error code is handled.

    ambiguous   the request may have been accepted
    alarm       an operator must act (key, credits)
    """

    permanent: bool
    retry_after: float | None = None
    ambiguous: bool = False
    alarm: bool = False


# Seconds: "at least 10 s" after a call frequency error, "minutes" of maintenance.
RULES: dict[int, Rule] = {
    400: Rule(permanent=True),
    401: Rule(permanent=True, alarm=True),
    402: Rule(permanent=True, alarm=True),
    404: Rule(permanent=True, alarm=True),
    405: Rule(permanent=False),
    408: Rule(permanent=False, ambiguous=True),
    413: Rule(permanent=True),
    422: Rule(permanent=True),
    429: Rule(permanent=True, alarm=True),  # no credits, or a rate limit: see _effective_code
    430: Rule(permanent=False, retry_after=10.0),
    455: Rule(permanent=False, retry_after=300.0),
    500: Rule(permanent=False, ambiguous=True),
    505: Rule(permanent=True, alarm=True),
    531: Rule(permanent=False),  # failed, and the credits were refunded
}

# Codes for "too many requests", and the pause in seconds when there is no Retry-After.
_TOO_FREQUENT = frozenset({"suno_405", "suno_430"})
TOO_FREQUENT_PAUSE = 10.0
_TOO_MANY = 429
_RATE = 430

_log = logs.get_logger("suno")


class SongMaker(Protocol):
    """Generates tracks from lyrics."""

    async def generate(self, *, lyric: str, style: str, title: str, callback_url: str) -> str: ...

    async def task(self, task_id: str) -> SunoTask: ...

    async def timed_lyrics(self, task_id: str, audio_id: str) -> TimedLyrics | None: ...

    async def credits(self) -> int: ...


class Suno:
    """Suno, or its sandbox."""

    def __init__(
        self,
        settings: SunoSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = 30.0,
        clock: Clock | None = None,
        line: Line | None = None,
    ) -> None:
        self._model = settings.model
        self._clock = clock or SystemClock()
        self._http = client(
            "suno",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            timeout=timeout,
            transport=transport,
            line=line,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def generate(self, *, lyric: str, style: str, title: str, callback_url: str) -> str:
        """Request two tracks that sing `lyric` unchanged; return the task's id.

        After an ambiguous VendorError the request may have been accepted. Texts are cut to the model's limits.
        """
        limits = _LIMITS.get(self._model, Limits())
        data = await self._request(
            "POST",
            "/api/v1/generate",
            changes=True,
            json={
                "customMode": True,
                "instrumental": False,
                "model": self._model,
                "callBackUrl": callback_url,
                "prompt": fit(lyric, limits.lyric),
                "style": fit_tags(style, limits.style),
                "title": fit(title, limits.title),
            },
        )
        task_id = data.get("taskId") if isinstance(data, dict) else None
        if not isinstance(task_id, str) or not task_id:
            raise VendorError("suno", "no taskId", permanent=False, ambiguous=True, code="unreadable_answer")
        return task_id

    async def task(self, task_id: str) -> SunoTask:
        """Return the state of a task, without the echoed request, which has the callback's secret."""
        try:
            data = await self._request("GET", "/api/v1/generate/record-info", params={"taskId": task_id})
        except VendorError as error:
            # The answer for an unknown id is 422 "recordInfo is null".
            if error.code != "suno_422":
                raise
            data = None
        return parse_task(task_id, data)

    async def timed_lyrics(self, task_id: str, audio_id: str) -> TimedLyrics | None:
        """Return the timed words, possibly none; None while Suno has no timing."""
        return parse_timed_lyrics(
            await self._request(
                "POST",
                "/api/v1/generate/get-timestamped-lyrics",
                json={"taskId": task_id, "audioId": audio_id},
            )
        )

    async def credits(self) -> int:
        """Return the remaining credits."""
        left = whole_number(await self._request("GET", "/api/v1/generate/credit"))
        if left is None:
            raise VendorError("suno", "credits are not a number", permanent=False, code="unreadable_answer")
        return left

    async def _request(
        self, method: Literal["GET", "POST"], path: str, *, changes: bool = False, **request: Any
    ) -> Any:
        """Return the `data` of an answer with code 200. VendorError, ambiguous only if the request has effects."""
        try:
            answer = await self._http.request(method, path, **request)
            return self._data(answer)
        except VendorError as error:
            if error.code in _TOO_FREQUENT:
                pause = error.retry_after or TOO_FREQUENT_PAUSE
                await self._http.hold(pause)
                # A rate limit postpones the job without using up an attempt.
                raise Deferred("suno", pause, "too many requests", code=error.code) from None
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
            raise self._error_without_body(answer.status_code, wait)
        if code == OK and answer.status_code < httpx2.codes.BAD_REQUEST:
            return envelope.get("data")
        raise self._error(
            _effective_code(code if code != OK else answer.status_code, answer.status_code, envelope), wait
        )

    def _error(self, code: int, wait: float | None) -> VendorError:
        rule = RULES.get(code) or Rule(permanent=code < _FIRST_SERVER_ERROR, ambiguous=code >= _FIRST_SERVER_ERROR)
        if rule.alarm:
            alarm(_log, "suno", f"suno_{code}")
        return VendorError(
            "suno",
            f"code {code}",
            permanent=rule.permanent,
            retry_after=rule.retry_after if wait is None else max(wait, rule.retry_after or 0.0),
            ambiguous=rule.ambiguous,
            code=f"suno_{code}",
            reason=failure_reason(code),
        )

    def _error_without_body(self, status: int, wait: float | None) -> VendorError:
        """Return the error for an answer without Suno's body, such as a proxy's, by its HTTP status."""
        if status in {401, 403, 404}:
            alarm(_log, "suno", f"http_{status}")
        refused = httpx2.codes.BAD_REQUEST <= status < _FIRST_SERVER_ERROR
        return VendorError(
            "suno",
            f"unreadable answer with HTTP {status}",
            permanent=refused and status not in {408, 425, 429},
            retry_after=wait,
            ambiguous=not refused or status == httpx2.codes.REQUEST_TIMEOUT,
            code="unreadable_answer",
        )


def _effective_code(code: int, status: int, envelope: dict[str, Any]) -> int:
    """Return 430 for a 429 that is a rate limit. 429 is "no credits" at sunoapi.org, a rate limit at other resellers.

    The message decides; else an HTTP status of 429 means the rate limit, and HTTP 200 the credits.
    """
    if code != _TOO_MANY:
        return code
    words = str(envelope.get("msg") or "").lower()
    if any(word in words for word in ("credit", "insufficient", "balance", "top up")):
        return _TOO_MANY
    is_rate_limit = any(word in words for word in ("frequen", "rate", "too many", "too fast", "limit"))
    return _RATE if is_rate_limit or status == _TOO_MANY else _TOO_MANY
