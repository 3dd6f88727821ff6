"""Viewer ids: pseudonyms of client addresses, so that a shared song counts each viewer once a day."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from datetime import UTC, date, datetime
from functools import lru_cache

from litestar.types import Scope

IPV6_PREFIX = 64  # bits of an IPv6 address that identify a customer's network


def viewer_of(scope: Scope, now: datetime, secret: str) -> str:
    """Return a keyed hash of the client's address, valid for one UTC day; "" when there is no address.

    The address is not stored, and cannot be derived from the hash without `secret`. Behind a proxy, the server replaces
    the proxy's address in `scope` (server/proxies.py); headers that any client can send are not read here.
    """
    client = scope.get("client")
    return _viewer_id(client[0], now.astimezone(UTC).date(), secret) if client else ""


# Cached, since one request needs it several times.
@lru_cache(10_000)
def _viewer_id(host: str, day: date, secret: str) -> str:
    address = _normalized(host)
    if address is None:
        return ""
    key = hashlib.sha256(f"daysong viewers {secret}".encode()).digest()
    return hmac.digest(key, f"{day:%Y-%m-%d} {address}".encode(), "sha256")[:16].hex()


def _normalized(host: str) -> str | None:
    """Normalize an address; of IPv6, keep the network part, which a client cannot change at will."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))
    return str(address)
