"""A worker process is killed between any two steps of a call: the phone rings at most once, and no words are lost.

The state after the kill, and the result:

    killed                                          result
    before, while or after calls are planned        the job runs again, or the next minute's; each call is planned once
    before a line is taken                          the job runs again
    between `asked_at` and the request to VAPI      VAPI is not asked again: the call is looked up there for 15
                                                    minutes, then it is `failed` as lost
    after the request, before its answer is stored  the same; the call is found, unless VAPI refused it
    while a message of VAPI is applied              its job runs again; the message is applied once
    while an answer about consent is read           VAPI is asked again; the model is asked once, and if its answer was
                                                    lost, consent is unclear
    while the entry is written                      it may be written, and paid, twice; it is stored once
    while its song is started                       the job runs again; the song is charged once
"""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from daysong.features.phone_calls.dialing import OneCall, process_call_job
from daysong.features.phone_calls.schedule.planner import claim_due_settings, execute_scheduled_calls
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import NoArgs
from daysong.vendors.conftest import listening
from daysong.workflows.calls.call_reports import UnreadAnswer, read_answer
from rehearsal import memories
from rehearsal.billing import admin_of
from rehearsal.calls.phones import ROOM, has_agreed, noon_at, rings, wants_calls
from rehearsal.processes import mortal_worker
from rehearsal.processes.killing import Mortals, let_another_worker_finish, mortals, schedule
from rehearsal.world import World, free_port

pytestmark = [pytest.mark.anyio, pytest.mark.slow(17)]

EXECUTOR, DIALLER, HANDLER = f"{ROOM}:executeScheduledCalls", f"{ROOM}:processCallJob", "webhooks:handleVapiEvent"
DIARIST, COMPOSER = "callDiaryWorkflow:generateDiaryFromCall", "callDiaryWorkflow:generateMusicForCallDiary"
READER = "callReports:readAnswer"
MANY_LINES = {"VAPI_MAX_CONCURRENT_CALLS": "1000"}
# Ours and the world's: what is due for the one is not yet for the other, until we let it.
AHEAD = timedelta(minutes=5)


class Outcome(NamedTuple):
    """The result of a call: status and reason, number of rings, entries, and the songs' statuses."""

    status: str
    code: str | None
    rings: int
    diaries: int
    songs: tuple[str, ...]


MADE = Outcome("completed", None, 1, 1, ("ready",))
# It is unknown what was said about being called.
UNCLEAR = Outcome("completed", None, 1, 0, ())
# It is unknown whether VAPI was asked: it is never asked again.
LOST = Outcome("failed", "lost", 0, 0, ())


@pytest.fixture(scope="module")
def workers() -> Iterator[Mortals]:
    """Workers that are to die."""
    with mortals() as found:
        yield found


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """A world that other processes are part of, with a line for everybody."""
    world = World(database_url, data_dir, datetime.now(UTC) - AHEAD, MANY_LINES, port=free_port())
    async with world:
        await world.steer("vapi", "limits", concurrency=1000)
        await memories.unread(world)
        yield world


async def is_due(world: World, who: int, *, agreed: bool = True) -> None:
    """Alice of that number is to be called: it is noon where she is, and the minute has come, though not in `world`.

    She has agreed to it, so that no rule but that of one call keeps her phone from ringing twice; else it is her first.
    """
    due = world.clock.now() + timedelta(minutes=1)
    alice, number = await world.person(f"alice{who}"), f"+12025550{100 + who}"
    await wants_calls(alice, number, at=f"12:{due:%M}", timezone=noon_at(due))
    if agreed:
        await has_agreed(world, number)


async def are_planned(world: World, people: int, *, agreed: bool = True) -> list[str]:
    """So many are to be called, and it has been planned; the ids of the calls."""
    for who in range(people):
        await is_due(world, who, agreed=agreed)
    world.clock.move_to(datetime.now(UTC))
    await world.app.runtime.run_mutation(claim_due_settings, NoArgs(), SYSTEM)
    rows = await world.db.pool.fetch(
        "select j.id from call_jobs j join call_settings s on s.id = j.settings_id order by s.phone_e164"
    )
    assert len(rows) == people
    return [row["id"] for row in rows]


