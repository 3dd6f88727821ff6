"""Signed addresses of files in a bucket, from which a client can fetch one of them for a limited time."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import timedelta

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store, from_url

from daysong.kernel.errors import DaysongError, VendorError

# A player may ask a signed address for further ranges until a song is over, pauses included.
LIFETIME = timedelta(minutes=30)
# An address is returned again for this time, so that a client's cache finds what it has fetched.
REUSED = timedelta(minutes=5)
MOST_KEPT = 10_000


class SignedAddresses:
    """Signs addresses of the files at `location`, such as `s3://bucket/prefix`.

    endpoint   the bucket's server as clients reach it, where that is not the one that we use (`AWS_ENDPOINT`)
    """

    def __init__(self, location: str, endpoint: str | None = None) -> None:
        store = from_url(location, endpoint=endpoint) if endpoint else from_url(location)
        if not isinstance(store, S3Store):
            raise DaysongError("addresses can be signed for S3 alone")
        self._store = store
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()

    async def address(self, key: str) -> str:
        """Return an address that is good for GET, for 25 to 30 minutes. Errors: VendorError."""
        now = time.monotonic()
        address, until = self._kept.get(key, ("", now))
        if now < until:
            return address
        try:
            address = await obstore.sign_async(self._store, "GET", key, LIFETIME)
        except BaseError as error:
            raise VendorError("storage", type(error).__name__, permanent=False, code="storage_failed") from error
        self._kept.pop(key, None)
        self._kept[key] = address, now + REUSED.total_seconds()
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return address
