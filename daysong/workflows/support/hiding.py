"""What operators see of private values: numbers, ids and words of vendors' vocabularies; the rest is hidden."""

from __future__ import annotations

import re
from typing import Any

HIDDEN = "(hidden)"
# Our ids and Clerk's, which identify a row and say nothing of a person.
_ID = re.compile(r"(?:[a-z]{2,12}_[0-9a-zA-Z]{10,40}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,63}")
# Ids as vendors make them have letters and digits. An app chooses those of RevenueCat.
_VENDORS_ID = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9_])[$A-Za-z0-9_:-]{8,100}")
# Fields whose values are of a vocabulary.
_VOCABULARY = frozenset({
    "callbackType", "callback_type", "cancel_reason", "code", "currency", "direction", "endedReason", "environment",
    "event", "expiration_reason", "kind", "language", "model", "msg", "new_product_id", "object", "period_type",
    "platform", "product_id", "reason", "role", "state", "status", "store", "tier", "type", "vendor",
})  # fmt: skip
# Digits of a number that may be a phone number, and is not a time in ms of these decades.
_LONG = 10**9
_MS = range(10**12, 5 * 10**12)
_SECONDS = range(10**9, 5 * 10**9)
MOST_ITEMS = 50


def visible(value: Any, field: str = "") -> Any:
    """Return a JSON value with its private texts hidden; lists are cut to the first 50 items."""
    if isinstance(value, dict):
        return {str(key)[:64]: visible(each, str(key)) for key, each in list(value.items())[:MOST_ITEMS]}
    if isinstance(value, list):
        return [visible(each, field) for each in value[:MOST_ITEMS]]
    if isinstance(value, str):
        return value if _is_public(value, field) else HIDDEN
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= _LONG:
        return value if value in _MS or (value in _SECONDS and field.endswith(("_at", "At", "iat", "exp"))) else HIDDEN
    return value


def _is_public(text: str, field: str) -> bool:
    return text == "" or bool(_ID.fullmatch(text)) or (field in _VOCABULARY and bool(_WORD.fullmatch(text)))


def visible_id(text: str) -> str:
    """Return an id that a vendor named; hidden when it may be an e-mail address, a phone number or a name."""
    return text if _VENDORS_ID.fullmatch(text) else HIDDEN


def masked_number(number: str | None) -> str | None:
    """Return a phone number with its country code and last two digits alone."""
    return None if number is None else f"{number[:4]}{'•' * max(0, len(number) - 6)}{number[-2:]}"
