"""Secrets that can be replaced while they are in use.

A secret that others send or sign with has earlier values that are accepted as well (`…_OLD` settings). The hash key has
earlier values for look-ups: a keyed hash that is stored for long begins with the fingerprint of its key, so that it can
be counted which keys rows still need (`daysong doctor`). Hashes that were stored before that have no fingerprint.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache

FINGERPRINT_BYTES = 4


def is_one_of(given: str, accepted: Iterable[str]) -> bool:
    """Whether `given` equals one of the accepted secrets; neither their lengths nor which one shows in the time."""
    digest = _digest(given)
    matches = [hmac.compare_digest(digest, _digest(secret)) for secret in accepted]
    return any(matches)


def any_equal(expected: Iterable[bytes], given: Iterable[bytes]) -> bool:
    """Whether one of the expected signatures is among the given ones; all are compared."""
    matches = [hmac.compare_digest(*pair) for pair in itertools.product(expected, given)]
    return any(matches)


def signature(key: str, kind: str, text: str) -> str:
    """Return the signature of an address of that kind; `text` is what the address grants."""
    digest = hmac.digest(key.encode(), f"{kind} address {text}".encode("utf-8", "replace"), "sha256")
    return base64.urlsafe_b64encode(digest[:24]).decode()


def is_signature(given: str, keys: Iterable[str], kind: str, text: str) -> bool:
    """Whether `given` is the signature of such an address by one of the keys."""
    expected = [signature(key, kind, text).encode() for key in keys]
    return any_equal(expected, [given.encode("utf-8", "replace")])


@lru_cache(64)
def fingerprint(key: str) -> bytes:
    """Return a few bytes that tell a key from others and reveal nothing of it."""
    return hashlib.sha256(f"daysong key {key}".encode()).digest()[:FINGERPRINT_BYTES]


def keyed_hash(key: str, text: str) -> bytes:
    """Return the hash of a text that is stored with the fingerprint of its key."""
    return fingerprint(key) + hmac.digest(key.encode(), text.encode(), "sha256")


def keyed_hashes(keys: Sequence[str], text: str) -> list[bytes]:
    """Return every hash that a text may be stored under, the one of the current key first."""
    plain = [hmac.digest(key.encode(), text.encode(), "sha256") for key in keys]
    return [*(fingerprint(key) + digest for key, digest in zip(keys, plain, strict=True)), *plain]


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
