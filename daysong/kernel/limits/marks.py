"""Keyed hashes of accounts, so that limits and costs carry no user id."""

from __future__ import annotations

import hashlib
import hmac


def account_mark(hash_key: str, account: str) -> str:
    """Return the keyed hash of a user id. It outlives the account and does not identify the person."""
    return hmac.digest(hash_key.encode(), b"account " + account.encode(), hashlib.sha256)[:12].hex()
