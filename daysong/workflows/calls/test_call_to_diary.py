"""No conversation is lost: a report becomes an entry and a song, or a recorded reason, once."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong import vendors
from daysong.features.phone_calls.numbers.numbers import number_hashes
from rehearsal.calls.phones import ALICES, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

FIXTURES = Path(vendors.__file__).parent / "vapi" / "fixtures"
# The others are calls, and answers to webhooks.
WEBHOOKS = sorted(
    file.name
    for file in FIXTURES.glob("*.json")
    if "message" in json.loads(file.read_text()) and not file.name.startswith(("assistant-request", "error-"))
)
CALL = "00000000-0000-4000-8000-0000000000c1"
OF_FIXTURES = "+12025550123"


async def tells(world: World, body: Any, **headers: str) -> Any:
    """VAPI sends a webhook; the answer."""
    secret = {"Authorization": f"Bearer {world.settings.vapi.webhook_secret}"}
    return await world.http.post("/http/vapi-webhook", content=json.dumps(body), headers={**secret, **headers})


async def dialled(world: World, person: Person) -> str:
    """A call of the person's that was placed under the id that the fixtures have; the id of its job."""
    await wants_calls(person, OF_FIXTURES)
    await has_agreed(world, OF_FIXTURES)
    settings = await world.db.pool.fetchrow("select id, user_id from call_settings")
    assert settings is not None
    await world.db.pool.execute(
        """insert into call_jobs (id, user_id, settings_id, scheduled_for, status, attempts, asked_at, number_hash,
             with_consent, vapi_call_id, created_at, updated_at)
           values ('call_x', $1, $2, $3, 'scheduled', 1, $3, $4, true, $5, $3, $3)""",
        settings["user_id"], settings["id"], world.clock.now(), number_hashes(world.settings, OF_FIXTURES)[0], CALL,
    )  # fmt: skip
    return "call_x"


async def ordered(world: World) -> int:
    """How many songs were ordered from Suno."""
    return sum(call["path"].endswith("/generate") for call in await world.asked("suno"))


async def outcomes(world: World) -> list[tuple[str, str | None]]:
    """Return the outcomes of VAPI's messages, by type."""
    rows = await world.db.pool.fetch(
        "select type, outcome from webhook_events where vendor = 'vapi' order by received_at, id"
    )
    return [(row["type"], row["outcome"]) for row in rows]


async def test_a_due_call_becomes_an_entry_and_a_song(world: World, alice: Person) -> None:
    """In the person's words, dated when they told it."""
    await wants_calls(alice)
    await until_due(world)
    [diary] = await alice.query("diaries:listDiaries")
    [session] = await alice.query("callJobs:getCallSessions")
    assert session["diaryId"] == diary["_id"]
    assert session["state"] == "completed"
    assert session["startedAt"] < session["endedAt"]
    assert session["durationSec"] == pytest.approx((session["endedAt"] - session["startedAt"]) / 1000)
    assert diary["date"] == session["startedAt"]
    assert diary["content"] == session["endOfCallReport"]["summary"]
    assert diary["primaryMusic"]["status"] == "ready"
    assert (await alice.query("billing:getCurrentUserStatus"))["musicGenerationsUsed"] == 1


@pytest.mark.parametrize("name", WEBHOOKS)
async def test_every_message_of_vapis_has_an_outcome(world: World, alice: Person, name: str) -> None:
    """Each, three times: at most one entry and one song, and never silence."""
    await dialled(world, alice)
    body = json.loads((FIXTURES / name).read_text())
    for _ in range(3):
        assert (await tells(world, body)).status_code == 200
        await world.settle()
    told = await outcomes(world)
    assert len(told) == 1
    assert told[0][1]
    diaries = await alice.query("diaries:listDiaries")
    songs = await alice.query("music:listPlaylistMusic")
    assert len(diaries) == len(songs)
    if name.startswith("eocr-"):
        [session] = await alice.query("callJobs:getCallSessions")
        assert session["outcome"]
        assert len(diaries) == (session["outcome"] == "diary")
        [job] = await alice.query("callJobs:getCallJobs")
        assert job["status"] in {"completed", "failed"}
    if name in {"eocr-customer-ended.json", "eocr-assistant-ended.json", "eocr-documented-fields-only.json"}:
        assert len(diaries) == 1


async def test_f37_three_deliveries_at_once_are_one_entry_and_one_song(world: World, alice: Person) -> None:
    """Side by side, and each with a body of its own."""
    await dialled(world, alice)
    body = json.loads((FIXTURES / "eocr-customer-ended.json").read_text())
    bodies = [json.loads(json.dumps(body)) for _ in range(3)]
    for number, one in enumerate(bodies):
        one["message"]["artifact"]["presignedMonoUrl"] = f"https://storage.vapi.example/?sig={number}"
    answers = await asyncio.gather(*(tells(world, one) for one in bodies))
    assert [answer.status_code for answer in answers] == [200] * 3
    await world.settle()
    assert len(await alice.query("diaries:listDiaries")) == 1
    assert await ordered(world) == 1
    [session] = await alice.query("callJobs:getCallSessions")
    assert session["diaryId"]


