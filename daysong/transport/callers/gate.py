"""Rate limits of addresses and accounts, checked before a request is processed.

    HTTP                  requests and bytes per address, function calls per account: 429 with Retry-After
    webhooks              429 for an address whose messages keep failing verification
    mutations, actions    the typed error `rate_limited`, with `retryAfter` in its data; queries over HTTP: 429
    the admin key         a wrong key gets a slow answer, and after a few guesses 429
    sockets               closed at once, with 1013 and a reason
    subscriptions         delayed and never refused: an app would show the error instead of its screen

The admin key has no limits. The rates are declared in kernel/limits/declarations.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from daysong.kernel import logs
from daysong.kernel.functions.context import Caller
from daysong.kernel.functions.registry import Function
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.limits.buckets import Buckets
from daysong.kernel.limits.declarations import FUNCTIONS
from daysong.kernel.limits.errors import RateLimited
from daysong.transport.callers.viewers import viewer_of
from daysong.transport.refusals import Refused
from daysong.transport.server.headers import announced_size
from daysong.transport.sync.wire import Close

# Seconds before the response to a wrong admin key.
WRONG_KEY_DELAY = 0.5
# Longest delay of a subscription, in seconds.
LONGEST_DELAY = 10.0
MOST_REMEMBERED = 100_000
# Requested by monitoring.
UNLIMITED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
WEBHOOKS = ("/http/", "/webhooks/")
UPLOADS = "/uploads/"
UNVERIFIED = frozenset({401, 403})
COUNTED_SIZE = 64 * 1024  # bytes; smaller bodies are not counted
VIEWER = "daysong.viewer"

TOO_MANY_SOCKETS = Close(1013, "TooManySocketsFromOneAddress")

log = logs.get_logger("limits")


class Gate:
    """Counts requests per address and account, and refuses or delays those over a limit."""

    def __init__(self, runtime: Runtime, buckets: Buckets) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self.buckets = buckets
        self.enabled = settings.limits.enabled
        self._secret = settings.hash_key
        self._hash_key = settings.hash_key.encode()
        self._sockets_at_once = settings.limits.sockets_at_once
        self._metrics_from = [ipaddress.ip_network(text, strict=False) for text in settings.limits.metrics_from]
        self._sockets: Counter[str] = Counter()
        self._guessers: OrderedDict[str, None] = OrderedDict()
        self._accounts: OrderedDict[str, None] = OrderedDict()
        # The hash by which an account is counted.
        self._account = lru_cache(MOST_REMEMBERED)(self._hash_of_account)
        runtime.gate = self.admit

    # Keys

    def viewer(self, scope: Scope | None, address: str = "") -> str:
        """Return the viewer id of the request's address; all unknown addresses share one."""
        state: Any = {"client": (address, 0)} if scope is None else scope
        found: str | None = state.get(VIEWER)
        if found is None:
            viewer = viewer_of(state, self._runtime.clock.now(), self._secret)
            found = state[VIEWER] = viewer or "unknown"
        return found

    def _hash_of_account(self, subject: str) -> str:
        return hmac.digest(self._hash_key, f"caller {subject}".encode(), hashlib.sha256)[:12].hex()

    # HTTP

    def counts(self, caller: Caller) -> bool:
        """Count a function call over HTTP if this process may allow it by itself; False when `check_account` has to."""
        return (
            not self.enabled
            or caller.subject is None
            or caller.is_admin
            or self.buckets.takes("requests_account", self._account(caller.subject))
        )

    async def check_account(self, caller: Caller) -> None:
        """Count a function call over HTTP. Errors: Refused (429) when the account is over its limit."""
        if self.enabled and caller.subject is not None and not caller.is_admin:
            await self.charge("requests_account", self._account(caller.subject))

    async def charge(self, name: str, key: str, count: int = 1) -> None:
        """Take from a caller's bucket. Errors: Refused (429) when it is empty."""
        if not self.buckets.takes(name, key, count) and (wait := await self.buckets.take(name, key, count)):
            raise rate_limited(wait)

    # Functions

    async def admit(self, function: Function, caller: Caller, viewer: str) -> None:
        """Count a mutation or action before it runs. Errors: RateLimited over a limit."""
        if not self.enabled or caller.is_admin:
            return
        name = FUNCTIONS.get(function.identifier, "writes")
        viewer = viewer or caller.viewer or "unknown"
        buckets = [(f"{name}_viewer", viewer), (name, "all")]
        if caller.subject is not None:
            buckets.insert(0, (f"{name}_account", self._account(caller.subject)))
            if await self._is_new(caller.subject):
                buckets += [("sign_ups_viewer", viewer), ("sign_ups", "all")]
        for limit, key in buckets:
            if not self.buckets.takes(limit, key) and (wait := await self.buckets.take(limit, key)):
                raise RateLimited(wait)

    async def _is_new(self, subject: str) -> bool:
        """Whether the user has no account yet."""
        if subject in self._accounts:
            return False
        known = await self._runtime.database.pool.fetchval("select true from users where clerk_id = $1", subject)
        if known:
            _remember(self._accounts, subject)
        return not known

    async def delay(self, caller: Caller, viewer: str, queries: int) -> None:
        """Wait until that many subscribed queries may run."""
        if not self.enabled or caller.is_admin or not queries:
            return
        name, key = ("runs_account", self._account(caller.subject)) if caller.subject else ("runs_viewer", viewer)
        if wait := await self.buckets.take(name, key, queries):
            await asyncio.sleep(min(wait, LONGEST_DELAY))

    # The admin key

    async def before_guess(self, viewer: str) -> None:
        """Check the limit before an admin key is compared. Errors: Refused (429) after too many wrong keys."""
        if self.enabled and viewer in self._guessers:
            await self.charge("guesses_viewer", viewer)

    async def wrong_guess(self, viewer: str) -> None:
        """Record a wrong key, and delay the response."""
        log.warning("wrong admin key")
        if self.enabled:
            _remember(self._guessers, viewer)
            await asyncio.sleep(WRONG_KEY_DELAY)

    def may_read_metrics(self, scope: Scope) -> bool:
        """Whether the request's address may read metrics without the admin key."""
        client = scope.get("client")
        try:
            address = ipaddress.ip_address((client[0] if client else "").partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._metrics_from)

    # Sockets

    async def socket_refusal(self, viewer: str) -> Close | None:
        """Return the close frame for an address with too many sockets; None when it may open another."""
        if not self.enabled:
            return None
        if self._sockets[viewer] >= self._sockets_at_once or await self.buckets.take("sockets_viewer", viewer):
            return TOO_MANY_SOCKETS
        return None

    def socket_opened(self, viewer: str) -> None:
        """Count an open socket of the address."""
        self._sockets[viewer] += 1

    def socket_closed(self, viewer: str) -> None:
        """Count off a closed socket of the address."""
        self._sockets[viewer] -= 1
        if self._sockets[viewer] <= 0:
            del self._sockets[viewer]


