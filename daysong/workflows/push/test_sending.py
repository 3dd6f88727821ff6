"""What is told, to which devices, how often, and what Expo's answers change. Kills are in test_killed_push.py."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from daysong.kernel.functions.context import SYSTEM, MutationContext
from daysong.kernel.logs import get_logger
from daysong.vendors.expo.answers import Receipt, Ticket
from daysong.workflows.push import occasions, sending
from daysong.workflows.push.sending import OneOccasion, send_notification
from rehearsal.processes.killing import schedule
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

PHONE, TABLET = "ExponentPushToken[alices-phone]", "ExponentPushToken[alices-tablet]"
SECRET = "Zwitscherlinchen sat on the windowsill"


async def register(person: Person, *tokens: str) -> None:
    for token in tokens:
        await person.mutation("pushNotifications:registerPushToken", token=token, platform="ios")


async def shown(world: World) -> list[dict[str, Any]]:
    """What phones show."""
    found: list[dict[str, Any]] = (await world.http.get("/sandbox/expo/notifications")).raise_for_status().json()
    return found


async def sends(world: World) -> int:
    """How many requests to send there were."""
    return len(await world.asked("expo", "/send"))


async def deliveries(world: World) -> list[tuple[str, str | None]]:
    """State and error of each delivery."""
    rows = await world.db.pool.fetch("select state, error from push_deliveries order by occasion_id, token_id")
    return [(row["state"], row["error"]) for row in rows]


async def start(person: Person, content: str = SECRET) -> Any:
    return await person.action("music:startDiaryMusicGeneration", content=content)


async def later(world: World, hours: float) -> None:
    """Let that much time pass, with jobs and without crons."""
    for _ in range(max(1, round(hours * 6))):
        world.clock.move_to(world.clock.now() + timedelta(minutes=10))
        await world.settle()


async def again(world: World) -> None:
    """Have every occasion's job run once more."""
    for row in await world.db.pool.fetch("select id from push_occasions"):
        await schedule(world, send_notification, OneOccasion(occasion_id=row["id"]))
    await world.settle()


async def test_a_ready_song_is_told_once_on_each_device(world: World, alice: Person) -> None:
    """With ids for the app, and not a word of the entry or the song."""
    await register(alice, PHONE, TABLET)
    song = await alice.song(SECRET)
    await again(world)
    await later(world, 2)
    found = await shown(world)
    assert {each["to"] for each in found} == {PHONE, TABLET}
    assert len(found) == 2
    one = found[0]
    assert one["data"] == {"type": "music_ready", "musicId": song["_id"], "diaryId": song["diaryId"]}
    assert (one["title"], one["body"]) == ("Your song is ready", "Tap to listen.")
    assert one["collapseId"] == one["tag"]
    assert not [word for word in (*SECRET.split(), song["title"]) if len(word) > 3 and word in str(found)]
    assert await deliveries(world) == [("delivered", None)] * 2
    assert (await sends(world), len(await world.asked("expo", "/getReceipts"))) == (1, 1)


async def test_a_failed_song_is_told_with_its_reason(world: World, alice: Person) -> None:
    """In the person's language."""
    await register(alice, PHONE)
    await world.fault("suno", callbackCode=400)
    await start(alice)
    await world.settle()
    await alice.mutation("users:updateSettings", language="de")
    await start(alice, "Other words")
    await world.settle()
    english, german = await shown(world)
    assert english["data"]["type"] == german["data"]["type"] == "music_failed"
    assert english["title"] == "Your song could not be made"
    assert "Changing the entry's words may help." in english["body"]
    assert german["title"] == "Dein Lied konnte nicht entstehen"


async def test_a_song_given_up_is_told_too(world: World, alice: Person) -> None:
    """Overdue, or refused by OpenAI; a canceled one is no news to its owner."""
    await register(alice, PHONE)
    await world.fault("suno", callbacks="lost")
    await world.fault("openai", answer="refusal", times=1)
    await start(alice, "One")
    await world.settle()
    canceled = await start(alice, "Two")
    await alice.mutation("diaries:deleteDiary", diaryId=canceled["diaryId"])
    await start(alice, "Three")
    await world.pass_time(timedelta(minutes=40))
    assert [each["data"]["type"] for each in await shown(world)] == ["music_failed"] * 2


async def test_without_a_device_nothing_is_sent(world: World, alice: Person) -> None:
    """One that is registered later is not told of earlier news."""
    await alice.song()
    assert await world.db.pool.fetchval("select count(*) from jobs where function like 'pushNotifications:%'") == 0
    await register(alice, PHONE)
    await later(world, 1)
    assert await shown(world) == []


