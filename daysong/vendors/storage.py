"""Files of our own: audio and cover art, in a folder by default, in S3, GCS or Azure by URL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from daysong.kernel.errors import DaysongError, VendorError

CHUNK = 256 * 1024
PAGE = 1000
# A bucket takes some 30 ms for each.
DELETED_AT_ONCE = 16


class FileMissing(DaysongError):
    """There is no file under that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"No stored file {key!r}")
        self.key = key


class StoredFile(NamedTuple):
    """A file that is there, and since when."""

    key: str
    stored_at: datetime


class FileStore:
    """Keeps files by key. A file is there whole or not at all, also while it is being replaced.

    `location` is a folder, or a URL such as `s3://bucket/prefix`, whose credentials come from the environment.
    """

    def __init__(self, location: str | Path) -> None:
        address = str(location)
        if "://" in address and not address.startswith("file://"):
            self._store = from_url(address)
        else:
            # Written to a temporary name and renamed, so that a crash leaves no half file behind.
            folder = Path(address.removeprefix("file://")).absolute()
            self._store = LocalStore(prefix=folder, mkdir=True)

    async def put(self, key: str, content: bytes, content_type: str) -> None:
        """Store `content` under `key`, in place of what was there. A folder does not remember the content type."""
        attributes = None if isinstance(self._store, LocalStore) else {"Content-Type": content_type}
        try:
            await obstore.put_async(self._store, key, content, attributes=attributes)
        except BaseError as error:
            raise _failure(error) from error

    async def size(self, key: str) -> int:
        """How many bytes are stored under `key`; FileMissing when there is no such file."""
        try:
            return (await obstore.head_async(self._store, key))["size"]
        except FileNotFoundError as error:
            raise FileMissing(key) from error
        except BaseError as error:
            raise _failure(error) from error

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to but without `end`, in chunks; FileMissing at the first when there is no file.

        An `end` past the last byte gives what there is, an empty range nothing.
        """
        end = await self.size(key) if end is None else end
        if start >= end:
            return
        try:
            found = await obstore.get_async(self._store, key, options={"range": (start, end)})
            async for chunk in found.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except FileNotFoundError as error:
            raise FileMissing(key) from error
        except BaseError as error:
            if start >= await self.size(key):
                return
            raise _failure(error) from error

    async def delete(self, keys: Iterable[str]) -> None:
        """Remove the files; one that is not there is removed."""
        room = asyncio.Semaphore(DELETED_AT_ONCE)

        async def delete(key: str) -> None:
            async with room:
                try:
                    await obstore.delete_async(self._store, key)
                except FileNotFoundError:
                    return
                except BaseError as error:
                    raise _failure(error) from error

        await asyncio.gather(*map(delete, keys))

    async def list(self) -> AsyncIterator[Sequence[StoredFile]]:
        """All files there are, a thousand at a time, in no order."""
        try:
            async for page in obstore.list(self._store, chunk_size=PAGE):
                yield [StoredFile(file["path"], file["last_modified"]) for file in page]
        except BaseError as error:
            raise _failure(error) from error


def _failure(error: Exception) -> VendorError:
    return VendorError("storage", type(error).__name__, permanent=False, code="storage_failed")
