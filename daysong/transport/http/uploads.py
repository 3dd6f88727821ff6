"""Uploads of photos and videos: `POST /uploads/<upload id>/<signature>` with the bytes of the file as the body.

Every client with the address may send a file, so an upload is bounded in bytes, in time, and in number. The body goes
to the storage piece by piece; what is not kept is discarded. The first bytes of the file tell its type.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from daysong.features.diary_media import uploads
from daysong.features.diary_media.addresses import is_upload_address
from daysong.features.diary_media.file_types import HEAD, all_dimensions, media_type
from daysong.features.diary_media.rules import MAX_VIDEO, StorageLimitReached, largest
from daysong.features.diary_media.uploads import OneUpload, UploadedFile
from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.runtime import Runtime
from daysong.kernel.ids import FileId
from daysong.transport.callers.gate import Gate
from daysong.transport.http.edge import add_log_fields
from daysong.transport.http.routes import Reply, Request, Route, too_large
from daysong.transport.refusals import Refused
from daysong.vendors.storage import FileStore, IncomingFile

PATH = "/uploads/{upload_id}/{signature}"
LONGEST_ID = 64

# Seconds that a client may keep us waiting for its bytes: at first, and for each further byte.
PATIENCE = 30.0
SLOWEST = 16 * 1024  # bytes a second
LONGEST = 3600.0
# Uploads at the same time in one process, and from one address. Each takes up to half a mebibyte of memory.
AT_ONCE = 96
AT_ONCE_FROM_ADDRESS = 32
# To one upload address: a retry, while the connection before it has not ended yet.
AT_ONCE_OF_UPLOAD = 2
# Bytes that are written to the storage at once, and that are counted against the rate of an address at once.
PIECE = 128 * 1024
COUNTED = 8 * 2**20

log = logs.get_logger("uploads")


class Uploaded(msgspec.Struct, rename="camel"):
    """What the client passes to createDiaryMedia."""

    storage_id: str


def routes(runtime: Runtime, files: FileStore, gate: Gate | None) -> list[Route]:
    """Return the route that receives files."""
    seats = Seats(AT_ONCE, AT_ONCE_FROM_ADDRESS)

    async def receive(request: Request) -> Reply:
        upload_id, signature = request.parameters["upload_id"], request.parameters["signature"]
        if len(upload_id) > LONGEST_ID or not is_upload_address(runtime.settings, upload_id, signature):
            raise _closed()
        viewer = gate.viewer(request.scope) if gate else ""
        with seats.taken(viewer, upload_id):
            return await Receiving(runtime, files, gate, request, upload_id, viewer).run()

    return [Route("POST", PATH, receive, MAX_VIDEO)]


class Seats:
    """The uploads that a process receives at the same time: in all, from one address, and to one upload address."""

    def __init__(self, most: int, most_of_address: int, most_of_upload: int = AT_ONCE_OF_UPLOAD) -> None:
        self._most = most
        self._most_of_address = most_of_address
        self._most_of_upload = most_of_upload
        self._of: Counter[str] = Counter()
        self._of_upload: Counter[str] = Counter()

    @contextmanager
    def taken(self, viewer: str, upload_id: str) -> Iterator[None]:
        """Take a seat. Errors: Refused (503) when none is free."""
        if (
            self._of.total() >= self._most
            or self._of[viewer] >= self._most_of_address
            or self._of_upload[upload_id] >= self._most_of_upload
        ):
            raise Refused(503, "TooBusy", "Too many files are being sent. Please try again.", retry_after=5)
        counted = ((self._of, viewer), (self._of_upload, upload_id))
        for counter, key in counted:
            counter[key] += 1
        try:
            yield
        finally:
            for counter, key in counted:
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]


class Receiving:
    """One upload, from the first byte to the answer."""

    def __init__(
        self, runtime: Runtime, files: FileStore, gate: Gate | None, request: Request, upload_id: str, viewer: str
    ) -> None:
        self._runtime = runtime
        self._files = files
        self._gate = gate
        self._request = request
        self._upload_id = upload_id
        self._viewer = viewer
        self._uncounted = 0
        self._most = MAX_VIDEO
        self._left = 0
        self._waited = 0.0

    async def run(self) -> Reply:
        """Receive the file, store and record it. Errors: Refused."""
        if (self._request.announced or 0) > MAX_VIDEO:
            raise _too_large(MAX_VIDEO)
        self._left = await self._begin()
        self._check_size(self._request.announced or 0)
        await self._count(self._request.announced or 0)
        async with self._files.receive() as incoming:
            content_type = await self._receive(incoming)
            add_log_fields(self._request.scope, content_type=content_type, bytes=incoming.size)
            file_id = FileId.new()
            try:
                await self._files.keep(incoming, file_id, content_type)
            except VendorError as error:
                raise _unavailable() from error
        await self._finish(file_id, content_type, incoming.size)
        return Reply(msgspec.json.encode(Uploaded(str(file_id))))

    async def _begin(self) -> int:
        try:
            opened = await self._runtime.run_mutation(
                uploads.begin_upload, OneUpload(upload_id=self._upload_id), SYSTEM
            )  # fmt: skip
        except StorageLimitReached as error:
            raise _full() from error
        if opened is None:
            raise _closed()
        left: int = opened.storage_left
        return left

    async def _finish(self, file_id: FileId, content_type: str, size: int) -> None:
        uploaded = UploadedFile(upload_id=self._upload_id, file_id=file_id, content_type=content_type, size=size)
        # After any other failure the row may have been committed: then the file stays, or the nightly clean-up of files
        # without a row removes it.
        try:
            recorded = await self._runtime.run_mutation(uploads.finish_upload, uploaded, SYSTEM)
        except StorageLimitReached as error:
            await self._remove(file_id)
            raise _full() from error
        if not recorded:
            await self._remove(file_id)
            raise _closed()

    async def _remove(self, file_id: FileId) -> None:
        try:
            await self._files.delete([file_id])
        except VendorError as error:
            log.warning("an upload was not removed", code=error.code)

    async def _receive(self, incoming: IncomingFile) -> str:
        """Write the body to `incoming`, and return its media type."""
        content_type: str | None = None
        waiting, more = bytearray(), True
        while more:
            part, more = await self._part(incoming.size + len(waiting))
            waiting += part
            self._check_size(incoming.size + len(waiting))
            if content_type is None and (not more or len(waiting) >= HEAD):
                content_type = self._recognized(bytes(waiting[:HEAD]))
                self._check_size(max(self._request.announced or 0, len(waiting)))
            if content_type is not None and (not more or len(waiting) >= PIECE):
                try:
                    await incoming.write(bytes(waiting))
                except VendorError as error:
                    raise _unavailable() from error
                waiting.clear()
        assert content_type is not None  # noqa: S101 - for the type checker: the last part has decided it
        return content_type

    async def _part(self, received: int) -> tuple[bytes, bool]:
        """Return the next part of the body, if it comes in time."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        allowed = min(LONGEST, PATIENCE + received / SLOWEST) - self._waited
        try:
            async with asyncio.timeout(max(0.0, allowed)):
                part, more = await self._request.part()
        except TimeoutError:
            raise Refused(408, "RequestTimeout", "The file arrives too slowly.") from None
        self._waited += loop.time() - started
        if self._request.announced is None:
            self._uncounted += len(part)
            if self._uncounted >= COUNTED or not more:
                counted, self._uncounted = self._uncounted, 0
                await self._count(counted)
        return part, more

    async def _count(self, size: int) -> None:
        if self._gate is not None and size:
            await self._gate.charge("upload_bytes_viewer", self._viewer, size)

    def _check_size(self, size: int) -> None:
        if size > self._most:
            raise _too_large(self._most)
        if size > self._left:
            raise _full()

    def _recognized(self, head: bytes) -> str:
        content_type = media_type(head)
        if content_type is None:
            what = "The file is empty." if not head else "The file is no photo or video of a supported type."
            raise Refused(
                415,
                "UnsupportedMediaType",
                f"{what} Send the bytes of a JPEG, PNG, WebP, GIF, HEIC, AVIF, MP4, MOV or WebM file as the body.",
            )
        if not all(each.is_bounded for each in all_dimensions(head)):
            raise Refused(413, "PayloadTooLarge", "The photo has too many pixels.")
        self._most = largest(content_type)
        return content_type


def _closed() -> Refused:
    return Refused(403, "Forbidden", "This upload address is not valid, has expired, or was used. Ask for a new one.")


def _too_large(most: int) -> Refused:
    refused = too_large()
    return Refused(refused.status, refused.code, f"The file is too large: at most {most // 2**20} MiB.")


def _full() -> Refused:
    return Refused(413, "StorageLimitReached", StorageLimitReached.default_message)


def _unavailable() -> Refused:
    return Refused(503, "StorageUnavailable", "The file cannot be stored right now. Please try again.", retry_after=5)
