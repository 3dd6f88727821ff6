"""Our own audio and cover art. Knowing a file's id is the permission to fetch it; what is under an id never changes."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import NamedTuple, cast

from litestar import route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from daysong.kernel import logs
from daysong.kernel.database import Database
from daysong.kernel.errors import VendorError
from daysong.transport.refusals import Refused
from daysong.vendors.storage import FileMissing, FileStore

A_YEAR = 31_536_000
# What its person deleted is served no more, neither a song nor anything of an account.
SERVED_SQL = """
    select f.content_type, f.size from files f
    where f.id = $1
      and not exists (select from users u where u.id = f.user_id and u.deleted_at is not null)
      and not exists (select from music m
                      where m.deleted_at is not null and $1 in (m.audio_file_id, m.image_file_id))"""

LONGEST_ID = 64
# What a browser may show by itself; anything else is only ever saved.
SHOWN = ("audio/", "image/", "video/")

log = logs.get_logger("media")


class Span(NamedTuple):
    """Bytes from `start` up to but without `end`."""

    start: int
    end: int


class OutOfRange(Exception):
    """The range asked for lies outside of the file."""


def requested_span(header: str | None, size: int) -> Span | None:
    """The part of a file of `size` bytes that a Range header asks for; None for the whole file.

    What is no single range of bytes is ignored, as RFC 9110 lets a server do. OutOfRange for a good range that
    holds none of the file.
    """
    found = re.fullmatch(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", header or "", re.IGNORECASE)
    if found is None:
        return None
    first, last = (_number(digits) for digits in found.groups())
    if first is None:
        if last is None:
            return None
        if last == 0 or size == 0:
            raise OutOfRange
        return Span(max(0, size - last), size)
    if last is not None and last < first:
        return None
    if first >= size:
        raise OutOfRange
    return Span(first, size if last is None else min(last + 1, size))


def _number(digits: str) -> int | None:
    # No file is that large; and Python refuses to read numbers of thousands of digits.
    return int(digits.lstrip("0")[:20] or "0") if digits else None


def handlers(database: Database, files: FileStore) -> list[HTTPRouteHandler]:
    """/media/<file id>."""

    @route("/media/{file_id:str}", http_method=[HttpMethod.GET, HttpMethod.HEAD], status_code=200)
    async def media(file_id: FromPath[str]) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
            await _serve(cast("HTTPScope", scope), send, file_id, database, files)

        return serve

    return [media]


async def _serve(scope: HTTPScope, send: Send, file_id: str, database: Database, files: FileStore) -> None:
    row = None
    if len(file_id) <= LONGEST_ID and "\0" not in file_id:
        row = await database.pool.fetchrow(SERVED_SQL, file_id)
    if row is None:
        await _plain(send, 404, "Not Found")
        return
    size, etag = row["size"], f'"{file_id}"'
    headers = _headers(row["content_type"], etag)
    if _matches(_header(scope, b"if-none-match"), etag):
        await _start(send, 304, headers)
        await _end(send)
        return
    try:
        span = requested_span(_wanted(scope, etag), size)
    except OutOfRange:
        await _plain(send, 416, "Range Not Satisfiable", {"content-range": f"bytes */{size}", "accept-ranges": "bytes"})
        return
    status = 206 if span else 200
    if span:
        headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    span = span or Span(0, size)
    headers["content-length"] = str(span.end - span.start)
    if scope["method"] == "HEAD":
        await _start(send, status, headers)
        await _end(send)
    else:
        await _stream(send, status, headers, file_id, files, span)


async def _stream(send: Send, status: int, headers: dict[str, str], file_id: str, files: FileStore, span: Span) -> None:
    # Closed also when the listener goes away in the middle.
    async with aclosing(cast("_Closable", files.read(file_id, span.start, span.end))) as chunks:
        try:
            # Before the headers, while there is still a way to say that something is wrong.
            first = await anext(chunks, b"")
        except FileMissing:
            log.warning("a stored file is missing", file=file_id)
            await _plain(send, 404, "Not Found")
            return
        except VendorError as error:
            raise Refused(503, "StorageUnavailable", "The file cannot be read right now.") from error
        await _start(send, status, headers)
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await _end(send)


class _Closable(AsyncIterator[bytes]):
    async def aclose(self) -> None: ...


def _headers(content_type: str, etag: str) -> dict[str, str]:
    shown = content_type.lower().startswith(SHOWN)
    headers = {
        "content-type": content_type if shown else "application/octet-stream",
        "content-disposition": "inline" if shown else "attachment",
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": f"private, max-age={A_YEAR}, immutable",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "cross-origin",
    }
    if "svg" in content_type.lower():
        # A drawing can hold scripts; opened by itself it must not run them as ours.
        headers["content-security-policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return headers


def _wanted(scope: HTTPScope, etag: str) -> str | None:
    """The Range header, unless it is for another version of the file, or the method has no use for one."""
    if scope["method"] != "GET":
        return None
    condition = _header(scope, b"if-range")
    return _header(scope, b"range") if condition is None or condition.strip() == etag else None


def _matches(condition: str | None, etag: str) -> bool:
    if condition is None:
        return False
    return "*" in condition or etag in (tag.strip().removeprefix("W/") for tag in condition.split(","))


def _header(scope: HTTPScope, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), None)


async def _start(send: Send, status: int, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _plain(send: Send, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    body = text.encode()
    await _start(
        send, status, {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(headers or {})}
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
