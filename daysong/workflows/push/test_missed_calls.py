"""Two missed calls in a row are told of, once for a streak."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daysong.workflows.push.test_sending import PHONE, register, shown
from rehearsal.calls.phones import ALICES, answers, has_agreed, rings, until_due, wants_calls
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def is_called(world: World, how: str) -> None:
    """The next day's call falls due, and is answered like that."""
    await answers(world, how, ALICES)
    await until_due(world, longer=timedelta(minutes=1))


async def told(world: World) -> list[str]:
    """The kinds of what Alice's phone shows."""
    return [each["data"]["type"] for each in await shown(world) if each["to"] == PHONE]


async def test_the_second_missed_call_in_a_row_is_told(world: World, alice: Person) -> None:
    """Not the first, nor the third; after a call that was taken the count begins anew."""
    await register(alice, PHONE)
    await wants_calls(alice)
    await has_agreed(world)
    counts = []
    for how in ("no_answer", "busy", "voicemail", "talks", "no_answer", "no_answer"):
        await is_called(world, how)
        counts.append((await told(world)).count("call_missed"))
    assert len(await rings(world)) == 6
    assert counts == [0, 1, 1, 1, 1, 2]
    text = next(each for each in await shown(world) if each["data"]["type"] == "call_missed")
    assert text["data"] == {"type": "call_missed"}
    assert text["title"] == "We could not reach you"


async def test_who_wants_no_news_of_calls_gets_none(world: World, alice: Person) -> None:
    """Switched off in the preferences."""
    await register(alice, PHONE)
    await alice.mutation("pushNotifications:setPreferences", callMissed=False)
    await wants_calls(alice)
    await has_agreed(world)
    for _ in range(2):
        await is_called(world, "no_answer")
    assert await told(world) == []
    assert await world.db.pool.fetchval("select count(*) from push_occasions where kind = 'call_missed'") == 1