async def are_ringing(world: World, people: int, *, agreed: bool = True) -> list[str]:
    """So many are being called, and the calls stay there until they are told to go on; the ids of the calls."""
    planned = await are_planned(world, people, agreed=agreed)
    await world.steer("vapi", "hold", hold=True)
    await admin_of(world).action(EXECUTOR)
    await world.settle()
    return planned


async def is_told(world: World) -> None:
    """What VAPI has told is applied; what is to follow it is not done yet."""
    for row in await world.db.pool.fetch("select id from webhook_events where handled_at is null order by id"):
        await admin_of(world).mutation(HANDLER, eventId=row["id"])


async def what_became(world: World) -> list[Outcome]:
    """Another worker finishes what was left, time passes, and then: what became of each person's call."""
    await let_another_worker_finish(world)
    await world.steer("vapi", "hold", hold=False)
    await world.settle()
    await world.pass_time(timedelta(minutes=35))
    rung = [ring["jobId"] for ring in await rings(world)]
    rows = await world.db.pool.fetch(
        """select j.id, j.status, j.error_code, (select count(*) from diaries d where d.user_id = u.id) as diaries,
             array(select g.status from generations g where g.user_id = u.id) as songs
           from users u join call_settings s on s.user_id = u.id left join call_jobs j on j.settings_id = s.id
           order by s.phone_e164, j.scheduled_for"""
    )
    ordered = sum(call["path"].endswith("/generate") for call in await world.asked("suno"))
    assert ordered == sum(len(row["songs"]) for row in rows)
    dead = await world.db.pool.fetch("select distinct function from jobs where status = 'dead'")
    assert {row["function"] for row in dead} <= {f"{ROOM}:lookUpCall"}
    return [
        Outcome(row["status"], row["error_code"], rung.count(row["id"]), row["diaries"], tuple(row["songs"]))
        for row in rows
    ]


