from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel.errors import VendorError
from daysong.kernel.ids import FileId, UserId
from daysong.transport.conftest import NOW, App, MakeApp
from daysong.transport.http import media
from daysong.transport.http.ranges import OutOfRange, Span, requested_span
from daysong.vendors.local_files import Part
from daysong.vendors.storage import FileStore
from rehearsal.world import Person, World

SOUND = bytes(range(256)) * 4000  # more than one chunk of the store


@pytest.fixture
async def app(make_app: MakeApp) -> App:
    return await make_app()


async def store_file(app: App, files: FileStore, content: bytes = SOUND, content_type: str = "audio/mpeg") -> str:
    """Store a file of Alice's; return its path."""
    file_id, alice = FileId.new(), UserId.new(NOW)
    pool = app.runtime.database.pool
    await pool.execute(
        "insert into users (id, clerk_id, created_at, updated_at) values ($1, $1, $2, $2)", alice, NOW
    )  # fmt: skip
    await pool.execute(
        "insert into files (id, user_id, content_type, size, created_at) values ($1, $2, $3, $4, $5)",
        file_id, alice, content_type, len(content), NOW,
    )  # fmt: skip
    await files.put(file_id, content, content_type)
    return f"/media/{file_id}"


@pytest.mark.anyio
async def test_a_song_is_served_completely(app: App, files: FileStore) -> None:
    address = await store_file(app, files)
    answer = await app.client.get(address)
    assert (answer.status_code, answer.content) == (200, SOUND)
    assert answer.headers["content-type"] == "audio/mpeg"
    assert answer.headers["content-length"] == str(len(SOUND))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["etag"] == f'"{address.rpartition("/")[2]}"'
    assert "content-security-policy" not in answer.headers


@pytest.mark.anyio
async def test_head_has_the_same_headers_without_the_body(app: App, files: FileStore) -> None:
    address = await store_file(app, files)
    answer = await app.client.head(address, headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(SOUND))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=1023990-", 1_023_990, 1_024_000),
        ("bytes=-10", 1_023_990, 1_024_000),
        ("bytes=-99999999", 0, 1_024_000),
        ("bytes=1023999-99999999", 1_023_999, 1_024_000),
        ("Bytes= 5-6 ", 5, 7),
    ],
)
async def test_a_range_request_gets_that_part(app: App, files: FileStore, header: str, start: int, end: int) -> None:
    answer = await app.client.get(await store_file(app, files), headers={"Range": header})
    assert (answer.status_code, answer.content) == (206, SOUND[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(SOUND)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "header", ["bytes=1024000-", "bytes=-0", "bytes=99999999-999999999", "bytes=" + "9" * 5000 + "-"]
)
async def test_a_range_beyond_the_end_is_refused(app: App, files: FileStore, header: str) -> None:
    answer = await app.client.get(await store_file(app, files), headers={"Range": header})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(SOUND)}"


@pytest.mark.anyio
@pytest.mark.parametrize("header", ["bytes=5-4", "bytes=-", "bytes=a-b", "bytes=0-1,5-6", "lines=0-1", "bytes=٣-٤", ""])
async def test_anything_but_a_single_range_gets_the_whole_file(app: App, files: FileStore, header: str) -> None:
    answer = await app.client.get(await store_file(app, files), headers={b"Range": header.encode()})
    assert (answer.status_code, answer.content) == (200, SOUND)


@pytest.mark.anyio
async def test_if_range_with_another_etag_gets_the_whole_file(app: App, files: FileStore) -> None:
    address = await store_file(app, files)
    etag = (await app.client.head(address)).headers["etag"]
    same = await app.client.get(address, headers={"Range": "bytes=0-1", "If-Range": etag})
    assert same.status_code == 206
    for other in ('"another"', f"W/{etag}", "Sat, 14 Mar 2026 09:26:53 GMT"):
        assert (await app.client.get(address, headers={"Range": "bytes=0-1", "If-Range": other})).status_code == 200


@pytest.mark.anyio
async def test_if_none_match_gets_304(app: App, files: FileStore) -> None:
    address = await store_file(app, files)
    etag = (await app.client.head(address)).headers["etag"]
    for condition in (etag, f'"x", W/{etag}', "*"):
        answer = await app.client.get(address, headers={"If-None-Match": condition})
        assert (answer.status_code, answer.content) == (304, b"")
    assert (await app.client.get(address, headers={"If-None-Match": '"x"'})).status_code == 200


@pytest.mark.anyio
async def test_an_svg_cannot_run_scripts(app: App, files: FileStore) -> None:
    answer = await app.client.get(await store_file(app, files, b"<svg/>", "image/svg+xml"))
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["content-disposition"] == "inline"


@pytest.mark.anyio
async def test_other_types_are_downloads(app: App, files: FileStore) -> None:
    answer = await app.client.get(await store_file(app, files, b"<script>", "text/html"))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"] == "attachment"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "file_id", ["file_unknown", "x" * 500, "a%00b", "..%2F..%2Fetc%2Fpasswd", "%7Bfile_id%7D", "file_unknown.x"]
)
async def test_an_unknown_file_is_a_404(app: App, file_id: str) -> None:
    answer = await app.client.get(f"/media/{file_id}")
    assert answer.status_code == 404