async def test_a_kind_that_is_switched_off_is_not_sent(world: World, alice: Person) -> None:
    """Also when it was switched off after the song was ordered."""
    await register(alice, PHONE)
    await start(alice)
    await alice.mutation("pushNotifications:setPreferences", musicReady=False)
    await world.settle()
    assert await sends(world) == 0
    await world.fault("suno", callbackCode=400)
    await start(alice, "Another")
    await world.settle()
    assert [each["data"]["type"] for each in await shown(world)] == ["music_failed"]


async def test_a_song_deleted_meanwhile_is_not_told_of(world: World, alice: Person) -> None:
    """Nor one of an account that is deleted or locked, nor old news."""
    await register(alice, PHONE)
    await world.fault("expo", status=503)
    song = await alice.song()
    await alice.mutation("music:softDeleteMusic", musicId=song["_id"])
    await world.fault("expo")
    await later(world, 1)
    assert await shown(world) == []
    assert await deliveries(world) == [("failed", "not_wanted")]


@pytest.mark.parametrize("closing", ["deleted", "locked"])
async def test_nothing_is_sent_to_an_account_that_was_closed_meanwhile(
    world: World, alice: Person, closing: str
) -> None:
    """Between the song and its notification."""
    await register(alice, PHONE)
    await world.fault("expo", status=503)
    await alice.song()
    if closing == "deleted":
        await alice.mutation("users:deleteAccount")
    else:
        await world.db.pool.execute("update users set suspension = 'locked'")
    await world.fault("expo")
    await later(world, 1)
    assert await shown(world) == []


async def test_an_account_deleted_while_expo_is_asked_leaves_nothing(world: World, alice: Person) -> None:
    """The tickets of an account that is gone are not recorded."""
    await register(alice, PHONE)
    await world.fault("expo", status=503, times=1)
    await alice.song()
    occasion_id = await world.db.pool.fetchval("select id from push_occasions")
    await later(world, 0.0833333)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    run = world.app.runtime.run_mutation
    tickets = sending.Tickets(occasion_id=occasion_id, token_ids=["gone"], tickets=[Ticket("one")])
    await run(sending.record_tickets, tickets, SYSTEM)
    await run(sending.record_receipts, sending.Receipts(occasion_id=occasion_id, receipts={"one": Receipt()}), SYSTEM)
    assert await run(sending.take_notification, OneOccasion(occasion_id=occasion_id), SYSTEM) is None
    assert await deliveries(world) == []


async def test_two_workers_at_once_send_one_message(world: World, alice: Person) -> None:
    """The second finds that the first is sending, and leaves it alone."""
    await register(alice, PHONE)
    await start(alice)
    await world.fault("expo", latency=0.2)
    now, taken = world.clock.now(), "select id from push_occasions where taken_at <= $1"

    async def look() -> None:
        async with asyncio.timeout(20):
            while not (found := await world.db.pool.fetchval(taken, now)):
                await asyncio.sleep(0.005)
        await world.app.call("pushNotifications:sendNotification", {"occasionId": found}, caller=SYSTEM)

    await asyncio.gather(world.settle(), look())
    assert await sends(world) == 1
    assert [each["replaced"] for each in await shown(world)] == [0]
    # Its ticket was recorded although the second had taken it for lost.
    assert await deliveries(world) == [("sent", None)]


async def test_expo_away_is_tried_again_later(world: World, alice: Person) -> None:
    """What Expo certainly did not take is sent when it is back: it refused, or asked for a pause."""
    await register(alice, PHONE)
    for fault in ({"status": 503}, {"status": 429, "retryAfter": 30}, {"status": 500}):
        await world.fault("expo", **fault)
        await alice.song(f"Rain {fault}")
        count = len(await shown(world))
        await world.fault("expo")
        await later(world, 0.166667)
        assert len(await shown(world)) == count + 1


@pytest.mark.parametrize("fault", [{"drop": True}, {"answer": "garbage"}, {"answer": "short"}])
async def test_a_lost_answer_is_not_sent_again(world: World, alice: Person, fault: dict[str, Any]) -> None:
    """Expo may have taken it: shown at most once, whatever the answer was."""
    await register(alice, PHONE)
    await world.fault("expo", **fault)
    await alice.song()
    await world.fault("expo")
    await later(world, 2)
    assert await sends(world) == 1
    assert [state for state, _ in await deliveries(world)] == ["lost"]


async def test_expo_away_for_a_day_is_given_up(world: World, alice: Person) -> None:
    """Old news is not sent."""
    await register(alice, PHONE)
    await world.fault("expo", status=503)
    await alice.song()
    await later(world, 25)
    await world.fault("expo")
    await again(world)
    assert await shown(world) == []
    assert await deliveries(world) == [("failed", "exhausted")]


