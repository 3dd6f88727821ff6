"""Telling viewers apart without knowing who they are, so that a shared song counts each once a day."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from datetime import UTC, date, datetime
from functools import lru_cache

from litestar.types import Scope

HOUSEHOLD = 64  # bits of an IPv6 address that a provider hands out together


def viewer_of(scope: Scope, now: datetime, secret: str) -> str:
    """An opaque mark of the address a request came from, good for one UTC day; "" when there is no address.

    The address itself is kept nowhere, and cannot be found from the mark without `secret`. Behind a proxy it is the
    server's business to put the client's address in place of the proxy's: headers that anybody can send are not read.
    """
    client = scope.get("client")
    return _mark(client[0], now.astimezone(UTC).date(), secret) if client else ""


# A caller who asks again gets the mark from here: it is made several times for each request.
@lru_cache(10_000)
def _mark(host: str, day: date, secret: str) -> str:
    address = _normal(host)
    if address is None:
        return ""
    key = hashlib.sha256(f"daysong viewers {secret}".encode()).digest()
    return hmac.digest(key, f"{day:%Y-%m-%d} {address}".encode(), "sha256")[:16].hex()


def _normal(host: str) -> str | None:
    """An address as one viewer has it: of IPv6, the network part, which a client cannot change at will."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, HOUSEHOLD), strict=False))
    return str(address)
