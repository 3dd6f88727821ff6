"""A whole daysong in a test: the real app on a real database, with the vendors' sandbox, in one process.

Only the network between the parts is replaced: the vendor clients, the callbacks and the people all speak HTTP to ASGI
apps. The clock stands still until a test moves it.
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx2
import msgspec
from litestar.types import ASGIApp

from daysong import app as composition
from daysong.commands import environment
from daysong.commands.environment import free_port
from daysong.kernel import settings
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.raised import ANYWHERE, codes_of
from daysong.kernel.functions.registry import Function, Registry, canonical
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import MovableClock
from daysong.sandbox.app import Pace, Sandbox
from daysong.sandbox.clerk.api import KEYS_FILE, new_key
from daysong.sandbox.kie.clips import Film, film, glimpse
from daysong.sandbox.music.composer import compose
from daysong.sandbox.music.hum import hum
from daysong.sandbox.suno.tasks import Compose
from daysong.surface import SURFACE
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.server.server import Server, listen
from daysong.transport.sync.hub import Limits

__all__ = [
    "ADMIN_KEY",
    "FunctionError",
    "Person",
    "World",
    "compose",
    "film",
    "free_port",
    "functions",
    "public_functions",
    "viewer_of",
]

ORIGIN = "http://daysong.test"
ADMIN_KEY = "an-admin-key-for-tests"
HASH_KEY = "a-hash-key-for-tests"


def functions() -> list[Function]:
    """Return every function of the product, by name."""
    return list(Registry(SURFACE))


def public_functions() -> list[Function]:
    """Return every public function, by name."""
    return [function for function in functions() if function.public]


@cache
def _signing_key() -> bytes:
    return msgspec.json.encode([new_key()])


def _give_signing_key(file: Path) -> None:
    """Have the sandbox's Clerk sign with a key that all worlds of this process share: making one takes 0.1 s."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_signing_key())


class FunctionError(Exception):
    """The error a client receives when a function fails: the message, and the data of an expected failure."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["errorMessage"])
        self.data: dict[str, Any] | None = answer.get("errorData")

    @property
    def code(self) -> str | None:
        """Return the code of an expected failure."""
        return self.data["code"] if self.data else None


class World:
    """An app and everything around it; see the fixtures `world`, `alice`, `bob`, `charlie` and `anonymous`.

    With a `port`, it is also served there, so that other processes can take part. Suno hums and Kie shows one
    second, which takes no time, unless they are given a composer and a film maker. With a `pace`, Suno's songs go on by
    themselves; without, `settle` delivers them.
    """

    def __init__(
        self,
        database_url: str,
        data_dir: Path,
        now: datetime,
        environ: dict[str, str] | None = None,
        port: int | None = None,
        compose: Compose = hum,
        film: Film = glimpse,
        limits: Limits | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.origin = f"http://127.0.0.1:{port}" if port else ORIGIN
        self._port = port
        self.clock = MovableClock(now)
        self._transport = None if port else httpx2.ASGITransport(app=self._serve)
        self.http = httpx2.AsyncClient(transport=self._transport, base_url=self.origin, trust_env=False)
        _give_signing_key(data_dir / "sandbox" / KEYS_FILE)
        self.sandbox = Sandbox(
            self.origin, data_dir=data_dir, pace=pace, http=self.http, clock=self.clock, compose=compose, film=film
        )
        self.settings = self._settings(database_url, data_dir, environ or {})
        self.app = composition.build(
            self.settings,
            clock=self.clock,
            transport=self._transport,
            mounts={"/sandbox": cast("ASGIApp", self.sandbox.asgi)},
            limits=limits,
        )
        self.db = self.app.database

    def _settings(self, database_url: str, data_dir: Path, environ: dict[str, str]) -> Settings:
        given = {
            "DATABASE_URL": database_url,
            "DAYSONG_DATA_DIR": str(data_dir),
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_HASH_KEY": HASH_KEY,
            "DAYSONG_TEST": "1",
            "SITE_URL": self.origin,
        }
        return settings.load(given | environ, environment.with_sandbox(self.sandbox, environ))

    def environ(self) -> dict[str, str]:
        """Return the environment for another process that takes part in this world; needs a `port`."""
        return {
            **os.environ,
            **environment.with_sandbox(self.sandbox, {}),
            "DATABASE_URL": self.settings.database_url or "",
            "DAYSONG_DATA_DIR": str(self.settings.data_dir),
            "DAYSONG_ADMIN_KEY": ADMIN_KEY,
            "DAYSONG_HASH_KEY": HASH_KEY,
            # As here: without limits.
            "DAYSONG_TEST": "1",
            "SITE_URL": self.origin,
        }

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app.asgi(scope, receive, send)

    async def __aenter__(self) -> World:
        await self.app.open()
        if self._port:
            self._server = Server(
                self._serve,
                lifespan=False,
                close_sockets=self.app.hub.close_sockets,
                message=self.app.hub.largest_message,
            )
            listener = listen("127.0.0.1", self._port)
            self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
            async with asyncio.timeout(20):
                while not await self._answers():
                    await asyncio.sleep(0.02)
        return self

    async def _answers(self) -> bool:
        try:
            return (await self.http.get("/healthz")).is_success
        except httpx2.TransportError:
            return False

    async def __aexit__(self, *_: object) -> None:
        if self._port:
            self._server.stop()
            await self._serving
        await self.http.aclose()
        await self.sandbox.close()
        await self.app.close()

    async def person(self, name: str) -> Person:
        """Return a signed-in person of that name with an account."""
        who = {"sub": f"user_{name}", "email": f"{name}@example.test", "name": name.title(), "ttl": 365 * 86400}
        token = (await self.http.post("/sandbox/clerk/sign-in", json=who)).raise_for_status().json()["jwt"]
        person = Person(self, {"Authorization": f"Bearer {token}"})
        await person.mutation("users:ensureCurrentUser")
        return person

    def acting_as(self, clerk_id: str, email: str | None = None, name: str | None = None) -> Caller:
        """Return the caller of an admin who acts as that Clerk user."""
        return Caller(subject=clerk_id, email=email, name=name, is_admin=True)

    async def steer(self, vendor: str, what: str, **how: Any) -> Any:
        """POST to a control endpoint of a vendor's sandbox."""
        return (await self.http.post(f"/sandbox/{vendor}/{what}", json=how)).raise_for_status().json()

    async def fault(self, vendor: str, **faults: Any) -> None:
        """Set a vendor's faults; none clears them."""
        (await self.http.post(f"/sandbox/{vendor}/faults", json=faults)).raise_for_status()

    async def asked(self, vendor: str, path: str = "") -> list[dict[str, Any]]:
        """Return the requests a vendor received, oldest first: method, path, body, time."""
        calls = (await self.http.get(f"/sandbox/{vendor}/log")).raise_for_status().json()
        return [call for call in calls if path in call["path"]]

    async def buys(self, act: str, who: str, **more: Any) -> None:
        """Perform an act at RevenueCat, such as `purchase` or `cancel`; `settle` delivers its webhooks."""
        details = {"appUserId": who, **more}
        (await self.http.post(f"/sandbox/revenuecat/{act}", json=details)).raise_for_status()

    async def settle(self) -> None:
        """Run all due jobs and deliver all webhooks, until nothing is left to do now."""
        await self.sandbox.settle()
        while await self.app.worker.drain(until=None, clock=self.clock):
            await self.sandbox.settle()

    async def pass_time(self, by: timedelta) -> None:
        """Advance the clock: every job and cron on the way runs at its moment, then the vendors deliver."""
        await self.app.worker.drain(until=self.clock.now() + by, clock=self.clock)
        await self.settle()


