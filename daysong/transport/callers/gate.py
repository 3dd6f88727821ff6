"""The gate: what strangers and accounts may ask for, before anything is done for them.

    over HTTP             requests and bytes of an address, functions of an account: 429 with Retry-After
    webhooks              an address whose messages keep failing verification: 429
    mutations, actions    the typed error `rate_limited`, with `retryAfter` in its data; queries over HTTP: 429
    the admin key         a wrong one is answered slowly, and soon not at all
    sockets               closed at once, with 1013 and a reason
    subscriptions         wait, and are never refused: an app shows a query's error instead of its screen

Nothing holds for who has the admin key. How much of each: kernel/limits/declarations.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from daysong.kernel import logs
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.limits.buckets import Buckets
from daysong.kernel.limits.declarations import FUNCTIONS
from daysong.kernel.limits.errors import RateLimited
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.refusals import Refused
from daysong.transport.sync.wire import Close

# Seconds that the answer to a wrong admin key takes.
SLOW = 0.5
# A subscription waits at most that long, in seconds, before it is run all the same.
LONGEST_DELAY = 10.0
MOST_REMEMBERED = 100_000
# Asked by machines that look after us.
FREE = frozenset({"/healthz", "/readyz", "/metrics"})
WEBHOOKS = ("/http/", "/webhooks/")
UNVERIFIED = frozenset({401, 403})

MANY_SOCKETS = Close(1013, "TooManySocketsFromOneAddress")

log = logs.get_logger("limits")


class Gate:
    """Counts callers, and turns away or holds back those who ask too much."""

    def __init__(self, runtime: Runtime, buckets: Buckets) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self.buckets = buckets
        self.enabled = settings.limits.enabled
        self._secret = settings.admin_key
        self._hash_key = settings.hash_key.encode()
        self._sockets_at_once = settings.limits.sockets_at_once
        self._metrics_from = [ipaddress.ip_network(text, strict=False) for text in settings.limits.metrics_from]
        self._sockets: Counter[str] = Counter()
        self._guessers: OrderedDict[str, None] = OrderedDict()
        self._accounts: OrderedDict[str, None] = OrderedDict()
        runtime.gate = self.admit

    # Who asks

    def viewer(self, scope: Scope | None, address: str = "") -> str:
        """The mark of the address a request came from; the same for all of which none is known."""
        scope = cast("Scope", {"client": (address, 0)}) if scope is None else scope
        return viewer_of(scope, self._runtime.clock.now(), self._secret) or "unknown"

    def _account(self, caller: Caller) -> str:
        return hmac.digest(self._hash_key, f"caller {caller.subject}".encode(), hashlib.sha256)[:12].hex()

    # Over HTTP

    async def request(self, caller: Caller) -> None:
        """A call of a function over HTTP; Refused (429) when the account calls too often."""
        if self.enabled and caller.subject is not None and not caller.is_admin:
            await self.refuse("requests_account", self._account(caller))

    async def refuse(self, name: str, key: str, count: int = 1) -> None:
        """Take from a caller's bucket; Refused (429) when it is empty."""
        if wait := await self.buckets.take(name, key, count):
            raise too_many(wait)

    # Functions

    async def admit(self, function: Function, caller: Caller, viewer: str) -> None:
        """Before a client's function runs; RateLimited when it was called too often."""
        if not self.enabled or caller.is_admin or function.kind is Kind.QUERY:
            return
        name = FUNCTIONS.get(function.identifier, "writes")
        viewer = viewer or caller.viewer or "unknown"
        wanted = [(f"{name}_viewer", viewer), (name, "all")]
        if caller.subject is not None:
            wanted.insert(0, (f"{name}_account", self._account(caller)))
            if await self._is_new(caller.subject):
                wanted += [("sign_ups_viewer", viewer), ("sign_ups", "all")]
        for limit, key in wanted:
            if wait := await self.buckets.take(limit, key):
                raise RateLimited(wait)

    async def _is_new(self, subject: str) -> bool:
        """Whether this may be the first call of a new user."""
        if subject in self._accounts:
            return False
        known = await self._runtime.database.pool.fetchval("select true from users where clerk_id = $1", subject)
        if known:
            _remember(self._accounts, subject)
        return not known

    async def delay(self, caller: Caller, viewer: str, queries: int) -> None:
        """Before subscribed queries run: return when it is their turn."""
        if not self.enabled or caller.is_admin or not queries:
            return
        name, key = ("runs_account", self._account(caller)) if caller.subject else ("runs_viewer", viewer)
        if wait := await self.buckets.take(name, key, queries):
            await asyncio.sleep(min(wait, LONGEST_DELAY))

    # The admin key

    async def before_guess(self, viewer: str) -> None:
        """Before an admin key is looked at; Refused (429) for an address that has guessed too often."""
        if self.enabled and viewer in self._guessers:
            await self.refuse("guesses_viewer", viewer)

    async def wrong_guess(self, viewer: str) -> None:
        """The key was wrong: that is written down, and the answer takes its time."""
        log.warning("wrong admin key")
        if self.enabled:
            _remember(self._guessers, viewer)
            await asyncio.sleep(SLOW)

    def shows_metrics_to(self, scope: Scope) -> bool:
        """Whether the request comes from where metrics may be read without the admin key."""
        client = scope.get("client")
        try:
            address = ipaddress.ip_address((client[0] if client else "").partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._metrics_from)

    # Sockets

    async def socket(self, viewer: str) -> Close | None:
        """Why an address may not open another socket; None when it may."""
        if not self.enabled:
            return None
        if self._sockets[viewer] >= self._sockets_at_once or await self.buckets.take("sockets_viewer", viewer):
            return MANY_SOCKETS
        return None

    def opened(self, viewer: str) -> None:
        """A socket has opened."""
        self._sockets[viewer] += 1

    def closed(self, viewer: str) -> None:
        """A socket has ended."""
        self._sockets[viewer] -= 1
        if self._sockets[viewer] <= 0:
            del self._sockets[viewer]


