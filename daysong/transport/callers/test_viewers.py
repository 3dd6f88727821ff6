from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daysong.transport.callers.viewers import viewer_of
from daysong.transport.conftest import NOW

SECRET = "a secret"


def viewer(address: str | None, *, days: int = 0, secret: str = SECRET, headers: Any = ()) -> str:
    """The mark of a request from that address, some days from now."""
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
def test_one_household_is_one_viewer(one: str, other: str) -> None:
    """An address written otherwise, or another of the 2^64 that a provider hands out together."""
    assert viewer(one) == viewer(other) != ""


@pytest.mark.parametrize(("one", "other"), [("203.0.113.1", "203.0.113.2"), ("2001:db8:0:1::1", "2001:db8:0:2::1")])
def test_others_are_others(one: str, other: str) -> None:
    """Addresses that different people have."""
    assert viewer(one) != viewer(other)


def test_a_mark_is_good_for_one_day_and_one_secret_and_shows_no_address() -> None:
    """So that days cannot be put together, nor addresses be tried out."""
    marks = {viewer("203.0.113.1", days=day, secret=secret) for day in range(3) for secret in (SECRET, "another")}
    assert len(marks) == 6
    assert all(len(mark) == 32 and set(mark) <= set("0123456789abcdef") for mark in marks)
    assert viewer("203.0.113.1") == viewer("203.0.113.1")


@pytest.mark.parametrize("address", [None, "", "unix", "127.0.0.1:80", "localhost"])
def test_without_an_address_nobody_can_be_told_apart(address: str | None) -> None:
    """As through a Unix socket."""
    assert viewer(address) == ""


def test_headers_that_anybody_can_send_are_not_believed() -> None:
    """Or one viewer could be as many as they like."""
    for name in (b"x-forwarded-for", b"forwarded", b"x-real-ip", b"cf-connecting-ip"):
        assert viewer("203.0.113.1", headers=[(name, b"198.51.100.9")]) == viewer("203.0.113.1")
