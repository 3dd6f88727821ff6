"""File storage for songs, photos and videos: a folder by default; S3, GCS or Azure by URL."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from daysong.kernel.errors import DaysongError, VendorError
from daysong.vendors import local_files
from daysong.vendors.local_files import OpenFiles, Part

CHUNK = 256 * 1024
PAGE = 1000
# One delete takes about 30 ms in a bucket.
DELETED_AT_ONCE = 16
# Of a file that was received on disk and goes to a bucket.
PART = 5 * 2**20
# A key whose file in a folder has the same name; obstore encodes others.
PLAIN = re.compile(r"[A-Za-z0-9_-]+")
# Files that are being received, in a folder.
INCOMING = "incoming"


class FileMissing(DaysongError):
    """No file is stored under that key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"No stored file {key!r}")
        self.key = key


class StoredFile(NamedTuple):
    """A stored file and the time it was stored."""

    key: str
    stored_at: datetime


class IncomingFile:
    """A file that is being received: on disk, piece by piece, so that its size costs no memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.size = 0
        self._writing: asyncio.Future[None] | None = None

    async def write(self, content: bytes) -> None:
        """Append some bytes. Errors: VendorError, for example when the disk is full."""
        try:
            # A canceled upload must not close the file under the thread that writes.
            self._writing = asyncio.ensure_future(asyncio.to_thread(_write_all, self.file, content))
            await asyncio.shield(self._writing)
        except OSError as error:
            raise _failure(error) from error
        self.size += len(content)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content from its beginning."""
        await asyncio.to_thread(self.file.seek, 0)
        while chunk := await asyncio.to_thread(self.file.read, CHUNK):
            yield chunk

    async def close(self) -> None:
        """Close the file, once nothing is written to it."""
        if self._writing is not None:
            await asyncio.wait({self._writing})
        self.file.close()


