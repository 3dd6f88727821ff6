"""A song becomes a video: charged with three songs, requested once, delivered to live queries, and playable."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.kernel.limits.budgets import reference_of
from daysong.workflows.videos.conftest import assert_refunded, remaining, state
from rehearsal import library, memories, photos
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import FunctionError, Person, World, film, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unread_entries")]

PROBE = shutil.which("ffprobe")
PHONE = "ExponentPushToken[alices-phone]"


async def start(person: Person, song: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = await person.action("videoActions:startVideoGeneration", musicId=song["_id"])
    return found


def probed(content: bytes, folder: Path) -> dict[str, Any]:
    """Return what ffprobe says of a video."""
    file = folder / "video.mp4"
    file.write_bytes(content)
    done = subprocess.run(  # noqa: S603 - Debian's
        [PROBE or "", "-v", "error", "-show_entries", "stream=codec_name,width,height:format=duration", "-of", "json",
         str(file)],
        check=True, capture_output=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(PROBE is None, reason="needs ffmpeg")
async def test_a_song_becomes_a_video_that_plays(database_url: str, data_dir: Path, tmp_path: Path) -> None:
    """From the click to an MP4 from our own address, whole and in parts."""
    async with World(database_url, data_dir, NOW, film=film) as world:
        alice = await world.person("alice")
        song = await alice.song()
        started = await start(alice, song)
        assert started == {"success": True, "videoId": started["videoId"], "remainingQuota": 1}
        [pending] = await alice.query("videos:listVideosForMusic", musicId=song["_id"])
        assert (pending["status"], pending["isPrimary"], pending["scriptPrompt"]) == ("pending", False, "")
        await world.settle()
        [video] = await alice.query("videos:listVideosForMusic", musicId=song["_id"])
        assert (video["status"], video["isPrimary"], video["duration"]) == ("ready", True, 10)
        assert video["videoUrl"].startswith(f"{world.origin}/media/file_")
        assert song["title"] in video["scriptPrompt"]
        assert video == await alice.query("videos:getVideo", videoId=started["videoId"])
        assert not {"taskId", "kieTaskId"} & video.keys()
        whole = await world.http.get(video["videoUrl"])
        assert (whole.status_code, whole.headers["content-type"]) == (200, "video/mp4")
        part = await world.http.get(video["videoUrl"], headers={"Range": "bytes=4-7"})
        assert (part.status_code, part.content) == (206, b"ftyp")
        # What it is saved as.
        assert song["title"] in whole.headers["content-disposition"]
    found = probed(whole.content, tmp_path)
    assert [stream["codec_name"] for stream in found["streams"]] == ["h264", "aac"]
    assert found["streams"][0]["height"] > found["streams"][0]["width"]
    assert 5 < float(found["format"]["duration"]) < 11


@pytest.mark.skipif(PROBE is None, reason="needs ffmpeg")
async def test_a_photo_of_the_entry_begins_the_video(database_url: str, data_dir: Path, tmp_path: Path) -> None:
    """From the upload to a video that plays and a notification; Kie has the photo's signed address for an hour."""
    async with World(database_url, data_dir, NOW, film=film) as world:
        alice = await world.person("alice")
        await memories.unread(world)
        await alice.mutation("pushNotifications:registerPushToken", token=PHONE, platform="ios")
        entry = await alice.mutation("diaries:createDiary", content="")
        await photos.attached(world, alice, entry["_id"], photos.png())
        song = await alice.song(diaryId=entry["_id"])
        started = await start(alice, song)
        await world.settle()
        [asked] = await world.asked("kie", "createTask")
        url = asked["body"]["input"]["image_url"]
        assert asked["body"]["model"] == "bytedance/v1-pro-fast-image-to-video"
        video = await alice.query("videos:getVideo", videoId=started["videoId"])
        # The sandbox fails a video whose picture it cannot fetch.
        assert (video["status"], video["duration"]) == ("ready", 5)
        assert url not in str(video)
        played = probed((await world.http.get(video["videoUrl"])).content, tmp_path)
        assert [stream["codec_name"] for stream in played["streams"]] == ["h264", "aac"]
        assert (await world.http.get(url)).content == photos.png()
        # Also after the sweeper's polls and another callback.
        await world.steer("kie", "deliver", taskId=next(iter(world.sandbox.kie.tasks)), state="success")
        await world.pass_time(timedelta(minutes=20))
        shown = (await world.http.get("/sandbox/expo/notifications")).json()
        ids = {"musicId": song["_id"], "diaryId": entry["_id"]}
        assert [each["data"] for each in shown] == [
            {"type": "music_ready", **ids},
            {"type": "video_ready", "videoId": started["videoId"], **ids},
        ]
        world.clock.forward(timedelta(minutes=41))
        assert (await world.http.get(url)).status_code == 403


