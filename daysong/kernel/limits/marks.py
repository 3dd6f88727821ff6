"""Keyed hashes of accounts, so that limits and costs carry no user id."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable


def account_mark(hash_key: str, account: str) -> str:
    """Return the keyed hash of a user id. It outlives the account and does not identify the person."""
    return hmac.digest(hash_key.encode(), b"account " + account.encode(), hashlib.sha256)[:12].hex()


def account_marks(hash_keys: Iterable[str], account: str) -> list[str]:
    """Return the hashes that rows of an account may have, since the key may have changed."""
    return [account_mark(key, account) for key in hash_keys]
