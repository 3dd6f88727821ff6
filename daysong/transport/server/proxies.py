"""The client's address behind reverse proxies: read from the headers of trusted proxies alone.

A proxy appends to `X-Forwarded-For` the address it was reached from, so the list is read from its end for as long as
what stands there is a trusted proxy; the first other address is the client's. What stands before it was sent by the
client, and may be made up. `Forwarded` (RFC 7239) is read the same way where there is no `X-Forwarded-For`: a proxy
that knows only one of the two hands on a forged other one.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, cast

from litestar.types import ASGIApp, Receive, Scope, Send

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Longer chains of proxies are made up.
MOST = 32
_FOR = re.compile(r'\s*for\s*=\s*(?:"((?:[^"\\]|\\.){0,100})"|([^\s",;]{1,100}))\s*', re.IGNORECASE)


class Proxies:
    """ASGI middleware: puts the client's address in place of a trusted proxy's, for all that look at `client`."""

    def __init__(self, app: ASGIApp, trusted: Iterable[str]) -> None:
        self._app = app
        self._trusted: tuple[Network, ...] = tuple(ipaddress.ip_network(text, strict=False) for text in trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a connection."""
        if self._trusted and (client := cast("Any", scope).get("client")):
            peer = _address(client[0])
            if peer is not None and self._trusts(peer):
                found = self._client(peer, scope["headers"])
                cast("dict[str, Any]", scope)["client"] = (str(found), 0 if found != peer else client[1])
        await self._app(scope, receive, send)

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)

    def _client(self, peer: Address, headers: Iterable[tuple[bytes, bytes]]) -> Address:
        """The first address that is no trusted proxy's, from the nearest on; the farthest known if there is none."""
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
    """What proxies say they were reached from, the nearest first."""
    if forwarded_for := _joined(headers, b"x-forwarded-for"):
        return [part.strip() for part in forwarded_for.rsplit(",", MOST)[: -MOST - 1 : -1]]
    elements = _joined(headers, b"forwarded").rsplit(",", MOST)[: -MOST - 1 : -1]
    return [_for(element) for element in elements if element]


def _joined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str:
    return ",".join(value.decode("latin-1") for key, value in headers if key == name)


def _for(element: str) -> str:
    """The address of one element; "" when it names none."""
    for pair in element.split(";"):
        if found := _FOR.fullmatch(pair):
            return (found[1] or found[2] or "").replace("\\", "")
    return ""


def _address(text: str) -> Address | None:
    """An address, also with a port, or in brackets; None for `unknown` and whatever else is none."""
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
