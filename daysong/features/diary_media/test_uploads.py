"""Uploads: whose they are, how many and how large they may be, and files that are not what they seem."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from daysong.features.diary_media.rules import MAX_ATTEMPTS, MAX_OUTSTANDING, MAX_PER_DAY, MAX_PHOTO, MAX_VIDEO, MIB
from rehearsal import photos
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


async def nothing_kept(world: World) -> bool:
    """Whether no file is there, neither whole nor in part, nor a row of one."""
    return not await photos.stored(world) and not await world.db.pool.fetchval("select count(*) from files")


async def test_an_upload_address_is_open_to_any_origin(world: World, alice: Person) -> None:
    """A browser asks first with OPTIONS; the response may be read by the app's page."""
    path = await photos.address(alice)
    origin = {"Origin": "https://app.example.test"}
    asked = await world.http.options(
        path,
        headers={**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"},
    )
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == origin["Origin"]
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-headers"] == "content-type"
    answer = await photos.send(world, path, photos.jpeg(), **origin)
    assert answer.headers["access-control-allow-origin"] == origin["Origin"]
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["storageId"]
    assert (await world.http.get(path)).status_code == 405


async def test_a_file_may_come_in_pieces_of_unknown_number(world: World, alice: Person) -> None:
    """Without a Content-Length, and with a header that fills no piece."""
    content = photos.jpeg(size=700_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 7001):
            yield content[start : start + 7001]

    storage_id = await photos.uploaded(world, alice, pieces())
    assert b"".join([chunk async for chunk in world.app.files.read(storage_id)]) == content
    assert await world.db.pool.fetchval("select size from files") == len(content)


@pytest.mark.parametrize("claimed", ["image/jpeg", "text/html", "image/svg+xml", "", "x" * 300])
async def test_a_file_is_what_its_bytes_say(world: World, alice: Person, claimed: str) -> None:
    """Whatever the header claims."""
    answer = await photos.send(world, await photos.address(alice), photos.webm(), claimed)
    assert answer.status_code == 200
    assert await world.db.pool.fetchval("select content_type from files") == "video/webm"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<!DOCTYPE html><script>alert(1)</script>",
        b"PK\x03\x04" + bytes(200_000),
        b"\x1f\x8b\x08" + bytes(100),
    ],
    ids=["nothing", "svg", "html", "zip", "gzip"],
)
async def test_f11_a_file_of_another_type_is_refused(world: World, alice: Person, content: bytes) -> None:
    """By name or header a photo, by its bytes none: 415 in words, nothing is kept, and the address stays open."""
    path = await photos.address(alice)
    answer = await photos.send(world, path, content, "image/png")
    assert (answer.status_code, answer.json()["code"]) == (415, "UnsupportedMediaType")
    assert "JPEG, PNG, WebP" in answer.json()["message"]
    assert await nothing_kept(world)
    assert (await photos.send(world, path, photos.png())).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        photos.png(60_000, 60_000),
        photos.jpeg(65_000, 100),
        photos.gif(65_000, 65_000),
        photos.webp(16_000_000, 16_000_000),
        photos.heif(b"heic", width=2**31, height=2**31),
    ],
    ids=["png", "jpeg", "gif", "webp", "heic"],
)
async def test_f11_a_photo_that_would_fill_the_memory_of_a_viewer_is_refused(
    world: World, alice: Person, content: bytes
) -> None:
    """Its header announces more pixels than any camera takes. Nothing is decoded to find out."""
    answer = await photos.send(world, await photos.address(alice), content)
    assert (answer.status_code, answer.json()["message"]) == (413, "The photo has too many pixels.")
    assert await nothing_kept(world)


@pytest.mark.parametrize(
    ("announced", "content", "message"),
    [
        (10 * 2**30, b"", "at most 250 MiB"),
        (MAX_VIDEO + 1, b"", "at most 250 MiB"),
        (MAX_PHOTO + 1, photos.jpeg(size=200_000), "at most 25 MiB"),
    ],
    ids=["10 GiB", "a video", "a photo"],
)
async def test_f11_a_file_that_announces_too_many_bytes_is_refused_at_once(
    world: World, alice: Person, announced: int, content: bytes, message: str
) -> None:
    """Before it is sent: 413."""
    answer = await photos.send(world, await photos.address(alice), content, **{"Content-Length": str(announced)})
    assert answer.status_code == 413
    assert message in answer.json()["message"]
    assert await nothing_kept(world)


