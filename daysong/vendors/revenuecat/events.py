"""Parsing of RevenueCat's webhooks: the event, its customer and its product. Other fields are ignored.

An event always has an id, a type and a time. Any other field that is missing, null or of an unknown type is treated as
absent, since new types and fields appear without notice.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import Any

import msgspec

from daysong.kernel.functions.declarations import Args
from daysong.kernel.keys import any_equal, is_one_of
from daysong.vendors.webhooks import MalformedEvent, UnsignedEvent, collection_paused

SANDBOX = "SANDBOX"
PRODUCTION = "PRODUCTION"
ANONYMOUS = "$RCAnonymousID:"

MAX_EVENT_ID = 200
MAX_TYPE = 100
MAX_TEXT = 1500  # RevenueCat's own limit for an app user id
MAX_IDS = 100
MAX_DIGITS = 12
LAST_MS = 253_402_300_799_000  # the end of the year 9999
SIGNATURE_HEADER = "X-RevenueCat-Webhook-Signature"
TOLERANCE = timedelta(minutes=5)
# Personal data that we do not need.
REMOVED_FIELD = "subscriber_attributes"


class BillingEvent(Args, kw_only=True, omit_defaults=True):
    """An event. Times are ms since the epoch; `reason` is that of a cancellation or expiration.

    new_product_id           the product after a pending change
    original_transaction_id  the same through all renewals of a subscription
    unlocks                  whether the product has an entitlement; a pack of credits has none
    """

    id: str
    type: str
    at: int
    app_user_id: str | None = None
    original_app_user_id: str | None = None
    aliases: tuple[str, ...] = ()
    transferred_from: tuple[str, ...] = ()
    transferred_to: tuple[str, ...] = ()
    environment: str = PRODUCTION
    store: str | None = None
    product_id: str | None = None
    new_product_id: str | None = None
    transaction_id: str | None = None
    original_transaction_id: str | None = None
    purchased_at: int | None = None
    expires_at: int | None = None
    grace_until: int | None = None
    resumes_at: int | None = None
    reason: str | None = None
    unlocks: bool = False

    @property
    def app_user_ids(self) -> tuple[str, ...]:
        """All ids of the customer, the most reliable first; empty for a transfer, which has two customers."""
        found = (self.app_user_id, self.original_app_user_id, *self.aliases)
        return tuple(dict.fromkeys(each for each in found if each))


def check_authorization(header: str | None, *secrets: str) -> None:
    """Raise UnsignedEvent unless the Authorization header is one of the secrets, with or without "Bearer "."""
    if not is_one_of(_bare(header or ""), [_bare(secret) for secret in secrets]):
        raise UnsignedEvent("The Authorization header is not the one agreed on")


def _bare(value: str) -> str:
    return value.strip().removeprefix("Bearer ").strip()


def check_signature(header: str | None, body: bytes, now: datetime, *secrets: str) -> None:
    """Raise UnsignedEvent unless the body was signed with one of the secrets within the last five minutes.

    The header is `t=<unix seconds>,v1=<hex>`, with one or more `v1`.
    """
    parts = [part.strip().partition("=") for part in (header or "").split(",")]
    times = [value for name, _, value in parts if name == "t"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit() and len(times[0]) <= MAX_DIGITS):
        raise UnsignedEvent("The webhook is not signed")
    if abs(now.timestamp() - int(times[0])) > TOLERANCE.total_seconds():
        raise UnsignedEvent("The signature is too old, or of a time to come")
    signed = f"{times[0]}.".encode() + body
    expected = [hmac.digest(secret.encode(), signed, "sha256").hex().encode() for secret in secrets]
    if not any_equal(expected, [value.encode("utf-8", "replace") for name, _, value in parts if name == "v1"]):
        raise UnsignedEvent("The signature is not ours")


def parse_webhook(body: bytes) -> tuple[BillingEvent, str]:
    """Return the event of a webhook's body, and the body to store, without personal data. Errors: MalformedEvent."""
    found = _decoded(body)
    event = _event(found["event"])
    found["event"].pop(REMOVED_FIELD, None)
    return event, msgspec.json.encode(found).decode()


def parse_event(body: bytes) -> BillingEvent:
    """Return the event of a stored body. Errors: MalformedEvent."""
    return _event(_decoded(body)["event"])


class _Envelope(msgspec.Struct):
    event: msgspec.Raw


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        body.decode()
        # First without building values: a large body without an event is rejected cheaply.
        if not bytes(msgspec.json.decode(body, type=_Envelope).event).startswith(b"{"):
            raise MalformedEvent("`event` is missing or no object")
        with collection_paused():
            found: dict[str, Any] = msgspec.json.decode(body)
    except msgspec.ValidationError:
        raise MalformedEvent("`event` is missing or no object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedEvent("The body is not JSON") from None
    return found


def _event(event: dict[str, Any]) -> BillingEvent:
    at = _moment(event.get("event_timestamp_ms"))
    if at is None:
        raise MalformedEvent("`event.event_timestamp_ms` is missing or no time in milliseconds")
    return BillingEvent(
        id=_required(event, "id", MAX_EVENT_ID),
        type=_required(event, "type", MAX_TYPE),
        at=at,
        app_user_id=_text(event.get("app_user_id")),
        original_app_user_id=_text(event.get("original_app_user_id")),
        aliases=_texts(event.get("aliases")),
        transferred_from=_texts(event.get("transferred_from")),
        transferred_to=_texts(event.get("transferred_to")),
        environment=_text(event.get("environment")) or _text(event.get("purchase_environment")) or PRODUCTION,
        store=_text(event.get("store")),
        product_id=_text(event.get("product_id")),
        new_product_id=_text(event.get("new_product_id")),
        transaction_id=_text(event.get("transaction_id")),
        original_transaction_id=_text(event.get("original_transaction_id")),
        purchased_at=_moment(event.get("purchased_at_ms")),
        expires_at=_moment(event.get("expiration_at_ms")),
        grace_until=_moment(event.get("grace_period_expiration_at_ms")),
        resumes_at=_moment(event.get("auto_resume_at_ms")),
        reason=_text(event.get("cancel_reason")) or _text(event.get("expiration_reason")),
        unlocks=bool(_texts(event.get("entitlement_ids")) or _text(event.get("entitlement_id"))),
    )


def _required(event: dict[str, Any], name: str, longest: int) -> str:
    text = _text(event.get(name))
    if text is None:
        raise MalformedEvent(f"`event.{name}` is missing or no text")
    if len(text) > longest:
        raise MalformedEvent(f"`event.{name}` is too long")
    return text


def _text(value: Any) -> str | None:
    # PostgreSQL text cannot hold NUL.
    usable = isinstance(value, str) and 0 < len(value) <= MAX_TEXT and "\0" not in value
    return value if usable else None


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(text for each in value[:MAX_IDS] if (text := _text(each)))


def _moment(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LAST_MS:
        return None
    return int(value)
