"""HTTP to vendors: a client that logs, times out and classifies failures.

Whether a failed call may be retried depends on when it failed. Before the request was sent, nothing happened; after it,
the vendor may have processed the request although the response is missing (`VendorError.ambiguous`).
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import math
import os
import re
import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
from prometheus_client import Histogram

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.lines import Line
from daysong.kernel.monitoring import tracing
from daysong.kernel.time.clock import SystemClock
from daysong.vendors import latency
from daysong.vendors.latency import Sample

CONNECT_TIMEOUT = 5.0

_NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.LocalProtocolError,
)

TOO_MANY_REQUESTS = 429
FIRST_SERVER_ERROR = 500
_ASKS_FOR_A_PAUSE = frozenset({429, 430, 503})

SECONDS = Histogram(
    "daysong_vendor_seconds",
    "Duration of requests to vendors; the outcome is a class of statuses, 429, or the kind of failure",
    ["vendor", "outcome"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0),
)

_log = logs.get_logger("vendors")
# These path segments are followed by a Clerk user id.
_PERSON = re.compile(r"(/(?:users|customers)/)[^/]+")


def client(
    vendor: str,
    *,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    transport: httpx2.AsyncBaseTransport | None = None,
    line: Line | None = None,
    breaker: Breaker | None = None,
) -> VendorClient:
    """Return an HTTP client for one vendor. Its calls raise only VendorError; responses of any status are returned.

    `timeout` bounds the whole exchange. `transport` replaces the network (in tests, and for the sandbox).
    With a `line`, calls wait for the vendor's rate limit first; with a `breaker`, none is sent while it is open.
    """
    return VendorClient(
        vendor, base_url=base_url, headers=headers, timeout=timeout, transport=transport, line=line, breaker=breaker
    )


class VendorClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` that carries our request id, writes one log line per call and raises VendorError."""

    def __init__(
        self,
        vendor: str,
        *,
        base_url: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        direct: bool = False,
        private_paths: bool = False,
        line: Line | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        # A proxy from the environment cannot reach a vendor on this machine.
        trust_env = not direct and not _is_loopback(httpx2.URL(base_url).host)
        super().__init__(
            base_url=base_url,
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            transport=transport,
            verify=certificates(trust_env=trust_env) if transport is None else True,
            trust_env=trust_env,
        )
        self._vendor = vendor
        self._limit = timeout
        self._private_paths = private_paths
        self._line = line
        self._breaker = breaker

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request within the rate limit.

        Errors: VendorError; Deferred when the line is too long, or the vendor has not answered lately.

        It has our request id, but no `traceparent`: a vendor would record a trace whose other spans it cannot see, and
        what we sample is no concern of it.
        """
        with tracing.span(self._vendor, "client", vendor=self._vendor, method=request.method):
            return await self._send(request, stream=stream, **options)

    async def _send(self, request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        if self._breaker is not None:
            self._breaker.check()
        if self._line is not None:
            await self._line.wait()
        if self._breaker is None:
            return await self._exchange(request, stream=stream, **options)
        attempt = self._breaker.begin()
        try:
            response = await self._exchange(request, stream=stream, **options)
            (attempt.failed if response.status_code >= FIRST_SERVER_ERROR else attempt.succeeded)()
        except VendorError as error:
            if not error.permanent:
                attempt.failed()
            raise
        finally:
            attempt.end()
        return response

    async def _exchange(self, request: httpx2.Request, *, stream: bool, **options: Any) -> httpx2.Response:
        if identifier := logs.request_id():
            request.headers["X-Request-Id"] = identifier
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._limit):
                response = await super().send(request, stream=stream, **options)
        except (httpx2.RequestError, TimeoutError) as error:
            self._note(request, type(error).__name__, started)
            raise transport_failure(self._vendor, error, method=request.method) from error
        self._note(request, response.status_code, started)
        if response.status_code in _ASKS_FOR_A_PAUSE and (pause := retry_after(response.headers, SystemClock().now())):
            await self.hold(pause)
        return response

    @property
    def is_available(self) -> bool:
        """Whether a request would be sent now; False while the vendor has not answered lately."""
        return self._breaker is None or self._breaker.wait() is None

    async def hold(self, seconds: float) -> None:
        """Pause all calls to the vendor, as it requested."""
        if self._line is not None:
            await self._line.hold(seconds)

    def _note(self, request: httpx2.Request, outcome: int | str, started: float) -> None:
        now = time.perf_counter()
        seconds = now - started
        kind = _outcome(outcome)
        _seconds(self._vendor, kind).observe(seconds)
        status = outcome if isinstance(outcome, int) else None
        failed = status is None or status >= FIRST_SERVER_ERROR
        latency.note(self._vendor, Sample(now, seconds, failed))
        tracing.annotate(outcome=kind, status=status, failed=failed)
        _log.info(
            "vendor call",
            vendor=self._vendor,
            method=request.method,
            # The path of a stored file grants access to it, so only its host is logged; in other paths the user id is
            # masked.
            path=request.headers.get("host") if self._private_paths else _PERSON.sub(r"\1*", request.url.path),
            status=outcome,
            ms=round(seconds * 1000),
        )


@functools.cache
def _seconds(vendor: str, outcome: str) -> Histogram:
    return SECONDS.labels(vendor, outcome)


def _outcome(outcome: int | str) -> str:
    if isinstance(outcome, int):
        return "429" if outcome == TOO_MANY_REQUESTS else f"{outcome // 100}xx"
    return "timeout" if "Timeout" in outcome else "unreachable"


def certificates(*, trust_env: bool) -> ssl.SSLContext:
    """Return the TLS settings that all clients share: reading the system's certificates takes 40 ms each time."""
    return _certificates(trust_env=trust_env and bool({"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()))


@functools.cache
def _certificates(*, trust_env: bool) -> ssl.SSLContext:
    return httpx2.create_ssl_context(trust_env=trust_env)


def transport_failure(vendor: str, error: Exception, *, method: str = "POST") -> VendorError:
    """Return the VendorError for a transport failure: retryable, and ambiguous when the request may have arrived."""
    reading = method in {"GET", "HEAD", "OPTIONS"}
    sent = not isinstance(error, _NOTHING_SENT)
    return VendorError(
        vendor,
        f"no answer ({type(error).__name__})",
        permanent=isinstance(error, httpx2.UnsupportedProtocol),
        ambiguous=sent and not reading,
        code="unreachable",
    )


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds of a `Retry-After` header, a number or an HTTP date; None without a valid one."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        seconds = ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def slug(value: object) -> str | None:
    """Return a vendor's own code for a failure, if it is one: a word, and no sentence, which may quote a person."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,60}", text) else None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
