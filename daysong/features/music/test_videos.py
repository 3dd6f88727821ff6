"""Lists of videos are bounded and read by an index; rules of a video's steps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import NOW
from daysong.features.music import video_rules, videos
from daysong.features.music.video_rules import LIVE, STEPS, is_gift, is_overdue, poll_pause, shown
from rehearsal import library
from rehearsal.world import Person, World

MINUTES = st.integers(0, 500).map(lambda minutes: timedelta(minutes=minutes))


@pytest.mark.anyio
async def test_the_videos_of_a_track_cost_the_same_in_a_large_library(world: World, alice: Person) -> None:
    """With 2,000 other videos, the rows of the track are read by an index; at most 100 are listed."""
    one, *others = await library.fill(world, "alice", 300, timing={})
    newest = await library.film(world, one, count=120)
    await library.film(world, *others, count=8)
    await library.crowd(world, 2_000)
    for generic in (False, True):
        sql = videos.LIST_SQL.replace("$1", "$1::text").replace("$2", "$2::text")
        root = await library.plan(world, sql, ("'user_alice'", f"'{one.music_id}'"), generic=generic)
        assert root["Actual Rows"] == 100
        scans = [node for node in library.nodes(root) if "Scan" in node["Node Type"]]
        assert "Seq Scan" not in {node["Node Type"] for node in scans}
        assert max(node["Actual Rows"] * node["Actual Loops"] for node in scans) <= 121
    listed = await alice.query("videos:listVideosForMusic", musicId=one.music_id)
    assert [video["_id"] for video in listed] == newest[:100]


@given(st.sampled_from(sorted(STEPS)), MINUTES, MINUTES, st.booleans())
def test_only_what_is_in_progress_is_ever_overdue(
    status: video_rules.Status, age: timedelta, rendering: timedelta, named: bool
) -> None:
    """And everything is after an hour in its step."""
    late = is_overdue(
        status, created_at=NOW - age, rendering_since=NOW - rendering, named=named, now=NOW
    )  # fmt: skip
    spent = rendering if status == "rendering" else age
    assert not (late and status not in LIVE)
    assert not (late and spent < timedelta(minutes=20))
    assert late or status not in LIVE or spent < timedelta(hours=1)


@given(st.integers(0, 10**6))
def test_polls_come_further_apart(polls: int) -> None:
    """From one minute to five; three a second are allowed."""
    assert timedelta(minutes=1) <= poll_pause(polls) <= poll_pause(polls + 1) <= timedelta(minutes=5)


def test_final_steps_are_final_but_for_the_gift() -> None:
    """What apps see of each."""
    assert {status for status, following in STEPS.items() if not following} == {"ready", "failed", "canceled"}
    assert [shown(status) for status in ("queued", "writing", "rendering", "ready", "failed")] == [
        "pending", "pending", "pending", "ready", "failed",
    ]  # fmt: skip
    assert is_gift("failed", video_rules.ANSWER_LOST)
    assert not is_gift("failed", "too_late")
    assert not is_gift("canceled", None)
