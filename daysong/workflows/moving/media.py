"""Photos and videos: rows of `diaryMedia` with the stored files they name.

A file is stored under its old id before the transaction of the rows that name it commits. When that is rolled back, the
file is deleted again; after a kill, the run that goes on stores it again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from daysong.features.diary_media.file_types import HEAD, all_dimensions, is_photo, media_type
from daysong.features.diary_media.rules import MAX_PER_ENTRY, MAX_PHOTO, MAX_VIDEO
from daysong.workflows.moving import documents as read
from daysong.workflows.moving.archive import CHUNK, Archive
from daysong.workflows.moving.batches import Batch, Entry

DIGEST = 32


class ArchivedFile(NamedTuple):
    """A member of the archive that is an acceptable photo or video."""

    name: str
    content_type: str
    size: int


async def stage_files(batch: Batch) -> None:
    """Note the checksum of each stored file."""
    rows = [
        (entry.id, digest, batch.now)
        for entry in batch.entries
        if (digest := _digest(read.text(entry.document, "sha256", 100)))
    ]
    await batch.execute(
        """insert into import_files (old_id, sha256, staged_at)
           select * from unnest($1::text[], $2::bytea[], $3::timestamptz[]) on conflict (old_id) do nothing""",
        rows,
    )


def _digest(text: str | None) -> bytes | None:
    """Return a SHA-256 digest that is written in hexadecimal or base64."""
    if text is None:
        return None
    for decode in (bytes.fromhex, base64.b64decode):
        try:
            found = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(found) == DIGEST:
            return found
    return None


async def import_media(batch: Batch) -> None:
    """Import photos and videos of entries that are there; type and size are those of the file."""
    entries = await batch.owned()
    diaries = await batch.present("diaries", [entry.document.get("diaryId") for entry in entries])
    rows = await batch.db.fetch("select old_id, sha256 from import_files where old_id = any($1)", [
        str(entry.document.get("storageId")) for entry in entries
    ])  # fmt: skip
    digests = {row["old_id"]: row["sha256"] for row in rows}
    counts = await batch.db.fetch(
        "select diary_id, count(*) from diary_media where diary_id = any($1) group by 1", list(diaries)
    )
    held = {row["diary_id"]: row["count"] for row in counts}
    known = await batch.present("diary_media", [entry.id for entry in entries])
    for entry in entries:
        diary_id = str(entry.document.get("diaryId"))
        if entry.id in known:
            batch.tally.known += 1
        elif diaries.get(diary_id) != entry.user_id:
            batch.tally.skip(entry.line, "its entry is not there")
        elif held.get(diary_id, 0) >= MAX_PER_ENTRY:
            batch.tally.skip(entry.line, f"more than {MAX_PER_ENTRY} in one entry")
        elif await _import_file(batch, entry, diary_id, digests):
            held[diary_id] = held.get(diary_id, 0) + 1


async def _import_file(batch: Batch, entry: Entry, diary_id: str, digests: dict[str, bytes]) -> bool:
    """Store the file and insert its rows; return whether it was imported."""
    storage_id = str(entry.document.get("storageId"))
    name = batch.archive.stored.get(storage_id)
    if name is None:
        batch.tally.skip(entry.line, "its file is not in the archive")
        return False
    file = await asyncio.to_thread(inspect, batch.archive, name, digests.get(storage_id))
    if isinstance(file, str):
        batch.tally.skip(entry.line, file)
        return False
    at: datetime = read.made(entry.document, batch.now)
    # Two documents may name one file: it belongs to the first.
    inserted = await batch.db.fetchval(
        """insert into files (id, user_id, content_type, size, private, created_at) values ($1, $2, $3, $4, true, $5)
           on conflict (id) do nothing returning id""",
        storage_id, entry.user_id, file.content_type, file.size, at,
    )  # fmt: skip
    if inserted is None:
        batch.tally.skip(entry.line, "its file belongs to another document")
        return False
    await batch.db.execute(
        "insert into diary_media (id, user_id, diary_id, file_id, created_at) values ($1, $2, $3, $4, $5)",
        entry.id, entry.user_id, diary_id, storage_id, at,
    )  # fmt: skip
    await store(batch, file, storage_id)
    batch.tally.imported += 1
    return True


def inspect(archive: Archive, name: str, digest: bytes | None) -> ArchivedFile | str:
    """Return the file, or why it is not imported. Its content is read once, in pieces."""
    if archive.size(name) > MAX_VIDEO:
        return "its file is too large"
    summed, size, head = sha256(), 0, b""
    with archive.open(name) as file:
        while chunk := file.read(CHUNK):
            summed.update(chunk)
            size += len(chunk)
            if len(head) < HEAD:
                head += chunk[: HEAD - len(head)]
    if digest is not None and summed.digest() != digest:
        return "its file is damaged: the checksum differs"
    kind = media_type(head)
    if kind is None or size == 0:
        return "its file is no photo or video of a known type"
    if is_photo(kind) and (size > MAX_PHOTO or not all(one.is_bounded for one in all_dimensions(head))):
        return "its file is too large"
    return ArchivedFile(name, kind, size)


async def store(batch: Batch, file: ArchivedFile, key: str) -> None:
    """Copy a file of the archive to the storage, piece by piece; not when nothing is to be written."""
    if batch.files is None:
        return
    batch.stored.append(key)
    async with batch.files.receive() as incoming:
        with batch.archive.open(file.name) as member:
            while chunk := await asyncio.to_thread(member.read, CHUNK):
                await incoming.write(chunk)
        await batch.files.keep(incoming, key, file.content_type)
