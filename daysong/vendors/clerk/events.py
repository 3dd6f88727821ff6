"""Clerk's webhooks: signature checks (Svix) and parsing.

Only `user.*` events are parsed. Of any other, such as an e-mail with a one-time code, only the type and id are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeGuard

import msgspec
from standardwebhooks import Webhook

from daysong.kernel.keys import any_equal
from daysong.kernel.time.clock import EPOCH, from_ms
from daysong.vendors.text import clean
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent

TOLERANCE = timedelta(minutes=5)
LONGEST_ID = 200
LONGEST_TEXT = 500
MOST_PHONES = 20
# In seconds. A lock with a later end is kept until Clerk unlocks the user.
LONGEST_LOCK = 10 * 366 * 86_400
# A smaller timestamp is in seconds: Clerk's documentation has both units.
EARLIEST_MS = 1e12
# Events whose type alone says whether a user is banned or locked.
SAID_BY_TYPE: Mapping[str, tuple[str, bool]] = {
    "user.banned": ("banned", True),
    "user.unbanned": ("banned", False),
    "user.locked": ("locked", True),
    "user.unlocked": ("locked", False),
}
USED = frozenset({"user.created", "user.updated", "user.deleted", *SAID_BY_TYPE})
# Verification by a code sent to the number. An administrator or an import ("admin") does not prove who answers it, nor
# does an unknown strategy.
PROVEN_BY = frozenset({"phone_code", "reset_password_phone_code"})


class Person(msgspec.Struct, frozen=True):
    """The fields of a Clerk user that we use; `changed_at` is Clerk's last update of the user.

    phones              verified numbers in E.164
    suspension          "banned" or "locked"; None for neither
    suspension_ends_at  when a lock expires
    is_whole            whether the event has the whole user; if not, only the suspension is known
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
    """A parsed webhook. `clerk_id` and `person` are set for `user.*` events; `kept` is the body to store."""

    type: str
    said_at: datetime
    clerk_id: str | None
    person: Person | None
    kept: str


def check_signature(
    webhooks: Webhook | Sequence[Webhook], headers: Mapping[str, str], body: bytes, now: datetime
) -> str:
    """Return the id of a message, the same on every delivery, that is signed with the secret of one of `webhooks`.

    Errors: UnsignedEvent, MalformedEvent.

    The signature is compared here and not by standardwebhooks, which uses the system clock instead of `now`.
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
    accepted = [webhooks] if isinstance(webhooks, Webhook) else webhooks
    expected = [webhook.sign(message_id, sent_at.astimezone(UTC), text).encode() for webhook in accepted]
    # Clerk sends several while it replaces its secret.
    if not any_equal(expected, [one.encode("latin-1", "replace") for one in signatures.split(" ")]):
        raise UnsignedEvent("no signature in svix-signature matches")
    return message_id


def parse_event(body: bytes, received_at: datetime) -> ClerkEvent:
    """Return the parsed webhook; unknown fields are ignored. Errors: MalformedEvent, naming the field."""
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
    """Return whether a value can be a Clerk id: short, visible ASCII."""
    return isinstance(value, str) and bool(re.fullmatch(r"[!-~]+", value)) and len(value) <= LONGEST_ID


def _suspension(
    kind: str, data: dict[str, Any], said_at: datetime
) -> tuple[Literal["banned", "locked"] | None, datetime | None]:
    """Return the user's suspension and when a lock expires. The event's type takes precedence over its fields."""
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
    """Return text without control characters, cut to LONGEST_TEXT; None when it is empty."""
    return clean(value)[:LONGEST_TEXT] or None if isinstance(value, str) else None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return from_ms(value * 1000 if value < EARLIEST_MS else value)
    except OverflowError:
        return None
