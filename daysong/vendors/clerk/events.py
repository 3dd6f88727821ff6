"""Clerk's webhooks: whether Clerk sent one (Svix signs them), and what it says of whom.

Only `user.*` events are read. Of any other, such as an e-mail with a one-time code in it, not more is kept than its
type and id.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeGuard

import msgspec
from standardwebhooks import Webhook

from daysong.kernel.time.clock import EPOCH, from_ms
from daysong.vendors.text import clean
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent

TOLERANCE = timedelta(minutes=5)
LONGEST_ID = 200
LONGEST_TEXT = 500
MOST_PHONES = 20
# One that says it ends later than this ends when Clerk says so.
LONGEST_LOCK = 10 * 366 * 86_400
# Before this many, a timestamp is one in seconds: Clerk's documentation has both.
EARLIEST_MS = 1e12
# Events that say in their type alone whether a user is banned or locked.
SAID_BY_TYPE: Mapping[str, tuple[str, bool]] = {
    "user.banned": ("banned", True),
    "user.unbanned": ("banned", False),
    "user.locked": ("locked", True),
    "user.unlocked": ("locked", False),
}
USED = frozenset({"user.created", "user.updated", "user.deleted", *SAID_BY_TYPE})
# How a person proves a number themselves: by typing a code that was sent to it. An administrator or an import
# ("admin") proves nothing about who answers the number, and neither does a strategy that is not known here.
PROVEN_BY = frozenset({"phone_code", "reset_password_phone_code"})


class Person(msgspec.Struct, frozen=True):
    """A Clerk user, as far as we look; `changed_at` is when Clerk last changed anything about them.

    phones              the numbers that they have proved to Clerk to be theirs, in E.164
    suspension          "banned" or "locked"; None for neither
    suspension_ends_at  when a lock ends by itself
    is_whole            whether the event has the whole user; else only the suspension is known
    """

    clerk_id: str
    email: str | None
    name: str | None
    changed_at: datetime
    phones: tuple[str, ...] = ()
    suspension: Literal["banned", "locked"] | None = None
    suspension_ends_at: datetime | None = None
    is_whole: bool = True


class ClerkEvent(msgspec.Struct, frozen=True):
    """A webhook's content. `clerk_id` and `person` are those of `user.*` events; `kept` is what may be stored."""

    type: str
    said_at: datetime
    clerk_id: str | None
    person: Person | None
    kept: str


