"""Serves stored audio, cover art and videos of songs, and the photos and videos of entries.

/media/<file id>             for owners; the unguessable id grants access, and the content never changes. With
                             MEDIA_REDIRECT a signature follows the id (features/links.py)
/media/shared/<share>/audio  for every client (also .../cover), while the share is open; revalidated at each request
/media/private/<file id>     photos and videos: with a signature, until it expires; features/diary_media/addresses.py

With MEDIA_ACCEL, nginx sends the bytes: the response names the file in X-Accel-Redirect, and has no body. With
MEDIA_REDIRECT, the bucket sends those of songs: the response redirects to a signed address. Photos and videos of
entries are never redirected, nor is what a browser must not display, or is to save under the song's title.

A file that is fetched part by part is looked up for its first part, and every two seconds: a part from the middle that
follows within that time is served as the rest of a whole file would be, whose response has begun. Shares and redirects
are looked up each time: a share is closed at once, and a redirect is good for longer than two seconds.

With `?download=1` a browser saves the file instead of playing it; at a share's address, if its owner allows that.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg

from daysong.features.diary_media.addresses import is_media_address
from daysong.features.links import opened_file
from daysong.features.sharing.rules import OPEN_SQL
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.ids import may_be_id
from daysong.transport.http.edge import is_head
from daysong.transport.http.file_names import disposition
from daysong.transport.http.ranges import OutOfRange, Span, requested_span
from daysong.transport.http.routes import Reply, Request, Route
from daysong.transport.refusals import Refused
from daysong.transport.server.headers import headers_of
from daysong.vendors.signed_addresses import REUSED, SignedAddresses
from daysong.vendors.storage import FileMissing, FileStore

# A file's content never changes, and the same signed address is given for some minutes.
CONTENT = "private, max-age=31536000, immutable"
SAME_REDIRECT = f"private, max-age={int(REUSED.total_seconds())}"
REVALIDATE = "private, no-cache"
NO_STORE = (b"cache-control", b"no-store")
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

# Seconds after a look-up in which further parts of the file need none; and of how many files that is known.
CONTINUES_FOR = 2.0
MOST_CONTINUED = 2000

# Types that a browser may display; others are always downloads.
INLINE_TYPES = ("audio/", "image/", "video/")
# An SVG can contain scripts, which must not run with our origin.
SVG_POLICY = b"sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"

log = logs.get_logger("media")


class ServedFile(NamedTuple):
    """A file to serve, with the title for its download.

    etag       identifies its content
    cache      the Cache-Control header
    redirect   that of a redirect to the file's signed address; None when it is not redirected
    may_save   whether `?download=1` has an effect
    """

    file_id: str
    content_type: str
    size: int
    title: str | None
    etag: str
    cache: str
    redirect: str | None = None
    may_save: bool = True
    # Of each of its parts that is not a download.
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def is_inline(self) -> bool:
        """Whether a browser may display it."""
        return self.content_type.lower().startswith(INLINE_TYPES)

    @property
    def is_svg(self) -> bool:
        """Whether it may contain scripts."""
        return "svg" in self.content_type.lower()


def routes(runtime: Runtime, files: FileStore) -> list[Route]:
    """Return the routes /media/<file id>, /media/shared/<share id>/{audio,cover} and /media/private/<file id>."""
    media = Media(runtime, files)
    return [
        Route("GET", "/media/{file_id}", media.own, 0),
        Route("GET", "/media/shared/{share_id}/{what}", media.shared, 0),
        Route("GET", "/media/private/{file_id}", media.private, 0),
    ]


class Media:
    """The handlers of these routes."""

    def __init__(self, runtime: Runtime, files: FileStore) -> None:
        settings = runtime.settings
        self._runtime = runtime
        self._files = files
        self._accel = settings.media_accel
        self._found: OrderedDict[tuple[str, str], tuple[ServedFile, float]] = OrderedDict()
        self._addresses = (
            SignedAddresses(settings.storage_url, settings.media_redirect_endpoint) if settings.media_redirect else None
        )

    async def own(self, request: Request) -> Reply:
        """Serve a song's audio, cover or video."""
        file_id = opened_file(self._runtime.settings, request.parameters["file_id"])
        if file_id is None or not may_be_id(file_id):
            return _plain(404, "Not Found")
        served = await self._find(request, FILE_SQL, file_id, CONTENT, SAME_REDIRECT)
        return _plain(404, "Not Found") if served is None else await self._reply(request, served)

    async def shared(self, request: Request) -> Reply:
        """Serve the audio or cover of a shared song."""
        share_id, what = request.parameters["share_id"], request.parameters["what"]
        row = None
        if may_be_id(share_id) and what in {"audio", "cover"}:
            row = await self._look_up(SHARED_SQL, share_id, what)
        if row is not None and row["id"] is not None:
            # Identifies the version without revealing the file's id.
            etag = hashlib.sha256(f"{share_id} {row['id']}".encode()).hexdigest()[:32]
            served = _served(row, f'"{etag}"', REVALIDATE, "no-store")
            return await self._reply(request, served._replace(may_save=row["allow_download"]))
        if row is not None and urlsplit(row["url"] or "").scheme in {"http", "https"}:
            # Not stored yet; the vendor's URL expires within two weeks.
            return _redirect(row["url"], "no-store")
        return _plain(404, "Not Found", NO_STORE)

    async def private(self, request: Request) -> Reply:
        """Serve a photo or video of an entry."""
        file_id = request.parameters["file_id"]
        expires, signature = request.query.get("expires", ""), request.query.get("signature", "")
        # Signed ids alone are looked up.
        if not is_media_address(self._runtime.settings, file_id, expires, signature, self._runtime.clock.now()):
            return _plain(403, "This address is not valid, or has expired.", NO_STORE)
        served = await self._find(request, PRIVATE_SQL, file_id, f"private, max-age={AN_HOUR}")
        return _plain(404, "Not Found", NO_STORE) if served is None else await self._reply(request, served)

    async def _look_up(self, sql: str, *args: str) -> asyncpg.Record | None:
        """Return the row of a file, None if it is not served."""
        row: asyncpg.Record | None = await self._runtime.read("media", lambda db: db.fetchrow(sql, *args))
        return row

    async def _find(
        self, request: Request, sql: str, file_id: str, cache: str, redirect: str | None = None
    ) -> ServedFile | None:
        """Return a file whose content never changes; for a part from the middle as it was found within two seconds."""
        key, now, part = (sql, file_id), time.monotonic(), headers_of(request.scope).get(b"range")
        continues = part is not None and self._addresses is None
        if part is not None and continues and not part.startswith(b"bytes=0-"):
            known, until = self._found.get(key, (None, now))
            if now < until:
                return known
        row = await self._look_up(sql, file_id)
        served = None if row is None else _served(row, f'"{file_id}"', cache, redirect)
        self._found.pop(key, None)
        if served is not None and continues:
            self._found[key] = served, now + CONTINUES_FOR
            if len(self._found) > MOST_CONTINUED:
                self._found.popitem(last=False)
        return served

    async def _reply(self, request: Request, served: ServedFile) -> Reply:
        size, etag, scope = served.size, served.etag, request.scope
        is_download = served.may_save and b"download=1" in scope["query_string"].split(b"&")
        headers = _headers(served, "attachment") if is_download else served.headers
        if _matches(request.header(b"if-none-match"), etag):
            return Reply(b"", 304, headers, is_json=False)
        if self._accel is not None:
            # nginx answers the range that its client asks for.
            accel = (b"x-accel-redirect", f"{self._accel}/{served.file_id}".encode())
            return Reply(b"", 200, (*headers, accel, (b"content-length", b"0")), is_json=False)
        if (
            self._addresses is not None
            and served.redirect is not None
            and not is_download
            and _as_stored(request, served)
        ):
            try:
                return _redirect(await self._addresses.address(served.file_id), served.redirect)
            except VendorError as error:
                raise _unavailable() from error
        try:
            span = requested_span(_range_header(request, etag), size)
        except OutOfRange:
            return _plain(
                416, "Range Not Satisfiable",
                (b"content-range", b"bytes */%d" % size), (b"accept-ranges", b"bytes"),
            )  # fmt: skip
        status = 200
        if span is not None:
            status = 206
            headers += ((b"content-range", b"bytes %d-%d/%d" % (span.start, span.end - 1, size)),)
        start, end = span or Span(0, size)
        headers += ((b"content-length", b"%d" % (end - start)),)
        if is_head(scope):
            return Reply(b"", status, headers, is_json=False)
        return await self._content(served.file_id, start, end, status, headers)

    async def _content(
        self, file_id: str, start: int, end: int, status: int, headers: tuple[tuple[bytes, bytes], ...]
    ) -> Reply:
        try:
            if (part := self._files.at_once(file_id, start, end)) is not None:
                return Reply(part, status, headers, is_json=False)
            parts = self._files.parts(file_id, start, end)
            # Read before the headers are sent, while an error response is still possible.
            first = await anext(parts, b"")
        except FileMissing:
            log.warning("a stored file is missing", file=file_id)
            return _plain(404, "Not Found")
        except VendorError as error:
            raise _unavailable() from error
        return Reply(first, status, headers, is_json=False, rest=parts)


