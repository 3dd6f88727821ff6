"""Suno's callbacks, posted to the real route: only with the right secret, and each applied once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from daysong.kernel.database.transactions import FLUSH
from daysong.kernel.inbox import MAX_BODY
from rehearsal.statements import sent_statements
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

FIXTURES = Path(__file__).parent.parent.parent / "vendors" / "suno" / "fixtures"
RAIN = "I walked home in the rain and called my sister"


def payload(name: str, task_id: str) -> dict[str, Any]:
    """A recorded callback for that task, with files at the sandbox."""
    text = (FIXTURES / f"{name}.json").read_text()
    text = text.replace("https://files.suno.example/", "http://daysong.test/sandbox/suno/files/hum-")
    body: dict[str, Any] = json.loads(text)
    body["data"]["task_id"] = task_id
    return body


class PendingGeneration:
    """A generation in progress at Suno, with its callback URL and task id."""

    def __init__(self, world: World, url: str, task_id: str) -> None:
        self._world = world
        self.url = url
        self.task_id = task_id

    async def post(self, name: str, url: str | None = None) -> httpx2.Response:
        """Post a recorded callback, and run the jobs that it schedules."""
        answer = await self._world.http.post(url or self.url, json=payload(name, self.task_id))
        await self._world.app.worker.drain(until=None, clock=self._world.clock)
        return answer

    async def state(self) -> Any:
        """All rows that a callback may change."""
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
async def generation(world: World, alice: Person) -> PendingGeneration:
    """A generation just requested by Alice; the sandbox sends no callbacks."""
    await world.fault("suno", callbacks="lost")
    await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    [request] = await world.asked("suno", "/generate")
    task_id = await world.db.pool.fetchval("select task_id from generations")
    return PendingGeneration(world, request["body"]["callBackUrl"], task_id)


async def test_a_complete_callback_delivers_the_song(world: World, generation: PendingGeneration) -> None:
    """Title, lyrics, duration and URLs are those of the payload."""
    assert (await generation.post("callback-complete")).status_code == httpx2.codes.OK
    rows = await world.db.pool.fetch("select * from music order by music_index")
    assert [row["status"] for row in rows] == ["ready", "ready"]
    assert rows[0]["title"] == "Quiet Street"
    assert rows[0]["duration"] == pytest.approx(164.24)
    assert rows[0]["audio_url"].endswith("a001.mp3")
    assert rows[0]["metadata"]["model_name"] == "chirp-crow"


async def test_text_and_first_callbacks_deliver_early_fields(
    world: World, generation: PendingGeneration, alice: Person
) -> None:
    """The song can be streamed before it is complete, and stays pending until then."""
    await generation.post("callback-text")
    [song] = await alice.query("music:listPlaylistMusic")
    assert (song["status"], song["title"]) == ("pending", "Quiet Street")
    assert song["audioUrl"].endswith("a001")
    await generation.post("callback-first")
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "pending"
    assert song["audioUrl"].endswith("a001.mp3")


@pytest.mark.parametrize("name", ["callback-complete", "callback-text", "callback-error-500-server-error"])
async def test_f14_a_callback_without_the_secret_is_refused_and_not_stored(
    world: World, generation: PendingGeneration, name: str
) -> None:
    """The ids of task and generation are not enough: 401, nothing stored, nothing changed."""
    before = await generation.state()
    generation_id = generation.url.split("/")[-2]
    for url in (
        "/http/suno-webhook",
        f"/http/suno-webhook/{generation_id}/guess",
        f"/http/suno-webhook/gen_00000000000000000000000000/{generation.url.split('/')[-1]}",
        f"/http/suno-webhook/{'x' * 500}/y",
    ):
        assert (await generation.post(name, url)).status_code == httpx2.codes.UNAUTHORIZED
    assert await generation.state() == before
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_a_stranger_learns_nothing_of_a_body_and_has_no_large_one_read(
    world: World, generation: PendingGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401 before what is wrong with the body, too large or malformed; nothing waits for the disk."""
    guess = f"{generation.url.rpartition('/')[0]}/guess"
    sent = sent_statements(monkeypatch)
    for body in (b"{not json", b"", b" " * 65_537, b" " * (MAX_BODY + 1), json.dumps(payload("callback-text", "t"))):
        assert (await world.http.post(guess, content=body)).status_code == httpx2.codes.UNAUTHORIZED
    assert FLUSH not in sent
    # A repeated callback is accepted, a forged one is not.
    for url, status in ((generation.url, httpx2.codes.OK), (guess, httpx2.codes.UNAUTHORIZED)) * 2:
        assert (await generation.post("callback-text", url)).status_code == status
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 1