def check_signature(webhook: Webhook, headers: Mapping[str, str], body: bytes, now: datetime) -> str:
    """The id of a message that Clerk signed, the same on every delivery. UnsignedEvent; MalformedEvent.

    Times are judged by `now`, which is why the signature is compared here and not by standardwebhooks.
    """
    message_id, timestamp, signatures = (headers.get(f"svix-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (message_id and timestamp and signatures):
        raise UnsignedEvent("svix-id, svix-timestamp or svix-signature is missing")
    if len(message_id) > LONGEST_ID or not re.fullmatch(r"[!-~]+", message_id):
        raise MalformedEvent("svix-id is not one")
    if not re.fullmatch(r"[0-9]{1,11}", timestamp):
        raise MalformedEvent("svix-timestamp is not a number of seconds")
    sent_at = EPOCH + timedelta(seconds=int(timestamp))
    if abs(now - sent_at) > TOLERANCE:
        raise UnsignedEvent("svix-timestamp is more than 5 minutes away from now")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise MalformedEvent("the body is not UTF-8") from None
    expected = webhook.sign(message_id, sent_at.astimezone(UTC), text).encode()
    # Several while a secret is being replaced; every one is compared, so that the time taken tells nothing.
    matches = [hmac.compare_digest(expected, one.encode("latin-1", "replace")) for one in signatures.split(" ")]
    if not any(matches):
        raise UnsignedEvent("no signature in svix-signature matches")
    return message_id


def parse_event(body: bytes, received_at: datetime) -> ClerkEvent:
    """What a webhook says; MalformedEvent naming what is wrong. Fields nobody has seen before are no matter."""
    try:
        found = msgspec.json.decode(body)
        text = body.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedEvent("the body is not JSON") from None
    if not isinstance(found, dict):
        raise MalformedEvent("the body is not an object")
    kind, data = found.get("type"), found.get("data")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_.]{1,100}", kind):
        raise MalformedEvent("`type` is not an event's name")
    if not isinstance(data, dict):
        raise MalformedEvent("`data` is not an object")
    said_at = _moment(found.get("timestamp")) or received_at
    if kind not in USED:
        return ClerkEvent(kind, said_at, None, None, _type_and_id(kind, data))
    clerk_id = data.get("id")
    if kind == "user.deleted":
        if clerk_id is not None and not is_id(clerk_id):
            raise MalformedEvent("`data.id` is not an id")
        return ClerkEvent(kind, said_at, clerk_id, None, text)
    if not is_id(clerk_id):
        raise MalformedEvent("`data.id` is missing or not an id")
    changed_at = _moment(data.get("updated_at")) or _moment(data.get("created_at")) or said_at
    suspension, ends_at = _suspension(kind, data, said_at)
    if kind in SAID_BY_TYPE and "email_addresses" not in data:
        person = Person(clerk_id, None, None, said_at, (), suspension, ends_at, is_whole=False)
    else:
        phones = _proved_phones(data)
        person = Person(clerk_id, _primary_email(data), _full_name(data), changed_at, phones, suspension, ends_at)
    return ClerkEvent(kind, said_at, clerk_id, person, text)


def _type_and_id(kind: str, data: dict[str, Any]) -> str:
    identifier = data.get("id")
    kept = {"type": kind, "data": {"id": identifier} if is_id(identifier) else {}}
    return msgspec.json.encode(kept).decode()


def is_id(value: Any) -> TypeGuard[str]:
    """Whether a value can be an id of Clerk's: short, and of visible ASCII."""
    return isinstance(value, str) and bool(re.fullmatch(r"[!-~]+", value)) and len(value) <= LONGEST_ID


def _suspension(
    kind: str, data: dict[str, Any], said_at: datetime
) -> tuple[Literal["banned", "locked"] | None, datetime | None]:
    """Whether the user is banned or locked, and when a lock ends by itself. The event's type wins over its fields."""
    said = {"banned": data.get("banned") is True, "locked": data.get("locked") is True}
    if kind in SAID_BY_TYPE:
        name, is_so = SAID_BY_TYPE[kind]
        said[name] = is_so
    if said["banned"]:
        return "banned", None
    if not said["locked"]:
        return None, None
    seconds = data.get("lockout_expires_in_seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LONGEST_LOCK:
        return "locked", None
    return "locked", said_at + timedelta(seconds=seconds)


def _primary_email(data: dict[str, Any]) -> str | None:
    primary, entries = data.get("primary_email_address_id"), data.get("email_addresses")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and primary is not None and entry.get("id") == primary:
            return short_text(entry.get("email_address"))
    return None


def _proved_phones(data: dict[str, Any]) -> tuple[str, ...]:
    entries = data.get("phone_numbers")
    found = [_proved_phone(entry) for entry in (entries if isinstance(entries, list) else ())]
    return tuple(sorted({number for number in found if number is not None})[:MOST_PHONES])


def _proved_phone(entry: Any) -> str | None:
    if not isinstance(entry, dict):
        return None
    number, verification = entry.get("phone_number"), entry.get("verification")
    if not isinstance(verification, dict) or verification.get("status") != "verified":
        return None
    strategy = verification.get("strategy")
    is_proved = isinstance(strategy, str) and strategy in PROVEN_BY
    is_number = isinstance(number, str) and re.fullmatch(r"\+[1-9][0-9]{1,14}", number) is not None
    return number if is_proved and is_number else None


def _full_name(data: dict[str, Any]) -> str | None:
    return " ".join(filter(None, (short_text(data.get("first_name")), short_text(data.get("last_name"))))) or None


def short_text(value: Any) -> str | None:
    """A text of a user's without control characters, cut to a length that is kept; None when nothing is left."""
    return clean(value)[:LONGEST_TEXT] or None if isinstance(value, str) else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return from_ms(value * 1000 if value < EARLIEST_MS else value)
    except OverflowError:
        return None
