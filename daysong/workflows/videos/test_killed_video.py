"""A worker process is killed between steps of a video.

The state after the kill, and the result:

    killed                                          result
    before or while the prompt is written           the job runs again; the prompt may be paid twice
    between `requested_at` and the request to Kie   Kie is not requested again: after 20 minutes the video fails and is
                                                    refunded
    after the request, before the task id is        the same, but Kie's callback names the task: the video is
    stored                                          delivered, even after the refund
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rehearsal import library, memories
from rehearsal.processes.killing import Mortals, let_another_worker_finish, mortals
from rehearsal.world import World, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

# Two around each of four transactions and two vendor calls. Those of the prompt are as those of a song's lyrics.
BOUNDARIES = range(6, 14)
REQUEST = "videoActions:requestKieVideoGeneration"


async def killed(world: World, parent: Mortals, boundaries: range) -> dict[int, tuple[bool, str, int]]:
    """Kill a worker at each boundary, each with a video of its own; return whether it died, and how the video ended."""
    alice = await world.person("alice")
    await world.db.pool.execute("update subscriptions set custom_music_limit = 100")
    songs = await library.fill(world, "alice", len(boundaries))
    started, deaths = {}, {}
    for boundary, song in zip(boundaries, songs, strict=True):
        answer = await alice.action("videoActions:startVideoGeneration", musicId=song.music_id)
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