class GateKeeper:
    """ASGI middleware: lets requests of an address through as often as it may ask."""

    def __init__(self, app: ASGIApp, gate: Gate, is_admin: Callable[[Scope], Awaitable[bool]]) -> None:
        self._app = app
        self._gate = gate
        self._is_admin = is_admin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or say when to come again."""
        if scope["type"] != ScopeType.HTTP or not self._gate.enabled:
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        if path == "/metrics" and not (self._gate.shows_metrics_to(scope) or await self._is_admin(scope)):
            await _answer(Refused(403, "Forbidden", "Metrics are for METRICS_FROM and the admin key."), send)
            return
        if path in FREE:
            await self._app(scope, receive, send)
            return
        viewer = self._gate.viewer(scope)
        if path.startswith(WEBHOOKS):
            await self._webhook(viewer, scope, receive, send)
            return
        try:
            await self._gate.refuse("requests_viewer", viewer)
            if size := _size(scope):
                await self._gate.refuse("bytes_viewer", viewer, size)
        except Refused as error:
            await _answer(error, send)
            return
        await self._app(scope, receive, send)

    async def _webhook(self, viewer: str, scope: Scope, receive: Receive, send: Send) -> None:
        buckets = self._gate.buckets
        if wait := buckets.closed("webhooks_viewer", viewer):
            await _answer(too_many(wait), send)
            return
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        await self._app(scope, receive, noting)
        if status in UNVERIFIED and await buckets.take("webhooks_viewer", viewer):
            log.warning("webhooks fail verification")


def too_many(wait: float) -> Refused:
    """The answer to who asks too often."""
    error = RateLimited(wait)
    return Refused(429, "RateLimited", error.message, retry_after=error.retry_after)


def _size(scope: Scope) -> int:
    """How large a body was announced, where that is worth counting."""
    for name, value in cast("Sequence[tuple[bytes, bytes]]", scope["headers"]):
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 12:  # noqa: PLR2004 - digits
            return int(value) if int(value) > 64 * 1024 else 0
    return 0


async def _answer(error: Refused, send: Send) -> None:
    body = msgspec.json.encode({"code": error.code, "message": error.message})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", str(error.retry_after).encode()))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _remember(known: OrderedDict[str, None], key: str) -> None:
    known[key] = None
    if len(known) > MOST_REMEMBERED:
        known.popitem(last=False)
