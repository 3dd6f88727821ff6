"""Photos and videos of an entry: attached, listed, fetched, deleted, and never shown to others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.diary_media import store
from daysong.features.diary_media.addresses import addresses_hold_until, media_address, photo_address_for_vendor
from daysong.features.diary_media.rules import MAX_PER_ENTRY
from daysong.kernel.conftest import settings
from rehearsal import library, photos
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


@pytest.fixture
async def entry(alice: Person) -> str:
    """Return an entry of Alice's."""
    return str((await alice.mutation("diaries:createDiary", content="A day at the lake"))["_id"])


def path_of(url: str) -> str:
    """Return path and query of an address."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


async def media(person: Person, diary_id: str) -> list[dict[str, Any]]:
    """Return the photos and videos of an entry."""
    found: list[dict[str, Any]] = await person.query("diaryMedia:getDiaryMedia", diaryId=diary_id)
    return found


async def test_a_photo_is_uploaded_attached_listed_and_fetched(world: World, alice: Person, entry: str) -> None:
    """As the apps do it; type and size are the file's, whatever the arguments say."""
    content = photos.png() + b"and more"
    storage_id = await photos.uploaded(world, alice, content)
    created = await alice.mutation(
        "diaryMedia:createDiaryMedia",
        diaryId=entry, storageId=storage_id, mediaType="video", contentType="text/html", fileSize=5,
    )  # fmt: skip
    [listed] = await media(alice, entry)
    user_id = (await alice.mutation("users:ensureCurrentUser"))["userId"]
    url = listed.pop("url")
    assert listed == {
        "_id": created["_id"],
        "diaryId": entry,
        "userId": user_id,
        "storageId": storage_id,
        "mediaType": "photo",
        "contentType": "image/png",
        "fileSize": len(content),
    }
    answer = await world.http.get(path_of(url))
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=3600"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["accept-ranges"] == "bytes"
    part = await world.http.get(path_of(url), headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, b"PNG")
    assert part.headers["content-range"] == f"bytes 1-3/{len(content)}"


async def test_media_are_listed_oldest_first(world: World, alice: Person, entry: str) -> None:
    """Videos among photos."""
    attached = []
    for content in (photos.jpeg(), photos.png(), photos.mp4()):
        attached.append(await photos.attached(world, alice, entry, content))
        world.clock.forward(timedelta(milliseconds=1))
    listed = await media(alice, entry)
    assert [one["_id"] for one in listed] == attached
    assert [one["mediaType"] for one in listed] == ["photo", "photo", "video"]
    assert listed[2]["contentType"] == "video/mp4"


async def test_f11_an_address_of_a_file_expires_and_cannot_be_forged(world: World, alice: Person, entry: str) -> None:
    """It is good for 24 hours, and for that file alone; the file's id opens nothing."""
    await photos.attached(world, alice, entry)
    await photos.attached(world, alice, entry)
    first, second = await media(alice, entry)
    path = path_of(first["url"])
    world.clock.forward(timedelta(hours=24))
    assert (await world.http.get(path)).status_code == 200
    world.clock.forward(timedelta(hours=1))
    assert (await world.http.get(path)).status_code == 403
    path = path_of((await media(alice, entry))[0]["url"])
    forged = [
        path.replace("expires=", "expires=9"),
        path.replace(first["storageId"], second["storageId"]),
        path[:-1] + ("A" if path[-1] != "A" else "B"),
        path.replace("expires=", "expires=%C3%A9"),
        path.replace("signature=", "signature=%F0%9F%8E%B5"),
        path.partition("&")[0],
        path.partition("?")[0],
    ]
    for each in forged:
        answer = await world.http.get(each)
        assert (answer.status_code, answer.headers["cache-control"]) == (403, "no-store"), each
    assert (await world.http.get(f"/media/{first['storageId']}")).status_code == 404


async def test_the_address_of_a_photo_stays_the_same_within_an_hour(world: World, alice: Person, entry: str) -> None:
    """A query that is rerun does not make an app fetch the photo again."""
    await photos.attached(world, alice, entry)
    [before] = await media(alice, entry)
    world.clock.forward(timedelta(minutes=59))
    assert await media(alice, entry) == [before]
    world.clock.forward(timedelta(minutes=1))
    assert (await media(alice, entry))[0]["url"] != before["url"]


async def test_f11_a_file_is_attached_by_its_owner_and_once(
    world: World, alice: Person, bob: Person, entry: str
) -> None:
    """Another's storage id looks like one that does not exist, as does one that an entry has taken."""
    bobs = (await bob.mutation("diaries:createDiary", content="Mine"))["_id"]
    storage_id = await photos.uploaded(world, alice)
    for person, diary_id, storage, message in (
        (bob, bobs, storage_id, "Media not found"),
        (bob, entry, storage_id, "Forbidden"),
        (alice, bobs, storage_id, "Forbidden"),
        (alice, "diary_unknown", storage_id, "Diary not found"),
        (alice, entry, "file_unknown", "Media not found"),
    ):
        with pytest.raises(FunctionError, match=message):
            await photos.attach(person, diary_id, storage)
    media_id = await photos.attach(alice, entry, storage_id)
    with pytest.raises(FunctionError, match="Media not found"):
        await photos.attach(alice, entry, storage_id)
    with pytest.raises(FunctionError, match="Forbidden"):
        await bob.mutation("diaryMedia:deleteDiaryMedia", mediaId=media_id)
    assert len(await media(alice, entry)) == 1
    assert await media(bob, entry) == []


