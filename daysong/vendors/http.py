"""Talking to vendors over HTTP: one client that logs, times out and says what a failure means; a careful file fetcher.

Whether a failed call may be repeated depends on where it broke. Before the request was sent nothing happened; after it,
the vendor may have done what was asked, and only the answer is missing (`VendorError.ambiguous`).
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.clock import Clock, SystemClock
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.lines import Line

CONNECT_TIMEOUT = 5.0
MAX_REDIRECTS = 3
FILE_TIMEOUT = 120.0

_NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.LocalProtocolError,
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A storage network may answer 403 or 404 for a short while after a file was announced.
_WORTH_ANOTHER_TRY = frozenset({403, 404, 408, 425, 429})

_ASKS_FOR_A_PAUSE = frozenset({429, 430, 503})

Resolve = Callable[[str, int], Awaitable[list[str]]]

_log = logs.get_logger("vendors")


def client(
    vendor: str,
    *,
    base_url: str = "",
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
    transport: httpx2.AsyncBaseTransport | None = None,
    line: Line | None = None,
) -> VendorClient:
    """An HTTP client for one vendor. Its calls raise VendorError alone; answers of any status are returned.

    `timeout` bounds the whole exchange. `transport` takes the place of the network (in tests, and for the sandbox).
    With a `line`, calls wait for their turn first.
    """
    return VendorClient(vendor, base_url=base_url, headers=headers, timeout=timeout, transport=transport, line=line)


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
    ) -> None:
        super().__init__(
            base_url=base_url,
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            transport=transport,
            # A proxy from the environment cannot reach a vendor on this machine.
            trust_env=not direct and not _is_loopback(httpx2.URL(base_url).host),
        )
        self._vendor = vendor
        self._limit = timeout
        self._private_paths = private_paths
        self._line = line

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send in turn; whatever goes wrong on the way is a VendorError, Deferred when the line is long."""
        if self._line is not None:
            await self._line.wait()
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

    async def hold(self, seconds: float) -> None:
        """The vendor has asked for a pause: nobody asks it anything for that long."""
        if self._line is not None:
            await self._line.hold(seconds)

    def _note(self, request: httpx2.Request, outcome: int | str, started: float) -> None:
        _log.info(
            "vendor call",
            vendor=self._vendor,
            method=request.method,
            # The path of a stored file is all it takes to read it, so that only its host is written down.
            path=request.headers.get("host") if self._private_paths else request.url.path,
            status=outcome,
            ms=round((time.perf_counter() - started) * 1000),
        )


def transport_failure(vendor: str, error: Exception, *, method: str = "POST") -> VendorError:
    """What a failure below HTTP means: always worth another try, ambiguous when the request may have arrived."""
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
    """The seconds a `Retry-After` header asks for, given as a number or as an HTTP date; None when there is no such."""
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


class FetchedFile(msgspec.Struct, frozen=True):
    """A file's bytes, and the media type its server gave (without parameters, in lower case)."""

    content: bytes
    content_type: str


