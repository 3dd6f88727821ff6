"""A bare ASGI app that answers with parts of one file: what `script/bench media` compares daysong with.

    BENCH_FILE=… python -m uvicorn bench.bare_files:app

It knows no user and reads no database: it opens the file, reads pieces of 256 KiB, and sends them.
"""

from __future__ import annotations

import os
from typing import Any

CHUNK = 256 * 1024
FILE = os.environ.get("BENCH_FILE", "")


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI
    """Answer with the file, or with the one range that is asked for."""
    if scope["type"] != "http":
        return
    descriptor = os.open(FILE, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        start, end, status = 0, size, 200
        for name, value in scope["headers"]:
            if name == b"range":
                first, _, last = value.partition(b"=")[2].partition(b"-")
                start, end, status = int(first), min(size, int(last) + 1), 206
        headers = [(b"content-type", b"audio/mpeg"), (b"content-length", b"%d" % (end - start))]
        if status == 206:  # noqa: PLR2004
            headers.append((b"content-range", b"bytes %d-%d/%d" % (start, end - 1, size)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        while start < end:
            chunk = os.pread(descriptor, min(CHUNK, end - start), start)
            start += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        os.close(descriptor)