async def test_a_song_cannot_be_attached(world: World, alice: Person, entry: str) -> None:
    """The file of a track is no upload."""
    song = await alice.song()
    file_id = await world.db.pool.fetchval("select audio_file_id from music where id = $1", song["_id"])
    with pytest.raises(FunctionError, match="Media not found"):
        await photos.attach(alice, entry, file_id)


async def test_a_deleted_photo_takes_its_file_along(world: World, alice: Person, entry: str) -> None:
    """Its address stops working at once, and its storage is free again; deleting it twice is an error."""
    media_id = await photos.attached(world, alice, entry)
    [listed] = await media(alice, entry)
    await alice.mutation("diaryMedia:deleteDiaryMedia", mediaId=media_id)
    assert (await world.http.get(path_of(listed["url"]))).status_code == 404
    assert await media(alice, entry) == []
    await world.settle()
    assert await photos.stored(world) == set()
    assert await world.db.pool.fetchval("select count(*) from files") == 0
    with pytest.raises(FunctionError, match="Media not found"):
        await alice.mutation("diaryMedia:deleteDiaryMedia", mediaId=media_id)
    with pytest.raises(FunctionError, match="Media not found"):
        await photos.attach(alice, entry, listed["storageId"])


async def test_a_deleted_entry_takes_its_media_along(world: World, alice: Person, entry: str) -> None:
    """Rows and files, of this entry alone."""
    other = (await alice.mutation("diaries:createDiary", content="Another day"))["_id"]
    await photos.attached(world, alice, entry)
    await photos.attached(world, alice, entry, photos.mp4())
    await photos.attached(world, alice, other)
    [kept] = await media(alice, other)
    await alice.mutation("diaries:deleteDiary", diaryId=entry)
    await world.settle()
    assert await photos.stored(world) == {kept["storageId"]}
    assert await world.db.pool.fetchval("select array_agg(file_id) from diary_media") == [kept["storageId"]]


async def test_f03_a_deleted_account_takes_its_media_and_uploads_along(world: World, alice: Person, entry: str) -> None:
    """Files that no entry has taken too, and an address that is still open closes."""
    await photos.attached(world, alice, entry)
    [listed] = await media(alice, entry)
    await photos.uploaded(world, alice)
    address = await photos.address(alice)
    await alice.mutation("users:deleteAccount")
    assert (await world.http.get(path_of(listed["url"]))).status_code == 404
    assert (await photos.send(world, address, photos.jpeg())).status_code == 403
    await world.settle()
    assert await photos.stored(world) == set()
    for table in ("files", "diary_media", "diary_uploads", "users"):
        assert await world.db.pool.fetchval(f"select count(*) from {table}") == 0  # noqa: S608


async def test_an_entry_has_at_most_thirty_media(world: World, alice: Person, entry: str) -> None:
    """One more is refused in words; its file waits for another entry."""
    full = await photos.fill(world, "alice", 25)
    for _ in range(MAX_PER_ENTRY - 25):
        await photos.attached(world, alice, full)
    storage_id = await photos.uploaded(world, alice)
    with pytest.raises(FunctionError, match="at most 30") as refused:
        await photos.attach(alice, full, storage_id)
    assert refused.value.code == "too_many_media"
    assert len(await media(alice, full)) == MAX_PER_ENTRY
    await photos.attach(alice, entry, storage_id)


async def test_a_vendor_gets_the_first_photo_for_an_hour(world: World, alice: Person, entry: str) -> None:
    """The oldest photo of a type that vendors read; none without one."""

    async def address() -> str | None:
        return await photo_address_for_vendor(world.db.pool, world.settings, entry, world.clock.now())

    await photos.attached(world, alice, entry, photos.mp4())
    await photos.attached(world, alice, entry, photos.heif(b"heic"))
    assert await address() is None
    content = photos.jpeg(size=100)
    for number in range(2):
        await photos.attached(world, alice, entry, content + bytes(number))
        world.clock.forward(timedelta(milliseconds=1))
    url = await address()
    assert url is not None
    world.clock.forward(timedelta(minutes=59))
    assert (await world.http.get(path_of(url))).content == content
    world.clock.forward(timedelta(minutes=1))
    assert (await world.http.get(path_of(url))).status_code == 403


async def test_the_media_of_an_entry_cost_the_same_in_a_large_library(world: World, alice: Person, bob: Person) -> None:
    """With 10,000 photos only the rows of the entry are read, each by an index."""
    diary_id = await photos.fill(world, "alice", 10_000)
    await photos.fill(world, "bob", 500)
    await library.crowd(world, 2_000)
    for generic in (False, True):
        sql = store.MEDIA_SQL.replace("$1", "$1::text").replace("$2", "$2::text")
        root = await library.plan(world, sql, ("'user_alice'", f"'{diary_id}'"), generic=generic)
        assert root["Actual Rows"] == 25
        for node in library.nodes(root):
            if "Scan" in node["Node Type"]:
                assert node["Node Type"] in {"Index Scan", "Index Only Scan", "Bitmap Heap Scan", "Bitmap Index Scan"}
                assert node["Actual Rows"] * node["Actual Loops"] <= 25
        assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] <= 300
    assert len(await media(alice, diary_id)) == 25


@given(st.integers(0, 10**9))
def test_an_address_holds_until_another_is_shown(second: int) -> None:
    """Until the next hour begins."""
    now = datetime.fromtimestamp(second, UTC)
    until = addresses_hold_until(now)
    assert until > now
    address = media_address(settings(), "file_1", now)
    assert media_address(settings(), "file_1", until - timedelta(microseconds=1)) == address
    assert media_address(settings(), "file_1", until) != address
