"""When and where a user is called."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daysong.features.phone_calls.numbers.numbers import PremiumPhoneNumber, TollFreePhoneNumber
from daysong.kernel.time.clock import to_ms
from rehearsal.calls.call_history import (
    NUMBER,
    OTHER,
    agrees,
    refused,
    settings_of,
    standing,
    wants_calls,
    wants_none,
    was_tried,
)
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

TONIGHT = datetime(2026, 11, 23, 19, 30, tzinfo=UTC)


async def test_settings_are_kept_and_shown_in_the_profile(world: World, alice: Person) -> None:
    """With the time of the next call; consent is still open."""
    assert await settings_of(alice) is None
    saved = await wants_calls(alice)
    assert saved == {"settingsId": saved["settingsId"], "updated": False}
    assert await settings_of(alice) == {
        "_id": saved["settingsId"],
        "phoneE164": NUMBER,
        "timezone": "Europe/London",
        "timeOfDay": "19:30",
        "cadence": "daily",
        "active": True,
        "language": "en",
        "consent": "unknown",
        "nextRunAtUTC": to_ms(TONIGHT),
        "minutesUsed": 0,
        "minutesLimit": 30,
    }


async def test_settings_are_changed_in_place(world: World, alice: Person) -> None:
    """There is one set of them for an account."""
    first = await wants_calls(alice)
    second = await wants_calls(
        alice, timezone="Asia/Kathmandu", timeOfDay="00:05", cadence="custom", daysOfWeek=[5, 1, 5], language="pt-BR"
    )
    assert second == {"settingsId": first["settingsId"], "updated": True}
    found = await settings_of(alice)
    assert (found["cadence"], found["daysOfWeek"], found["language"]) == ("custom", [1, 5], "pt-BR")
    # Friday, five past midnight in Kathmandu; it is Monday evening there.
    assert found["nextRunAtUTC"] == to_ms(datetime(2026, 11, 26, 18, 20, tzinfo=UTC))
    assert await world.db.pool.fetchval("select count(*) from call_settings") == 1
    await wants_calls(alice)
    found = await settings_of(alice)
    assert "daysOfWeek" not in found
    assert found["language"] == "pt-BR", "what is not said stays"


@pytest.mark.parametrize(
    ("cadence", "due"),
    [
        ({"cadence": "daily"}, datetime(2026, 11, 23, 19, 30, tzinfo=UTC)),
        ({"cadence": "weekdays"}, datetime(2026, 11, 23, 19, 30, tzinfo=UTC)),
        ({"cadence": "weekends"}, datetime(2026, 11, 28, 19, 30, tzinfo=UTC)),
        ({"cadence": "custom", "daysOfWeek": [0]}, datetime(2026, 11, 29, 19, 30, tzinfo=UTC)),
        # Today's time has passed.
        ({"cadence": "custom", "daysOfWeek": [1], "timeOfDay": "11:59"}, datetime(2026, 11, 30, 11, 59, tzinfo=UTC)),
    ],
)
async def test_f29_the_next_call_is_due_on_a_chosen_day(alice: Person, cadence: Any, due: datetime) -> None:
    """Saving after that day's time has passed is no failure."""
    await wants_calls(alice, **cadence)
    assert (await settings_of(alice))["nextRunAtUTC"] == to_ms(due)


