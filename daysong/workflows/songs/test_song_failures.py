"""What can go wrong on the way to a song, and that each ends in a song or in exactly one refund."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from rehearsal.world import Person, World

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unread_entries")]

RAIN = "I walked home in the rain and called my sister"


async def outcome(world: World) -> dict[str, Any]:
    """How the only generation stands, and how often its charge was given back."""
    row = await world.db.pool.fetchrow(
        """select g.status, g.failure_code, g.failure_reason,
                  (select count(*) from usage_refunds r where r.charge_id = g.charge_id) as refunds,
                  array(select m.status from music m where m.generation_id = g.id order by music_index) as tracks
           from generations g"""
    )
    assert row is not None
    return dict(row)


async def start(alice: Person) -> None:
    """Ask for a song."""
    assert (await alice.action("music:startDiaryMusicGeneration", content=RAIN))["success"]


async def assert_refunded_once(world: World, alice: Person) -> None:
    """The song failed with a reason for the user, the charge is refunded, and both stay so."""
    await world.pass_time(timedelta(hours=2))
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"]) == ("failed", 1)
    assert ended["failure_reason"].endswith(".")
    assert "pending" not in ended["tracks"]
    await world.pass_time(timedelta(minutes=45))
    assert await outcome(world) == ended
    assert (await alice.action("music:startDiaryMusicGeneration", content="Again"))["remainingQuota"] == 4


async def assert_ready(world: World) -> None:
    """The song is there, charged and not given back."""
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"], ended["tracks"]) == ("ready", 0, ["ready", "ready"])


@pytest.mark.parametrize("answer", ["refusal", "content_filter"])
async def test_a_refused_entry_is_refunded_at_once(world: World, alice: Person, answer: str) -> None:
    """OpenAI will not write about it: trying again cannot help, and is not tried."""
    await world.fault("openai", answer=answer)
    await start(alice)
    await world.settle()
    assert (await outcome(world))["refunds"] == 1
    assert len(await world.asked("openai", "chat")) == 1
    await world.fault("openai")
    await assert_refunded_once(world, alice)


@pytest.mark.parametrize("answer", ["truncated", "empty", "empty_choices", "bad_json", "wrong_shape", "garbage"])
async def test_an_unusable_answer_is_asked_for_again(world: World, alice: Person, answer: str) -> None:
    """A cut-off or garbled answer once is no failure."""
    await world.fault("openai", answer=answer, times=2)
    await start(alice)
    await world.pass_time(timedelta(minutes=1))
    await assert_ready(world)


@pytest.mark.parametrize("answer", ["truncated", "garbage"])
async def test_g18_an_answer_that_stays_unusable_is_refunded(world: World, alice: Person, answer: str) -> None:
    """It is asked for three times, and paid for as often; then the charge is given back."""
    await world.fault("openai", answer=answer)
    await start(alice)
    await world.settle()
    assert len(await world.asked("openai", "chat")) == 3
    await world.fault("openai")
    await assert_refunded_once(world, alice)


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (429, "insufficient_quota"), (404, "model")])
async def test_g17_our_own_configuration_is_waited_for_and_then_refunded(
    world: World, alice: Person, status: int, code: str
) -> None:
    """A key, a model or an account that does not work: tried again for some minutes, then failed and refunded."""
    await world.fault("openai", status=status, code=code)
    await start(alice)
    await world.pass_time(timedelta(minutes=10))
    assert (await outcome(world))["status"] == "writing"
    assert len(await world.asked("openai", "chat")) < 8
    await world.pass_time(timedelta(minutes=20))
    await world.fault("openai")
    await assert_refunded_once(world, alice)


async def test_g17_a_configuration_that_is_mended_in_time_costs_nobody_their_song(world: World, alice: Person) -> None:
    """The operator has changed the key."""
    await world.fault("openai", status=401, code="invalid_api_key")
    await start(alice)
    await world.pass_time(timedelta(minutes=8))
    await world.fault("openai")
    await world.pass_time(timedelta(minutes=4))
    await assert_ready(world)


@pytest.mark.parametrize("vendor", ["openai", "suno"])
async def test_g19_a_vendor_that_wants_a_day_is_not_waited_for(world: World, alice: Person, vendor: str) -> None:
    """Past twenty minutes the song fails now, and the charge is back."""
    path = "generate" if vendor == "suno" else "chat"
    await world.fault(vendor, path=path, status=503, code=455 if vendor == "suno" else None, retryAfter=3600)
    await start(alice)
    await world.settle()
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"], ended["tracks"]) == ("failed", 1, ["failed", "failed"])


async def test_g15_a_reseller_that_says_429_for_too_often_is_asked_again(world: World, alice: Person) -> None:
    """HTTP 429, and no word of credits."""
    await world.fault("suno", path="generate", status=429, code=430, times=2)
    await start(alice)
    await world.pass_time(timedelta(minutes=3))
    await assert_ready(world)


@pytest.mark.parametrize("data", [None, [], "none at all"])
async def test_g16_a_failure_without_data_is_refunded_at_once(world: World, alice: Person, data: Any) -> None:
    """The secret in the address says which song has failed."""
    await world.fault("suno", callbacks="lost")
    await start(alice)
    await world.app.worker.drain(until=None, clock=world.clock)
    [asked] = await world.asked("suno", "/generate")
    body = {"code": 501, "msg": "failed"} | ({} if data == "none at all" else {"data": data})
    assert (await world.http.post(asked["body"]["callBackUrl"], json=body)).is_success
    await world.app.worker.drain(until=None, clock=world.clock)
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"], ended["failure_code"]) == ("failed", 1, "suno_501")


@pytest.mark.parametrize("fault", [{"code": 429}, {"answer": "garbage"}])
async def test_g16_timed_words_are_asked_for_later_and_never_leave_a_dead_job(
    world: World, alice: Person, fault: dict[str, Any]
) -> None:
    """Without credits, say: the song is there, and its words are timed when there are some again."""
    await world.fault("suno", path="timestamped", **fault)
    await start(alice)
    await world.settle()
    await world.pass_time(timedelta(seconds=30))
    await assert_ready(world)
    await world.fault("suno")
    await world.pass_time(timedelta(minutes=10))
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["lyricWithTime"]["alignedWords"]
    assert await world.db.pool.fetchval("select count(*) from jobs where status = 'dead'") == 0


async def test_g76_what_suno_answered_is_written_until_it_is_written(world: World, alice: Person) -> None:
    """The database fails just then, several times: the task's id is kept all the same, and can be asked for."""
    await world.db.pool.execute(
        """create sequence trouble;
           create function trouble() returns trigger language plpgsql as $$ begin
             if nextval('trouble') <= 3 then raise exception 'trouble' using errcode = '57014'; end if;
             return new;
           end $$;
           create trigger trouble before update of task_id on generations for each row execute function trouble()"""
    )
    try:
        await world.fault("suno", callbacks="lost")
        await start(alice)
        await world.app.worker.drain(until=None, clock=world.clock)
    finally:
        await world.db.pool.execute("drop function trouble cascade; drop sequence trouble")
    assert await world.db.pool.fetchval("select task_id is not null and status = 'composing' from generations")
    assert len(await world.asked("suno", "/generate")) == 1
    await world.fault("suno")
    await world.pass_time(timedelta(minutes=5))
    await assert_ready(world)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_openais_passing_errors_are_tried_again(world: World, alice: Person, status: int) -> None:
    """Busy or broken for a moment is no failure."""
    await world.fault("openai", status=status, times=2)
    await start(alice)
    await world.pass_time(timedelta(minutes=1))
    await assert_ready(world)


