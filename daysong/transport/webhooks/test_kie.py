"""Kie's callbacks, posted to the real route: a hint that is proven by reading the task, whoever sends it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from daysong.kernel.inbox import MAX_BODY
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

FIXTURES = Path(__file__).parent.parent.parent / "vendors" / "kie" / "fixtures"


class Rendering:
    """A video Kie is at work on: where it calls back, and about which task."""

    def __init__(self, world: World, url: str, task_id: str, video_id: str) -> None:
        self._world = world
        self._key = world.settings.kie.webhook_hmac_key or ""
        self.url = url
        self.task_id = task_id
        self.video_id = video_id

    async def post(
        self, name: str, *, url: str | None = None, task_id: str | None = None, key: str | None = None
    ) -> httpx2.Response:
        """Post a recorded callback with its signature, and run what follows."""
        body: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
        body["data"]["taskId"] = task_id or self.task_id
        return await self.send(json.dumps(body).encode(), url=url, task_id=task_id, key=key)

    async def send(
        self, content: bytes, *, url: str | None = None, task_id: str | None = None, key: str | None = None
    ) -> httpx2.Response:
        sent = str(int(self._world.clock.now().timestamp()))
        signed = f"{task_id or self.task_id}.{sent}".encode()
        headers = {
            "X-Webhook-Timestamp": sent,
            "X-Webhook-Signature": base64.b64encode(
                hmac.digest((key or self._key).encode(), signed, hashlib.sha256)
            ).decode(),
        }
        answer = await self._world.http.post(url or self.url, content=content, headers=headers)
        await self._world.app.worker.drain(until=None, clock=self._world.clock)
        return answer

    async def state(self) -> Any:
        """Return everything a callback could change."""
        return [
            [dict(row) for row in await self._world.db.pool.fetch(sql)]
            for sql in (
                "select status, failure_code, task_id, file_id, result_url from music_videos",
                "select charge_id from usage_refunds",
                "select id from files where content_type like 'video/%'",
            )
        ]


@pytest.fixture
async def rendering(world: World, alice: Person) -> Rendering:
    """A video of Alice's that Kie was just requested for, and keeps quiet about."""
    await world.fault("kie", callbacks="lost", stuck=True)
    song = await alice.song()
    started = await alice.action("videoActions:startVideoGeneration", musicId=song["_id"])
    await world.app.worker.drain(until=None, clock=world.clock)
    [asked] = await world.asked("kie", "createTask")
    [task_id] = world.sandbox.kie.tasks
    return Rendering(world, asked["body"]["callBackUrl"], task_id, started["videoId"])


@pytest.mark.parametrize("name", ["callback-fail", "callback-success-result-object"])
async def test_f28_a_forged_callback_changes_nothing(rendering: Rendering, name: str) -> None:
    """Even with the secret and a signature: Kie, asked, says that the task is still at work."""
    before = await rendering.state()
    assert (await rendering.post(name)).status_code == httpx2.codes.OK
    assert await rendering.state() == before


async def test_f28_a_wrong_secret_or_signature_leaves_no_trace(world: World, rendering: Rendering) -> None:
    """401, whatever the body says, and nothing is stored."""
    base = rendering.url.rpartition("/")[0]
    for url in (f"{base}/wrong", f"{world.origin}/http/kie-webhook", f"{world.origin}/http/kie-webhook/video_x/y"):
        assert (await rendering.post("callback-fail", url=url)).status_code == httpx2.codes.UNAUTHORIZED
    assert (await rendering.post("callback-fail", key="another key")).status_code == httpx2.codes.UNAUTHORIZED
    unsigned = await world.http.post(rendering.url, content=(FIXTURES / "callback-fail.json").read_bytes())
    assert unsigned.status_code == httpx2.codes.UNAUTHORIZED
    assert await world.db.pool.fetchval("select count(*) from webhook_events where vendor = 'kie'") == 0


async def test_a_body_that_is_no_callback_is_refused(rendering: Rendering) -> None:
    """400 or 413; without a task there is no signature either."""
    task = rendering.task_id
    assert (await rendering.send(b"{")).status_code == httpx2.codes.UNAUTHORIZED
    odd = json.dumps({"data": {"taskId": task, "state": "generating"}}).encode()
    assert (await rendering.send(odd)).status_code == httpx2.codes.BAD_REQUEST
    assert (await rendering.send(b" " * (MAX_BODY + 1))).status_code == 413
    assert (await rendering.post("callback-fail", task_id="x" * 201)).status_code == httpx2.codes.BAD_REQUEST


async def test_the_task_of_another_video_is_not_taken_over(world: World, bob: Person, rendering: Rendering) -> None:
    """Bob's finished task under Alice's secret: it is not hers, even where her own is not known."""
    await world.fault("kie", callbacks="lost")
    song = await bob.song()
    await bob.action("videoActions:startVideoGeneration", musicId=song["_id"])
    await world.app.worker.drain(until=None, clock=world.clock)
    bobs = list(world.sandbox.kie.tasks)[-1]
    await world.sandbox.kie._finish(world.sandbox.kie.tasks[bobs])
    before = await rendering.state()
    await rendering.post("callback-success-result-object", task_id=bobs)
    assert await rendering.state() == before
    await world.db.pool.execute("update music_videos set task_id = null where id = $1", rendering.video_id)
    await world.db.pool.execute("update music_videos set task_id = null where id <> $1", rendering.video_id)
    await world.db.pool.execute("delete from webhook_events")
    await rendering.post("callback-success-result-object", task_id=bobs)
    assert await world.db.pool.fetchval(
        "select status = 'rendering' and task_id is null from music_videos where id = $1", rendering.video_id
    )


async def test_a_true_callback_delivers_once_and_its_body_is_removed(world: World, rendering: Rendering) -> None:
    """Repeated, it is the same event; the prompt in it is not kept."""
    await world.fault("kie", callbacks="duplicated")
    await world.settle()
    rows = await world.db.pool.fetch("select body, outcome from webhook_events where vendor = 'kie'")
    assert [(row["body"], row["outcome"]) for row in rows] == [("{}", "to be checked")]
    state = await rendering.state()
    assert state[0][0]["status"] == "ready"
    await rendering.post("callback-fail")
    await rendering.post("callback-success-result-object")
    assert await rendering.state() == state
