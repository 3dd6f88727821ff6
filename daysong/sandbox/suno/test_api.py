"""The real Suno client against the sandbox: good days, and every fault."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from daysong.sandbox.app import Pace
from daysong.sandbox.conftest import LYRIC, World, failure, recorded, shape
from daysong.sandbox.music.composer import compose
from daysong.vendors.suno.client import MalformedCallback, Suno, parse_callback

pytestmark = pytest.mark.anyio


async def test_an_order_is_told_in_three_stages_and_then_done(world: World) -> None:
    """text, first, complete; two tracks with links that can be fetched, with sound and a picture."""
    task_id = await world.order()
    assert (await world.suno.task(task_id)).status == "PENDING"
    await world.sandbox.settle()
    assert [callback.stage for callback in world.told] == ["text", "first", "complete"]
    assert [sum(bool(track.audio_url) for track in callback.tracks) for callback in world.told] == [0, 1, 2]
    assert {callback.task_id for callback in world.told} == {task_id}
    task = await world.suno.task(task_id)
    assert (task.state, len(task.tracks)) == ("done", 2)
    for track, same in zip(task.tracks, world.told[-1].tracks, strict=True):
        assert (track.title, track.lyric, track.tags) == ("Quiet Street", LYRIC, "calm indie folk")
        assert (track.audio_url, track.duration) == (same.audio_url, same.duration)
        assert track.audio_url is not None
        assert track.image_url is not None
        assert track.stream_url is not None
        audio = await world.files.fetch(track.audio_url, max_bytes=10_000_000)
        stream = await world.files.fetch(track.stream_url, max_bytes=10_000_000)
        cover = await world.files.fetch(track.image_url, max_bytes=1_000_000)
        assert audio.content == stream.content
        assert cover.content.startswith(b"\x89PNG")
    assert task.tracks[0].audio_id != task.tracks[1].audio_id


async def test_callbacks_and_records_have_the_shape_of_the_real_ones(world: World) -> None:
    """Same keys, same kinds of values, at every stage."""
    task_id = await world.order()
    key = world.sandbox.suno_settings().api_key
    for stage in ("text", "first", "complete"):
        await world.steer("suno/deliver", {"taskId": task_id, "stage": stage})
        assert shape(json.loads(world.inbox[-1])) == shape(recorded(f"suno/callback-{stage}"))
        record = await world.steering.get(
            "suno/api/v1/generate/record-info", params={"taskId": task_id}, headers={"Authorization": f"Bearer {key}"}
        )
        name = {"text": "text-success", "first": "first-success", "complete": "success"}[stage]
        assert shape(record.json()) == shape(recorded(f"suno/record-info-{name}"))
        assert json.loads(record.json()["data"]["param"])["callBackUrl"] == "http://app.test/hooks/suno/SECRET"
    await world.steer("suno/deliver", {"taskId": task_id, "stage": "error", "code": 531})
    assert shape(json.loads(world.inbox[-1])) == shape(recorded("suno/callback-error-531-refunded"))


async def test_words_are_timed_once_a_track_is_sung(world: World) -> None:
    """Before, there are none."""
    task_id = await world.order()
    await world.steer("suno/deliver", {"taskId": task_id, "stage": "first"})
    first, second = (await world.suno.task(task_id)).tracks
    assert await world.suno.timed_lyrics(task_id, second.audio_id) is None
    timed = await world.suno.timed_lyrics(task_id, first.audio_id)
    assert timed is not None
    assert "".join(word.word for word in timed.aligned_words).split() == LYRIC.split()
    assert timed.waveform_data
    assert (await failure(world.suno.timed_lyrics(task_id, "nobody"))).permanent


async def test_credits_are_spent_and_run_out(world: World) -> None:
    """Too few credits are code 429, which is no rate limit."""
    before = await world.suno.credits()
    await world.order()
    assert await world.suno.credits() == before - 12
    world.sandbox.suno.credits = 3
    assert (await failure(world.order())).code == "suno_429"


async def test_a_task_nobody_ordered_is_unknown(world: World) -> None:
    """As the real one says it."""
    assert (await world.suno.task("0" * 32)).state == "unknown"


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"callBackUrl": None}, 400, "Please enter callBackUrl."),
        ({"customMode": None}, 400, "customMode cannot be null"),
        ({"model": "V3_5"}, 400, "model"),
        ({"title": ""}, 400, "title"),
        ({"style": ""}, 400, "style"),
        ({"prompt": " "}, 400, "prompt"),
        ({"prompt": "x" * 5001}, 413, "5000"),
        ({"style": "x" * 1001}, 413, "1000"),
        ({"title": "x" * 101}, 413, "100"),
    ],
)
async def test_what_suno_would_refuse_is_refused_with_http_200(
    world: World, change: dict[str, Any], code: int, message: str
) -> None:
    """The code in the body decides."""
    order = recorded("suno/generate-request-instrumental") | {"instrumental": False, "prompt": LYRIC} | change
    answer = await world.steering.post(
        "suno/api/v1/generate",
        json=order,
        headers={"Authorization": f"Bearer {world.sandbox.suno_settings().api_key}"},
    )
    assert answer.status_code == 200
    assert answer.json()["code"] == code
    assert message in answer.json()["msg"]
    assert shape(answer.json()) == shape(recorded("suno/generate-error-400-callback-missing"))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"code": 401}, (True, False, "suno_401", None)),
        ({"code": 405}, (False, False, "suno_405", 10.0)),
        ({"code": 413}, (True, False, "suno_413", None)),
        ({"code": 429}, (True, False, "suno_429", None)),
        ({"code": 430}, (False, False, "suno_430", 10.0)),
        ({"code": 455}, (False, False, "suno_455", 300.0)),
        ({"code": 500}, (False, True, "suno_500", None)),
        ({"status": 503}, (False, True, "suno_503", None)),
        ({"code": 430, "status": 429, "retryAfter": 30}, (False, False, "suno_430", 30.0)),
        ({"answer": "garbage"}, (False, True, "unreadable_answer", None)),
        ({"drop": True}, (False, True, "unreachable", None)),
    ],
)
async def test_each_suno_fault_is_seen_for_what_it_is(
    world: World, fault: dict[str, Any], expected: tuple[bool, bool, str, float | None]
) -> None:
    """After a lost answer the order exists all the same: it is ambiguous."""
    await world.steer("suno/faults", {"times": 1, "path": "/generate", **fault})
    error = await failure(world.order())
    assert (error.permanent, error.ambiguous, error.code, error.retry_after) == expected
    stands = fault.get("drop") or fault.get("answer") == "garbage"
    assert len(world.sandbox.suno.tasks) == (1 if stands else 0)
    assert await world.order()


async def test_an_answer_that_never_comes_is_an_order_that_may_stand(world: World) -> None:
    """The client's time limit ends it."""
    await world.steer("suno/faults", {"hang": True, "times": 1})
    impatient = Suno(world.sandbox.suno_settings(), transport=httpx2.ASGITransport(world.sandbox.asgi), timeout=0.05)
    error = await failure(
        impatient.generate(lyric=LYRIC, style="folk", title="A", callback_url="http://app.test/hooks/suno/SECRET")
    )
    await impatient.close()
    assert (error.permanent, error.ambiguous) == (False, True)
    assert len(world.sandbox.suno.tasks) == 1


