from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daysong.transport.callers.viewers import viewer_of
from daysong.transport.conftest import NOW

SECRET = "a secret"


def viewer(address: str | None, *, days: int = 0, secret: str = SECRET, headers: Any = ()) -> str:
    """The viewer id of a request from that address, some days from now."""
    scope: Any = {"client": (address, 4321) if address else None, "headers": list(headers)}
    return viewer_of(scope, NOW + timedelta(days=days), secret)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("203.0.113.1", "::ffff:203.0.113.1"),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff"),
        ("fe80::1%eth0", "fe80::2"),
    ],
)
def test_addresses_of_one_network_are_one_viewer(one: str, other: str) -> None:
    """Another notation of an address, or another address in the same IPv6 /64."""
    assert viewer(one) == viewer(other) != ""


@pytest.mark.parametrize(("one", "other"), [("203.0.113.1", "203.0.113.2"), ("2001:db8:0:1::1", "2001:db8:0:2::1")])
def test_other_addresses_are_other_viewers(one: str, other: str) -> None:
    """Addresses of different customers."""
    assert viewer(one) != viewer(other)


def test_a_viewer_id_is_valid_for_one_day_and_secret_and_reveals_no_address() -> None:
    """Days cannot be linked, and addresses cannot be guessed."""
    ids = {viewer("203.0.113.1", days=day, secret=secret) for day in range(3) for secret in (SECRET, "another")}
    assert len(ids) == 6
    assert all(len(one) == 32 and set(one) <= set("0123456789abcdef") for one in ids)
    assert viewer("203.0.113.1") == viewer("203.0.113.1")


@pytest.mark.parametrize("address", [None, "", "unix", "127.0.0.1:80", "localhost"])
def test_without_an_address_there_is_no_viewer_id(address: str | None) -> None:
    """As through a Unix socket."""
    assert viewer(address) == ""


def test_client_headers_do_not_change_the_viewer_id() -> None:
    """Otherwise one client could count as many viewers."""
    for name in (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"cf-connecting-ip"):
        assert viewer("203.0.113.1", headers=[(name, b"198.51.100.9")]) == viewer("203.0.113.1")
