"""The shared song that pages show, as `sharing:getSharedMusic` returns it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from daysong.kernel import values
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.time.clock import from_ms
from daysong.transport import calls

QUERY = "sharing:getSharedMusic"
LONGEST_ID = 64
UNTITLED = "Untitled Track"


class Shared(msgspec.Struct, rename="camel"):
    """The fields of a shared song that pages show."""

    title: str = UNTITLED
    image_url: str | None = None
    image_width: float | None = None
    image_height: float | None = None
    audio_url: str | None = None
    lyric: str | None = None
    lyric_with_time: Any = None
    duration: float | None = None
    created_at: float | None = None
    user_name: str | None = None
    allow_download: bool = False
    listed: bool = False

    @property
    def cover(self) -> str | None:
        """Return the URL of the cover, if a browser can show it."""
        return http_url(self.image_url)

    @property
    def audio(self) -> str | None:
        """Return the URL of the recording, if a browser can play it."""
        return http_url(self.audio_url)

    @property
    def month(self) -> str | None:
        """Return the month in which it was shared."""
        return None if self.created_at is None else f"{from_ms(self.created_at):%B %Y}"


class Unavailable(msgspec.Struct):
    """The song cannot be looked up right now."""


async def find(runtime: Runtime, share_id: str, viewer: Caller) -> Shared | Unavailable | None:
    """Return the song of an open share; None for an unknown, private or revoked one."""
    if len(share_id) > LONGEST_ID or "\0" in share_id:
        return None
    result = await calls.call(runtime, QUERY, {"shareId": share_id}, viewer)
    if isinstance(result, calls.Failure):
        return Unavailable() if result.outcome in {"failed", calls.UNAVAILABLE} else None
    found = values.plain(result.value)
    return msgspec.convert(found, Shared) if found["found"] else None


def http_url(url: str | None) -> str | None:
    """Return the URL if a browser can fetch it."""
    return url if url and urlsplit(url).scheme in {"http", "https"} else None