async def test_f11_a_photo_that_grows_too_large_is_refused(world: World, alice: Person) -> None:
    """Without an announced size the bytes are counted."""

    async def endless() -> AsyncIterator[bytes]:
        yield photos.jpeg()
        for _ in range(MAX_PHOTO // MIB + 1):
            yield bytes(MIB)

    answer = await photos.send(world, await photos.address(alice), endless())
    assert (answer.status_code, answer.json()["code"]) == (413, "PayloadTooLarge")
    assert await nothing_kept(world)


async def raw(world: World, path: str, events: list[dict[str, Any]], **headers: str) -> list[dict[str, Any]]:
    """Send the events of a request to the app, one after the other; return the messages of the response."""
    sent: list[dict[str, Any]] = []
    waiting = iter(events)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 5),
        "server": ("daysong.test", 80), "state": {},
        "headers": [(b"host", b"daysong.test"), *((k.encode(), v.encode()) for k, v in headers.items())],
    }  # fmt: skip
    await world.app.asgi(scope, receive, send)
    return sent


async def test_f11_nothing_is_kept_of_a_client_that_goes_away(world: World, alice: Person) -> None:
    """Half of a file is sent; the same address takes the whole one afterwards."""
    path = await photos.address(alice)
    half = {"type": "http.request", "body": photos.jpeg(size=600_000), "more_body": True}
    await raw(world, path, [half, {"type": "http.disconnect"}], **{"content-length": "1200000"})
    assert await nothing_kept(world)
    assert (await photos.send(world, path, photos.jpeg())).status_code == 200


async def test_f11_an_address_is_tried_a_few_times_only(world: World, alice: Person) -> None:
    """A client that sends most of a file again and again costs bandwidth."""
    path = await photos.address(alice)
    for _ in range(MAX_ATTEMPTS):
        assert (await photos.send(world, path, b"nothing")).status_code == 415
    assert (await photos.send(world, path, photos.jpeg())).status_code == 403


