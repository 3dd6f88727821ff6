"""Expo's answers: a ticket for each message that was sent, later a receipt for each ticket, and the errors of both.

A ticket says that Expo has the message; a receipt says that Apple or Google has taken it. Both name failures alike.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from daysong.vendors.http import slug

Failure = Literal["unregistered", "too_big", "too_often", "configuration", "passing", "unknown"]

# What each error means for us. All others are taken for passing: Expo adds codes, and says to keep the token.
FAILURES: dict[str, Failure] = {
    "DeviceNotRegistered": "unregistered",
    "MessageTooBig": "too_big",
    "MessageRateExceeded": "too_often",
    "MismatchSenderId": "configuration",
    "InvalidCredentials": "configuration",
    "DeveloperError": "configuration",
}


class Ticket(msgspec.Struct, frozen=True):
    """Expo's answer for one message: the `id` of its receipt, or the `error` that it was not taken for.

    `failure` is what the error means: `unregistered` (the app is gone from the device), `too_big`, `too_often`,
    `configuration` (an operator has to mend something), `passing` (may be tried again), or `unknown` (the answer was
    lost, so the message may have been taken).
    """

    id: str | None = None
    error: str | None = None
    failure: Failure | None = None


class Receipt(msgspec.Struct, frozen=True):
    """Whether Apple or Google took a message; error and failure as those of a ticket."""

    error: str | None = None
    failure: Failure | None = None


def parse_tickets(data: Any, count: int) -> list[Ticket] | None:
    """Return the tickets of a response in the order of its messages; None when it is no ticket for each of them."""
    found = [data] if isinstance(data, dict) else data
    if not isinstance(found, list) or len(found) != count:
        return None
    tickets = [_ticket(each) for each in found]
    return None if None in tickets else [ticket for ticket in tickets if ticket is not None]


def parse_receipts(data: Any) -> dict[str, Receipt] | None:
    """Return the receipts of a response by their ids, without those that Expo does not have; None when unreadable."""
    if not isinstance(data, dict):
        return None
    return {name: receipt for name, each in data.items() if (receipt := _receipt(each)) is not None}


def _ticket(found: Any) -> Ticket | None:
    if not isinstance(found, dict):
        return None
    if found.get("status") == "ok":
        name = found.get("id")
        return Ticket(id=name) if isinstance(name, str) and 0 < len(name) <= 100 else None  # noqa: PLR2004
    return Ticket(None, *_error(found)) if found.get("status") == "error" else None


def _receipt(found: Any) -> Receipt | None:
    if not isinstance(found, dict) or found.get("status") not in {"ok", "error"}:
        return None
    return Receipt() if found["status"] == "ok" else Receipt(*_error(found))


def _error(found: dict[str, Any]) -> tuple[str, Failure]:
    details = found.get("details")
    code = slug(details.get("error")) if isinstance(details, dict) else None
    return (code or "ProviderError"), FAILURES.get(code or "", "passing")
