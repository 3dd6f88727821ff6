"""Suno's callbacks, posted to the real route: only the right secret counts, and each counts once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from daysong.kernel.inbox import MAX_BODY
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

FIXTURES = Path(__file__).parent.parent.parent / "vendors" / "suno" / "fixtures"
RAIN = "I walked home in the rain and called my sister"


def payload(name: str, task_id: str) -> dict[str, Any]:
    """A recorded callback, about that task; its files lie at the sandbox."""
    text = (FIXTURES / f"{name}.json").read_text()
    text = text.replace("https://files.suno.example/", "http://daysong.test/sandbox/suno/files/hum-")
    body: dict[str, Any] = json.loads(text)
    body["data"]["task_id"] = task_id
    return body


class Composing:
    """A generation Suno is at work on: where it calls back, and about which task."""

    def __init__(self, world: World, url: str, task_id: str) -> None:
        self._world = world
        self.url = url
        self.task_id = task_id

    async def post(self, name: str, url: str | None = None) -> httpx2.Response:
        """Post a recorded callback, and let everything happen that follows."""
        answer = await self._world.http.post(url or self.url, json=payload(name, self.task_id))
        await self._world.app.worker.drain(until=None, clock=self._world.clock)
        return answer

    async def state(self) -> Any:
        """Everything a callback could change."""
        return [
            [dict(row) for row in await self._world.db.pool.fetch(sql)]
            for sql in (
                "select status, failure_code, task_id from generations",
                "select status, title, audio_url, audio_file_id, duration from music order by music_index",
                "select charge_id from usage_refunds",
                "select primary_music_id from diaries",
            )
        ]


@pytest.fixture
async def composing(world: World, alice: Person) -> Composing:
    """A song of Alice's that Suno was just asked for; its sandbox keeps quiet."""
    await world.fault("suno", callbacks="lost")
    await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    [asked] = await world.asked("suno", "/generate")
    task_id = await world.db.pool.fetchval("select task_id from generations")
    return Composing(world, asked["body"]["callBackUrl"], task_id)


async def test_a_complete_callback_delivers_the_song(world: World, composing: Composing) -> None:
    """Title, lyrics, duration and links are those of the payload."""
    assert (await composing.post("callback-complete")).status_code == httpx2.codes.OK
    rows = await world.db.pool.fetch("select * from music order by music_index")
    assert [row["status"] for row in rows] == ["ready", "ready"]
    assert rows[0]["title"] == "Quiet Street"
    assert rows[0]["duration"] == pytest.approx(164.24)
    assert rows[0]["audio_url"].endswith("a001.mp3")
    assert rows[0]["metadata"]["model_name"] == "chirp-crow"


async def test_text_and_first_tell_early_what_they_know(world: World, composing: Composing, alice: Person) -> None:
    """The song can be heard as a stream before it is finished, and stays pending until it is."""
    await composing.post("callback-text")
    [song] = await alice.query("music:listPlaylistMusic")
    assert (song["status"], song["title"]) == ("pending", "Quiet Street")
    assert song["audioUrl"].endswith("a001")
    await composing.post("callback-first")
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "pending"
    assert song["audioUrl"].endswith("a001.mp3")


@pytest.mark.parametrize("name", ["callback-complete", "callback-text", "callback-error-500-server-error"])
async def test_f14_a_callback_without_the_secret_is_refused_and_leaves_no_trace(
    world: World, composing: Composing, name: str
) -> None:
    """Knowing task and generation is not enough: 401, nothing stored, nothing changed."""
    before = await composing.state()
    generation = composing.url.split("/")[-2]
    for url in (
        "/http/suno-webhook",
        f"/http/suno-webhook/{generation}/guess",
        f"/http/suno-webhook/gen_00000000000000000000000000/{composing.url.split('/')[-1]}",
        f"/http/suno-webhook/{'x' * 500}/y",
    ):
        assert (await composing.post(name, url)).status_code == httpx2.codes.UNAUTHORIZED
    assert await composing.state() == before
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_f14_a_ready_song_is_not_replaced_nor_failed_by_later_callbacks(
    world: World, composing: Composing
) -> None:
    """Final states stay: repeated, late and contradicting callbacks change nothing."""
    await composing.post("callback-complete")
    before = await composing.state()
    for name in ("callback-complete", "callback-first", "callback-text", "callback-error-501-generation-failed"):
        assert (await composing.post(name)).status_code == httpx2.codes.OK
    assert await composing.state() == before


async def test_f15_a_failed_song_stays_failed_and_is_refunded_once(world: World, composing: Composing) -> None:
    """An error callback, twice, and then a late success: one refund, no song."""
    await composing.post("callback-error-501-generation-failed")
    before = await composing.state()
    assert before[0][0]["status"] == "failed"
    assert len(before[2]) == 1
    await composing.post("callback-error-501-generation-failed")
    await composing.post("callback-error-500-server-error")
    await composing.post("callback-complete")
    assert await composing.state() == before


async def test_a_callback_about_another_task_changes_nothing(world: World, composing: Composing) -> None:
    """The secret of one song is no key to another task."""
    before = await composing.state()
    composing.task_id = "5f00aa11bb22cc33dd44ee55ff669999"
    assert (await composing.post("callback-complete")).status_code == httpx2.codes.OK
    assert await composing.state() == before


