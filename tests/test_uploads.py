"""Photos and videos on a real server: large files cost no memory, and live queries hear of what is attached."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from rehearsal import photos
from rehearsal.processes import bucket
from rehearsal.processes.bucket import Bucket
from rehearsal.processes.server import NO_TEST_MODE, Keys, Server
from rehearsal.processes.watched_server import Watched
from rehearsal.sync_socket import Message, SyncSocket

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.slow]

MIB = 2**20
LARGE = 100 * MIB
GROWTH = 16 * MIB
PIECE = 256 * 1024


class App:
    """A user's app, which speaks to one server."""

    def __init__(self, http: httpx2.AsyncClient, token: str) -> None:
        self.http = http
        self.token = token

    async def call(self, kind: str, path: str, **args: Any) -> Any:
        """Return the value of a function."""
        answer = await self.http.post(
            f"/api/{kind}", json={"path": path, "args": args}, headers={"Authorization": f"Bearer {self.token}"}
        )
        said = answer.raise_for_status().json()
        assert said["status"] == "success", said
        return said["value"]

    async def address(self) -> str:
        """Return the path of a new upload address."""
        return str(urlsplit(await self.call("action", "diaryMedia:generateUploadUrl")).path)

    async def attach(self, diary_id: str, storage_id: str) -> str:
        """Attach a file to an entry; return the id of the photo or video."""
        args = {"diaryId": diary_id, "storageId": storage_id, "mediaType": "video", "contentType": "video/mp4"}
        return str((await self.call("mutation", "diaryMedia:createDiaryMedia", fileSize=1, **args))["_id"])


def app_of(server: Server, keys: Keys, subject: str) -> App:
    """Return the app of a user who signs in at a server."""
    http = httpx2.AsyncClient(base_url=server.origin, trust_env=False, timeout=60)
    return App(http, keys.token(subject, email=f"{subject}@example.test"))


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bucket | Path]:
    """A bucket, or a folder."""
    if request.param == "folder":
        yield tmp_path / "stored"
    else:
        with bucket.running(tmp_path / "bucket") as running:
            yield running


def contents(storage: Bucket | Path) -> set[str]:
    """Return what a storage holds, unfinished files included."""
    if isinstance(storage, Bucket):
        return storage.objects() | ({"unfinished"} if storage.unfinished() else set())
    return {path.name for path in storage.rglob("*") if path.is_file() and path.parent.name != "journal"}


