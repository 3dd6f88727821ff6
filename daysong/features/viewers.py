"""Viewers: keyed hashes that tell them apart where each counts once, and lead to no person."""

from __future__ import annotations

import hashlib
import hmac

from daysong.kernel.functions.context import Caller


def viewer_mark(caller: Caller, secret: str, purpose: str, about: str) -> bytes:
    """Return the mark of a caller, the same for each call with this purpose and subject.

    A signed-in caller is an account, any other an address on one day. Marks of different purposes or subjects cannot be
    linked without `secret`.
    """
    key = hashlib.sha256(f"daysong {purpose} {secret}".encode()).digest()
    who = f"person {caller.subject}" if caller.subject else f"place {caller.viewer}"
    return hmac.digest(key, f"{about} {who}".encode(), "sha256")[:16]
