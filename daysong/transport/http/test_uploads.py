"""Uploads are bounded in time, in number and in bytes, and a storage that fails is reported as such."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from daysong.features.diary_media.uploads import finish_upload
from daysong.kernel.errors import VendorError
from daysong.transport.http import uploads
from daysong.transport.http.uploads import Seats
from daysong.transport.refusals import Refused
from daysong.vendors.storage import FileStore, IncomingFile
from rehearsal import photos
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("drips", [0, 3])
async def test_a_sender_that_is_too_slow_is_cut_off(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch, drips: int
) -> None:
    """408: whether it sends nothing after the first bytes, or a byte from time to time. Nothing is kept."""
    monkeypatch.setattr(uploads, "PATIENCE", 0.2)
    never = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield photos.jpeg()
        for _ in range(drips):
            await asyncio.sleep(0.05)
            yield b"\0"
        await never.wait()

    path = await photos.address(alice)
    received = slowly()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(received), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": ("127.0.0.1", 5),
        "server": ("daysong.test", 80), "state": {}, "headers": [(b"host", b"daysong.test")],
    }  # fmt: skip
    async with asyncio.timeout(30):
        await world.app.asgi(scope, receive, send)
    assert sent[0]["status"] == 408
    assert await photos.stored(world) == set()
    assert (await photos.send(world, path, photos.jpeg())).status_code == 200


def test_seats_are_bounded_for_a_process_and_for_an_address() -> None:
    """They are free again afterwards, whatever happened."""
    seats = Seats(3, 2)
    with seats.taken("a", "1"), seats.taken("a", "2"):
        with pytest.raises(Refused) as refused, seats.taken("a", "3"):
            pass
        assert (refused.value.status, refused.value.retry_after) == (503, 5)
        with seats.taken("b", "3"), pytest.raises(Refused), seats.taken("c", "4"):
            pass
        with pytest.raises(ZeroDivisionError), seats.taken("c", "4"):
            raise ZeroDivisionError
        with seats.taken("c", "4"):
            pass
    assert not seats._of
    assert not seats._of_upload


def test_one_upload_address_takes_two_seats_at_most() -> None:
    """A client that has it cannot keep a process busy from many addresses."""
    seats = Seats(10, 10)
    with seats.taken("a", "1"), seats.taken("b", "1"):
        with pytest.raises(Refused), seats.taken("c", "1"):
            pass
        with seats.taken("c", "2"):
            pass


async def test_a_process_receives_a_bounded_number_of_files(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After; a stranger with a forged address takes no seat."""
    monkeypatch.setattr(Seats, "taken", Seats(0, 0).taken)
    path = await photos.address(alice)
    answer = await photos.send(world, path, photos.jpeg())
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "TooBusy", "5")
    assert (await photos.send(world, f"{path}x", photos.jpeg())).status_code == 403


@pytest.mark.parametrize("step", ["write", "keep"])
async def test_a_storage_that_fails_is_reported(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """503; nothing is recorded, and the address stays open."""

    async def fail(*_: Any) -> None:
        raise VendorError("storage", "full", permanent=False, code="storage_failed")

    path = await photos.address(alice)
    with monkeypatch.context() as patch:
        patch.setattr(IncomingFile if step == "write" else FileStore, step, fail)
        answer = await photos.send(world, path, photos.jpeg(size=300_000))
        assert (answer.status_code, answer.json()["code"]) == (503, "StorageUnavailable")
    assert await photos.stored(world) == set()
    assert (await photos.send(world, path, photos.jpeg())).status_code == 200


async def test_a_file_whose_record_fails_is_kept_until_the_clean_up(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row may have been committed: deleting the file could leave an entry without its photo."""
    path = await photos.address(alice)
    run = world.app.runtime.run_mutation

    async def lost(handler: Any, *args: Any) -> Any:
        done = await run(handler, *args)
        if handler is finish_upload:
            raise OSError("the connection was lost after the commit")
        return done

    monkeypatch.setattr(world.app.runtime, "run_mutation", lost)
    assert (await photos.send(world, path, photos.jpeg())).status_code == 500
    recorded = await world.db.pool.fetchval("select id from files")
    assert await photos.stored(world) == {recorded}