async def large_video() -> AsyncIterator[bytes]:
    """Yield a video of 100 MiB, whose content differs everywhere."""
    yield photos.mp4(PIECE)
    for number in range(LARGE // PIECE - 1):
        yield hashlib.sha256(number.to_bytes(4, "big")).digest() * (PIECE // 32)


async def measured(watched: Watched, acting: Any) -> int:
    """Return the highest memory of a server while something happens."""
    task, peak = asyncio.ensure_future(acting), 0
    while not task.done():
        peak = max(peak, (await asyncio.to_thread(watched.figures)).resident)
        await asyncio.sleep(0.05)
    await task
    return peak


@pytest.mark.parametrize("storage", ["folder", "bucket"], indirect=True)
async def test_f11_a_large_video_costs_no_memory(
    environ: dict[str, str], keys: Keys, tmp_path: Path, storage: Bucket | Path
) -> None:
    """100 MiB go in and come out again while the server's resident memory grows by less than 16 MiB."""
    where = storage.settings if isinstance(storage, Bucket) else {"STORAGE_URL": str(storage)}
    with Watched(environ | NO_TEST_MODE | where, tmp_path) as server:
        app = app_of(server, keys, f"user_large_{time.time_ns()}")
        async with app.http:
            diary_id = (await app.call("mutation", "diaries:createDiary", content=""))["_id"]
            # Whatever is loaded at the first upload and download is no part of the measurement.
            first = await app.http.post(await app.address(), content=photos.mp4(6 * MIB))
            await app.attach(diary_id, first.raise_for_status().json()["storageId"])
            [small] = await app.call("query", "diaryMedia:getDiaryMedia", diaryId=diary_id)
            await app.http.get(small["url"].removeprefix(environ["SITE_URL"]))
            before = server.figures().resident

            async def upload() -> None:
                headers = {"Content-Length": str(LARGE), "Content-Type": "video/mp4"}
                answer = await app.http.post(await app.address(), content=large_video(), headers=headers)
                await app.attach(diary_id, answer.raise_for_status().json()["storageId"])

            async def download() -> None:
                media = await app.call("query", "diaryMedia:getDiaryMedia", diaryId=diary_id)
                path = media[1]["url"].removeprefix(environ["SITE_URL"])
                expected = hashlib.sha256()
                async for piece in large_video():
                    expected.update(piece)
                found = hashlib.sha256()
                async with app.http.stream("GET", path) as answer:
                    async for piece in answer.aiter_bytes():
                        found.update(piece)
                assert found.digest() == expected.digest()

            up = await measured(server, upload()) - before
            down = await measured(server, download()) - before
            print(f"upload +{up / MIB:.1f} MiB, download +{down / MIB:.1f} MiB")
            assert up < GROWTH
            assert down < GROWTH
        assert len(contents(storage)) == 2
        assert server.complaints() == []


async def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("storage", ["folder", "bucket"], indirect=True)
async def test_f11_nothing_is_kept_of_a_client_that_goes_away(
    environ: dict[str, str], keys: Keys, tmp_path: Path, storage: Bucket | Path
) -> None:
    """Half of a video is sent on a connection that then closes; and 10 GB that are announced are refused at once."""
    where = storage.settings if isinstance(storage, Bucket) else {"STORAGE_URL": str(storage)}
    with Watched(environ | NO_TEST_MODE | where, tmp_path) as server:
        app = app_of(server, keys, f"user_half_{time.time_ns()}")
        async with app.http:
            path = await app.address()
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: video/mp4\r\nContent-Length: "
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"{head}{20 * MIB}\r\n\r\n".encode() + photos.mp4(10 * MIB))
            await writer.drain()
            if isinstance(storage, Path):
                await until(lambda: contents(storage) != set())
            writer.transport.abort()
            await until(lambda: contents(storage) == set())
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(f"{head}{10 * 1024 * MIB}\r\n\r\n".encode())
            async with asyncio.timeout(10):
                assert b" 413 " in await reader.readline()
            writer.transport.abort()
            answer = await app.http.post(path, content=photos.mp4(6 * MIB))
            assert answer.status_code == 200
            assert contents(storage) == {answer.json()["storageId"]}
        assert server.complaints() == []


async def test_a_live_query_hears_of_media_that_are_attached_and_deleted(server: Server, keys: Keys) -> None:
    """Over the socket of the same user, from one server process."""

    def shown(message: Message) -> Any:
        return [change["value"] for change in message.get("modifications", ()) if change["queryId"] == 0]

    app = app_of(server, keys, f"user_live_{time.time_ns()}")
    async with app.http, SyncSocket(server.origin) as socket:
        diary_id = (await app.call("mutation", "diaries:createDiary", content="A day"))["_id"]
        await socket.connect()
        await socket.authenticate(0, app.token)
        await socket.subscribe(0, q0=("diaryMedia:getDiaryMedia", {"diaryId": diary_id}))
        assert shown(await socket.receive(lambda message: shown(message) == [[]]))
        answer = await app.http.post(await app.address(), content=photos.png())
        media_id = await app.attach(diary_id, answer.json()["storageId"])
        message = await socket.receive(lambda message: bool(shown(message)))
        [[media]] = shown(message)
        assert (media["_id"], media["contentType"]) == (media_id, "image/png")
        await app.call("mutation", "diaryMedia:deleteDiaryMedia", mediaId=media_id)
        await socket.receive(lambda message: shown(message) == [[]])