@pytest.mark.parametrize(
    "faults",
    [
        {"webhooks": "duplicated"},
        {"webhooks": "reordered"},
        {"webhooks": "early"},
        {"webhooks": "lost"},
        {"analysis": "missing"},
        {"analysis": "late"},
        {"analysis": "no_summary"},
        {"analysis": "no_evaluation"},
        {"transcript": "messages_only"},
        {"transcript": "content_arrays"},
        {"transcript": "openai_only"},
        {"transcript": "text_only"},
    ],
    ids=str,
)
async def test_f36_f38_f39_f44_however_the_report_comes_the_talk_is_an_entry(
    world: World, alice: Person, faults: dict[str, Any]
) -> None:
    """Twice, in the wrong order, before our own request was answered, not at all; with hardly anything in it."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", **faults)
    await until_due(world)
    await world.pass_time(timedelta(minutes=26))
    [diary] = await alice.query("diaries:listDiaries")
    assert diary["primaryMusic"]["status"] == "ready"
    [job] = await alice.query("callJobs:getCallJobs")
    [session] = await alice.query("callJobs:getCallSessions")
    assert (job["status"], session["state"]) == ("completed", "completed")
    assert session["callJobId"] == job["_id"]
    assert len(await rings(world)) == 1
    assert await ordered(world) == 1


@pytest.mark.parametrize(
    ("how", "state", "job_status"),
    [
        ("no_answer", "no-answer", "failed"),
        ("busy", "busy", "failed"),
        ("voicemail", "voicemail", "failed"),
        ("misdialed", "failed", "failed"),
        ("provider_fault", "completed", "completed"),
        ("hangs_up", "completed", "completed"),
        ("too_long", "completed", "completed"),
    ],
)
async def test_f40_a_call_that_was_not_answered_is_not_completed(
    world: World, alice: Person, how: str, state: str, job_status: str
) -> None:
    """The session says how it ended, and an entry there is only of a talk."""
    await wants_calls(alice)
    await has_agreed(world)
    await answers(world, how)
    await until_due(world)
    [session] = await alice.query("callJobs:getCallSessions")
    [job] = await alice.query("callJobs:getCallJobs")
    assert (session["state"], job["status"]) == (state, job_status)
    talked = how in {"provider_fault", "too_long"}
    assert len(await alice.query("diaries:listDiaries")) == talked
    assert (session["outcome"] == "diary") is talked


async def test_f44_a_report_that_never_comes_is_asked_for(world: World, alice: Person) -> None:
    """Twenty minutes after dialling; a call VAPI knows nothing of any more is closed."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", webhooks="lost")
    await until_due(world)
    [job] = await alice.query("callJobs:getCallJobs")
    assert job["status"] == "scheduled"
    key = {"Authorization": f"Bearer {world.settings.vapi.api_key}"}
    (await world.http.delete(f"/sandbox/vapi/call/{job['vapiCallId']}", headers=key)).raise_for_status()
    await world.pass_time(timedelta(minutes=26))
    [job] = await alice.query("callJobs:getCallJobs")
    assert (job["status"], job["errorCode"]) == ("failed", "no_report")


async def test_f36_a_call_that_rings_in_is_its_callers(world: World, alice: Person) -> None:
    """Who has agreed to calls talks to their own companion, and it becomes an entry."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.steer("vapi", "ring-in", number=ALICES)
    await world.settle()
    [diary] = await alice.query("diaries:listDiaries")
    [session] = await alice.query("callJobs:getCallSessions")
    assert (session["direction"], session["diaryId"]) == ("inbound", diary["_id"])
    assert "callJobId" not in session
    assert await alice.query("callJobs:getCallJobs") == []


@pytest.mark.parametrize("number", ["12025550123", "2025550123", "+1 202-555-0123", "0012025550123"])
async def test_g23_a_caller_is_known_however_the_network_writes_their_number(
    world: World, alice: Person, number: str
) -> None:
    """When they ring, and when it is reported."""
    await wants_calls(alice)
    await has_agreed(world)
    assert "error" not in await world.steer("vapi", "ring-in", number=number)
    await world.settle()
    assert len(await alice.query("diaries:listDiaries")) == 1


@pytest.mark.parametrize("number", ["+12025550188", None])
async def test_f41_strangers_who_ring_in_are_refused_kindly(world: World, alice: Person, number: str | None) -> None:
    """An unknown number, a withheld one, and one that has not agreed."""
    await wants_calls(alice)
    for caller in (number, ALICES):
        said = await world.steer("vapi", "ring-in", **({} if caller is None else {"number": caller}))
        assert said["error"].endswith((".", "!"))
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from call_sessions") == 0


async def test_a_report_of_nobodys_call_is_noted_and_not_kept(world: World, alice: Person) -> None:
    """There is a reason on record, and none of its words."""
    body = json.loads((FIXTURES / "eocr-customer-ended.json").read_text())
    await tells(world, body)
    await world.settle()
    assert await outcomes(world) == [("end-of-call-report", "unknown account")]
    assert await world.db.pool.fetchval("select body from webhook_events") == "{}"


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Bearer ", "Basic x", "bearer"])
async def test_f13_only_vapi_is_believed(world: World, alice: Person, header: str) -> None:
    """Any other sender is refused, and nothing is stored."""
    body = json.loads((FIXTURES / "eocr-customer-ended.json").read_text())
    assert (await tells(world, body, Authorization=header)).status_code == 401
    assert await outcomes(world) == []
    legacy = {"Authorization": header, "X-Vapi-Secret": world.settings.vapi.webhook_secret or ""}
    assert (await tells(world, body, **legacy)).status_code == 200


async def test_g26_only_a_post_of_bounded_size_is_read(world: World) -> None:
    """405 for any other method, 413 for a body over 8 MiB; a long report is read, and a stranger's is not."""
    assert (await world.http.get("/http/vapi-webhook")).status_code == 405
    body = {"message": {"type": "status-update", "status": "ended", "padding": "x" * 8 * 1024 * 1024}}
    assert (await tells(world, body)).status_code == 413
    assert (await tells(world, body, Authorization="Bearer wrong")).status_code == 401
    assert await outcomes(world) == []
    body["message"]["padding"] = "x" * 7 * 1024 * 1024
    assert (await tells(world, body)).status_code == 200