PHONE = ("invalid_phone_number", "Invalid phone number. Must be in E.164 format (e.g., +12125551234)")
TIMEZONE = ("invalid_timezone", "Invalid timezone. Must be a valid IANA timezone (e.g., America/New_York)")
TIME = ("invalid_time_of_day", "Invalid time of day. Must be in HH:MM format (24h)")
CADENCE = (
    "invalid_cadence",
    "Invalid cadence configuration. Custom cadence requires daysOfWeek array with values 0-6",
)
LANGUAGE = ("invalid_language", "Invalid language. Must be a BCP 47 language tag (e.g., en or pt-BR)")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"phoneE164": "12125551234"}, PHONE),
        ({"phoneE164": "+12"}, PHONE),
        ({"phoneE164": "+19005551234"}, (PHONE[0], PremiumPhoneNumber.default_message)),
        ({"phoneE164": "+18005551234"}, (PHONE[0], TollFreePhoneNumber.default_message)),
        ({"phoneE164": ""}, PHONE),
        ({"timezone": "EST"}, TIMEZONE),
        ({"timezone": "PST"}, TIMEZONE),
        ({"timezone": "Mars/Olympus"}, TIMEZONE),
        ({"timezone": ""}, TIMEZONE),
        ({"timeOfDay": "24:00"}, TIME),
        ({"timeOfDay": "7:30"}, TIME),
        ({"timeOfDay": "7:30 pm"}, TIME),
        ({"cadence": "custom"}, CADENCE),
        ({"cadence": "custom", "daysOfWeek": []}, CADENCE),
        ({"cadence": "custom", "daysOfWeek": [7]}, CADENCE),
        ({"cadence": "custom", "daysOfWeek": [1, -1]}, CADENCE),
        ({"language": ""}, LANGUAGE),
        ({"language": "english please"}, LANGUAGE),
        ({"language": "en__US"}, LANGUAGE),
        ({"language": "e"}, LANGUAGE),
    ],
    ids=str,
)
async def test_what_cannot_be_settings_is_refused(
    world: World, alice: Person, wrong: dict[str, Any], error: tuple[str, str]
) -> None:
    """In the words the apps know, and nothing is written."""
    with pytest.raises(FunctionError) as told:
        await wants_calls(alice, **wrong)
    assert told.value.data == {"code": error[0], "message": error[1]}
    assert await world.db.pool.fetchval("select count(*) from call_settings") == 0


@pytest.mark.parametrize(
    "wrong", [{"cadence": "hourly"}, {"daysOfWeek": [1.5]}, {"daysOfWeek": "1"}, {"active": 1}, {"language": "e" * 36}],
    ids=str,
)  # fmt: skip
async def test_what_is_of_the_wrong_kind_is_named(alice: Person, wrong: dict[str, Any]) -> None:
    """As with every function."""
    with pytest.raises(FunctionError, match="ArgumentValidationError") as told:
        await wants_calls(alice, **wrong)
    assert next(iter(wrong)) in str(told.value)


async def test_nobody_has_no_settings(world: World, anonymous: Person) -> None:
    """Neither to save nor to be called by."""
    assert await refused(anonymous) == "unauthorized"
    assert await refused(anonymous, phoneE164="nonsense") == "unauthorized"
    with pytest.raises(FunctionError, match="Unauthorized"):
        await anonymous.mutation("callSettings:sendTestCall")


async def test_switched_off_nothing_is_due(alice: Person) -> None:
    """Until it is switched on again."""
    await wants_calls(alice)
    await wants_calls(alice, active=False)
    assert await standing(alice) == ("unknown", None, False)
    await wants_calls(alice)
    assert await standing(alice) == ("unknown", None, True)


async def test_a_call_that_is_due_is_not_lost_by_saving_again(world: World, alice: Person) -> None:
    """In the seconds before it is made; only another time or place moves it."""
    await wants_calls(alice)
    world.clock.move_to(TONIGHT + timedelta(seconds=20))
    await wants_calls(alice, language="de")
    assert (await settings_of(alice))["nextRunAtUTC"] == to_ms(TONIGHT)
    await wants_calls(alice, timeOfDay="19:29")
    assert (await settings_of(alice))["nextRunAtUTC"] == to_ms(TONIGHT + timedelta(hours=23, minutes=59))


async def test_g06_an_answer_is_the_same_whether_or_not_another_account_has_the_number(
    world: World, alice: Person, bob: Person, charlie: Person
) -> None:
    """Named, proved, or unused: the answers differ in nothing but ids."""
    await wants_calls(alice)
    await agrees(world, "alice")
    shown = []
    for person, number in ((bob, NUMBER), (charlie, "+12025550188")):
        saved = await wants_calls(person, phoneE164=number)
        found = await settings_of(person)
        hidden = {"settingsId", "_id", "phoneE164"}
        shown.append({name: value for name, value in {**saved, **found}.items() if name not in hidden})
    assert shown[0] == shown[1]
    assert await standing(alice) == ("granted", None, True)


async def test_g06_many_may_name_a_number_at_once(world: World) -> None:
    """New settings and changed ones alike; no account learns of the others, and nothing breaks."""
    people = [await world.person(f"person{number}") for number in range(8)]
    for number, person in enumerate(people[:4]):
        await wants_calls(person, phoneE164=f"+1202555019{number}")
    await asyncio.gather(*(wants_calls(person) for person in people))
    assert await world.db.pool.fetchval("select count(*) from call_settings where phone_e164 = $1", NUMBER) == 8