def _served(row: asyncpg.Record, etag: str, cache: str, redirect: str | None = None) -> ServedFile:
    served = ServedFile(row["id"], row["content_type"], row["size"], row["title"], etag, cache, redirect)
    return served._replace(headers=_headers(served, "inline" if served.is_inline else "attachment"))


def _as_stored(request: Request, served: ServedFile) -> bool:
    """Return whether the bucket's response is as good as ours. A signed address is for GET alone."""
    return served.is_inline and not served.is_svg and not is_head(request.scope)


def _headers(served: ServedFile, kind: str) -> tuple[tuple[bytes, bytes], ...]:
    content_type = served.content_type
    headers = (
        (b"content-type", content_type.encode("latin-1") if served.is_inline else b"application/octet-stream"),
        (b"content-disposition", disposition(kind, served.title, content_type).encode("latin-1")),
        (b"etag", served.etag.encode()),
        (b"accept-ranges", b"bytes"),
        (b"cache-control", served.cache.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-resource-policy", b"cross-origin"),
    )
    return (*headers, (b"content-security-policy", SVG_POLICY)) if served.is_svg else headers


def _range_header(request: Request, etag: str) -> str | None:
    """Return the Range header, unless If-Range names another version or the method is HEAD."""
    wanted = request.header(b"range")
    if wanted is None or is_head(request.scope):
        return None
    condition = request.header(b"if-range")
    return wanted if condition is None or condition.strip() == etag else None


def _matches(condition: str | None, etag: str) -> bool:
    if condition is None:
        return False
    return "*" in condition or etag in (tag.strip().removeprefix("W/") for tag in condition.split(","))


def _redirect(address: str, cache: str) -> Reply:
    return _plain(
        302, "Found",
        (b"location", address.encode()), (b"cache-control", cache.encode()), (b"referrer-policy", b"no-referrer"),
    )  # fmt: skip


def _plain(status: int, text: str, *headers: tuple[bytes, bytes]) -> Reply:
    body = text.encode()
    kind = (b"content-type", b"text/plain; charset=utf-8")
    return Reply(body, status, (kind, (b"content-length", b"%d" % len(body)), *headers), is_json=False)


def _unavailable() -> Refused:
    return Refused(503, "StorageUnavailable", "The file cannot be read right now.")
