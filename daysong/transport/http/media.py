"""Serves stored audio, cover art and videos of songs, and the photos and videos of entries.

/media/<file id>             for owners; the unguessable id grants access, and the content never changes
/media/shared/<share>/audio  for every client (also .../cover), while the share is open; revalidated at each request
/media/private/<file id>     photos and videos: with a signature, until it expires; features/diary_media/addresses.py

With MEDIA_ACCEL, nginx sends the bytes: the response names the file in X-Accel-Redirect, and has no body.

With `?download=1` a browser saves the file instead of playing it; at a share's address, if its owner allows that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Literal, NamedTuple, cast
from urllib.parse import urlsplit

import asyncpg
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from daysong.features.diary_media.addresses import is_media_address
from daysong.features.sharing.rules import OPEN_SQL
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.ids import may_be_id
from daysong.transport.http.edge import is_head
from daysong.transport.http.file_names import disposition
from daysong.transport.refusals import Refused
from daysong.vendors.storage import FileMissing, FileStore

A_YEAR = 31_536_000
REVALIDATE = "private, no-cache"
# Files of deleted songs and accounts are not served.
FILE_SQL = """
    select f.id, f.content_type, f.size,
           coalesce((select title from music m where $1 in (m.audio_file_id, m.image_file_id)
                     order by m.music_index limit 1),
                    (select m.title from music_videos v join music m on m.id = v.music_id where v.file_id = $1
                     limit 1)) as title
    from files f
    where f.id = $1 and not f.private
      and not exists (select from users u where u.id = f.user_id and u.deleted_at is not null)
      and not exists (select from music m
                      where m.deleted_at is not null and $1 in (m.audio_file_id, m.image_file_id))
      and not exists (select from music_videos v join music m on m.id = v.music_id
                      where v.file_id = $1 and m.deleted_at is not null)"""

# The file of a share, or the vendor's URL until it is stored.
SHARED_SQL = f"""
    select f.id, f.content_type, f.size, m.title, s.allow_download,
           case $2::text when 'audio' then m.audio_url else m.image_url end as url
    from shared_music s
    join music m on m.id = s.music_id
    join users u on u.id = s.user_id
    left join files f on f.id = case $2::text when 'audio' then m.audio_file_id else m.image_file_id end
    where s.share_id = $1 and {OPEN_SQL}"""  # noqa: S608 - a constant

# A file that an entry has. Uploads that no entry has taken yet are not served.
PRIVATE_SQL = """
    select f.id, f.content_type, f.size, null as title
    from files f
    join diary_media m on m.file_id = f.id
    join users u on u.id = f.user_id
    where f.id = $1 and u.deleted_at is null"""
# What is there never changes, but it may be deleted.
AN_HOUR = 3600

# Types that a browser may display; others are always downloads.
INLINE_TYPES = ("audio/", "image/", "video/")

log = logs.get_logger("media")


class Span(NamedTuple):
    """Bytes from `start` up to and not including `end`."""

    start: int
    end: int


class OutOfRange(Exception):
    """The requested range is outside of the file."""


def requested_span(header: str | None, size: int) -> Span | None:
    """Return the part of a file of `size` bytes that a Range header requests; None for the whole file.

    Anything but a single byte range is ignored, as RFC 9110 allows. Errors: OutOfRange for a valid range without any
    byte of the file.
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
    # No file is that large, and Python refuses to parse thousands of digits.
    return int(digits.lstrip("0")[:20] or "0") if digits else None


class ServedFile(NamedTuple):
    """A file to serve, with the title for its download.

    etag   identifies its content
    cache  the Cache-Control header
    """

    file_id: str
    content_type: str
    size: int
    title: str | None
    etag: str
    cache: str