async def test_a_live_list_shows_the_video_come(database_url: str, data_dir: Path) -> None:
    """Pending, then ready with its address, without another request."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world, SyncSocket(world.origin) as socket:
        alice = await world.person("alice")
        [song] = await library.fill(world, "alice", 1)
        await socket.connect()
        await socket.authenticate(0, alice.headers["Authorization"].removeprefix("Bearer "))
        await socket.subscribe(0, q0=("videos:listVideosForMusic", {"musicId": song.music_id}))
        shown = [await socket.transition(1)]
        await start(alice, {"_id": song.music_id})
        await world.settle()
        while not (value := shown[-1]["modifications"][0]["value"]) or value[0]["status"] != "ready":
            shown.append(await socket.receive(lambda message: message["type"] == "Transition"))
        statuses = [[video["status"] for video in each["modifications"][0]["value"]] for each in shown]
        assert statuses[0] == []
        assert ["pending"] in statuses
        assert value[0]["videoUrl"].startswith(world.origin)


async def test_what_it_costs_is_counted(world: World, alice: Person) -> None:
    """OpenAI by its tokens, Kie by the clip; three songs of the quota in one charge."""
    song = await alice.song()
    started = await start(alice, song)
    await world.settle()
    rows = await world.db.pool.fetch("select vendor, function, amount from vendor_costs where function = 'video'")
    found = {row["vendor"]: row["amount"] for row in rows}
    assert found["kie"] == world.settings.costs.kie_video
    assert found["openai"] > 0
    assert [row["amount"] for row in await world.db.pool.fetch("select amount from usage_charges order by id")] == [
        1,
        3,
    ]
    assert await remaining(alice) == 1
    reference = reference_of(world.settings, started["videoId"])
    assert not await world.db.pool.fetchval("select count(*) from budget_reservations where reference = $1", reference)


RESERVED = "select count(*) from budget_reservations"


async def test_a_start_that_is_refused_reserves_no_money(database_url: str, data_dir: Path) -> None:
    """Neither that of a song which is not the caller's, nor one by the token of a deleted account, which has no cap."""
    async with World(database_url, data_dir, NOW, {"DAYSONG_TEST_LIMITS": "1"}) as world:
        alice = await world.person("alice")
        await alice.mutation("users:ensureCurrentUser")
        for is_last in (False, True):
            with pytest.raises(FunctionError):
                await start(alice, {"_id": "music_unknown"})
            with pytest.raises(FunctionError):
                await alice.action("music:startDiaryMusicGeneration", content="Rain.", diaryId="diary_unknown")
            assert await world.db.pool.fetchval(RESERVED) == 0
            if not is_last:
                await alice.mutation("users:deleteAccount")


async def test_what_is_deleted_before_kie_was_requested_reserves_no_money(database_url: str, data_dir: Path) -> None:
    """Starting and deleting does not use up the day's budget."""
    async with World(database_url, data_dir, NOW, {"DAYSONG_TEST_LIMITS": "1"}) as world:
        alice = await world.person("alice")
        song = await alice.song()
        assert await world.db.pool.fetchval(RESERVED) == 0
        started = await start(alice, song)
        assert await world.db.pool.fetchval(RESERVED) == 2
        await alice.mutation("videos:deleteVideo", videoId=started["videoId"])
        await world.settle()
        assert await world.db.pool.fetchval(RESERVED) == 0


async def test_the_quota_must_hold_all_three_songs(world: World, alice: Person) -> None:
    """With one left there is no video, and nothing is charged; song and video share the ledger."""
    first, second = await alice.song(), await alice.song()
    assert (await start(alice, first))["remainingQuota"] == 0
    await world.settle()
    refused = await start(alice, second)
    assert (refused["success"], refused["code"], refused["remainingQuota"]) == (False, "USAGE_LIMIT_REACHED", 0)
    assert (await alice.action("music:startDiaryMusicGeneration", content="More"))["code"] == "USAGE_LIMIT_REACHED"


