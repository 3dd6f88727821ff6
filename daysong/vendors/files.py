"""Files of vendors: fetched from allowed hosts alone, within limits of size, time and redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager

import httpx2
import msgspec

from daysong.kernel.errors import VendorError
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.http import VendorClient, certificates, retry_after, transport_failure

MAX_REDIRECTS = 3
FILE_TIMEOUT = 120.0
VIDEO_TIMEOUT = 600.0
HTTPS = 443

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
_LONGEST_SIZE = 15  # digits

Resolve = Callable[[str, int], Awaitable[list[str]]]


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
            or httpx2.AsyncHTTPTransport(verify=certificates(trust_env=False), limits=limits, trust_env=False),
            direct=True,
            private_paths=True,
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    @asynccontextmanager
    async def opened(self, url: str, *, max_bytes: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the bytes of the file at `url` as they arrive. Errors as for `fetch`, also while they arrive."""
        async with self._answer(url) as answer:
            yield _limited(self._received(answer), max_bytes)

    async def fetch(self, url: str, *, max_bytes: int) -> FetchedFile:
        """Return the file at `url`, following at most 3 redirects, each checked like the first URL.

        A refused address, a file too large, and most 4xx answers are permanent VendorErrors. The code `file_missing`
        says that there is nothing under that address, now or any more.
        """
        received = bytearray()
        async with self._answer(url) as answer:
            async for chunk in _limited(self._received(answer), max_bytes):
                received += chunk
        if not received:
            raise _missing("empty file")
        content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        return FetchedFile(bytes(received), content_type)

    async def beginning(self, url: str, length: int) -> FileBeginning:
        """At most `length` first bytes of the file behind `url`. Errors as for `fetch`."""
        received = bytearray()
        async with self._answer(url, f"bytes=0-{length - 1}") as answer:
            async for chunk in self._received(answer):
                received += chunk
                if len(received) >= length:
                    break
        if not received:
            raise _missing("empty file")
        return FileBeginning(bytes(received[:length]), _whole_size(answer))

    @asynccontextmanager
    async def _answer(self, url: str, part: str | None = None) -> AsyncIterator[httpx2.Response]:
        """Yield the response for `url`, whose body is not read yet, and close it. The time limit covers all of it."""
        try:
            async with asyncio.timeout(self._timeout), aclosing(await self._fetch(_parsed(url), part)) as answer:
                yield answer
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


class VideoFetcher(FileFetcher):
    """Fetches videos, which come from hosts of their own."""


def _missing(detail: str, *, permanent: bool = False) -> VendorError:
    return VendorError("files", detail, permanent=permanent, code="file_missing")


async def _limited(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise _refused(f"larger than {max_bytes} bytes", code="file_too_large")
        yield chunk


def _whole_size(answer: httpx2.Response) -> int | None:
    """How many bytes the file has of which this is all or a part."""
    if answer.status_code == httpx2.codes.PARTIAL_CONTENT:
        text = answer.headers.get("content-range", "").rpartition("/")[2]
    else:
        text = answer.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_SIZE else None


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