class FileStore:
    """Stores files by key. Writes are atomic, also when a file is replaced.

    `location` is a folder, or a URL such as `s3://bucket/prefix`, whose credentials come from the environment.
    """

    def __init__(self, location: str | Path) -> None:
        address = str(location)
        self._folder: Path | None = None
        self._open = OpenFiles()
        if "://" in address and not address.startswith("file://"):
            self._store = from_url(address)
        else:
            # Written to a temporary name and renamed, so that a crash leaves no half file behind.
            self._folder = Path(address.removeprefix("file://")).absolute()
            self._prefix = f"{self._folder}/"
            self._store = LocalStore(prefix=self._folder, mkdir=True)

    async def put(self, key: str, content: bytes, content_type: str) -> None:
        """Store `content` under `key`, replacing any existing file. A folder does not keep the content type."""
        attributes = None if isinstance(self._store, LocalStore) else {"Content-Type": content_type}
        try:
            await obstore.put_async(self._store, key, content, attributes=attributes)
        except BaseError as error:
            raise _failure(error) from error
        finally:
            self._forget(key)

    @asynccontextmanager
    async def receive(self) -> AsyncIterator[IncomingFile]:
        """Receive a file in pieces; discarded unless `keep` is called inside. Errors: VendorError.

        In a folder, it is written there. For a bucket, it is written to an anonymous temporary file (in TMPDIR) first:
        a multipart upload whose client goes away would leave parts in the bucket.
        """
        path: Path | None = None
        try:
            if self._folder is None:
                file: IO[bytes] = await asyncio.to_thread(tempfile.TemporaryFile, buffering=0)
            else:
                path = self._folder / INCOMING / uuid4().hex
                await asyncio.to_thread(path.parent.mkdir, exist_ok=True)
                file = await asyncio.to_thread(path.open, "xb", buffering=0)
        except OSError as error:
            raise _failure(error) from error
        incoming = IncomingFile(file)
        try:
            yield incoming
        finally:
            await incoming.close()
            if path is not None:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    async def keep(self, incoming: IncomingFile, key: str, content_type: str) -> None:
        """Store a file that was received under `key`, replacing any existing file. Errors: VendorError."""
        file = incoming.file
        try:
            if self._folder is None:
                # In small pieces: of a file, obstore would read a whole part beside the parts that are on their way.
                await obstore.put_async(
                    self._store, key, incoming.chunks(), attributes={"Content-Type": content_type},
                    chunk_size=PART, max_concurrency=1,
                )  # fmt: skip
            else:
                await asyncio.to_thread(_move, file, self._folder / key)
        except (BaseError, OSError) as error:
            raise _failure(error) from error
        finally:
            self._forget(key)

    async def size(self, key: str) -> int:
        """Return the size of a file in bytes. Errors: FileMissing."""
        try:
            return (await obstore.head_async(self._store, key))["size"]
        except FileNotFoundError as error:
            raise FileMissing(key) from error
        except BaseError as error:
            raise _failure(error) from error

    async def read(self, key: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to `end` (exclusive) in chunks. Errors: FileMissing, raised by the first chunk.

        An `end` past the last byte is cut to the file's size; an empty range yields nothing.
        """
        end = await self.size(key) if end is None else end
        if start >= end:
            return
        if self._is_local(key):
            async with aclosing(self.parts(key, start, end)) as parts:
                async for part in parts:
                    yield await part.read() if isinstance(part, Part) else part
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

    async def parts(self, key: str, start: int, end: int) -> AsyncGenerator[Part | bytes, None]:
        """Yield the same; of a file in a folder, what the page cache has as parts of the file.

        Errors: FileMissing, VendorError.
        """
        if not self._is_local(key):
            async for chunk in self.read(key, start, end):
                yield chunk
            return
        try:
            file = self._open.open(self._prefix + key)
            async with aclosing(local_files.parts(file, start, end, CHUNK)) as parts:
                async for part in parts:
                    yield part
        except FileNotFoundError as error:
            raise FileMissing(key) from error
        except OSError as error:
            raise _failure(error) from error

    def at_once(self, key: str, start: int, end: int) -> Part | bytes | None:
        """Return the bytes from `start` to `end` (exclusive) if that takes no time; else None: `parts` is to be used.

        It takes none for a part of a file in a folder that the page cache has. Errors: FileMissing, VendorError.
        """
        if not 0 < end - start <= CHUNK or not self._is_local(key):
            return None
        try:
            part = self._open.open(self._prefix + key).at_once(start, end)
        except FileNotFoundError as error:
            raise FileMissing(key) from error
        except OSError as error:
            raise _failure(error) from error
        return part if isinstance(part, Part) or len(part) == end - start else None

    def _is_local(self, key: str) -> bool:
        return self._folder is not None and PLAIN.fullmatch(key) is not None

    def _forget(self, key: str) -> None:
        """Open another file under that key when it is read next."""
        if self._folder is not None:
            self._open.forget(self._prefix + key)

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete files; missing ones are ignored."""
        room = asyncio.Semaphore(DELETED_AT_ONCE)

        async def delete(key: str) -> None:
            async with room:
                try:
                    await obstore.delete_async(self._store, key)
                except FileNotFoundError:
                    return
                except BaseError as error:
                    raise _failure(error) from error
                finally:
                    self._forget(key)

        await asyncio.gather(*map(delete, keys))

    @property
    def is_folder(self) -> bool:
        """Whether the files are in a folder, and not in a bucket."""
        return self._folder is not None

    async def list(self, prefix: str | None = None) -> AsyncIterator[Sequence[StoredFile]]:
        """Yield all stored files, or those in the folder `prefix`, in pages of a thousand, unordered."""
        try:
            async for page in obstore.list(self._store, prefix, chunk_size=PAGE):
                yield [StoredFile(file["path"], file["last_modified"]) for file in page]
        except BaseError as error:
            raise _failure(error) from error


def _write_all(file: IO[bytes], content: bytes) -> None:
    # An unbuffered file may write a part only, for example when the disk is nearly full.
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _move(file: IO[bytes], target: Path) -> None:
    os.fsync(file.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(file.name).replace(target)


def _failure(error: Exception) -> VendorError:
    return VendorError("storage", type(error).__name__, permanent=False, code="storage_failed")