class Person:
    """A user with an app: calls functions over HTTP with their own authorization."""

    def __init__(self, world: World, headers: dict[str, str]) -> None:
        self._world = world
        self.headers = headers

    async def query(self, path: str, **args: Any) -> Any:
        """Return the value of a query; FunctionError when it fails."""
        return await self.call("query", path, args)

    async def mutation(self, path: str, **args: Any) -> Any:
        """Return the value of a mutation; FunctionError when it fails."""
        return await self.call("mutation", path, args)

    async def action(self, path: str, **args: Any) -> Any:
        """Return the value of an action; FunctionError when it fails."""
        return await self.call("action", path, args)

    async def call(self, kind: str, path: str, args: Any) -> Any:
        """Return the value of a function called as `kind`; FunctionError when it fails."""
        answer = await self._world.http.post(
            f"/api/{kind}",
            json={"path": path, "args": args, "format": "json"},
            headers=self.headers,
        )
        said = answer.raise_for_status().json()
        if said["status"] != "success":
            failed = FunctionError(said)
            self._assert_documented(path, failed.code)
            raise failed
        return said["value"]

    def _assert_documented(self, path: str, code: str | None) -> None:
        """Check that `kernel/functions/raised.py`, from which documents are generated, finds this code for the
        function.
        """
        function = self._world.app.runtime.registry.named(canonical(path))
        if code is not None and function is not None:
            documented = {*codes_of(function.handler), *codes_of(function.settled_by or function.handler)}
            assert code in documented | ANYWHERE, f"{path} fails with {code}, which its documentation does not list"

    async def song(self, content: str = "I walked home in the rain and called my sister", **more: Any) -> Any:
        """Create an entry, make its song, and return the finished song as the playlist shows it."""
        await self.action("music:startDiaryMusicGeneration", content=content, **more)
        await self._world.settle()
        return (await self.query("music:listPlaylistMusic"))[0]
