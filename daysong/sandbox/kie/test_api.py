"""The sandboxed Kie with the real client: orders, callbacks and a video that plays."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from daysong.kernel.time.clock import MovableClock
from daysong.sandbox.app import Sandbox
from daysong.sandbox.conftest import NOW, ORIGIN, failure, recorded, shape
from daysong.sandbox.kie.api import HMAC_KEY
from daysong.sandbox.kie.clips import film, glimpse
from daysong.sandbox.music.hum import hum, plain_cover, tone
from daysong.sandbox.vendor import Receive, Scope, Send
from daysong.vendors.files import FileFetcher
from daysong.vendors.kie.answers import parse_callback, verify
from daysong.vendors.kie.client import IMAGE_MODEL, Kie

pytestmark = pytest.mark.anyio

PROBE = shutil.which("ffprobe")
CALLBACK = "http://app.test/hooks/kie/SECRET"
PHOTO = "http://app.test/photo.png"
PROMPT = "A video for the song “Quiet Street”, calm. “Morning light”"


class Stage:
    """The sandbox, the real client, and an endpoint for its callbacks that also serves a photo."""

    def __init__(self, data_dir: Path) -> None:
        self.clock = MovableClock(NOW)
        self.told: list[tuple[dict[str, str], bytes]] = []
        self._http = httpx2.AsyncClient(transport=httpx2.ASGITransport(self._app))
        self.sandbox = Sandbox(
            ORIGIN, data_dir=data_dir, http=self._http, clock=self.clock, compose=hum, film=self._film
        )
        self.filmed: list[tuple[Any, ...]] = []
        wire = httpx2.ASGITransport(self.sandbox.asgi)
        self.steering = httpx2.AsyncClient(transport=wire, base_url=f"{ORIGIN}/sandbox/kie/")
        self.kie = Kie(self.sandbox.kie_settings(), transport=wire, timeout=1.0, clock=self.clock)
        self.files = FileFetcher(hosts=[], allowed_origins=[ORIGIN], transport=wire)

    def _film(self, *scene: Any) -> bytes:
        self.filmed.append(scene)
        return glimpse(*scene)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            body = (await receive())["body"]
            self.told.append(({name.decode(): value.decode() for name, value in scope["headers"]}, body))
        found = scope["path"] != "/missing.png"
        await send({"type": "http.response.start", "status": 200 if found else 404, "headers": []})
        await send({"type": "http.response.body", "body": plain_cover() if found else b""})

    async def fault(self, **faults: object) -> None:
        (await self.steering.post("faults", json=faults)).raise_for_status()

    async def order(self, image_url: str | None = None, prompt: str = PROMPT) -> str:
        return await self.kie.generate(prompt=prompt, image_url=image_url, callback_url=CALLBACK)

    async def close(self) -> None:
        await self.sandbox.close()
        for each in (self.kie, self.files):
            await each.close()
        await self.steering.aclose()
        await self._http.aclose()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


async def test_an_order_is_rendered_and_told(stage: Stage) -> None:
    """The callback and recordInfo look as recorded, the callback is signed, and the file is an MP4."""
    task_id = await stage.order()
    assert (await stage.kie.task(task_id)).state == "working"
    await stage.sandbox.settle()
    task = await stage.kie.task(task_id)
    assert (task.state, task.callback_url) == ("done", CALLBACK)
    [(headers, body)] = stage.told
    assert parse_callback(body).task_id == task_id
    verify(headers, body, NOW, HMAC_KEY)
    told = json.loads(body)
    assert shape(told).keys() == shape(recorded("kie/callback-success-result-object")).keys()
    record = stage.sandbox.kie.tasks[task_id].record("http://x/y.mp4")
    expected = recorded("kie/recordinfo-success")["data"]
    assert {name: shape(value) for name, value in record.items()} == {name: shape(expected[name]) for name in record}
    assert (await stage.files.fetch(task.result_urls[0], max_bytes=10**6)).content[4:8] == b"ftyp"


async def test_a_song_of_the_sandbox_lends_its_cover_and_sound(stage: Stage) -> None:
    """Found by the title in quotation marks; further quotations are the lines that are shown."""
    suno = stage.sandbox.suno
    asked = {"customMode": True, "instrumental": False, "model": "V5", "callBackUrl": CALLBACK, "prompt": "La",
             "style": "folk", "title": "Quiet Street"}  # fmt: skip
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(stage.sandbox.asgi), base_url=ORIGIN,
        headers={"Authorization": f"Bearer {stage.sandbox.suno_settings().api_key}"},
    ) as http:  # fmt: skip
        (await http.post("/sandbox/suno/api/v1/generate", json=asked)).raise_for_status()
    await suno.settle()
    await stage.order()
    await stage.sandbox.settle()
    [(seconds, picture, title, lines, sound)] = stage.filmed
    assert (seconds, title, lines) == (10.0, "Quiet Street", ("Morning light",))
    assert picture == plain_cover()
    assert sound == tone(220.0)


async def test_a_picture_is_fetched(stage: Stage) -> None:
    """As Kie fetches it; where it cannot, the video fails."""
    good, bad = await stage.order(PHOTO), await stage.order("http://app.test/missing.png")
    await stage.sandbox.settle()
    assert (await stage.kie.task(good)).state == "done"
    assert (await stage.kie.task(bad)).state == "failed"
    assert stage.sandbox.kie.tasks[good].request["model"] == IMAGE_MODEL
    assert [scene[1] for scene in stage.filmed] == [plain_cover()]


async def test_what_kie_would_refuse_is_refused(stage: Stage) -> None:
    """422 for an empty prompt or no web address, 402 without credits, 401 for another key."""
    assert (await failure(stage.order(prompt=" "))).code == "kie_422"
    assert (await failure(stage.order(image_url="photo.png"))).code == "kie_422"
    stage.sandbox.kie.credits = 0
    assert (await failure(stage.order())).code == "kie_402"
    await stage.fault(code=455)
    assert (await failure(stage.order())).retry_after == 300.0


@pytest.mark.parametrize(("callbacks", "times"), [("lost", 0), ("duplicated", 2), ("malformed", 1)])
async def test_callbacks_go_wrong_on_demand(stage: Stage, callbacks: str, times: int) -> None:
    """The task itself has ended well."""
    await stage.fault(callbacks=callbacks)
    task_id = await stage.order()
    await stage.sandbox.settle()
    assert len(stage.told) == times
    assert (await stage.kie.task(task_id)).state == "done"


async def test_a_task_fails_or_never_ends_on_demand(stage: Stage) -> None:
    """And can be told of once more by hand."""
    await stage.fault(stuck=True)
    task_id = await stage.order()
    await stage.sandbox.settle()
    assert (await stage.kie.task(task_id)).state == "working"
    await stage.fault(failCode=500)
    await stage.sandbox.settle()
    task = await stage.kie.task(task_id)
    assert (task.state, task.code) == ("failed", "500")
    told = (await stage.steering.post("deliver", json={"taskId": task_id, "state": "fail"})).json()
    assert told == {"delivered": [{"taskId": task_id, "status": 200}]}
    assert len(stage.told) == 2


@pytest.mark.skipif(PROBE is None, reason="needs ffmpeg")
def test_a_video_is_a_portrait_mp4_with_the_songs_sound(tmp_path: Path) -> None:
    """Judged by an independent decoder; words that the font lacks are left out."""
    file = tmp_path / "video.mp4"
    file.write_bytes(film(2.0, plain_cover(), "Ruhige Straße", ("Morgenlicht", "朝の光"), tone(220.0)))
    done = subprocess.run(  # noqa: S603 - Debian's
        [PROBE or "", "-v", "error", "-show_entries", "stream=codec_name,width,height:format=duration", "-of", "json",
         str(file)],
        check=True, capture_output=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    video, sound = found["streams"]
    assert (video["codec_name"], video["width"], video["height"]) == ("h264", 360, 640)
    assert sound["codec_name"] == "aac"
    assert 1.8 < float(found["format"]["duration"]) < 2.3
    assert len(file.read_bytes()) < 300_000