# By error: whether the token is kept, and how often a message is sent.
ERRORS = {
    "DeviceNotRegistered": (False, 1),
    "MessageTooBig": (True, 1),
    "MessageRateExceeded": (True, 4),
    "MismatchSenderId": (True, 1),
    "InvalidCredentials": (True, 1),
    "DeveloperError": (True, 1),
    "ExpoError": (True, 4),
    "ProviderError": (True, 4),
}


@pytest.mark.parametrize("where", ["ticket", "receipt"])
@pytest.mark.parametrize("error", ERRORS)
async def test_each_error_does_what_it_should(world: World, alice: Person, error: str, where: str) -> None:
    """Only an app that is gone from its device loses its token; what may pass is tried again, a few times."""
    kept, times = ERRORS[error]
    token = f"ExponentPushToken[{'receipt-' if where == 'receipt' else ''}{error}-1]"
    await register(alice, token, PHONE)
    await alice.song()
    await later(world, 4)
    assert {each["token"] for each in await alice.query("pushNotifications:getMyPushTokens")} == {
        PHONE,
        *([token] if kept else []),
    }
    requests = await world.asked("expo", "/send")
    assert sum(message["to"] == token for request in requests for message in request["body"]) == times
    assert [each["to"] for each in await shown(world)] == [PHONE]
    found = [each for each in await deliveries(world) if each != ("delivered", None)]
    assert found == ([("failed", error)] if kept else [])


async def test_a_device_registered_again_survives_an_old_receipt(world: World, alice: Person) -> None:
    """The app was installed anew after the message was sent."""
    token = "ExponentPushToken[receipt-DeviceNotRegistered-1]"
    await register(alice, token)
    await alice.song()
    await later(world, 0.0833333)
    await register(alice, token)
    await later(world, 1)
    assert len(await alice.query("pushNotifications:getMyPushTokens")) == 1


async def test_receipts_that_are_missing_are_looked_for_a_few_times(world: World, alice: Person) -> None:
    """Expo has them for a day; a message without one is left as sent."""
    await register(alice, PHONE)
    await world.fault("expo", receipts="missing")
    await alice.song()
    await later(world, 24)
    assert len(await world.asked("expo", "/getReceipts")) == 4
    assert await deliveries(world) == [("sent", None)]


async def test_wrong_credentials_keep_the_token(world: World, alice: Person) -> None:
    """They refuse the whole request: an operator mends that, and later news arrives."""
    await register(alice, PHONE)
    await world.fault("expo", code="UNAUTHORIZED")
    await alice.song()
    await world.fault("expo")
    await later(world, 2)
    assert await deliveries(world) == [("failed", "UNAUTHORIZED")]
    await alice.song("And another day")
    assert len(await shown(world)) == 1


async def test_a_device_that_moved_on_is_not_told_of_the_earlier_accounts_news(
    world: World, alice: Person, bob: Person
) -> None:
    """The phone is Bob's by the time the message is tried again."""
    await register(alice, PHONE)
    await world.fault("expo", ticket="MessageRateExceeded")
    await alice.song()
    await world.fault("expo")
    await register(bob, PHONE)
    await later(world, 3)
    assert await shown(world) == []


async def test_an_occasion_is_rolled_back_with_what_it_tells_of(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A song that fails to become ready is not told of; the next try tells of it once."""
    await register(alice, PHONE)
    await start(alice)
    recorded, fails = occasions.song_ready, [True]

    async def song_ready(ctx: MutationContext, generation_id: str) -> None:
        await recorded(ctx, generation_id)
        if fails.pop() if fails else False:
            raise ZeroDivisionError

    monkeypatch.setattr(occasions, "song_ready", song_ready)
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from push_occasions") == 0
    await later(world, 0.5)
    assert len(await shown(world)) == 1


async def test_tokens_are_in_no_log_line_and_no_job(
    world: World, alice: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who has a token can send to its device."""
    get_logger("push").info("look here")
    await register(alice, PHONE, "ExponentPushToken[receipt-DeviceNotRegistered-1]")
    for fault in ({}, {"status": 503}, {"drop": True}, {"ticket": "InvalidCredentials"}, {"code": "UNAUTHORIZED"}):
        await world.fault("expo", **fault)
        await alice.song(f"Rain {fault}")
        await later(world, 1)
    out, err = capsys.readouterr()
    assert "PushToken[" not in out + err
    assert "vendor needs attention" in out + err
    assert not await world.db.pool.fetchval("select count(*) from jobs where jobs::text like '%PushToken[%'")
