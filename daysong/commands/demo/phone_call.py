"""`script/demo --call`: a call is due, a phone rings in the sandbox, and the talk becomes a diary entry."""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console
from rich.panel import Panel

from daysong.commands.demo.person import DemoFailed, Person
from daysong.kernel.time.clock import Clock

# Until the next full minute, and from then to the entry.
WITHIN = 60 + 80.0
# A call that is to be due in less may be planned for tomorrow before it is saved.
AHEAD = timedelta(seconds=3)
LOOK_EVERY = 0.2
STAGES = {
    "queued": "The call is due",
    "scheduled": "The phone rings",
    "started": "Somebody picks up, and they talk",
    "completed": "They have said goodbye",
}


async def diary_of_a_call(person: Person, clock: Clock, console: Console) -> str:
    """The id of the entry that a call to `person` becomes; DemoFailed when it becomes none."""
    due = next_minute(clock.now())
    number = f"+1202555{secrets.randbelow(10_000):04d}"
    settings = {"phoneE164": number, "timezone": "UTC", "timeOfDay": f"{due:%H:%M}", "cadence": "daily", "active": True}
    await person.call("mutation", "callSettings:upsertCallSettings", settings)
    wait = (due - clock.now()).total_seconds()
    console.print(f"[dim]•[/] {number} is to be called every day at {due:%H:%M} UTC, the first time in {wait:.0f} s")
    try:
        async with asyncio.timeout(WITHIN):
            await _until_over(person, console)
            session = await _with_entry(person)
    except TimeoutError:
        raise DemoFailed(f"there was no diary entry within {WITHIN:.0f} seconds; the log above says more") from None
    said = "\n".join(f"[bold]{_who(turn)}[/]  {_words(turn)}" for turn in session["transcript"])
    console.print(Panel(said, title=f"{session['durationSec']:.0f} seconds on the phone", expand=False))
    console.print("[dim]•[/] What was told is a diary entry")
    diary_id: str = session["diaryId"]
    return diary_id


def next_minute(now: datetime) -> datetime:
    """The next full minute that is not about to begin."""
    return (now + AHEAD).replace(second=0, microsecond=0) + timedelta(minutes=1)


async def _until_over(person: Person, console: Console) -> None:
    shown: list[str] = []
    while True:
        jobs = await person.call("query", "callJobs:getCallJobs", {})
        status = jobs[0]["status"] if jobs else None
        if status is not None and status not in STAGES:
            raise DemoFailed(f"the call was {status}: {jobs[0].get('errorMessage', 'no reason was given')}")
        # A stage may pass between two looks; each is shown, since each happened.
        stages = list(STAGES)
        for stage in stages[: stages.index(status) + 1] if status else ():
            if stage not in shown:
                shown.append(stage)
                console.print(f"[dim]•[/] {STAGES[stage]}")
        if status == "completed":
            return
        await asyncio.sleep(LOOK_EVERY)


async def _with_entry(person: Person) -> dict[str, Any]:
    """The call's session, once its entry is there."""
    while True:
        sessions: list[dict[str, Any]] = await person.call("query", "callJobs:getCallSessions", {})
        if sessions and "diaryId" in sessions[0]:
            return sessions[0]
        await asyncio.sleep(LOOK_EVERY)


def _who(turn: dict[str, Any]) -> str:
    return "Person   " if turn["role"] == "user" else "Companion"


def _words(turn: dict[str, Any]) -> str:
    return str(turn["text"]).replace("[", "\\[")