class FileFetcher:
    """Fetches a vendor's files from the hosts it is known to use, and from nowhere else.

    hosts            exact names, or `*.suffix` for any name below it; reached by https alone
    allowed_origins  origins such as `http://127.0.0.1:8000` that are trusted as they are (the sandbox)
    """

    def __init__(
        self,
        *,
        hosts: Iterable[str],
        allowed_origins: Iterable[str] = (),
        transport: httpx2.AsyncBaseTransport | None = None,
        resolve: Resolve | None = None,
        timeout: float = FILE_TIMEOUT,
        clock: Clock | None = None,
    ) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        self._allowed = frozenset(_origin(httpx2.URL(origin)) for origin in allowed_origins)
        self._resolve = resolve or _resolve
        self._timeout = timeout
        self._clock = clock or SystemClock()
        # Connections are not kept: two hosts on one address must not share one that was opened for the other.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._http = VendorClient(
            "files",
            headers={"Accept-Encoding": "identity"},
            timeout=timeout,
            transport=transport or httpx2.AsyncHTTPTransport(limits=limits, trust_env=False),
            direct=True,
            private_paths=True,
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def fetch(self, url: str, *, max_bytes: int, content_types: Iterable[str] = ()) -> FetchedFile:
        """The file behind `url`, following at most 3 redirects, each checked like the first address.

        `content_types` are what the caller can use: `audio/mpeg`, or `audio/` for any of them; nothing accepts all.
        A refused address, a file too large or of another type, and most 4xx answers are permanent VendorErrors.
        """
        try:
            async with asyncio.timeout(self._timeout):
                return await self._fetch(_parsed(url), max_bytes, tuple(content_types))
        except (httpx2.RequestError, TimeoutError) as error:
            raise transport_failure("files", error, method="GET") from error

    async def _fetch(self, url: httpx2.URL, max_bytes: int, content_types: tuple[str, ...]) -> FetchedFile:
        for _ in range(1 + MAX_REDIRECTS):
            request = await self._checked(url)
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code not in _REDIRECTS:
                    return await self._received(response, max_bytes, content_types)
                url = _parsed(str(url.join(response.headers.get("location", ""))))
            finally:
                await response.aclose()
        raise _refused("redirected too often")

    async def _checked(self, url: httpx2.URL) -> httpx2.Request:
        """A request for `url` that connects to an address checked beforehand, so that DNS cannot change its mind."""
        if _origin(url) in self._allowed:
            return self._http.build_request("GET", url)
        if url.scheme != "https":
            raise _refused(f"{url.scheme or 'no'} scheme")
        if url.userinfo:
            raise _refused("credentials in the address")
        host = url.raw_host.decode("ascii").lower()
        if not any(host == known or (known[:2] == "*." and host.endswith(known[1:])) for known in self._hosts):
            raise _refused("host is not on the list")
        try:
            addresses = await self._resolve(host, url.port or 443)
        except OSError as error:
            raise transport_failure("files", httpx2.ConnectError(str(error)), method="GET") from error
        if not addresses or not all(_is_public(address) for address in addresses):
            raise _refused("host leads to a private address")
        return self._http.build_request(
            "GET",
            url.copy_with(host=addresses[0]),
            headers={"Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": host},
        )

    async def _received(self, answer: httpx2.Response, max_bytes: int, content_types: tuple[str, ...]) -> FetchedFile:
        if answer.status_code != httpx2.codes.OK:
            raise VendorError(
                "files",
                f"answered {answer.status_code}",
                permanent=answer.status_code < httpx2.codes.INTERNAL_SERVER_ERROR
                and answer.status_code not in _WORTH_ANOTHER_TRY,
                retry_after=retry_after(answer.headers, self._clock.now()),
                code="file_unavailable",
            )
        content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_types and not any(_fits(content_type, wanted) for wanted in content_types):
            raise _refused(f"unexpected content type {content_type!r}")
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise _refused("compressed in transit, so that its size cannot be bounded")
        content = bytearray()
        async for chunk in answer.aiter_raw():
            content += chunk
            if len(content) > max_bytes:
                raise _refused(f"larger than {max_bytes} bytes", code="file_too_large")
        if not content:
            raise VendorError("files", "empty file", permanent=False, code="file_unavailable")
        return FetchedFile(bytes(content), content_type)


def _refused(detail: str, *, code: str = "file_refused") -> VendorError:
    return VendorError("files", f"refused: {detail}", permanent=True, code=code)


def _parsed(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise _refused("not an address") from error
    if not parsed.host:
        raise _refused("not an address")
    return parsed


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host.lower(), url.port or {"http": 80, "https": 443}.get(url.scheme)


def _fits(content_type: str, wanted: str) -> bool:
    return content_type.startswith(wanted) if wanted.endswith("/") else content_type == wanted


async def _resolve(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_public(text: str) -> bool:
    """Whether an address is on the open internet, looking also at an IPv4 address wrapped in an IPv6 one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(str(inner))
        if address.teredo is not None:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