@pytest.mark.parametrize("code", [400, 401, 404, 413, 429])
async def test_sunos_permanent_codes_are_refunded_and_not_asked_again(world: World, alice: Person, code: int) -> None:
    """Blocked words, a bad key, no credits: one request, one refund."""
    await world.fault("suno", code=code, path="generate", times=1)
    await start(alice)
    await world.settle()
    assert len(await world.asked("suno", "/generate")) == 1
    await assert_refunded_once(world, alice)


@pytest.mark.parametrize("code", [405, 430, 455])
async def test_sunos_passing_codes_are_tried_again_later(world: World, alice: Person, code: int) -> None:
    """Too many requests, or maintenance: the same song is asked for again, and charged once."""
    await world.fault("suno", code=code, path="generate", times=2)
    await start(alice)
    await world.pass_time(timedelta(minutes=20))
    await assert_ready(world)


async def test_a_rate_limited_suno_is_left_alone_for_as_long_as_it_says(world: World, alice: Person) -> None:
    """430 asks for ten seconds."""
    await world.fault("suno", code=430, path="generate", times=1)
    await start(alice)
    await world.settle()
    await world.pass_time(timedelta(seconds=9))
    assert len(await world.asked("suno", "/generate")) == 1
    await world.pass_time(timedelta(seconds=10))
    await assert_ready(world)


@pytest.mark.parametrize("fault", [{"drop": True}, {"code": 500}, {"answer": "garbage"}, {"status": 502}])
async def test_g74_a_lost_answer_is_refunded_after_five_minutes_and_never_buys_a_second_song(
    world: World, alice: Person, fault: dict[str, Any]
) -> None:
    """F20 too. Suno may or may not have accepted: it is not asked again, and without a callback the song has failed."""
    await world.fault("suno", path="generate", times=1, callbacks="lost", **fault)
    await start(alice)
    await world.pass_time(timedelta(minutes=4))
    assert (await outcome(world))["status"] == "composing"
    await world.pass_time(timedelta(minutes=3))
    assert (await outcome(world))["status"] == "failed"
    await assert_refunded_once(world, alice)
    assert len([call for call in await world.asked("suno", "/generate") if "callBackUrl" in call["body"]]) == 1