async def test_latency_only_delays(world: World) -> None:
    """A slow vendor is a good vendor."""
    await world.steer("suno/faults", {"latency": 0.01})
    assert await world.order()


async def test_callbacks_can_be_lost(world: World) -> None:
    """Nothing arrives, and record-info knows."""
    await world.steer("suno/faults", {"callbacks": "lost"})
    task_id = await world.order()
    await world.sandbox.settle()
    assert world.inbox == []
    assert (await world.suno.task(task_id)).state == "done"


async def test_callbacks_can_come_twice_or_backwards(world: World) -> None:
    """Each of them, and in the worst order."""
    await world.steer("suno/faults", {"callbacks": "duplicated"})
    await world.order()
    await world.sandbox.settle()
    assert [callback.stage for callback in world.told] == ["text", "text", "first", "first", "complete", "complete"]
    world.inbox.clear()
    await world.steer("suno/faults", {"callbacks": "reordered"})
    await world.order()
    await world.sandbox.settle()
    assert [callback.stage for callback in world.told] == ["complete", "first", "text"]


async def test_callbacks_can_be_malformed(world: World) -> None:
    """The parser raises MalformedCallback."""
    await world.steer("suno/faults", {"callbacks": "malformed"})
    await world.order()
    await world.sandbox.settle()
    for body in world.inbox:
        with pytest.raises(MalformedCallback):
            parse_callback(body)
    assert world.inbox


async def test_a_song_can_be_complete_without_sound_or_with_one_track(world: World) -> None:
    """Both have been thought possible of the real one."""
    await world.steer("suno/faults", {"callbacks": "no_audio"})
    await world.order()
    await world.sandbox.settle()
    assert [bool(track.audio_url) for track in world.told[-1].tracks] == [False, False]
    await world.steer("suno/faults", {"tracks": 1})
    await world.order()
    await world.sandbox.settle()
    assert len(world.told[-1].tracks) == 1


