"""Small photos and videos, their uploads as an app makes them, and rows of many."""

from __future__ import annotations

import struct
import zlib
from typing import Any
from urllib.parse import urlsplit

import httpx2

from rehearsal.world import Person, World


def png(width: int = 2, height: int = 2) -> bytes:
    """Return a PNG that announces these dimensions; its image data is of 2 × 2 pixels."""
    pixels = zlib.compress(b"\0\xff\0\0\0\xff\0" * 2)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def jpeg(width: int = 2, height: int = 2, *, size: int = 0) -> bytes:
    """Return the headers of a JPEG of these dimensions, filled up to `size` bytes."""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    whole = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + frame
    return whole + b"\xff\xd9".rjust(max(2, size - len(whole)), b"\0")


def gif(width: int = 2, height: int = 2) -> bytes:
    """Return the beginning of a GIF of these dimensions."""
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def webp(width: int = 2, height: int = 2) -> bytes:
    """Return the beginning of an extended WebP of these dimensions."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + size


def heif(major: bytes, *brands: bytes, width: int = 2, height: int = 2) -> bytes:
    """Return the beginning of a HEIF or AVIF file of these brands and dimensions."""
    ispe = struct.pack(">I4sIII", 20, b"ispe", 0, width, height)
    return ftyp(major, *brands) + struct.pack(">I4s", 8 + len(ispe), b"meta") + ispe


def ftyp(major: bytes, *brands: bytes) -> bytes:
    """Return the box that begins an MP4, MOV, HEIF or AVIF file."""
    return struct.pack(">I4s4sI", 16 + 4 * len(brands), b"ftyp", major, 512) + b"".join(brands)


def mp4(size: int = 64) -> bytes:
    """Return what begins as an MP4 file, of that many bytes."""
    return ftyp(b"isom", b"isom", b"mp42").ljust(size, b"\0")


def webm(kind: bytes = b"webm") -> bytes:
    """Return the beginning of a Matroska file with that document type."""
    return b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82" + bytes([0x80 + len(kind)]) + kind + bytes(16)


async def address(person: Person) -> str:
    """Return the path of a new upload address of a person."""
    url = await person.action("diaryMedia:generateUploadUrl")
    return str(urlsplit(url).path)


async def send(
    world: World, path: str, content: Any, content_type: str = "image/jpeg", **headers: str
) -> httpx2.Response:
    """POST a file to an upload address, as the apps do."""
    return await world.http.post(path, content=content, headers={"Content-Type": content_type, **headers})


async def uploaded(world: World, person: Person, content: Any = None) -> str:
    """Upload a file; return its storage id."""
    answer = await send(world, await address(person), jpeg() if content is None else content)
    return str(answer.raise_for_status().json()["storageId"])


async def attach(person: Person, diary_id: str, storage_id: str) -> str:
    """Attach an uploaded file to an entry; return the id of the photo or video."""
    media = await person.mutation(
        "diaryMedia:createDiaryMedia",
        diaryId=diary_id,
        storageId=storage_id,
        mediaType="photo",
        contentType="image/jpeg",
        fileSize=1,
    )
    return str(media["_id"])


async def attached(world: World, person: Person, diary_id: str, content: Any = None) -> str:
    """Upload a file and attach it; return the id of the photo or video."""
    return await attach(person, diary_id, await uploaded(world, person, content))


async def stored(world: World) -> set[str]:
    """Return the keys of all stored files, unfinished ones included."""
    return {file.key async for page in world.app.files.list() for file in page}


# $1 Clerk id, $2 count, $3 now: media of entries of 25 each.
FILL = """
with who as (select id from users where clerk_id = $1),
     numbered as materialized (
         select who.id as owner, n, substr(md5('media' || $1 || n), 1, 26) as name,
                substr(md5('entry' || $1 || n / 25), 1, 26) as entry,
                $3::timestamptz - n * interval '1 minute' as moment
         from who, generate_series(0, $2::int - 1) n),
     written as (insert into diaries (id, user_id, content, date, created_at, updated_at)
                 select 'diary_' || entry, owner, 'An entry', min(moment), min(moment), min(moment)
                 from numbered group by entry, owner),
     kept as (insert into files (id, user_id, content_type, size, private, created_at)
              select 'file_' || name, owner, 'image/jpeg', 1000, true, moment from numbered),
     sent as (insert into diary_uploads (id, user_id, file_id, created_at, expires_at, uploaded_at, attached_at)
              select 'upload_' || name, owner, 'file_' || name, moment, moment, moment, moment from numbered)
insert into diary_media (id, user_id, diary_id, file_id, created_at)
select 'media_' || name, owner, 'diary_' || entry, 'file_' || name, moment from numbered"""


async def fill(world: World, person: str, count: int) -> str:
    """Insert that many photos of a person, 25 in an entry; return the id of one of these entries."""
    async with world.db.pool.acquire() as connection:
        await connection.execute(FILL, f"user_{person}", count, world.clock.now(), timeout=60)
        await connection.execute("analyze")
    return str(
        await world.db.pool.fetchval(
            """select m.diary_id from diary_media m join users u on u.id = m.user_id
               where u.clerk_id = $1 order by m.diary_id limit 1""",
            f"user_{person}",
        )
    )
