"""The client's address behind reverse proxies, read only from the headers of trusted proxies.

A proxy appends its peer's address to `X-Forwarded-For`, so the list is read from its end: the first address that is not
a trusted proxy's is the client's. Earlier entries were sent by the client and may be forged. `Forwarded` (RFC 7239) is
read the same way when there is no `X-Forwarded-For`: a proxy that sets one of the two passes on a forged other one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Iterable
from functools import lru_cache
from typing import Any

from litestar.types import ASGIApp, Receive, Send

from daysong.transport.server.headers import headers_of, only_value, values_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Longer chains of proxies are forged.
MOST_HOPS = 32
# With a zone, brackets, a port, and spaces around it.
LONGEST_ADDRESS = 100
HEADERS = frozenset({b"x-forwarded-for", b"forwarded"})
# Bytes of headers of which the result is cached, so that forged ones take no memory.
LONGEST_KNOWN = 200
_FOR = re.compile(r'\s*for\s*=\s*(?:"((?:[^"\\]|\\.){0,100})"|([^\s",;]{1,100}))\s*', re.IGNORECASE)


class Proxies:
    """ASGI middleware: replaces a trusted proxy's address in the scope's `client` with the client's address."""

    def __init__(self, app: ASGIApp, trusted: Iterable[str]) -> None:
        self._app = app
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)
        # Cached, since it takes longer than all else that is done for an address, and most come again.
        self._known = lru_cache(10_000)(self._address_of)

    def __call__(self, scope: Any, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve a request or a connection."""
        if self._trusted and (client := scope.get("client")):
            recorded: tuple[tuple[bytes, bytes], ...] = ()
            size = 0
            if value := only_value(scope, b"x-forwarded-for"):
                recorded, size = ((b"x-forwarded-for", value),), len(value)
            elif not HEADERS.isdisjoint(headers_of(scope)):
                recorded = tuple([(name, value) for name in HEADERS for value in values_of(scope, name)])
                size = sum([len(value) + 1 for _, value in recorded])
            found = (self._known if size <= LONGEST_KNOWN else self._address_of)(client[0], recorded)
            if found is not None:
                scope["client"] = (found, 0)
        return self._app(scope, receive, send)

    def _address_of(self, peer: str, headers: tuple[tuple[bytes, bytes], ...]) -> str | None:
        """Return the client's address behind a trusted peer; None when the client is the peer itself."""
        address = _address(peer)
        if address is None or not self._trusts(address):
            return None
        found = self._client(address, headers)
        return None if found == address else str(found)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _client(self, peer: Address, headers: Iterable[tuple[bytes, bytes]]) -> Address:
        """Return the nearest address that is not a trusted proxy's, else the farthest known address."""
        nearest = peer
        for text in hops(headers):
            address = _address(text)
            if address is None:
                break
            nearest = address
            if not self._trusts(address):
                break
        return nearest


def hops(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    """Return the peers that the proxies recorded, nearest first."""
    if forwarded_for := _joined(headers, b"x-forwarded-for"):
        return [part.strip() for part in forwarded_for.rsplit(",", MOST_HOPS)[: -MOST_HOPS - 1 : -1]]
    elements = _joined(headers, b"forwarded").rsplit(",", MOST_HOPS)[: -MOST_HOPS - 1 : -1]
    return [_for(element) for element in elements if element]


def _joined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def _for(element: str) -> str:
    """Return the address in one element of `Forwarded`; "" when there is none."""
    for pair in element.split(";"):
        if found := _FOR.fullmatch(pair):
            return (found[1] or found[2] or "").replace("\\", "")
    return ""


def _address(text: str) -> Address | None:
    """Parse an address, with or without a port or brackets; None for `unknown` and other text."""
    return _parsed(text) if len(text) <= LONGEST_ADDRESS else None


def _parsed(text: str) -> Address | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