class GateKeeper:
    """ASGI middleware: enforces the rate limits of addresses."""

    def __init__(self, app: ASGIApp, gate: Gate, is_admin: Callable[[Scope], Awaitable[bool]]) -> None:
        self._app = app
        self._gate = gate
        self._is_admin = is_admin

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request, or refuse it with Retry-After."""
        if scope["type"] != ScopeType.HTTP or not self._gate.enabled:
            return self._app(scope, receive, send)
        path: str = scope["path"]
        if path == "/metrics" and not self._gate.may_read_metrics(scope):
            return self._metrics(scope, receive, send)
        if path in UNLIMITED_PATHS:
            return self._app(scope, receive, send)
        viewer = self._gate.viewer(scope)
        if path.startswith(WEBHOOKS):
            return self._webhook(viewer, scope, receive, send)
        size = announced_size(scope) or 0
        # Uploads charge their bytes themselves, once the signature of the address is checked.
        counted = size if size > COUNTED_SIZE and not path.startswith(UPLOADS) else 0
        if not counted and self._gate.buckets.takes("requests_viewer", viewer):
            return self._app(scope, receive, send)
        return self._charged(viewer, counted, scope, receive, send)

    async def _metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self._is_admin(scope):
            await self._app(scope, receive, send)
        else:
            await _send_refusal(Refused(403, "Forbidden", "Metrics are for METRICS_FROM and the admin key."), send)

    async def _charged(self, viewer: str, size: int, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._gate.charge("requests_viewer", viewer)
            if size:
                await self._gate.charge("bytes_viewer", viewer, size)
        except Refused as error:
            await _send_refusal(error, send)
            return
        await self._app(scope, receive, send)

    async def _webhook(self, viewer: str, scope: Scope, receive: Receive, send: Send) -> None:
        buckets = self._gate.buckets
        if wait := buckets.closed("webhooks_viewer", viewer):
            await _send_refusal(rate_limited(wait), send)
            return
        status = 0

        async def record_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        await self._app(scope, receive, record_status)
        if status in UNVERIFIED and await buckets.take("webhooks_viewer", viewer):
            log.warning("webhooks fail verification")


def rate_limited(wait: float) -> Refused:
    """Return the refusal of a request over a rate limit; `wait` is in seconds."""
    error = RateLimited(wait)
    return Refused(429, "RateLimited", error.message, retry_after=error.retry_after)


async def _send_refusal(error: Refused, send: Send) -> None:
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
