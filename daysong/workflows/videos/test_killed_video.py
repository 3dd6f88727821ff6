"""A worker process is killed between steps of a video.

The state after the kill, and the result:

    killed                                          result
    before or while the prompt is written           the job runs again; the prompt may be paid twice
    between `requested_at` and the request to Kie   Kie is not requested again: after 20 minutes the video fails and is
                                                    refunded
    after the request, before the task id is        the same, but Kie's callback names the task: the video is
    stored                                          delivered, even after the refund
    around the copy of the finished file            the job runs again, to the same file id: one file, one notification
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daysong.kernel.functions.context import SYSTEM
from daysong.workflows.videos.video_delivery import CheckedTask, apply_video_task
from rehearsal import library, memories
from rehearsal.processes.killing import Mortals, let_another_worker_finish, mortals
from rehearsal.world import Person, World, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

# Two around each of four transactions and two vendor calls. Those of the prompt are as those of a song's lyrics.
BOUNDARIES = range(6, 14)
REQUEST = "videoActions:requestKieVideoGeneration"
# After the file is stored and before it is recorded, and after that; the last shows that none was missed.
COPY_BOUNDARIES = range(1, 6)
COPY = "videos:keepVideo"


async def with_a_song(world: World, boundary: int) -> tuple[Person, str]:
    """Return a new account and its song: one for each boundary, since of one account only two jobs run at once."""
    name = f"alice{boundary}"
    owner = await world.person(name)
    [song] = await library.fill(world, name, 1)
    await world.db.pool.execute("update subscriptions set custom_music_limit = 100")
    return owner, song.music_id


async def killed(world: World, parent: Mortals, boundaries: range) -> dict[int, tuple[bool, str, int]]:
    """Kill a worker at each boundary, each with a video of its own; return whether it died, and how the video ended."""
    started, deaths = {}, {}
    for boundary in boundaries:
        alice, song = await with_a_song(world, boundary)
        answer = await alice.action("videoActions:startVideoGeneration", musicId=song)
        started[boundary] = answer["videoId"]
        deaths[boundary] = await parent.die(world.environ(), boundary, REQUEST)
    await let_another_worker_finish(world)
    await world.settle()
    # Where Kie was to be requested but never was, only the deadline can tell.
    await world.pass_time(timedelta(minutes=25))
    outcomes = {}
    for boundary, video_id in started.items():
        row = await world.db.pool.fetchrow(
            """select v.status, (select count(*)::int from usage_refunds r where r.charge_id = v.charge_id) as refunds
               from music_videos v where id = $1""",
            video_id,
        )
        assert row is not None
        outcomes[boundary] = (deaths[boundary], row["status"], row["refunds"])
    return outcomes


async def test_a_worker_killed_around_the_request_buys_one_video_or_refunds_it(
    database_url: str, tmp_path: Path
) -> None:
    """Kie is requested at most once for each, and none is lost without its refund."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        await memories.unread(world)
        with mortals() as parent:
            outcomes = await killed(world, parent, BOUNDARIES)
        accepted = len(world.sandbox.kie.tasks)
    *deaths, survived = outcomes.values()
    assert survived == (False, "ready", 0), outcomes
    assert all(died for died, _, _ in deaths), outcomes
    assert {(status, refunds) for _, status, refunds in deaths} == {("ready", 0), ("failed", 1)}, outcomes
    # Only a death between noting the request and sending it costs the video.
    failed = sum(status == "failed" for _, status, _ in deaths)
    assert failed <= 2, outcomes
    assert accepted == len(outcomes) - failed


async def test_a_worker_killed_around_the_copy_delivers_the_video_once(database_url: str, tmp_path: Path) -> None:
    """Whenever it dies, the file is served, there is one of it, and its owner is notified once."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        await memories.unread(world)
        await world.fault("kie", callbacks="lost")
        started, deaths = {}, []
        with mortals() as parent:
            for boundary in COPY_BOUNDARIES:
                owner, song = await with_a_song(world, boundary)
                token = f"ExponentPushToken[the-phone-of-alice{boundary}]"
                await owner.mutation("pushNotifications:registerPushToken", token=token, platform="ios")
                answer = await owner.action("videoActions:startVideoGeneration", musicId=song)
                started[answer["videoId"]] = owner
                await world.app.worker.drain(until=None, clock=world.clock)
                await world.sandbox.kie.settle()
                task_id = list(world.sandbox.kie.tasks)[-1]
                url = f"{world.sandbox.kie.base_url}/files/{task_id}.mp4"
                done = CheckedTask(video_id=answer["videoId"], task_id=task_id, state="done", result_url=url)
                await world.app.runtime.run_mutation(apply_video_task, done, SYSTEM)
                deaths.append(await parent.die(world.environ(), boundary, COPY))
        assert deaths == [True] * (len(COPY_BOUNDARIES) - 1) + [False]
        await let_another_worker_finish(world)
        await world.pass_time(timedelta(minutes=1))
        for video_id, owner in started.items():
            video = await owner.query("videos:getVideo", videoId=video_id)
            assert (await world.http.get(video["videoUrl"])).content[4:8] == b"ftyp"
        files = await world.db.pool.fetchval("select count(*) from files where content_type = 'video/mp4'")
        assert files == len(COPY_BOUNDARIES)
        messages = [message for call in await world.asked("expo", "/send") for message in call["body"]]
        notified = [message["data"]["videoId"] for message in messages if "videoId" in message["data"]]
        assert sorted(notified) == sorted(started)
