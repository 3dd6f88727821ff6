"""HTTP to vendors: a client that logs, times out and classifies failures.

Whether a failed call may be retried depends on when it failed. Before the request was sent, nothing happened; after it,
the vendor may have processed the request although the response is missing (`VendorError.ambiguous`).
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import math
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.lines import Line
from daysong.kernel.time.clock import Clock, SystemClock

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
# All other IPv6 addresses are local or reserved.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Protocol assignments that Python's tables do not all count as private.
_NOT_HOSTS = tuple(ipaddress.ip_network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "3fff::/20"))
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A storage network may answer 403 or 404 for a short while after a file was announced; 441 is Suno's for one that is
# too old, 416 that of an empty file to a request for its beginning.
_MISSING = frozenset({403, 404, 410, 416, 441})
_WORTH_ANOTHER_TRY = frozenset({403, 404, 408, 416, 425, 429})
HTTPS = 443
_LONGEST_SIZE = 15  # digits

_ASKS_FOR_A_PAUSE = frozenset({429, 430, 503})

Resolve = Callable[[str, int], Awaitable[list[str]]]

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
) -> VendorClient:
    """Return an HTTP client for one vendor. Its calls raise only VendorError; responses of any status are returned.

    `timeout` bounds the whole exchange. `transport` replaces the network (in tests, and for the sandbox).
    With a `line`, calls wait for the vendor's rate limit first.
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
        # A proxy from the environment cannot reach a vendor on this machine.
        trust_env = not direct and not _is_loopback(httpx2.URL(base_url).host)
        super().__init__(
            base_url=base_url,
            headers=headers,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_TIMEOUT, timeout)),
            transport=transport,
            verify=_certificates(trust_env=trust_env) if transport is None else True,
            trust_env=trust_env,
        )
        self._vendor = vendor
        self._limit = timeout
        self._private_paths = private_paths
        self._line = line

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        """Send a request within the rate limit. Errors: VendorError; Deferred when the queue is too long."""
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
        """Pause all calls to the vendor, as it requested."""
        if self._line is not None:
            await self._line.hold(seconds)

    def _note(self, request: httpx2.Request, outcome: int | str, started: float) -> None:
        _log.info(
            "vendor call",
            vendor=self._vendor,
            method=request.method,
            # The path of a stored file grants access to it, so only its host is logged; in other paths the user id is
            # masked.
            path=request.headers.get("host") if self._private_paths else _PERSON.sub(r"\1*", request.url.path),
            status=outcome,
            ms=round((time.perf_counter() - started) * 1000),
        )


@functools.cache
def _certificates(*, trust_env: bool) -> ssl.SSLContext:
    """Return the TLS settings that all clients share: reading the system's certificates takes 40 ms each time."""
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


class FetchedFile(msgspec.Struct, frozen=True):
    """A file's bytes and the media type its server claims (lower case, without parameters)."""

    content: bytes
    content_type: str


class FileBeginning(msgspec.Struct, frozen=True):
    """The first bytes of a file, and its total size if the server sent it."""

    content: bytes
    size: int | None


class FileHosts:
    """The hosts that a vendor's files may be fetched from.

    hosts            exact names, or `*.suffix` for any subdomain; only https on port 443
    allowed_origins  origins such as `http://127.0.0.1:8000` that are trusted without further checks (the sandbox)
    """

    def __init__(self, hosts: Iterable[str], allowed_origins: Iterable[str] = ()) -> None:
        self._hosts = tuple(host.lower() for host in hosts)
        self._allowed = frozenset(_origin(httpx2.URL(origin)) for origin in allowed_origins)

    def allows(self, url: str) -> bool:
        """Return whether files may be fetched from `url`, judged by the URL alone."""
        try:
            self.check(_parsed(url))
        except VendorError:
            return False
        return True

    def is_trusted(self, url: httpx2.URL) -> bool:
        """Return whether the URL has a trusted origin."""
        return _origin(url) in self._allowed

    def check(self, url: httpx2.URL) -> str:
        """Return the URL's host in lower case. Errors: VendorError (permanent) when it is not allowed."""
        host = url.raw_host.decode("ascii").lower()
        if self.is_trusted(url):
            return host
        if url.scheme != "https":
            raise _refused(f"{url.scheme or 'no'} scheme")
        if url.userinfo:
            raise _refused("credentials in the address")
        if not any(host == known or (known[:2] == "*." and host.endswith(known[1:])) for known in self._hosts):
            raise _refused("host is not on the list")
        if url.port not in {None, HTTPS}:
            raise _refused("port is not that of https")
        return host