async def test_accounts_of_one_mailbox_share_what_a_video_used(world: World, alice: Person) -> None:
    """Three songs, not one."""
    await start(alice, await alice.song())
    who = {"sub": "user_twin", "email": "alice@example.test", "name": "Twin", "ttl": 86400}
    token = (await world.http.post("/sandbox/clerk/sign-in", json=who)).json()["jwt"]
    twin = Person(world, {"Authorization": f"Bearer {token}"})
    await twin.mutation("users:ensureCurrentUser")
    assert await remaining(twin) == await remaining(alice) == 1


async def test_only_one_video_of_a_track_is_made_at_a_time(world: World, alice: Person) -> None:
    """Also of two starts at once; afterwards there may be another."""
    song = await alice.song()
    await world.db.pool.execute("update subscriptions set custom_music_limit = 50")
    both = await asyncio.gather(start(alice, song), start(alice, song))
    assert sorted(answer["success"] for answer in both) == [False, True]
    assert {answer.get("code") for answer in both} == {None, "ALREADY_IN_PROGRESS"}
    await world.settle()
    assert len(await world.asked("kie", "createTask")) == 1
    assert (await start(alice, song))["success"]
    await world.settle()
    videos = await alice.query("videos:listVideosForMusic", musicId=song["_id"])
    assert [(video["status"], video["isPrimary"]) for video in videos] == [("ready", False), ("ready", True)]
    await alice.mutation("videos:setAsPrimaryVideo", videoId=videos[0]["_id"])
    videos = await alice.query("videos:listVideosForMusic", musicId=song["_id"])
    assert [video["isPrimary"] for video in videos] == [True, False]
    await alice.mutation("videos:deleteVideo", videoId=videos[0]["_id"])
    [left] = await alice.query("videos:listVideosForMusic", musicId=song["_id"])
    assert left["isPrimary"]
    await world.settle()
    assert (await world.http.get(videos[0]["videoUrl"])).status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [("lyric = null", "NO_LYRICS"), ("lyric = ' '", "NO_LYRICS"), ("status = 'pending'", "UNKNOWN_ERROR")],
)
async def test_a_song_must_be_ready_and_have_words(world: World, alice: Person, change: str, code: str) -> None:
    """Nothing is charged."""
    song = await alice.song()
    await world.db.pool.execute(f"update music set {change}")  # noqa: S608 - of this test
    answer = await start(alice, song)
    assert (answer["success"], answer["code"], answer["remainingQuota"]) == (False, code, 4)
    assert answer["reason"].endswith(".")


async def test_a_deleted_song_is_none(world: World, alice: Person, bob: Person) -> None:
    """And so is another's: nothing is shown or started."""
    song = await alice.song()
    started = await start(alice, song)
    await world.settle()
    video = await alice.query("videos:getVideo", videoId=started["videoId"])
    with pytest.raises(FunctionError, match="Music not found"):
        await start(bob, song)
    for what, error in (("setAsPrimaryVideo", "Not authorized to update"), ("deleteVideo", "Not authorized to delete")):
        with pytest.raises(FunctionError, match=error):
            await bob.mutation(f"videos:{what}", videoId=started["videoId"])
        with pytest.raises(FunctionError, match="Video not found"):
            await bob.mutation(f"videos:{what}", videoId="video_of_nobody")
    await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
    assert await alice.query("videos:listVideosForMusic", musicId=song["_id"]) == []
    assert await alice.query("videos:getVideo", videoId=started["videoId"]) is None
    assert (await world.http.get(video["videoUrl"])).status_code == 404
    with pytest.raises(FunctionError, match="Music not found"):
        await start(alice, song)
    with pytest.raises(FunctionError, match="Video not found"):
        await alice.mutation("videos:deleteVideo", videoId=started["videoId"])


