"""The sandbox in a test: the real vendor clients pointed at it, and an inbox for its callbacks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from daysong import vendors
from daysong.kernel.errors import VendorError
from daysong.kernel.time.clock import MovableClock
from daysong.sandbox.app import Pace, Sandbox
from daysong.sandbox.music.hum import hum
from daysong.sandbox.vendor import Message, Receive, Scope, Send
from daysong.vendors.clerk.client import ClerkUsers, TokenVerifier
from daysong.vendors.files import FileFetcher
from daysong.vendors.openai.client import OpenAI
from daysong.vendors.openai.lyrics import Lyrics
from daysong.vendors.suno.client import Suno, SunoCallback, parse_callback

ORIGIN = "http://127.0.0.1:8000"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
LYRIC = "[Verse 1]\nMorning light on a quiet street\n\n[Chorus]\nHold the day"
VENDORS = Path(vendors.__file__).parent


class World:
    """The sandbox, the real clients pointed at it, and an inbox where its callbacks arrive."""

    def __init__(self, data_dir: Path, *, pace: Pace | None = None, songs: Any = hum) -> None:
        self.clock = MovableClock(NOW)
        self.inbox: list[bytes] = []
        self.answers_with = 200
        self._callbacks = httpx2.AsyncClient(transport=httpx2.ASGITransport(self._take_callback))
        self.sandbox = Sandbox(
            ORIGIN, data_dir=data_dir, pace=pace, http=self._callbacks, clock=self.clock, compose=songs
        )
        wire = httpx2.ASGITransport(self.sandbox.asgi)
        self.steering = httpx2.AsyncClient(transport=wire, base_url=f"{ORIGIN}/sandbox/")
        self.openai = OpenAI(self.sandbox.openai_settings(), transport=wire, timeout=1.0, clock=self.clock)
        self.suno = Suno(self.sandbox.suno_settings(), transport=wire, timeout=1.0, clock=self.clock)
        self.tokens = TokenVerifier(self.sandbox.clerk_settings(), transport=wire)
        self.users = ClerkUsers(self.sandbox.clerk_settings(), transport=wire, timeout=1.0, clock=self.clock)
        self.files = FileFetcher(hosts=[], allowed_origins=[ORIGIN], transport=wire)

    async def _take_callback(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/hooks/suno/SECRET"
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        self.inbox.append(body)
        await send({"type": "http.response.start", "status": self.answers_with, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @property
    def told(self) -> list[SunoCallback]:
        """The callbacks, as the real parser reads them."""
        return [parse_callback(body) for body in self.inbox]

    async def steer(self, path: str, content: object = None) -> Any:
        answer = await self.steering.post(path, json={} if content is None else content)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def order(self, title: str = "Quiet Street") -> str:
        return await self.suno.generate(
            lyric=LYRIC, style="calm indie folk", title=title, callback_url="http://app.test/hooks/suno/SECRET"
        )

    async def write(
        self, diary: str = "I walked along the old bridge and felt calm.", hint: str | None = None
    ) -> Lyrics:
        return await self.openai.write_lyrics(diary=diary, style_hint=hint, person="p1")

    async def sign_in(self, sub: str = "user_alice", **who: object) -> str:
        token: str = (await self.steer("clerk/sign-in", {"sub": sub, **who}))["jwt"]
        return token

    async def close(self) -> None:
        await self.sandbox.close()
        for each in (self.openai, self.suno, self.tokens, self.users, self.files):
            await each.close()
        await self.steering.aclose()
        await self._callbacks.aclose()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    await world.close()


async def failure(call: Awaitable[object]) -> VendorError:
    with pytest.raises(VendorError) as caught:
        await call
    return caught.value


def recorded(name: str) -> Any:
    vendor, _, file = name.partition("/")
    return json.loads((VENDORS / vendor / "fixtures" / f"{file}.json").read_bytes())


def shape(value: Any) -> Any:
    """Return keys and kinds of values, recursively; of a list, each kind of entry once."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(entry), sort_keys=True) for entry in value})
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