class FileFetcher:
    """Fetches a vendor's files, only from allowed hosts; see FileHosts."""

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
        self._hosts = FileHosts(hosts, allowed_origins)
        self._resolve = resolve or _resolve
        self._timeout = timeout
        self._clock = clock or SystemClock()
        # No keep-alive: two hosts on one address must not share a connection.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._http = VendorClient(
            "files",
            headers={"Accept-Encoding": "identity"},
            timeout=timeout,
            transport=transport
            or httpx2.AsyncHTTPTransport(verify=_certificates(trust_env=False), limits=limits, trust_env=False),
            direct=True,
            private_paths=True,
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def fetch(self, url: str, *, max_bytes: int) -> FetchedFile:
        """Return the file at `url`, following at most 3 redirects, each checked like the first URL.

        A refused address, a file too large, and most 4xx answers are permanent VendorErrors. The code `file_missing`
        says that there is nothing under that address, now or any more.
        """
        async with self._in_time():
            answer = await self._fetch(_parsed(url), None)
            try:
                received = bytearray()
                async for chunk in self._received(answer):
                    received += chunk
                    if len(received) > max_bytes:
                        raise _refused(f"larger than {max_bytes} bytes", code="file_too_large")
            finally:
                await answer.aclose()
        if not received:
            raise _missing("empty file")
        content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        return FetchedFile(bytes(received), content_type)

    async def beginning(self, url: str, length: int) -> FileBeginning:
        """At most `length` first bytes of the file behind `url`. Errors as for `fetch`."""
        async with self._in_time():
            answer = await self._fetch(_parsed(url), f"bytes=0-{length - 1}")
            try:
                received = bytearray()
                async for chunk in self._received(answer):
                    received += chunk
                    if len(received) >= length:
                        break
            finally:
                await answer.aclose()
        if not received:
            raise _missing("empty file")
        return FileBeginning(bytes(received[:length]), _whole_size(answer))

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except (httpx2.RequestError, TimeoutError) as error:
            raise transport_failure("files", error, method="GET") from error

    async def _fetch(self, url: httpx2.URL, part: str | None) -> httpx2.Response:
        for _ in range(1 + MAX_REDIRECTS):
            request = await self._checked(url)
            if part is not None:
                request.headers["Range"] = part
            response = await self._http.send(request, stream=True)
            if response.status_code not in _REDIRECTS:
                return response
            try:
                url = _parsed(str(url.join(response.headers.get("location", ""))))
            finally:
                await response.aclose()
        raise _refused("redirected too often")

    async def _checked(self, url: httpx2.URL) -> httpx2.Request:
        """A request for `url` that connects to an address checked beforehand, so that DNS cannot change its mind."""
        host = self._hosts.check(url)
        if self._hosts.is_trusted(url):
            return self._http.build_request("GET", url)
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

    def _received(self, answer: httpx2.Response) -> AsyncIterator[bytes]:
        """The bytes of a good answer as they come; VendorError for any other answer."""
        status = answer.status_code
        if status in _MISSING:
            raise _missing(f"answered {status}", permanent=status not in _WORTH_ANOTHER_TRY)
        if status not in {httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT}:
            raise VendorError(
                "files",
                f"answered {status}",
                permanent=status < httpx2.codes.INTERNAL_SERVER_ERROR and status not in _WORTH_ANOTHER_TRY,
                retry_after=retry_after(answer.headers, self._clock.now()),
                code="file_unavailable",
            )
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise _refused("compressed in transit, so that its size cannot be bounded")
        return answer.aiter_raw()


def _missing(detail: str, *, permanent: bool = False) -> VendorError:
    return VendorError("files", detail, permanent=permanent, code="file_missing")


def _whole_size(answer: httpx2.Response) -> int | None:
    """How many bytes the file has of which this is all or a part."""
    if answer.status_code == httpx2.codes.PARTIAL_CONTENT:
        text = answer.headers.get("content-range", "").rpartition("/")[2]
    else:
        text = answer.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_SIZE else None


def slug(value: object) -> str | None:
    """Return a vendor's own code for a failure, if it is one: a word, and no sentence, which may quote a person."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,60}", text) else None


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
        if address.teredo is not None or address not in _GLOBAL_UNICAST:
            return False
    if any(address in net for net in _NOT_HOSTS):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