async def test_f11_an_address_takes_one_file(world: World, alice: Person) -> None:
    """A second one is refused, also when both arrive at the same time; what is refused is not kept."""
    path = await photos.address(alice)
    answers = await asyncio.gather(*(photos.send(world, path, photos.jpeg(size=300_000)) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 403]
    assert (await photos.send(world, path, photos.jpeg())).status_code == 403
    assert len(await photos.stored(world)) == 1
    assert await world.db.pool.fetchval("select count(*) from files") == 1


async def test_f11_an_address_that_expired_or_is_forged_is_closed(world: World, alice: Person, bob: Person) -> None:
    """A stranger learns nothing: the refusal is the same for each."""
    path = await photos.address(alice)
    other = await photos.address(bob)
    forged = [
        f"{path.rpartition('/')[0]}/{other.rpartition('/')[2]}",
        f"{path[:-1]}é",
        f"{path}A",
        "/uploads/upload_00000000000000000000000000/AAAA",
        f"/uploads/{'x' * 5000}/AAAA",
        "/uploads/a%00b/AAAA",
    ]
    world.clock.forward(timedelta(hours=1))
    told = set()
    for each in [path, *forged]:
        answer = await photos.send(world, each, photos.jpeg())
        told.add((answer.status_code, answer.text))
    assert {status for status, _ in told} == {403}
    assert len(told) == 1
    assert await nothing_kept(world)


async def test_f11_an_address_of_a_banned_user_is_closed(world: World, alice: Person) -> None:
    """It was given out before."""
    path = await photos.address(alice)
    await world.steer("clerk", "update", sub="user_alice", banned=True)
    await world.settle()
    assert (await photos.send(world, path, photos.jpeg())).status_code == 403


async def test_an_upload_that_no_entry_takes_is_deleted_after_a_day(world: World, alice: Person, admin: Person) -> None:
    """Another that is attached stays; so does the count of the day until then."""
    entry = (await alice.mutation("diaries:createDiary", content="A day"))["_id"]
    kept = await photos.uploaded(world, alice)
    await photos.attach(alice, entry, kept)
    waiting = await photos.uploaded(world, alice)
    world.clock.forward(timedelta(hours=23, minutes=59))
    await world.settle()
    assert await photos.stored(world) == {kept, waiting}
    await world.pass_time(timedelta(minutes=1))
    assert await photos.stored(world) == {kept}
    with pytest.raises(FunctionError, match="Media not found"):
        await photos.attach(alice, entry, waiting)
    world.clock.forward(timedelta(days=4))
    await admin.action("crons:retention")
    assert await world.db.pool.fetchval("select count(*) from diary_uploads") == 0
    assert await photos.stored(world) == {kept}


async def test_f11_twenty_uploads_are_outstanding_at_most(world: World, alice: Person, bob: Person) -> None:
    """Open addresses and files that wait for an entry count; those of others do not."""
    entry = (await alice.mutation("diaries:createDiary", content="A day"))["_id"]
    waiting = await photos.uploaded(world, alice)
    for _ in range(MAX_OUTSTANDING - 1):
        await photos.address(alice)
    with pytest.raises(FunctionError, match="20 uploads") as refused:
        await photos.address(alice)
    assert refused.value.code == "too_many_uploads"
    await photos.address(bob)
    await photos.attach(alice, entry, waiting)
    await photos.address(alice)
    world.clock.forward(timedelta(hours=1))
    await photos.address(alice)


async def test_f11_at_once_no_more_than_twenty_are_given_out(world: World, alice: Person) -> None:
    """Requests at the same moment count each other."""
    found = await asyncio.gather(*(photos.address(alice) for _ in range(30)), return_exceptions=True)
    assert sum(isinstance(one, str) for one in found) == MAX_OUTSTANDING


async def test_f11_two_hundred_addresses_are_given_out_in_a_day(world: World, alice: Person) -> None:
    """Used, expired or deleted ones count too; a day later there are new ones."""
    await photos.fill(world, "alice", MAX_PER_DAY)
    with pytest.raises(FunctionError, match="tomorrow") as refused:
        await photos.address(alice)
    assert refused.value.code == "daily_uploads_reached"
    world.clock.forward(timedelta(days=1))
    await photos.address(alice)


async def almost_full(world: World, left: int) -> str:
    """Fill Alice's storage of 500 MiB but for so many bytes; return one of her entries."""
    entry = await photos.fill(world, "alice", 2)
    await world.db.pool.execute("update files set size = $1", (500 * MIB - left) // 2)
    return entry


async def test_the_storage_of_a_plan_is_bounded(world: World, alice: Person) -> None:
    """Files that wait for an entry count as well: when an address is asked for, at its first byte, and at its last."""
    entry = await almost_full(world, 1000)
    first, second, third = [await photos.address(alice) for _ in range(3)]
    answer = await photos.send(world, first, photos.jpeg(size=1001))
    assert (answer.status_code, answer.json()) == (
        413, {"code": "StorageLimitReached", "message": "You have used all your storage."}
    )  # fmt: skip
    stored = (await photos.send(world, first, photos.jpeg(size=1000))).json()["storageId"]
    assert (await photos.send(world, second, photos.jpeg(size=100))).json()["code"] == "StorageLimitReached"
    with pytest.raises(FunctionError, match="You have used all your storage") as refused:
        await photos.address(alice)
    assert refused.value.code == "storage_limit_reached"
    await photos.attach(alice, entry, stored)
    await world.buys("purchase", "user_alice", productId="eveokee_premium_monthly")
    await world.settle()
    assert (await photos.send(world, third, photos.jpeg(size=100))).status_code == 200


async def test_at_once_no_more_is_stored_than_the_plan_has(world: World, alice: Person) -> None:
    """Each of two files fits, both do not: the second to arrive is refused, and not kept."""
    await almost_full(world, 1000)
    paths = [await photos.address(alice) for _ in range(3)]
    answers = await asyncio.gather(*(photos.send(world, path, photos.jpeg(size=700)) for path in paths))
    assert sorted(answer.status_code for answer in answers) == [200, 413, 413]
    assert len(await photos.stored(world)) == 1


async def test_a_file_is_not_attached_when_the_plan_has_ended_meanwhile(world: World, alice: Person) -> None:
    """It was uploaded while a larger plan was paid for."""
    entry = await photos.fill(world, "alice", 2)
    stored = await photos.uploaded(world, alice)
    await world.db.pool.execute("update files set size = $1", 300 * MIB)
    with pytest.raises(FunctionError, match="You have used all your storage") as refused:
        await photos.attach(alice, entry, stored)
    assert refused.value.code == "storage_limit_reached"


async def test_what_a_killed_process_had_received_is_removed(world: World, admin: Person) -> None:
    """After a day, with the files that have no row."""
    async with world.app.files.receive() as incoming:
        await incoming.write(b"half a photo")
        [key] = await photos.stored(world)
        left = world.settings.data_dir / "files" / f"{key}x"
        left.write_bytes(b"half a photo")
    assert await photos.stored(world) == {f"{key}x"}
    moment = (world.clock.now() - timedelta(hours=25)).timestamp()
    os.utime(left, (moment, moment))
    await admin.action("crons:retention")
    assert await photos.stored(world) == set()