async def test_g74_a_callback_after_the_refund_delivers_the_song_as_a_gift(world: World, alice: Person) -> None:
    """The order stood after all: its song is the entry's, the refund stays, and repeats change nothing."""
    await world.fault("suno", path="generate", times=1, drop=True, callbacks="lost")
    await start(alice)
    await world.pass_time(timedelta(minutes=7))
    assert (await outcome(world))["failure_code"] == "answer_lost"
    await world.fault("suno")
    for stage in ("text", "complete", "complete"):
        await world.steer("suno", "deliver", stage=stage)
    await world.settle()
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"], ended["tracks"]) == ("ready", 1, ["ready", "ready"])
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["audioUrl"]
    assert "reason" not in song
    assert song["lyricWithTime"]["alignedWords"]
    [diary] = await alice.query("diaries:listDiaries")
    assert (diary["primaryMusicId"], diary["primaryMusic"]["status"]) == (song["_id"], "ready")
    assert (await alice.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 0


@pytest.mark.parametrize("refused", [{"code": 400}, {"callbackCode": 501}])
async def test_g74_no_other_failure_becomes_a_song_by_a_late_callback(
    world: World, alice: Person, refused: dict[str, Any]
) -> None:
    """F14: what failed for a reason is final."""
    await world.fault("suno", path="/generate", **refused)
    await start(alice)
    await world.settle()
    ended = await outcome(world)
    assert ended["status"] == "failed"
    await world.fault("suno")
    await world.steer("suno", "deliver", stage="complete")
    await world.settle()
    assert await outcome(world) == ended


async def test_f20_the_callback_of_a_lost_answer_still_brings_the_song(world: World, alice: Person) -> None:
    """Suno accepted, its answer was lost: the callback tells the task, and the song is delivered."""
    await world.fault("suno", path="generate", times=1, drop=True)
    await start(alice)
    await world.settle()
    await world.settle()
    await assert_ready(world)
    assert await world.db.pool.fetchval("select task_id is not null from generations")


@pytest.mark.parametrize("code", [400, 408, 413, 451, 500, 501, 531])
async def test_f15_an_error_callback_fails_the_song_and_refunds_once(world: World, alice: Person, code: int) -> None:
    """Suno failed: the track does not stay pending, and the charge is refunded."""
    await world.fault("suno", callbackCode=code)
    await start(alice)
    await world.settle()
    await world.fault("suno")
    await assert_refunded_once(world, alice)


@pytest.mark.parametrize("callbacks", ["lost", "malformed", "no_audio"])
async def test_f16_a_lost_callback_is_made_up_for_by_asking(world: World, alice: Person, callbacks: str) -> None:
    """After three minutes the sweeper asks Suno itself."""
    await world.fault("suno", callbacks=callbacks)
    await start(alice)
    await world.settle()
    assert (await outcome(world))["status"] == "composing"
    await world.fault("suno")
    await world.pass_time(timedelta(minutes=4, seconds=30))
    await assert_ready(world)


@pytest.mark.parametrize("callbacks", ["duplicated", "reordered"])
async def test_callbacks_twice_or_in_the_wrong_order_make_one_song(world: World, alice: Person, callbacks: str) -> None:
    """Repeats and late stages change nothing."""
    await world.fault("suno", callbacks=callbacks)
    await start(alice)
    await world.settle()
    await assert_ready(world)
    assert await world.db.pool.fetchval("select count(*) from music") == 2
    assert await world.db.pool.fetchval("select count(*) from files") == 4


async def test_f16_a_song_suno_never_finishes_is_refunded_after_half_an_hour(world: World, alice: Person) -> None:
    """No callback and no answer: the deadline ends it, and nothing older than that is pending."""
    await world.fault("suno", callbacks="lost", path="record-info", status=500)
    await start(alice)
    await world.pass_time(timedelta(minutes=29))
    assert (await outcome(world))["status"] == "composing"
    await world.pass_time(timedelta(minutes=4))
    assert (await outcome(world))["status"] == "failed"
    await world.fault("suno")
    await assert_refunded_once(world, alice)


async def test_f18_fewer_tracks_than_expected_still_make_a_song(world: World, alice: Person) -> None:
    """One track came: it is the song, the other row has failed."""
    await world.fault("suno", tracks=1)
    await start(alice)
    await world.settle()
    ended = await outcome(world)
    assert (ended["status"], ended["refunds"], ended["tracks"]) == ("ready", 0, ["ready", "failed"])


async def test_f21_a_song_whose_job_was_lost_is_refunded(world: World, alice: Person) -> None:
    """A generation ends even when its job row is lost."""
    await start(alice)
    await world.db.pool.execute("delete from jobs")
    await assert_refunded_once(world, alice)
