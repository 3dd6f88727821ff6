"""Marks: keyed hashes that stand for an account, so that limits and costs name nobody."""

from __future__ import annotations

import hashlib
import hmac


def account_mark(hash_key: str, account: str) -> str:
    """The mark of an account, by its user id. It outlives the account and does not lead back to the person."""
    return hmac.digest(hash_key.encode(), b"account " + account.encode(), hashlib.sha256)[:12].hex()