async def test_many_deliveries_at_once_are_one(world: World, composing: Composing) -> None:
    """Ten copies in the same moment: one event, one song."""
    body = payload("callback-complete", composing.task_id)
    answers = await asyncio.gather(*(world.http.post(composing.url, json=body) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {httpx2.codes.OK}
    await world.app.worker.drain(until=None, clock=world.clock)
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 1
    assert [row["status"] for row in (await composing.state())[1]] == ["ready", "ready"]


def _set(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body["data"]["data"][0].update(fields)
    return body


TOLERATED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a field nobody has seen before": lambda body: _set(body, brand_new={"deep": [1, None]}),
    "no duration": lambda body: _set(body, duration=None),
    "a duration in words": lambda body: _set(body, duration="long"),
    "createTime as text": lambda body: _set(body, createTime="2026-11-20 08:00:00"),
    "taskId in camelCase": lambda body: {
        **body, "data": {**{k: v for k, v in body["data"].items() if k != "task_id"}, "taskId": body["data"]["task_id"]}
    },
    "text with a NUL": lambda body: _set(body, title="Quiet\0Street", tags="a\0b"),
    "only audio_url": lambda body: _set(body, source_audio_url=None),
    "only source_audio_url": lambda body: _set(body, audio_url="", source_audio_url="http://daysong.test/sandbox/suno/files/hum.mp3"),
}  # fmt: skip


@pytest.mark.parametrize("change", TOLERATED.values(), ids=TOLERATED.keys())
async def test_f17_f18_odd_payloads_still_deliver(
    world: World, composing: Composing, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """What the vendor may add, drop or change does not keep a song from its person."""
    body = change(payload("callback-complete", composing.task_id))
    assert (await world.http.post(composing.url, json=body)).status_code == httpx2.codes.OK
    await world.app.worker.drain(until=None, clock=world.clock)
    rows = (await composing.state())[1]
    assert [row["status"] for row in rows] == ["ready", "ready"]
    assert all(row["audio_url"] for row in rows)


MALFORMED: dict[str, Any] = {
    "no JSON": b"{not json",
    "not UTF-8": b'{"code":200,"msg":"\xff"}',
    "a list": b"[]",
    "nothing": b"",
    "no data": b'{"code":200,"msg":"ok"}',
    "no task": b'{"code":200,"data":{"callbackType":"complete","data":[]}}',
    "an unknown stage": b'{"code":200,"data":{"callbackType":"maybe","task_id":"t","data":[]}}',
    "a code in words": b'{"code":"fine","data":{"callbackType":"complete","task_id":"t","data":[]}}',
    "an endless task id": b'{"code":200,"data":{"callbackType":"text","task_id":"' + b"t" * 500 + b'","data":[]}}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_callback_is_told_what_is_wrong_and_not_stored(
    world: World, composing: Composing, body: bytes
) -> None:
    """400 with a sentence; nothing in the inbox, nothing changed."""
    before = await composing.state()
    answer = await world.http.post(composing.url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == httpx2.codes.BAD_REQUEST
    assert answer.json()["message"]
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0
    assert await composing.state() == before


async def test_a_callback_over_one_mebibyte_is_too_large(world: World, composing: Composing) -> None:
    """413, and nothing is stored."""
    answer = await world.http.post(composing.url, content=b" " * (MAX_BODY + 1))
    assert answer.status_code == httpx2.codes.CONTENT_TOO_LARGE
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_callbacks_are_posted_and_nothing_else(world: World, composing: Composing) -> None:
    """Other methods are not allowed."""
    assert (await world.http.get(composing.url)).status_code == httpx2.codes.METHOD_NOT_ALLOWED
    assert (await world.http.put("/http/suno-webhook")).status_code == httpx2.codes.METHOD_NOT_ALLOWED


async def test_g79_files_are_fetched_and_shown_from_known_hosts_only(
    world: World, composing: Composing, alice: Person
) -> None:
    """F28 too. A link to a private address is neither followed nor shown; a song with no other has failed."""
    body = payload("callback-complete", composing.task_id)
    for track in body["data"]["data"]:
        track["audio_url"] = track["source_audio_url"] = "http://169.254.169.254/latest/meta-data"
        track["stream_audio_url"] = track["source_stream_audio_url"] = "https://evil.example/stream"
        track["image_url"] = track["source_image_url"] = "https://evil.example/cover.png"
    early = json.loads(json.dumps(body))
    early["data"]["callbackType"] = "first"
    for callback in (early, body):
        await world.http.post(composing.url, json=callback)
        await world.app.worker.drain(until=None, clock=world.clock)
        [song] = await alice.query("music:listPlaylistMusic")
        assert song["status"] == "pending"
        assert not {"audioUrl", "imageUrl"} & set(song)
    await world.pass_time(timedelta(minutes=3))
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "failed"
    assert not {"audioUrl", "imageUrl"} & set(song)
    assert len((await composing.state())[2]) == 1
    assert await world.db.pool.fetchval("select count(*) from files") == 0


async def test_g79_a_refused_cover_is_not_shown_with_a_good_song(
    world: World, composing: Composing, alice: Person
) -> None:
    """The song plays, without a picture."""
    body = payload("callback-complete", composing.task_id)
    for track in body["data"]["data"]:
        track["image_url"] = track["source_image_url"] = "https://169.254.169.254/cover.png"
    await world.http.post(composing.url, json=body)
    await world.app.worker.drain(until=None, clock=world.clock)
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "ready"
    assert "imageUrl" not in song
