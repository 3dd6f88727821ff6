"""Stored files come back whole or in part, and are never half there."""

from __future__ import annotations

import asyncio
import mmap
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, cast

import pytest

from daysong.kernel.errors import VendorError
from daysong.vendors import local_files
from daysong.vendors.local_files import Part
from daysong.vendors.storage import CHUNK, FileMissing, FileStore, IncomingFile

pytestmark = pytest.mark.anyio

SONG = bytes(range(256)) * 3000


@pytest.fixture(params=["folder", "url", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """The same store in a folder, at a file URL, and at a URL of another kind."""
    places = {"folder": str(tmp_path / "new" / "files"), "url": f"file://{tmp_path}/files", "memory": "memory:///"}
    return FileStore(places[request.param])


async def contents(store: FileStore, key: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([chunk async for chunk in store.read(key, start, end)])


async def test_a_file_comes_back_as_it_was_put(store: FileStore) -> None:
    """With its size, in plain bytes."""
    await store.put("file_1", SONG, "audio/mpeg")
    assert await store.size("file_1") == len(SONG)
    chunks = [chunk async for chunk in store.read("file_1")]
    assert b"".join(chunks) == SONG
    assert all(isinstance(chunk, bytes) for chunk in chunks)


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 1), (10, 300_000), (len(SONG) - 1, len(SONG)), (5, 5), (9, 3), (len(SONG) - 2, len(SONG) + 50), (700, None)],
)
async def test_a_range_is_what_a_slice_would_be(store: FileStore, start: int, end: int | None) -> None:
    """From start up to but without end, as far as there is anything."""
    await store.put("file_1", SONG, "audio/mpeg")
    assert await contents(store, "file_1", start, end) == SONG[start:end]


async def test_all_files_are_listed_page_by_page(store: FileStore) -> None:
    """Each once, with the time it was stored at; and many are deleted at once, those that are not there too."""
    keys = {f"file_{number}" for number in range(1100)}
    for key in keys:
        await store.put(key, b"la", "audio/mpeg")
    before = datetime.now(UTC)
    found = [file async for page in store.list() for file in page]
    assert {file.key for file in found} == keys
    assert len(found) == len(keys)
    assert all(before - timedelta(minutes=5) < file.stored_at <= before for file in found)
    await store.delete([*keys, "file_nothing"])
    assert [page async for page in store.list() if page] == []


async def test_a_range_past_the_end_is_empty(store: FileStore) -> None:
    """Like a slice."""
    await store.put("file_1", b"abc", "audio/mpeg")
    assert await contents(store, "file_1", 3, 9) == b""
    assert await contents(store, "file_1", 99, 100) == b""


async def test_a_file_is_replaced_and_removed(store: FileStore) -> None:
    """Removing what is not there is no error."""
    await store.put("file_1", b"one", "image/png")
    await store.put("file_1", b"two", "image/png")
    assert await contents(store, "file_1") == b"two"
    await store.delete(["file_0", "file_1", "file_1"])
    await store.delete([])
    with pytest.raises(FileMissing, match="file_1"):
        await store.size("file_1")


async def test_a_missing_file_is_named(store: FileStore) -> None:
    """By its key, for size and for every range."""
    for attempt in (store.size("file_9"), contents(store, "file_9"), contents(store, "file_9", 0, 5)):
        with pytest.raises(FileMissing, match="file_9"):
            await attempt


async def test_an_empty_file_is_a_file(store: FileStore) -> None:
    """Of no bytes."""
    await store.put("file_1", b"", "image/png")
    assert await store.size("file_1") == 0
    assert await contents(store, "file_1") == b""


@pytest.mark.parametrize("key", ["../outside", "a/../../outside"])
async def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    """Whatever it looks like."""
    store = FileStore(tmp_path / "files")
    with pytest.raises(ValueError, match="path"):
        await store.put(key, b"x", "image/png")
    assert not (tmp_path / "outside").exists()


async def test_a_large_file_is_read_in_chunks(tmp_path: Path) -> None:
    """So that a download does not fill the memory."""
    store = FileStore(tmp_path)
    await store.put("file_1", SONG, "audio/mpeg")
    assert [len(chunk) for chunk in [chunk async for chunk in store.read("file_1")]] == [
        CHUNK,
        CHUNK,
        len(SONG) - 2 * CHUNK,
    ]


async def test_a_file_is_received_in_pieces(store: FileStore) -> None:
    """It is stored when it is kept, not before."""
    async with store.receive() as incoming:
        for start in range(0, len(SONG), 100_000):
            await incoming.write(SONG[start : start + 100_000])
        assert incoming.size == len(SONG)
        with pytest.raises(FileMissing):
            await store.size("file_1")
        await store.keep(incoming, "file_1", "video/mp4")
    assert await contents(store, "file_1") == SONG
    assert [file.key async for page in store.list() for file in page] == ["file_1"]