async def test_one_person_with_two_devices_has_one_set_of_settings(world: World, alice: Person) -> None:
    """Saved at the same moment."""
    saved = await asyncio.gather(*(wants_calls(alice, timeOfDay=f"19:3{number}") for number in range(6)))
    assert len({one["settingsId"] for one in saved}) == 1
    assert [one["updated"] for one in saved].count(False) == 1


async def test_another_number_has_to_agree_anew(world: World, alice: Person) -> None:
    """The same one does not; nor does it lose its consent by going another day."""
    await wants_calls(alice)
    await agrees(world, "alice")
    await wants_calls(alice, timeOfDay="20:00", cadence="weekends")
    assert await standing(alice) == ("granted", None, True)
    row = await world.db.pool.fetchrow("select consent_session_id, consent_at from call_settings")
    assert row is not None
    assert tuple(row) == ("talk_1", world.clock.now())
    await wants_calls(alice, phoneE164=OTHER)
    assert await standing(alice) == ("unknown", None, True)
    row = await world.db.pool.fetchrow("select consent_session_id, consent_at from call_settings")
    assert row is not None
    assert tuple(row) == (None, None)


async def test_f32_a_number_that_wants_no_calls_gets_none(world: World, alice: Person, bob: Person) -> None:
    """Of no account, whichever heard it."""
    await wants_calls(alice)
    await agrees(world, "alice", "refused")
    await wants_none(world)
    assert await refused(alice) == "number_refused"
    assert await refused(alice, active=False) == "number_refused"
    await wants_calls(alice, phoneE164=OTHER)
    assert await standing(alice) == ("unknown", None, True)
    assert await refused(bob) == "number_refused"


async def test_f32_three_tries_and_no_more(world: World, alice: Person, bob: Person) -> None:
    """An account that saves the number again, or has it after another, sees why no call is made."""
    await was_tried(world, 3)
    for person in (alice, bob):
        for _ in range(2):
            await wants_calls(person)
            assert await standing(person) == ("unknown", "no_consent", False)
        await wants_calls(person, phoneE164=OTHER)
        assert await standing(person) == ("unknown", None, True)
        await wants_calls(person, phoneE164="+12025550199" if person is alice else "+12025550198")


async def test_two_tries_leave_one(world: World, alice: Person) -> None:
    """Nothing is paused before the third."""
    await was_tried(world, 2)
    await wants_calls(alice)
    assert await standing(alice) == ("unknown", None, True)


async def test_executors_find_what_is_due(world: World, alice: Person, bob: Person, admin: Person) -> None:
    """With all there is to know; what is not due, or switched off, is not among it."""
    mine = await wants_calls(alice, cadence="custom", daysOfWeek=[1, 2])
    await wants_calls(bob, phoneE164=OTHER, timeOfDay="19:31")
    due = "callSettings:getActiveCallSettingsForExecutor"
    assert await admin.mutation(due) == []
    world.clock.move_to(TONIGHT)
    [found] = await admin.mutation(due)
    shown = await settings_of(alice)
    # How many minutes are left is a matter of the plan, not of these settings.
    del shown["minutesUsed"], shown["minutesLimit"]
    assert found == {
        **shown,
        "userId": (await alice.query("users:getUserProfile"))["user"]["_id"],
        "localMinutes": 19 * 60 + 30,
        "bydayMask": 0b0000110,
        "_creationTime": found["_creationTime"],
        "updatedAt": found["_creationTime"],
    }
    assert await admin.query("callSettings:getCallSettingsById", settingsId=mine["settingsId"]) == found
    assert await admin.query("callSettings:getCallSettingsById", settingsId="callset_nothing") is None
    world.clock.forward(timedelta(minutes=1))
    assert len(await admin.mutation(due)) == 2
    await wants_calls(alice, active=False, cadence="custom", daysOfWeek=[1, 2])
    [left] = await admin.mutation(due)
    assert left["phoneE164"] == OTHER


async def test_g25_a_tag_with_an_underscore_is_kept_with_a_hyphen(alice: Person) -> None:
    """As Android and POSIX write them, in a call's settings and in the account's."""
    await wants_calls(alice, language="en_US")
    assert (await settings_of(alice))["language"] == "en-US"
    assert (await alice.mutation("users:updateSettings", language="pt_BR"))["language"] == "pt-BR"