@pytest.mark.parametrize("body", [[], {}, {"message": None}, {"message": {}}, {"message": {"type": 5}}, "text"])
async def test_what_is_no_message_is_refused(world: World, body: Any) -> None:
    """With 400, and nothing is stored."""
    assert (await tells(world, body)).status_code == 400
    assert await outcomes(world) == []


async def test_without_a_song_left_the_entry_is_kept(world: World, alice: Person) -> None:
    """The fifth song of the free plan was the last one; the talk is an entry all the same."""
    for _ in range(5):
        assert (await alice.mutation("usage:recordCurrentUserMusicGeneration"))["success"]
    await wants_calls(alice)
    await until_due(world)
    [diary] = await alice.query("diaries:listDiaries")
    assert "primaryMusic" not in diary
    [session] = await alice.query("callJobs:getCallSessions")
    assert session["metadata"] == {"diaryId": diary["_id"], "song": "usage limit reached"}
    assert await ordered(world) == 0


async def test_openai_being_down_costs_no_conversation(world: World, alice: Person) -> None:
    """What the person said is the entry, word for word, when the model cannot write it up."""
    await wants_calls(alice)
    await has_agreed(world)
    await world.fault("vapi", analysis="no_summary")
    await world.fault("openai", status=401)
    await until_due(world)
    await world.pass_time(timedelta(hours=2))
    [diary] = await alice.query("diaries:listDiaries")
    [session] = await alice.query("callJobs:getCallSessions")
    said = [turn["text"] for turn in session["transcript"] if turn["role"] == "user"]
    assert diary["content"] == "\n\n".join(said)


async def test_an_entry_that_was_deleted_is_not_written_again(world: World, alice: Person) -> None:
    """Also when its report comes once more."""
    await wants_calls(alice)
    await until_due(world)
    [diary] = await alice.query("diaries:listDiaries")
    await alice.mutation("diaries:deleteDiary", diaryId=diary["_id"])
    await world.steer("vapi", "redeliver", times=2)
    await world.settle()
    assert await alice.query("diaries:listDiaries") == []


async def test_a_deleted_account_keeps_nothing_of_its_calls(world: World, alice: Person) -> None:
    """Not with us, and not at VAPI; the call that is under way has no owner any more."""
    await wants_calls(alice)
    await until_due(world)
    await world.steer("vapi", "hold", hold=True)
    await until_due(world)
    await alice.mutation("users:deleteAccount")
    await world.steer("vapi", "hold", hold=False)
    await world.settle()
    for table in ("call_settings", "call_jobs", "call_sessions", "diaries"):
        assert await world.db.pool.fetchval(f"select count(*) from {table}") == 0  # noqa: S608 - one of these
    deleted = {call["path"] for call in await world.asked("vapi", "/call/") if call["method"] == "DELETE"}
    assert len(deleted) == 2
    for _ in range(2):
        await until_due(world)
    assert len(await rings(world)) == 2


async def test_while_vapi_is_away_the_rest_of_an_account_is_erased(world: World, alice: Person) -> None:
    """Its calls, which VAPI is to delete as well, go as soon as it is back."""
    await wants_calls(alice)
    await until_due(world)
    await world.fault("vapi", status=503)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    left = {
        table: await world.db.pool.fetchval(f"select count(*) from {table}")  # noqa: S608 - one of these
        for table in ("diaries", "music", "subscriptions", "call_jobs", "call_settings", "users")
    }
    assert left == {"diaries": 0, "music": 0, "subscriptions": 0, "call_jobs": 1, "call_settings": 1, "users": 1}
    await world.fault("vapi")
    await world.pass_time(timedelta(minutes=5))
    assert await world.db.pool.fetchval("select count(*) from users") == 0
    assert await world.db.pool.fetchval("select count(*) from call_sessions") == 0