@pytest.mark.parametrize(("code", "status"), [(400, "SENSITIVE_WORD_ERROR"), (501, "GENERATE_AUDIO_FAILED")])
async def test_a_song_can_fail(world: World, code: int, status: str) -> None:
    """An error callback with the code, and a failed task."""
    await world.steer("suno/faults", {"callbackCode": code})
    task_id = await world.order()
    await world.sandbox.settle()
    assert [(callback.stage, callback.code) for callback in world.told] == [("error", code)]
    task = await world.suno.task(task_id)
    assert (task.state, task.status, task.code) == ("failed", status, code)


async def test_an_endpoint_that_refuses_is_tried_four_times_and_given_up(world: World) -> None:
    """CALLBACK_EXCEPTION; the audio is there all the same."""
    world.answers_with = 500
    task_id = await world.order()
    await world.sandbox.settle()
    assert len(world.inbox) == 4
    task = await world.suno.task(task_id)
    assert (task.status, task.state) == ("CALLBACK_EXCEPTION", "done")


async def test_stages_can_be_delivered_by_hand(world: World) -> None:
    """In any order, again, and never taking the task back."""
    task_id = await world.order()
    for stage in ("complete", "text", "complete"):
        told = await world.steer("suno/deliver", {"taskId": task_id, "stage": stage})
        assert told == {"delivered": [{"taskId": task_id, "stage": stage, "status": 200}]}
    assert [callback.stage for callback in world.told] == ["complete", "text", "complete"]
    assert (await world.suno.task(task_id)).state == "done"
    assert (await world.steering.post("suno/deliver", json={"taskId": "nobody"})).status_code == 404
    assert (await world.steering.post("suno/deliver", json={"stage": "soon"})).status_code == 400


async def test_what_was_delivered_is_not_delivered_again(world: World) -> None:
    """Settling twice changes nothing."""
    await world.order()
    await world.sandbox.settle()
    await world.sandbox.settle()
    assert len(world.inbox) == 3


async def test_with_a_pace_songs_deliver_themselves(tmp_path: Path) -> None:
    """`settle` is not needed."""
    world = World(tmp_path, pace=Pace(text=0.0, first=0.01, complete=0.02))
    task_id = await world.order()
    async with asyncio.timeout(10):
        while (await world.suno.task(task_id)).state != "done" or len(world.inbox) < 3:
            await asyncio.sleep(0.005)
    assert [callback.stage for callback in world.told] == ["text", "first", "complete"]
    await world.close()


async def test_closing_stops_what_is_under_way(tmp_path: Path) -> None:
    """No callback comes from a sandbox that was closed."""
    world = World(tmp_path, pace=Pace(text=60, first=60, complete=60))
    await world.order()
    await world.close()
    assert world.inbox == []


async def test_the_real_composer_sings_here(tmp_path: Path) -> None:
    """Real audio, as long as it says, with the words timed over it."""
    world = World(tmp_path, songs=compose)
    await world.steer("suno/faults", {"tracks": 1})
    task_id = await world.order()
    await world.sandbox.settle()
    (track,) = (await world.suno.task(task_id)).tracks
    assert track.duration is not None
    assert track.duration > 10
    assert track.audio_url is not None
    audio = await world.files.fetch(track.audio_url, max_bytes=20_000_000)
    assert len(audio.content) > 50_000
    timed = await world.suno.timed_lyrics(task_id, track.audio_id)
    assert timed is not None
    assert timed.aligned_words[0].start_s < timed.aligned_words[-1].end_s <= track.duration
    await world.close()


async def test_audio_and_covers_outlive_a_restart(tmp_path: Path) -> None:
    """Links that were handed out go on working; made-up names lead nowhere."""
    world = World(tmp_path)
    await world.order()
    await world.sandbox.settle()
    track = world.told[-1].tracks[0]
    assert track.audio_url is not None
    before = await world.files.fetch(track.audio_url, max_bytes=10_000_000)
    await world.close()
    world = World(tmp_path)
    assert await world.files.fetch(track.audio_url, max_bytes=10_000_000) == before
    for name in ("nobody.mp3", "nobody", "..%2Fclerk-keys.json", "..%2F..%2Fa.png", "a.txt"):
        assert (await world.steering.get(f"suno/files/{name}")).status_code == 404
    await world.close()