async def test_a_file_that_is_not_kept_leaves_nothing(store: FileStore) -> None:
    """Also when its sender fails in the middle."""

    async def fail() -> None:
        async with store.receive() as incoming:
            await incoming.write(SONG)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert [file.key async for page in store.list() for file in page] == []


async def test_a_folder_keeps_whole_files_alone(tmp_path: Path) -> None:
    """No temporary file is left beside the stored one."""
    store = FileStore(tmp_path)
    await store.put("file_1", SONG, "audio/mpeg")
    assert os.listdir(tmp_path) == ["file_1"]  # noqa: PTH208


async def test_a_store_that_fails_is_a_vendor_that_failed(tmp_path: Path) -> None:
    """Worth another try."""
    store = FileStore(tmp_path)
    (tmp_path / "taken").write_bytes(b"a file where a folder should be")
    with pytest.raises(VendorError) as caught:
        await store.put("taken/file_1", b"x", "image/png")
    assert not caught.value.permanent


async def test_a_short_write_is_continued() -> None:
    """An unbuffered file may write less than it was given; the rest follows."""
    written = bytearray()

    class Short:
        def write(self, content: memoryview) -> int:
            written.extend(content[:3])
            return min(3, len(content))

        def close(self) -> None:
            pass

    incoming = IncomingFile(cast("IO[bytes]", Short()))
    await incoming.write(b"0123456789")
    await incoming.close()
    assert (bytes(written), incoming.size) == (b"0123456789", 10)


async def test_what_is_not_cached_is_read_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a reader has gone, the file is closed only once the thread has read."""
    (tmp_path / "song").write_bytes(bytes(range(250)) * 4)
    monkeypatch.setattr(local_files, "NO_WAIT", None)
    read = [chunk async for chunk in FileStore(tmp_path).read("song", 100, 1100)]
    assert b"".join(read) == (bytes(range(250)) * 4)[100:]
    gone = asyncio.ensure_future(anext(aiter(FileStore(tmp_path).read("song", 0, 1000))))
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_a_file_is_kept_open_for_a_short_time_and_not_after_it_was_replaced_or_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next part need not open it; at most 64 files."""
    store, opened = FileStore(tmp_path), []

    def opens(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened.append(path)
        return open_file(path, flags, mode, dir_fd=dir_fd)

    open_file = os.open
    monkeypatch.setattr(os, "open", opens)
    await store.put("song", SONG, "audio/mpeg")
    for start in (0, 1, 2):
        assert await contents(store, "song", start, 300_000) == SONG[start:300_000]
    assert len(opened) == 1
    await store.put("song", SONG[::-1], "audio/mpeg")
    assert await contents(store, "song", 0, 300_000) == SONG[::-1][:300_000]
    await store.delete(["song"])
    with pytest.raises(FileMissing):
        store.at_once("song", 0, 1)
    monkeypatch.setattr(local_files, "MOST_OPEN", 0)
    await store.put("song", SONG, "audio/mpeg")
    opened.clear()
    assert [store.at_once("song", 0, 1) for _ in range(2)] == [SONG[:1]] * 2
    assert len(opened) == 2
    monkeypatch.setattr(local_files, "MOST_OPEN", 64)
    monkeypatch.setattr(local_files, "STAYS_OPEN", 0.0)
    store.at_once("song", 0, 1)
    await asyncio.sleep(0.001)
    opened.clear()
    store.at_once("song", 0, 1)
    assert len(opened) == 1


async def test_what_the_page_cache_had_is_not_relied_on_for_longer_than_a_file_stays_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads slowly must not make the server wait for the disk."""
    (tmp_path / "song").write_bytes(SONG)
    asked: list[int] = []

    def count(_: int, start: int, size: int) -> int:
        asked.append(start)
        return -(-size // mmap.PAGESIZE)

    monkeypatch.setattr(local_files, "_cached_pages", lambda: count)
    file = local_files.LocalFile(str(tmp_path / "song"))
    assert file.at_once(0, CHUNK) == Part(file, 0, CHUNK)
    assert asked == [0]
    monkeypatch.setattr(local_files, "STAYS_OPEN", 0.0)
    file = local_files.LocalFile(str(tmp_path / "song"))
    assert [file.at_once(0, CHUNK), file.at_once(CHUNK, 2 * CHUNK)] == [
        Part(file, 0, CHUNK),
        Part(file, CHUNK, 2 * CHUNK),
    ]
    assert asked[1:] == [0, 0, CHUNK]
