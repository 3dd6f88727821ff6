"""Reads files of a folder: at once what the page cache has, in a thread what must come from the disk."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

# Linux: return only what is cached, and EAGAIN if nothing is.
NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)
# Nothing is cached, or the file system cannot tell.
NOT_AT_ONCE = frozenset({errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


async def read(path: Path, start: int, end: int, chunk: int) -> AsyncGenerator[bytes, None]:
    """Yield the bytes from `start` to `end` (exclusive), or to the end of the file. Errors: OSError."""
    # Not in a thread: that would take longer than all else about a small part of a file.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    buffer = memoryview(bytearray(min(chunk, end - start)))
    reading: asyncio.Future[bytes] | None = None
    try:
        while start < end:
            part = buffer[: end - start]
            content = bytes(part[: _read_cached(descriptor, part, start)])
            if not content:
                reading = asyncio.ensure_future(asyncio.to_thread(os.pread, descriptor, len(part), start))
                content = await asyncio.shield(reading)
            if not content:
                return
            start += len(content)
            yield content
    finally:
        # A canceled reader must not close the file under the thread that reads.
        if reading is None or reading.done():
            os.close(descriptor)
        else:
            reading.add_done_callback(lambda _: os.close(descriptor))


def read_cached(path: str, start: int, end: int) -> bytes | None:
    """Return the bytes from `start` to `end` (exclusive), None if not all of them are cached. Errors: OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        buffer = bytearray(end - start)
        if _read_cached(descriptor, buffer, start) < len(buffer):
            return None
    finally:
        os.close(descriptor)
    # Not copied: nothing else has the buffer.
    return cast("bytes", buffer)


def _read_cached(descriptor: int, buffer: memoryview | bytearray, start: int) -> int:
    """Read what is cached into the buffer, and return how much that was."""
    if NO_WAIT is None:
        return 0
    try:
        return os.preadv(descriptor, [buffer], start, NO_WAIT)
    except OSError as error:
        if error.errno in NOT_AT_ONCE:
            return 0
        raise