@pytest.mark.anyio
async def test_a_file_missing_in_the_store_is_a_404(app: App, files: FileStore) -> None:
    address = await store_file(app, files)
    await files.delete([address.rpartition("/")[2]])
    answer = await app.client.get(address)
    assert (answer.status_code, answer.text) == (404, "Not Found")


class Broken(FileStore):
    """A store that is unavailable."""

    def __init__(self) -> None:
        pass

    def at_once(self, key: str, start: int, end: int) -> Part | bytes | None:  # noqa: ARG002
        return None

    async def parts(self, key: str, start: int, end: int) -> AsyncGenerator[Part | bytes, None]:  # noqa: ARG002
        if key:
            raise VendorError("storage", "away", permanent=False)
        yield b""


@pytest.mark.anyio
async def test_an_unavailable_store_is_a_503(make_app: MakeApp, files: FileStore) -> None:
    app = await make_app(files=Broken())
    answer = await app.client.get(await store_file(app, files))
    assert (answer.status_code, answer.json()["code"]) == (503, "StorageUnavailable")


@pytest.mark.anyio
async def test_further_parts_of_a_file_are_served_without_a_look_up_for_two_seconds(
    app: App, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once a look-up has found that it is gone; the first part and the whole are always looked up."""
    address, pool = await store_file(app, files), app.runtime.database.pool

    async def status(part: str | None) -> int:
        return (await app.client.get(address, headers={"Range": f"bytes={part}"} if part else {})).status_code

    monkeypatch.setattr(media, "CONTINUES_FOR", 3600.0)
    assert [await status(part) for part in ("0-1", "2-9", "-5")] == [206] * 3
    await pool.execute("update users set deleted_at = now()")
    assert [await status(part) for part in ("2-9", "-5", "0-1", "2-9")] == [206, 206, 404, 404]
    await pool.execute("update users set deleted_at = null")
    assert [await status(part) for part in ("0-1", None)] == [206, 200]
    await pool.execute("update users set deleted_at = now()")
    assert await status("2-9") == 404  # the whole was looked up last: nothing continues
    await pool.execute("update users set deleted_at = null")
    monkeypatch.setattr(media, "CONTINUES_FOR", 0.0)
    assert await status("0-1") == 206
    await pool.execute("update users set deleted_at = now()")
    assert await status("2-9") == 404


@pytest.mark.anyio
async def test_further_parts_of_a_shared_song_are_looked_up(world: World, alice: Person) -> None:
    """A revoked share is closed at once, also to a player that has just fetched a part."""
    track = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=track["_id"])
    shared, parts = f"/media/shared/{link['shareId']}/audio", ("bytes=0-1", "bytes=2-3")
    assert {(await world.http.get(shared, headers={"Range": part})).status_code for part in parts} == {206}
    [row] = await alice.query("sharing:listSharedMusic")
    await alice.mutation("sharing:revokeShare", sharedMusicId=row["_id"])
    assert {(await world.http.get(shared, headers={"Range": part})).status_code for part in parts} == {404}


@pytest.mark.anyio
async def test_a_file_cannot_be_posted(app: App, files: FileStore) -> None:
    assert (await app.client.post(await store_file(app, files))).status_code == 405


sizes = st.integers(min_value=0, max_value=2**40)


@given(sizes, st.integers(min_value=0, max_value=2**41), st.integers(min_value=0, max_value=2**41))
def test_a_range_is_limited_to_the_file(size: int, first: int, last: int) -> None:
    header = f"bytes={first}-{last}"
    if last < first:
        assert requested_span(header, size) is None
    elif first >= size:
        with pytest.raises(OutOfRange):
            requested_span(header, size)
    else:
        assert requested_span(header, size) == Span(first, min(last + 1, size))


@given(sizes, st.integers(min_value=0, max_value=2**41))
def test_a_suffix_is_the_end_of_the_file(size: int, length: int) -> None:
    if length == 0 or size == 0:
        with pytest.raises(OutOfRange):
            requested_span(f"bytes=-{length}", size)
    else:
        assert requested_span(f"bytes=-{length}", size) == Span(max(0, size - length), size)


@given(st.text(), sizes)
def test_any_header_gives_a_part_within_the_file_or_none(header: str, size: int) -> None:
    for text in (header, f"bytes={header}"):
        try:
            span = requested_span(text, size)
        except OutOfRange:
            continue
        assert span is None or 0 <= span.start < span.end <= size


@pytest.mark.anyio
async def test_f11_nothing_can_be_uploaded_without_a_signed_address(world: World, alice: Person) -> None:
    """Not by being signed in."""
    for path in ("/api/storage/upload", "/media/file_00000000000000000000000000", "/uploads", "/uploads/x"):
        answer = await world.http.post(path, content=b"mine", headers=alice.headers)
        assert answer.status_code in {404, 405}
    assert await world.db.pool.fetchval("select count(*) from files") == 0