async def test_f33_an_executor_killed_between_any_two_steps_loses_no_call(world: World, workers: Mortals) -> None:
    """Nor does it make any twice: two around each of three transactions, and once it lives."""
    deaths = []
    for boundary in range(1, 8):
        await is_due(world, boundary)
        await schedule(world, execute_scheduled_calls, NoArgs())
        deaths.append(await workers.die(world.environ(), boundary, EXECUTOR))
    assert deaths == [True] * 6 + [False]
    assert await what_became(world) == [MADE] * 7


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hear a request, and break the connection off."""
    await reader.readuntil(b"\r\n\r\n")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


# What VAPI does, and what becomes of a call whose worker is killed after it has asked VAPI, before it notes what VAPI
# said, and after that; and of one whose worker lives.
DIALLING: dict[str, tuple[dict[str, Any], list[Outcome]]] = {
    "well": ({}, [MADE, MADE, MADE, MADE]),
    "answer lost": ({"drop": True}, [MADE, MADE, MADE, MADE]),
    "failed": ({"status": 500}, [LOST, LOST, LOST, LOST]),
    "refused for now": ({"status": 429}, [LOST, LOST, MADE, MADE]),
    "reset": ({}, [LOST, LOST, LOST, LOST]),
}
# Before that it is all the same: killed before it took a line, after that, and before it asked.
NOT_ASKED = [MADE, LOST, LOST]


@pytest.mark.timeout(240)
async def test_f35_a_dialler_killed_between_any_two_steps_rings_once(world: World, workers: Mortals) -> None:
    """Or not at all, when it is unknown whether VAPI was asked; also when VAPI misbehaves at the same time."""
    trials = [("well", boundary) for boundary in range(1, 4)]
    trials += [(name, boundary) for name in DIALLING for boundary in range(4, 8)]
    planned = await are_planned(world, len(trials))
    deaths = {}
    async with listening(reset) as broken:
        for (name, boundary), call in zip(trials, planned, strict=True):
            await schedule(world, process_call_job, OneCall(job_id=call))
            await world.fault("vapi", **DIALLING[name][0], times=1)
            environ = world.environ() | MANY_LINES | ({"VAPI_BASE_URL": broken} if name == "reset" else {})
            deaths[name, boundary] = await workers.die(environ, boundary, DIALLER)
    await world.fault("vapi")
    assert deaths == {(name, boundary): boundary < 7 for name, boundary in trials}
    outcomes = NOT_ASKED + [outcome for _, later in DIALLING.values() for outcome in later]
    expected = dict(zip(trials, outcomes, strict=True))
    assert dict(zip(trials, await what_became(world), strict=True)) == expected


async def test_f35_a_dialler_killed_while_vapi_is_silent_rings_once(world: World) -> None:
    """The order has arrived, and its answer is lost."""
    [call] = await are_planned(world, 1)
    await schedule(world, process_call_job, OneCall(job_id=call))
    await world.fault("vapi", hang=True, times=1)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", mortal_worker.__name__, "100", DIALLER, env=world.environ(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(40):
            while not await rings(world):
                await asyncio.sleep(0.02)
    finally:
        process.kill()
    assert await process.wait() == -signal.SIGKILL
    assert await what_became(world) == [MADE]


@pytest.mark.timeout(240)
async def test_f36_a_worker_killed_while_it_hears_from_vapi_loses_nothing(world: World, workers: Mortals) -> None:
    """Before, in and after the transaction that applies a message: the call was answered, is over, and how it was."""
    stages = [("ringing", "in-progress"), ("in-progress", "ended"), ("ended", "reported")]
    ringing = await are_ringing(world, 3 * len(stages) + 1)
    calls, deaths = iter(ringing), []
    for before, stage in stages:
        for boundary in range(1, 5 if stage == "reported" else 4):
            call = next(calls)
            await world.steer("vapi", "advance", jobId=call, to=before)
            await world.settle()
            await world.steer("vapi", "advance", jobId=call, to=stage)
            deaths.append(await workers.die(world.environ(), boundary, HANDLER))
    assert deaths == [True] * 9 + [False]
    assert await what_became(world) == [MADE] * len(ringing)


async def test_f37_a_worker_killed_while_it_writes_an_entry_writes_one(world: World, workers: Mortals) -> None:
    """Two around asking OpenAI, two around keeping the entry, and once it lives."""
    ringing = await are_ringing(world, 5)
    await world.fault("vapi", analysis="no_summary")
    deaths = []
    for boundary, call in enumerate(ringing, 1):
        await world.steer("vapi", "advance", jobId=call)
        await is_told(world)
        deaths.append(await workers.die(world.environ(), boundary, DIARIST))
    assert deaths == [True] * 4 + [False]
    assert await what_became(world) == [MADE] * 5
    # Besides the lyrics: a kill between the request and storing the response has them written twice.
    assert len(await world.asked("openai")) == 5 + 7


async def test_f37_a_worker_killed_while_it_sets_out_for_a_song_makes_one(world: World, workers: Mortals) -> None:
    """Four around asking RevenueCat twice, two around noting its answer, two around the charge, and once it lives."""
    ringing = await are_ringing(world, 9)
    deaths = []
    for boundary, call in enumerate(ringing, 1):
        await world.steer("vapi", "advance", jobId=call)
        await is_told(world)
        session = await world.db.pool.fetchval("select id from call_sessions where call_job_id = $1", call)
        await admin_of(world).action(DIARIST, sessionId=session)
        deaths.append(await workers.die(world.environ(), boundary, COMPOSER))
    assert deaths == [True] * 8 + [False]
    assert await what_became(world) == [MADE] * 9
    charged = await world.db.pool.fetchval("select count(*) from usage_charges")
    assert charged == 9


@pytest.mark.timeout(240)
async def test_g24_a_worker_killed_while_it_reads_an_answer_pays_for_it_once(world: World, workers: Mortals) -> None:
    """Two around asking VAPI, two around noting that the model is asked, two around that, two around the decision."""
    ringing = await are_ringing(world, 9, agreed=False)
    await world.fault("vapi", analysis="missing")
    deaths = []
    for boundary, call in enumerate(ringing, 1):
        await world.steer("vapi", "advance", jobId=call)
        await is_told(world)
        row = await world.db.pool.fetchrow("select id, vapi_call_id from call_sessions where call_job_id = $1", call)
        assert row is not None
        # A minute earlier than it would be.
        await schedule(world, read_answer, UnreadAnswer(session_id=row["id"], vapi_call_id=row["vapi_call_id"]))
        deaths.append(await workers.die(world.environ(), boundary, READER))
    assert deaths == [True] * 8 + [False]
    assert await what_became(world) == [MADE] * 3 + [UNCLEAR] * 4 + [MADE] * 2
    asked = [call["body"]["response_format"]["json_schema"]["name"] for call in await world.asked("openai")]
    assert asked.count("answer") == 7