async def test_a_callback_is_two_statements(
    world: World, generation: PendingGeneration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that compares the secret and stores the event with its job, and one that waits for the disk."""
    sent = sent_statements(monkeypatch)
    assert (await world.http.post(generation.url, json=payload("callback-text", "t"))).status_code == httpx2.codes.OK
    assert ["insert into webhook_events" in sql for sql in sent] == [True, False]
    assert sent[1] == FLUSH


async def test_f14_a_ready_song_is_not_replaced_nor_failed_by_later_callbacks(
    world: World, generation: PendingGeneration
) -> None:
    """Final statuses stay: repeated, late and contradicting callbacks have no effect."""
    await generation.post("callback-complete")
    before = await generation.state()
    for name in ("callback-complete", "callback-first", "callback-text", "callback-error-501-generation-failed"):
        assert (await generation.post(name)).status_code == httpx2.codes.OK
    assert await generation.state() == before


async def test_f15_a_failed_song_stays_failed_and_is_refunded_once(world: World, generation: PendingGeneration) -> None:
    """An error callback, twice, and then a late success: one refund, no song."""
    await generation.post("callback-error-501-generation-failed")
    before = await generation.state()
    assert before[0][0]["status"] == "failed"
    assert len(before[2]) == 1
    await generation.post("callback-error-501-generation-failed")
    await generation.post("callback-error-500-server-error")
    await generation.post("callback-complete")
    assert await generation.state() == before


async def test_a_callback_about_another_task_changes_nothing(world: World, generation: PendingGeneration) -> None:
    """The secret of one generation does not authorize another task."""
    before = await generation.state()
    generation.task_id = "5f00aa11bb22cc33dd44ee55ff669999"
    assert (await generation.post("callback-complete")).status_code == httpx2.codes.OK
    assert await generation.state() == before


async def test_concurrent_deliveries_are_applied_once(world: World, generation: PendingGeneration) -> None:
    """Ten concurrent copies: one event, one song."""
    body = payload("callback-complete", generation.task_id)
    answers = await asyncio.gather(*(world.http.post(generation.url, json=body) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {httpx2.codes.OK}
    await world.app.worker.drain(until=None, clock=world.clock)
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 1
    assert [row["status"] for row in (await generation.state())[1]] == ["ready", "ready"]


def _set(body: dict[str, Any], **fields: Any) -> dict[str, Any]:
    body["data"]["data"][0].update(fields)
    return body


TOLERATED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "an unknown field": lambda body: _set(body, brand_new={"deep": [1, None]}),
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
async def test_f17_f18_odd_payloads_still_deliver_the_song(
    world: World, generation: PendingGeneration, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Fields that the vendor may add, drop or change do not prevent delivery."""
    body = change(payload("callback-complete", generation.task_id))
    assert (await world.http.post(generation.url, json=body)).status_code == httpx2.codes.OK
    await world.app.worker.drain(until=None, clock=world.clock)
    rows = (await generation.state())[1]
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
async def test_a_malformed_callback_is_refused_and_not_stored(
    world: World, generation: PendingGeneration, body: bytes
) -> None:
    """400 with a message; nothing in the inbox, nothing changed."""
    before = await generation.state()
    answer = await world.http.post(generation.url, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == httpx2.codes.BAD_REQUEST
    assert answer.json()["message"]
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0
    assert await generation.state() == before


async def test_a_callback_over_one_mebibyte_is_too_large(world: World, generation: PendingGeneration) -> None:
    """413, and nothing is stored."""
    answer = await world.http.post(generation.url, content=b" " * (MAX_BODY + 1))
    assert answer.status_code == httpx2.codes.CONTENT_TOO_LARGE
    assert await world.db.pool.fetchval("select count(*) from webhook_events") == 0


async def test_other_methods_are_refused(world: World, generation: PendingGeneration) -> None:
    """405."""
    assert (await world.http.get(generation.url)).status_code == httpx2.codes.METHOD_NOT_ALLOWED
    assert (await world.http.put("/http/suno-webhook")).status_code == httpx2.codes.METHOD_NOT_ALLOWED


async def test_g79_files_are_fetched_and_shown_from_known_hosts_only(
    world: World, generation: PendingGeneration, alice: Person
) -> None:
    """F28 too. A URL of a private address is neither fetched nor shown; a song without another one fails."""
    body = payload("callback-complete", generation.task_id)
    for track in body["data"]["data"]:
        track["audio_url"] = track["source_audio_url"] = "http://169.254.169.254/latest/meta-data"
        track["stream_audio_url"] = track["source_stream_audio_url"] = "https://evil.example/stream"
        track["image_url"] = track["source_image_url"] = "https://evil.example/cover.png"
    early = json.loads(json.dumps(body))
    early["data"]["callbackType"] = "first"
    for callback in (early, body):
        await world.http.post(generation.url, json=callback)
        await world.app.worker.drain(until=None, clock=world.clock)
        [song] = await alice.query("music:listPlaylistMusic")
        assert song["status"] == "pending"
        assert not {"audioUrl", "imageUrl"} & set(song)
    await world.pass_time(timedelta(minutes=3))
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "failed"
    assert not {"audioUrl", "imageUrl"} & set(song)
    assert len((await generation.state())[2]) == 1
    assert await world.db.pool.fetchval("select count(*) from files") == 0


async def test_g79_a_refused_cover_is_not_shown_with_a_good_song(
    world: World, generation: PendingGeneration, alice: Person
) -> None:
    """The song plays without a cover."""
    body = payload("callback-complete", generation.task_id)
    for track in body["data"]["data"]:
        track["image_url"] = track["source_image_url"] = "https://169.254.169.254/cover.png"
    await world.http.post(generation.url, json=body)
    await world.app.worker.drain(until=None, clock=world.clock)
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "ready"
    assert "imageUrl" not in song
