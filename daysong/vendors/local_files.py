"""Reads files of a folder: at once what the page cache has, in a thread what must come from the disk.

What is cached need not be read at all: it is a `Part`, which the server hands to the kernel (sendfile).
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import time
from collections.abc import AsyncGenerator, Callable
from functools import cache
from typing import NamedTuple, cast

# Linux: return only what is cached, and EAGAIN if nothing is.
NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)
# Nothing is cached, or the file system cannot tell.
NOT_AT_ONCE = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
# Bytes below which a part is read, which is sooner done than asking whether it is cached.
LEAST_PART = 16 * 1024
# Bytes of a file above which its parts are looked for in the page cache one by one, and not all when it is opened.
SMALL = 16 * 2**20
# Files that are kept open, and for how many seconds.
MOST_OPEN = 64
STAYS_OPEN = 2.0
# The system call of Linux 6.5 and later, by its number on these processors: the C library may not have it.
CACHESTAT = 451
MACHINES = frozenset({"x86_64", "aarch64"})


class Part(NamedTuple):
    """The bytes of an open file from `start` to `end` (exclusive), which the page cache has."""

    file: LocalFile
    start: int
    end: int

    async def read(self, sent: int = 0) -> bytes:
        """Return the bytes after the first `sent`, fewer at the end of the file. Errors: OSError."""
        start, read = self.start + sent, b""
        while start < self.end:
            # The page cache may have lost some of them.
            found = self.file.read_cached(start, self.end) or await self.file.read(start, self.end)
            if not found:
                break
            start, read = start + len(found), read + found
        return read


class LocalFile:
    """An open file, which is closed with the last reference to it."""

    __slots__ = ("_cached", "_known_until", "descriptor")

    def __init__(self, path: str) -> None:
        # Not in a thread: that would take longer than all else about a small part of a file.
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # The bytes at its beginning that the page cache had when it was opened, if that was all of a small file. It may
        # have them no more while a slow client is still reading.
        self._known_until = time.monotonic() + STAYS_OPEN
        size = os.fstat(self.descriptor).st_size
        self._cached = size if 0 < size <= SMALL and self._is_cached(0, size) else 0

    def __del__(self) -> None:
        """Close it."""
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def at_once(self, start: int, end: int) -> Part | bytes:
        """Return what the page cache has from `start` to `end` (exclusive): a part of all, or some bytes, or none."""
        if end - start < LEAST_PART:
            return self.read_cached(start, end)
        is_known = end <= self._cached and time.monotonic() < self._known_until
        return Part(self, start, end) if is_known or self._is_cached(start, end) else self.read_cached(start, end)

    def read_cached(self, start: int, end: int) -> bytes:
        """Return the bytes that are cached. Errors: OSError."""
        if NO_WAIT is None:
            return b""
        buffer = bytearray(end - start)
        try:
            size = os.preadv(self.descriptor, [buffer], start, NO_WAIT)
        except OSError as error:
            if error.errno in NOT_AT_ONCE:
                return b""
            raise
        # Not copied when it is full: nothing else has the buffer.
        return cast("bytes", buffer) if size == len(buffer) else bytes(buffer[:size])

    async def read(self, start: int, end: int) -> bytes:
        """Read the bytes in a thread, which keeps the file open also when its caller was canceled. Errors: OSError."""
        return await asyncio.to_thread(self._read, start, end)

    def _read(self, start: int, end: int) -> bytes:
        return os.pread(self.descriptor, end - start, start)

    def _is_cached(self, start: int, end: int) -> bool:
        """Whether the page cache has all of these bytes; False where the kernel does not tell."""
        count = _cached_pages()
        pages = (end - 1) // mmap.PAGESIZE - start // mmap.PAGESIZE + 1
        # Pages that are still on their way from the disk are counted too. The last of them arrives last.
        return (
            count is not None
            and count(self.descriptor, start, end - start) == pages
            and self.read_cached(end - 1, end) != b""
        )


class OpenFiles:
    """The files that were read within two seconds, so that the next part of one need not open it."""

    def __init__(self) -> None:
        self._open: dict[str, LocalFile] = {}

    def open(self, path: str) -> LocalFile:
        """Return a file. Errors: OSError."""
        file = self._open.get(path)
        if file is None:
            file = LocalFile(path)
            if len(self._open) < MOST_OPEN:
                self._open[path] = file
                asyncio.get_running_loop().call_later(STAYS_OPEN, self.forget, path)
        return file

    def forget(self, path: str) -> None:
        """Open a file anew when it is read next."""
        self._open.pop(path, None)


async def parts(file: LocalFile, start: int, end: int, chunk: int) -> AsyncGenerator[Part | bytes, None]:
    """Yield the bytes from `start` to `end` (exclusive), or to the end of the file. Errors: OSError."""
    while start < end:
        stop = min(end, start + chunk)
        part = file.at_once(start, stop) or await file.read(start, stop)
        if not part:
            return
        yield part
        if isinstance(part, Part):
            start = stop
            # A client that reads as fast as the kernel sends must not keep others waiting.
            await asyncio.sleep(0)
        else:
            start += len(part)


@cache
def _cached_pages() -> Callable[[int, int, int], int | None] | None:
    """Return a function that counts the cached pages of a part of a file; None where there is no such system call."""
    if os.uname().sysname != "Linux" or os.uname().machine not in MACHINES or NO_WAIT is None:
        return None
    import ctypes  # noqa: PLC0415 - where no file is served it would only take time

    system_call = ctypes.CDLL(None).syscall
    range_type, counts_type, long = ctypes.c_uint64 * 2, ctypes.c_uint64 * 5, ctypes.c_long

    def count(descriptor: int, start: int, size: int) -> int | None:
        counts = counts_type()
        failed = system_call(
            long(CACHESTAT), long(descriptor), ctypes.byref(range_type(start, size)), ctypes.byref(counts), long(0)
        )
        return None if failed else counts[0]

    return count
