"""Registering devices, and choosing what to be notified of."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.features.push_notifications import functions, store
from daysong.features.push_notifications.rules import MOST_NEW_TOKENS, MOST_TOKENS
from rehearsal import library
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import FunctionError, Person, World, free_port

pytestmark = pytest.mark.anyio

PHONE = "ExponentPushToken[the-phone-in-the-hall]"
ALL = {"musicReady": True, "musicFailed": True, "videoReady": True, "callMissed": True}


# Five devices of each account, and an occasion told on each of them.
FILL = """
    with device as (
        insert into push_tokens (id, user_id, token, platform, created_at, updated_at)
        select 'token_' || u.id || n, u.id, 'ExponentPushToken[' || u.id || n || ']', 'ios', $1, $1
        from users u, generate_series(1, 5) n returning id, user_id),
    occasion as (
        insert into push_occasions (id, user_id, kind, subject, created_at)
        select 'occasion_' || id, user_id, 'call_missed', id, $1 from device returning id),
    wanted as (insert into push_settings (user_id, updated_at) select id, $1 from users)
    insert into push_deliveries (occasion_id, token_id, state, ticket, sent_at, updated_at)
    select 'occasion_' || id, id, 'sent', 'ticket ' || id, $1, $1 from device"""


async def register(person: Person, token: str = PHONE, platform: str = "ios") -> None:
    assert await person.mutation("pushNotifications:registerPushToken", token=token, platform=platform) is None


async def tokens(person: Person) -> list[str]:
    found: list[dict[str, Any]] = await person.query("pushNotifications:getMyPushTokens")
    return [each["token"] for each in found]


async def test_a_device_is_registered_once(world: World, alice: Person) -> None:
    """Registering it again, as apps do on every start, only says that it is still there."""
    await register(alice)
    [first] = await alice.query("pushNotifications:getMyPushTokens")
    world.clock.move_to(world.clock.now() + timedelta(hours=1))
    await register(alice, platform="android")
    [again] = await alice.query("pushNotifications:getMyPushTokens")
    assert set(first) == {"_id", "token", "platform", "createdAt", "updatedAt"}
    assert (first["token"], first["platform"], first["createdAt"]) == (PHONE, "ios", first["updatedAt"])
    assert again == first | {"platform": "android", "updatedAt": first["updatedAt"] + 3_600_000}


async def test_a_device_is_forgotten(alice: Person, bob: Person, anonymous: Person) -> None:
    """By its owner alone; once more is fine."""
    await register(alice)
    await bob.mutation("pushNotifications:unregisterPushToken", token=PHONE)
    assert await tokens(alice) == [PHONE]
    for _ in range(2):
        assert await alice.mutation("pushNotifications:unregisterPushToken", token=PHONE) is None
    assert await tokens(alice) == await tokens(anonymous) == []
    for function in ("unregisterPushToken", "registerPushToken"):
        with pytest.raises(FunctionError) as refused:
            await anonymous.mutation(
                f"pushNotifications:{function}", token=PHONE, **({"platform": "ios"} if function[0] == "r" else {})
            )
        assert refused.value.code == "unauthorized"


@pytest.mark.parametrize(
    "token", ["", "phone", "ExponentPushToken[short]", f"{PHONE}\n", "ExponentPushToken[a b c d e]"]
)
async def test_f12_a_token_has_the_form_of_one(alice: Person, token: str) -> None:
    """What is not an Expo token is refused."""
    with pytest.raises(FunctionError) as refused:
        await register(alice, token)
    assert refused.value.code == "invalid_push_token"
    assert await tokens(alice) == []


async def test_f12_a_token_moves_to_the_account_that_signed_in_last(world: World, alice: Person, bob: Person) -> None:
    """Whoever sends it has the device; the earlier account loses it without a word."""
    await register(alice)
    world.clock.move_to(world.clock.now() + timedelta(minutes=1))
    await register(bob)
    assert await tokens(alice) == []
    [moved] = await bob.query("pushNotifications:getMyPushTokens")
    assert (moved["token"], moved["createdAt"]) == (PHONE, moved["updatedAt"])


async def test_f12_an_account_has_ten_new_tokens_a_day(world: World, alice: Person, bob: Person) -> None:
    """Guessing is slow: forgetting tokens gives no more of them, and moving one counts; known ones go on."""
    await register(bob, "ExponentPushToken[bobs-phone]")
    for number in range(MOST_NEW_TOKENS):
        await register(alice, f"ExponentPushToken[device-{number}]")
    await alice.mutation("pushNotifications:unregisterPushToken", token="ExponentPushToken[device-0]")
    for guess in ("ExponentPushToken[device-0]", "ExponentPushToken[bobs-phone]"):
        with pytest.raises(FunctionError) as refused:
            await register(alice, guess)
        assert refused.value.code == "too_many_push_tokens"
    await register(alice, "ExponentPushToken[device-1]")
    assert await tokens(bob) == ["ExponentPushToken[bobs-phone]"]
    world.clock.move_to(world.clock.now() + timedelta(days=1))
    await register(alice, "ExponentPushToken[device-0]")


async def test_f12_an_account_has_twenty_devices(world: World, alice: Person) -> None:
    """A further one takes the place of the one that was registered longest ago."""
    names = [f"ExponentPushToken[device-{number:02}]" for number in range(MOST_TOKENS + 2)]
    for number, name in enumerate(names):
        await register(alice, name)
        if number == 5:
            await register(alice, names[0])
        world.clock.move_to(world.clock.now() + timedelta(hours=6))
    assert await tokens(alice) == [*reversed(names[5:]), names[0], *reversed(names[3:5])]


async def test_f12_registering_at_once_stays_within_the_limits(alice: Person) -> None:
    """Thirty at the same moment: ten are taken."""
    ends = await asyncio.gather(
        *(register(alice, f"ExponentPushToken[device-{number}]") for number in range(30)), return_exceptions=True
    )
    refused = [end.code for end in ends if isinstance(end, FunctionError)]
    assert refused == ["too_many_push_tokens"] * 20
    assert len(await tokens(alice)) == 10


async def test_two_accounts_that_register_one_device_at_once_share_it_not(alice: Person, bob: Person) -> None:
    """One of them has it, and both calls succeed."""
    await asyncio.gather(*(register(person) for person in (alice, bob) * 5))
    assert sorted([*await tokens(alice), *await tokens(bob)]) == [PHONE]


async def test_everything_is_wanted_at_first(alice: Person, anonymous: Person) -> None:
    """Kinds are switched one by one; the others stay as they are."""
    assert await anonymous.query("pushNotifications:getPreferences") is None
    assert await alice.query("pushNotifications:getPreferences") == ALL
    changed = ALL | {"musicReady": False}
    assert await alice.mutation("pushNotifications:setPreferences", musicReady=False) == changed
    assert await alice.mutation("pushNotifications:setPreferences") == changed
    await alice.mutation("pushNotifications:setPreferences", callMissed=False)
    assert await alice.query("pushNotifications:getPreferences") == changed | {"callMissed": False}
    assert await alice.mutation("pushNotifications:setPreferences", **ALL) == ALL


async def test_registering_keeps_preferences(alice: Person) -> None:
    """The count of new tokens is beside them."""
    await alice.mutation("pushNotifications:setPreferences", videoReady=False)
    await register(alice)
    assert await alice.query("pushNotifications:getPreferences") == ALL | {"videoReady": False}


async def test_an_account_takes_its_devices_along(world: World, alice: Person) -> None:
    """Deleting it erases tokens, preferences and occasions."""
    await register(alice)
    await alice.song()
    await alice.mutation("users:deleteAccount")
    await world.settle()
    left = """select (select count(*) from push_tokens) + (select count(*) from push_settings)
                + (select count(*) from push_occasions) + (select count(*) from push_deliveries)"""
    assert await world.db.pool.fetchval(left) == 0


async def test_devices_and_occasions_cost_the_same_among_many(world: World, alice: Person) -> None:
    """Among 10,000 of each, only the rows in question are read, each by an index."""
    await alice.mutation("users:ensureCurrentUser")
    await library.crowd(world, 2_000)
    await world.db.pool.execute(FILL, NOW)
    await world.db.pool.execute("analyze")
    occasion = await world.db.pool.fetchval(
        "select o.id from push_occasions o join users u on u.id = o.user_id where u.clerk_id = 'user_alice' limit 1"
    )
    statements = (
        (functions.TOKENS_SQL, "user_alice", 5),
        (functions.PREFERENCES_SQL, "user_alice", 1),
        (store.OCCASION_SQL, occasion, 1),
        (store.UNREAD_SQL, occasion, 1),
    )
    for sql, arg, rows in statements:
        for generic in (False, True):
            root = await library.plan(world, sql.replace("$1", "$1::text"), (f"'{arg}'",), generic=generic)
            assert root["Actual Rows"] == rows
            for node in library.nodes(root):
                assert node["Node Type"] != "Seq Scan" or node["Actual Loops"] == 0, (sql, node)
                assert node["Actual Rows"] * node["Actual Loops"] <= 5, (sql, node)


async def test_a_live_list_shows_a_device_come_and_go(database_url: str, data_dir: Path) -> None:
    """Registered here, it is shown on the person's other devices without another request."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world, SyncSocket(world.origin) as socket:
        alice = await world.person("alice")
        await socket.connect()
        await socket.authenticate(0, alice.headers["Authorization"].removeprefix("Bearer "))
        await socket.subscribe(0, q0=("pushNotifications:getMyPushTokens", {}))
        shown = [await socket.transition(1)]
        await register(alice)
        shown.append(await socket.receive(lambda message: message["type"] == "Transition"))
        await alice.mutation("pushNotifications:unregisterPushToken", token=PHONE)
        shown.append(await socket.receive(lambda message: message["type"] == "Transition"))
        lists = [each["modifications"][0]["value"] for each in shown]
        assert [[device["token"] for device in devices] for devices in lists] == [[], [PHONE], []]
