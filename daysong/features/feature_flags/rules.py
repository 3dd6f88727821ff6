"""Feature flags: their keys, their defaults, and for which accounts they are on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from daysong.kernel.errors import ExpectedError
from daysong.kernel.parts import Part

EVENT_EXTRACTION = "event-extraction"
# Flags that exist without a row, with their percentage in development and in production.
DECLARED: Mapping[str, tuple[int, int]] = {EVENT_EXTRACTION: (100, 0)}
# The part that a flag belongs to.
PARTS: Mapping[str, Part] = {EVENT_EXTRACTION: "memory"}

MOST_FLAGS = 200
LONGEST_KEY = 64
_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class InvalidFlagKey(ExpectedError):
    """The key of a flag is malformed."""

    code = "invalid_flag_key"
    default_message = (
        "A flag's key has at most 64 lower-case letters, digits, hyphens, dots and underscores, and begins with a"
        " letter or a digit"
    )


class FlagNotFound(ExpectedError):
    """No such flag is set."""

    code = "flag_not_found"
    status = 404
    default_message = "Flag not found"


class TooManyFlags(ExpectedError):
    """There are as many flags as there may be."""

    code = "too_many_flags"
    default_message = f"There are {MOST_FLAGS} flags already: remove one first"


class FlagAccountNotFound(ExpectedError):
    """An account of an allow or deny list does not exist."""

    code = "flag_account_not_found"
    status = 404
    default_message = "Account not found: name accounts by user id or Clerk id"


class OnBothLists(ExpectedError):
    """An account is to be allowed and denied, or removed from the lists, at once."""

    code = "on_both_lists"
    default_message = "An account can be on one list only"


def check_key(key: str) -> None:
    """Check the key of a flag. Errors: InvalidFlagKey."""
    if not _KEY.fullmatch(key):
        raise InvalidFlagKey


def default_percent(key: str, *, production: bool) -> int:
    """Return the percentage of a flag without one of its own: 0 for a flag that is not declared."""
    return DECLARED.get(key, (0, 0))[production]


def bucket(user_id: str, key: str) -> float:
    """Return the place of an account in a flag's order of accounts, in 0 ≤ x < 100.

    It depends on the account and the flag alone. So an account keeps a flag while the percentage rises, and different
    flags begin with different accounts.
    """
    digest = hashlib.sha256(f"daysong flag\0{key}\0{user_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 1_000_000 / 10_000


def is_on(user_id: str, key: str, *, percent: int | None, listed: bool | None, production: bool) -> bool:
    """Return whether a flag is on for an account.

    `listed` is true on the allow list, false on the deny list, else None; the lists override the percentage.
    """
    if listed is not None:
        return listed
    return bucket(user_id, key) < (default_percent(key, production=production) if percent is None else percent)