async def test_a_pending_or_failed_video_is_no_primary_one(world: World, alice: Person) -> None:
    """It would show nothing."""
    await world.fault("kie", failCode=501)
    started = await start(alice, await alice.song())
    for _ in range(2):
        with pytest.raises(FunctionError, match="Cannot set pending or failed video as primary"):
            await alice.mutation("videos:setAsPrimaryVideo", videoId=started["videoId"])
        await world.settle()
    assert (await alice.query("videos:getVideo", videoId=started["videoId"]))["status"] == "failed"


async def test_without_a_key_there_are_no_videos(database_url: str, data_dir: Path) -> None:
    """The app says so, and nothing is charged."""
    async with World(database_url, data_dir, NOW) as world:
        alice = await world.person("alice")
        song = await alice.song()
        world.app._kie.enabled = False
        answer = await start(alice, song)
        assert (answer["success"], answer["code"]) == (False, "UNKNOWN_ERROR")
        assert await remaining(alice) == 4


async def test_recorded_videos_are_three_songs(world: World, alice: Person, admin: Person) -> None:
    """usage:recordVideoGeneration and its counterpart, which leaves songs and videos in progress alone."""
    song = await alice.song()
    user = {"userId": (await alice.mutation("users:ensureCurrentUser"))["userId"]}
    recorded = await admin.mutation("usage:recordVideoGeneration", **user)
    assert (recorded["success"], recorded["remainingQuota"]) == (True, 1)
    assert (await admin.mutation("usage:recordVideoGeneration", **user))["code"] == "USAGE_LIMIT_REACHED"
    assert not (await admin.mutation("usage:decrementMusicGeneration", **user))["success"]
    assert (await admin.mutation("usage:decrementVideoGeneration", **user))["remainingQuota"] == 4
    await start(alice, song)
    assert not (await admin.mutation("usage:decrementVideoGeneration", **user))["success"]


async def test_a_retried_request_writes_no_second_prompt(world: World, alice: Person) -> None:
    """OpenAI is paid once; Kie, in maintenance, is requested when it is back."""
    await world.fault("kie", code=455)
    await start(alice, await alice.song())
    await world.settle()
    assert (await state(world))["status"] == "writing"
    await world.fault("kie")
    await world.pass_time(timedelta(minutes=6))
    assert (await state(world))["status"] == "ready"
    assert len([call for call in await world.asked("openai", "chat") if "video model" in str(call["body"])]) == 1


async def test_a_video_in_progress_is_erased_with_its_account(world: World, alice: Person) -> None:
    """Nothing is left of it, and Kie's callback finds nothing."""
    await start(alice, await alice.song())
    await world.app.worker.drain(until=None, clock=world.clock)
    await alice.mutation("users:deleteAccount")
    assert (await state(world))["status"] == "canceled"
    await world.settle()
    await world.pass_time(timedelta(hours=1))
    assert await world.db.pool.fetchval("select count(*) from music_videos") == 0
    assert await world.db.pool.fetchval("select count(*) from files") == 0


@pytest.mark.parametrize("what", ["video", "song", "entry"])
@pytest.mark.parametrize("requested", [False, True])
async def test_what_is_deleted_before_kie_was_requested_is_refunded(
    world: World, alice: Person, what: str, requested: bool
) -> None:
    """Afterwards it is bought: three songs stay charged, and the finished video is not kept."""
    song = await alice.song()
    started = await start(alice, song)
    if requested:
        await world.app.worker.drain(until=None, clock=world.clock)
    match what:
        case "video":
            await alice.mutation("videos:deleteVideo", videoId=started["videoId"])
        case "song":
            await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
        case "entry":
            await alice.mutation("diaries:deleteDiary", diaryId=song["diaryId"])
    await world.settle()
    await world.pass_time(timedelta(hours=2))
    assert await remaining(alice) == (1 if requested else 4)
    assert await alice.query("videos:listVideosForMusic", musicId=song["_id"]) == []
    assert len(await world.asked("kie", "createTask")) == int(requested)
    assert not await world.db.pool.fetchval("select count(*) from files where content_type = 'video/mp4'")


async def test_a_banned_users_video_is_refunded_if_kie_was_not_requested(world: World, alice: Person) -> None:
    """As their songs are."""
    song = await alice.song()
    await world.fault("openai", status=503)
    await start(alice, song)
    await world.steer("clerk", "update", sub="user_alice", banned=True)
    await world.settle()
    await assert_refunded(world, "suspended")