def handlers(runtime: Runtime, files: FileStore) -> list[HTTPRouteHandler]:
    """Return the routes /media/<file id>, /media/shared/<share id>/{audio,cover} and /media/private/<file id>."""
    database, accel = runtime.database, runtime.settings.media_accel

    @get("/media/{file_id:str}")
    async def media(file_id: FromPath[str]) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
            row = await database.pool.fetchrow(FILE_SQL, file_id) if may_be_id(file_id) else None
            if row is None:
                await _plain(send, 404, "Not Found")
                return
            cache = f"private, max-age={A_YEAR}, immutable"
            await _serve(cast("HTTPScope", scope), send, _served(row, f'"{file_id}"', cache), files, accel)

        return serve

    @get("/media/shared/{share_id:str}/{what:str}")
    async def shared(share_id: FromPath[str], what: FromPath[Literal["audio", "cover"]]) -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
            row = await database.pool.fetchrow(SHARED_SQL, share_id, what) if may_be_id(share_id) else None
            if row is not None and row["id"] is not None:
                # Identifies the version without revealing the file's id.
                etag = hashlib.sha256(f"{share_id} {row['id']}".encode()).hexdigest()[:32]
                served = _served(row, f'"{etag}"', REVALIDATE)
                may_save = row["allow_download"]
                await _serve(cast("HTTPScope", scope), send, served, files, accel, may_save=may_save)
            elif row is not None and urlsplit(row["url"] or "").scheme in {"http", "https"}:
                # Not stored yet; the vendor's URL expires within two weeks.
                headers = {"location": row["url"], "cache-control": "no-store", "referrer-policy": "no-referrer"}
                await _plain(send, 302, "Found", headers)
            else:
                await _plain(send, 404, "Not Found", {"cache-control": "no-store"})

        return serve

    return [media, shared, _private(runtime, files)]


def _private(runtime: Runtime, files: FileStore) -> HTTPRouteHandler:
    @get("/media/private/{file_id:str}")
    async def private(file_id: FromPath[str], expires: FromQuery[str] = "", signature: FromQuery[str] = "") -> ASGIApp:
        async def serve(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
            # Signed ids alone are looked up.
            if not is_media_address(runtime.settings, file_id, expires, signature, runtime.clock.now()):
                await _plain(send, 403, "This address is not valid, or has expired.", {"cache-control": "no-store"})
                return
            row = await runtime.database.pool.fetchrow(PRIVATE_SQL, file_id)
            if row is None:
                await _plain(send, 404, "Not Found", {"cache-control": "no-store"})
                return
            cache = f"private, max-age={AN_HOUR}"
            served = _served(row, f'"{file_id}"', cache)
            await _serve(cast("HTTPScope", scope), send, served, files, runtime.settings.media_accel)

        return serve

    return private


def _served(row: asyncpg.Record, etag: str, cache: str) -> ServedFile:
    return ServedFile(row["id"], row["content_type"], row["size"], row["title"], etag, cache)


async def _serve(
    scope: HTTPScope, send: Send, served: ServedFile, files: FileStore, accel: str | None, *, may_save: bool = True
) -> None:
    file_id, size, etag = served.file_id, served.size, served.etag
    headers = _headers(served, is_download=may_save and _is_download(scope))
    if _matches(_header(scope, b"if-none-match"), etag):
        await _start(send, 304, headers)
        await _end(send)
        return
    if accel is not None:
        # nginx answers the range that its client asks for.
        await _start(send, 200, headers | {"x-accel-redirect": f"{accel}/{file_id}", "content-length": "0"})
        await _end(send)
        return
    try:
        span = requested_span(_range_header(scope, etag), size)
    except OutOfRange:
        await _plain(send, 416, "Range Not Satisfiable", {"content-range": f"bytes */{size}", "accept-ranges": "bytes"})
        return
    status = 206 if span else 200
    if span:
        headers["content-range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    span = span or Span(0, size)
    headers["content-length"] = str(span.end - span.start)
    if is_head(scope):
        await _start(send, status, headers)
        await _end(send)
    else:
        await _stream(send, status, headers, file_id, files, span)


async def _stream(send: Send, status: int, headers: dict[str, str], file_id: str, files: FileStore, span: Span) -> None:
    # Closes the file also when the client disconnects.
    async with aclosing(cast("_Closable", files.read(file_id, span.start, span.end))) as chunks:
        try:
            # Read before the headers are sent, while an error response is still possible.
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


def _is_download(scope: HTTPScope) -> bool:
    return b"download=1" in scope["query_string"].split(b"&")


def _headers(served: ServedFile, *, is_download: bool) -> dict[str, str]:
    content_type = served.content_type
    is_inline = content_type.lower().startswith(INLINE_TYPES)
    kind = "inline" if is_inline and not is_download else "attachment"
    headers = {
        "content-type": content_type if is_inline else "application/octet-stream",
        "content-disposition": disposition(kind, served.title, content_type),
        "etag": served.etag,
        "accept-ranges": "bytes",
        "cache-control": served.cache,
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "cross-origin",
    }
    if "svg" in content_type.lower():
        # An SVG can contain scripts, which must not run with our origin.
        headers["content-security-policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return headers


def _range_header(scope: HTTPScope, etag: str) -> str | None:
    """Return the Range header, unless If-Range names another version or the method is HEAD."""
    if is_head(scope):
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
