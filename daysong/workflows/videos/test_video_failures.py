"""What can go wrong on the way to a video: each ends in a video or in exactly one refund, and Kie is requested once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daysong.workflows.videos.conftest import assert_refunded, remaining, state
from rehearsal import library
from rehearsal.world import Person, World

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unread_entries")]


async def start(world: World, alice: Person) -> dict[str, Any]:
    """Start a video and run the job that requests it; nothing is delivered."""
    [song] = await library.fill(world, "alice", 1)
    started: dict[str, Any] = await alice.action("videoActions:startVideoGeneration", musicId=song.music_id)
    assert started["success"]
    await world.app.worker.drain(until=None, clock=world.clock)
    return started


async def orders(world: World) -> int:
    """Return how many videos Kie has accepted."""
    return len(world.sandbox.kie.tasks)


@pytest.mark.parametrize(
    "fault", [{"code": 402}, {"code": 401}, {"code": 422}, {"code": 501}, {"code": 505}, {"status": 403}]
)
async def test_a_refusal_is_refunded_at_once(world: World, alice: Person, fault: dict[str, Any]) -> None:
    """No credits, a wrong key, refused content, a disabled model: another attempt cannot help."""
    await world.fault("kie", **fault)
    await start(world, alice)
    code = fault.get("code") or fault["status"]
    await assert_refunded(world, f"kie_{code}")
    assert await remaining(alice) == 5
    assert await world.db.pool.fetchval("select count(*) from vendor_costs where vendor = 'kie'") == 0
    await world.fault("kie")
    await world.pass_time(timedelta(minutes=10))
    assert len(await world.asked("kie", "createTask")) == 1
    assert (await state(world))["refunds"] == 1


@pytest.mark.parametrize("fault", [{"code": 455}, {"code": 429}])
async def test_a_busy_kie_is_requested_later(world: World, alice: Person, fault: dict[str, Any]) -> None:
    """Maintenance and rate limits pass, and are no failure."""
    await world.fault("kie", times=1, **fault)
    await start(world, alice)
    assert (await state(world))["requested_at"] is None
    await world.pass_time(timedelta(minutes=10))
    found = await state(world)
    assert (found["status"], found["refunds"], await orders(world)) == ("ready", 0, 1)


@pytest.mark.parametrize("answer", ["refusal", "content_filter"])
async def test_what_openai_refuses_is_refunded(world: World, alice: Person, answer: str) -> None:
    """Kie is not requested."""
    await world.fault("openai", answer=answer)
    await start(world, alice)
    await assert_refunded(world, "refused" if answer == "refusal" else "content_filter")
    assert await world.asked("kie", "createTask") == []


@pytest.mark.parametrize("fault", [{"code": 500}, {"drop": True}, {"answer": "garbage"}, {"status": 502}])
async def test_a_lost_answer_is_never_requested_again(world: World, alice: Person, fault: dict[str, Any]) -> None:
    """The video may have been accepted: the callback names its task. If none comes, it is refunded once."""
    await world.fault("kie", times=1, **fault)
    await start(world, alice)
    found = await state(world)
    assert (found["status"], found["task_id"]) == ("rendering", None)
    accepted = await orders(world)
    await world.settle()
    await world.pass_time(timedelta(minutes=30))
    found = await state(world)
    assert len(await world.asked("kie", "createTask")) == 1
    if accepted:
        assert (found["status"], found["refunds"]) == ("ready", 0)
        assert found["task_id"] in world.sandbox.kie.tasks
    else:
        await assert_refunded(world, "answer_lost")


async def test_a_video_whose_answer_was_lost_comes_even_after_its_refund(world: World, alice: Person) -> None:
    """A gift: the refund stands."""
    await world.fault("kie", drop=True, path="createTask", stuck=True)
    started = await start(world, alice)
    await world.pass_time(timedelta(minutes=25))
    await assert_refunded(world, "answer_lost")
    await world.fault("kie")
    await world.settle()
    found = await state(world)
    assert (found["status"], found["refunds"], found["failure_code"]) == ("ready", 1, None)
    assert "videoUrl" in await alice.query("videos:getVideo", videoId=started["videoId"])
    assert await remaining(alice) == 5


async def test_a_lost_callback_is_made_up_for(world: World, alice: Person) -> None:
    """After five minutes Kie is polled."""
    await world.fault("kie", callbacks="lost")
    await start(world, alice)
    await world.settle()
    assert (await state(world))["status"] == "rendering"
    await world.pass_time(timedelta(minutes=6))
    assert (await state(world))["status"] == "ready"
    assert len(await world.asked("kie", "recordInfo")) == 1


async def test_an_hour_is_enough(world: World, alice: Person) -> None:
    """A video that never ends fails and is refunded once; a success after that changes nothing."""
    await world.fault("kie", stuck=True)
    await start(world, alice)
    await world.pass_time(timedelta(minutes=58))
    assert (await state(world))["status"] == "rendering"
    # A few polls, not one each second.
    assert 8 < len(await world.asked("kie", "recordInfo")) < 20
    await world.pass_time(timedelta(minutes=10))
    await assert_refunded(world, "too_late")
    await world.fault("kie")
    await world.settle()
    await world.pass_time(timedelta(hours=1))
    await assert_refunded(world, "too_late")


async def test_an_unreachable_kie_is_given_an_hour_too(world: World, alice: Person) -> None:
    """Without any answer to the polls."""
    await start(world, alice)
    await world.fault("kie", status=503, callbacks="lost")
    await world.pass_time(timedelta(minutes=70))
    await assert_refunded(world, "too_late")


async def test_a_failed_task_is_refunded_once(world: World, alice: Person) -> None:
    """However often it is told."""
    await world.fault("kie", failCode=500, callbacks="duplicated")
    started = await start(world, alice)
    await world.settle()
    await assert_refunded(world, "kie_500")
    [task_id] = world.sandbox.kie.tasks
    await world.steer("kie", "deliver", taskId=task_id, state="fail")
    await world.pass_time(timedelta(minutes=10))
    await assert_refunded(world, "kie_500")
    video = await alice.query("videos:getVideo", videoId=started["videoId"])
    assert (video["status"], video["reason"]) == ("failed", "The video could not be made this time.")
    assert await remaining(alice) == 5


@pytest.mark.parametrize("file", ["page", "noise", "empty", "missing"])
async def test_what_is_no_video_is_not_served(world: World, alice: Person, file: str) -> None:
    """It is fetched again until the deadline; one that is there by then is delivered."""
    await world.fault("kie", file=file)
    started = await start(world, alice)
    await world.settle()
    assert "videoUrl" not in await alice.query("videos:getVideo", videoId=started["videoId"])
    await world.pass_time(timedelta(minutes=20))
    assert (await state(world))["status"] == "rendering"
    await world.fault("kie")
    await world.pass_time(timedelta(minutes=10))
    assert (await state(world))["status"] == "ready"


async def test_f28_a_file_elsewhere_is_not_fetched(world: World, alice: Person) -> None:
    """A private address, say: it is refused, the operator hears of it, and the charge is refunded."""
    await world.fault("kie", file="foreign")
    started = await start(world, alice)
    await world.settle()
    await world.pass_time(timedelta(minutes=70))
    await assert_refunded(world, "too_late")
    assert "169.254" not in str(await alice.query("videos:getVideo", videoId=started["videoId"]))
