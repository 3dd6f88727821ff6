"""Suno's client, through sunoapi.org.

Each request makes two tracks and is charged; a repeated one makes a second song. See vendors/envelopes.py for the
answers.
"""

from __future__ import annotations

from typing import Any, Protocol

import httpx2
import msgspec

from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import SunoSettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.envelopes import TOO_MANY_PAUSE, Envelopes, Rule
from daysong.vendors.http import client
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

MAX_TITLE = 80


class Limits(msgspec.Struct, frozen=True):
    """The maximum lengths a model accepts, in characters."""

    lyric: int = 5000
    style: int = 1000
    title: int = MAX_TITLE


_LIMITS = {"V4": Limits(lyric=3000, style=200)}


# Seconds: "minutes" of maintenance.
RULES: dict[int, Rule] = {
    400: Rule(permanent=True),
    401: Rule(permanent=True, alarm=True),
    402: Rule(permanent=True, alarm=True),
    404: Rule(permanent=True, alarm=True),
    405: Rule(permanent=False, deferred=True),
    408: Rule(permanent=False, ambiguous=True),
    413: Rule(permanent=True),
    422: Rule(permanent=True),
    429: Rule(permanent=True, alarm=True),  # no credits, or a rate limit: see _effective_code
    430: Rule(permanent=False, retry_after=TOO_MANY_PAUSE, deferred=True),
    455: Rule(permanent=False, retry_after=300.0),
    500: Rule(permanent=False, ambiguous=True),
    505: Rule(permanent=True, alarm=True),
    531: Rule(permanent=False),  # failed, and the credits were refunded
}

_TOO_MANY = 429
_RATE = 430


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
        breaker: Breaker | None = None,
    ) -> None:
        self._model = settings.model
        self._http = client(
            "suno",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.api_key}"},
            timeout=timeout,
            transport=transport,
            line=line,
            breaker=breaker,
        )
        self._api = Envelopes(
            "suno", self._http, clock or SystemClock(), RULES, reason=failure_reason, code=_effective_code
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def generate(self, *, lyric: str, style: str, title: str, callback_url: str) -> str:
        """Request two tracks that sing `lyric` unchanged; return the task's id.

        After an ambiguous VendorError the request may have been accepted. Texts are cut to the model's limits.
        """
        limits = _LIMITS.get(self._model, Limits())
        return await self._api.order(
            "/api/v1/generate",
            {
                "customMode": True,
                "instrumental": False,
                "model": self._model,
                "callBackUrl": callback_url,
                "prompt": fit(lyric, limits.lyric),
                "style": fit_tags(style, limits.style),
                "title": fit(title, limits.title),
            },
        )

    async def task(self, task_id: str) -> SunoTask:
        """Return the state of a task, without the echoed request, which has the callback's secret."""
        return parse_task(task_id, await self._api.record("/api/v1/generate/record-info", task_id))

    async def timed_lyrics(self, task_id: str, audio_id: str) -> TimedLyrics | None:
        """Return the timed words, possibly none; None while Suno has no timing."""
        return parse_timed_lyrics(
            await self._api.request(
                "POST",
                "/api/v1/generate/get-timestamped-lyrics",
                json={"taskId": task_id, "audioId": audio_id},
            )
        )

    async def credits(self) -> int:
        """Return the remaining credits."""
        return await self._api.credits("/api/v1/generate/credit")


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
