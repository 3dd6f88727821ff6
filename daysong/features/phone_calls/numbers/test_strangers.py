"""Whatever two accounts do, with whatever VAPI answers, a stranger's phone rings three times and no more."""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from rehearsal.calls.phones import ALICES, BOBS, answers, has_agreed, rings, wants_calls
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

ZONES = ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/New_York", "Asia/Kolkata", "Etc/GMT+12"]
UNANSWERED = ["no_answer", "voicemail", "busy", "unclear", "hangs_up", "silent"]
FAULTS: list[dict[str, Any]] = [{}, {}, {"status": 429}, {"status": 500}, {"drop": True}, {"status": 400}]
TRIES, APART = 3, timedelta(hours=20)


async def does_something(world: World, person: Person, chance: random.Random) -> None:
    """Any of what apps can ask for."""
    match chance.randrange(8):
        case 0 | 1 | 2:
            at = f"{chance.randrange(24):02}:{chance.randrange(60):02}"
            number = chance.choice([ALICES, ALICES, ALICES, BOBS])
            active = chance.random() < 0.9
            await wants_calls(person, number, at, timezone=chance.choice(ZONES), active=active)
        case 3 | 4 | 5:
            await person.mutation("callSettings:sendTestCall")
        case 6:
            await answers(world, chance.choice(UNANSWERED))
            await answers(world, chance.choice(UNANSWERED), BOBS)
        case 7:
            faults = chance.choice(FAULTS)
            await world.fault("vapi", **({"path": "/call", "times": 2, **faults} if faults else {}))


async def test_f32_no_sequence_of_calls_rings_a_stranger_more_often(world: World) -> None:
    """Three in all, a day apart: by numbers, zones, hours, test calls, and accounts deleted and opened anew."""
    chance = random.Random(0)  # noqa: S311 - nothing secret
    people = {name: await world.person(f"{name}0") for name in ("mallory", "trudy")}
    await answers(world, "no_answer", ALICES)
    for step in range(16):
        name = chance.choice(sorted(people))
        if chance.random() < 0.03:
            await people[name].mutation("users:deleteAccount")
            await world.settle()
            people[name] = await world.person(f"{name}{step}")
        with suppress(FunctionError):
            await does_something(world, people[name], chance)
        await world.pass_time(timedelta(minutes=chance.choice([1, 7, 45, 150])))
    rung = [ring for ring in await rings(world) if ring["number"] == ALICES]
    times = [ring["time"] for ring in rung]
    assert 1 <= len(rung) <= TRIES
    assert all(later - sooner >= APART.total_seconds() * 1000 for sooner, later in itertools.pairwise(times))
    assert len({ring["jobId"] for ring in await rings(world)}) == len(await rings(world))


async def test_f32_who_has_agreed_is_rung_three_times_a_day_at_most(world: World, alice: Person) -> None:
    """However often the hour is changed, and a test call asked for."""
    await wants_calls(alice)
    await has_agreed(world)
    await answers(world, "no_answer")
    for hour in range(13, 24):
        with suppress(FunctionError):
            await alice.mutation("callSettings:sendTestCall")
        await wants_calls(alice, at=f"{hour}:30")
        await world.pass_time(timedelta(minutes=59))
    assert len(await rings(world)) == 3


async def test_a_person_is_called_five_times_a_day_at_most(world: World, alice: Person) -> None:
    """Whatever numbers they have had that day."""
    for last in range(6):
        number = f"+1202555017{last}"
        await wants_calls(alice, number)
        await answers(world, "busy", number)
        await has_agreed(world, number)
        if last < 3:
            await alice.mutation("callSettings:sendTestCall")
        await world.pass_time(timedelta(minutes=1))
    for hour in ("13:00", "14:00", "15:00"):
        await wants_calls(alice, number, hour)
        await has_agreed(world, number)
        await world.pass_time(timedelta(hours=1))
    job, *_ = await alice.query("callJobs:getCallJobs")
    assert (job["status"], job["errorCode"]) == ("canceled", "too_many_calls")
    assert len(await rings(world)) == 5
