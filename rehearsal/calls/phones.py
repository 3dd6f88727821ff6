"""Callees in a test: their settings, how they answer, and how often their phone rang."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from rehearsal.world import Person, World

ALICES = "+12025550123"
BOBS = "+12025550124"
ROOM = "service/vapi/executor"


def noon_at(moment: datetime) -> str:
    """Return a time zone where it is between noon and one at that moment, so outside quiet hours."""
    return f"Etc/GMT{moment.hour - 12:+}"


async def wants_calls(person: Person, number: str = ALICES, at: str = "20:00", **more: Any) -> str:
    """Schedule a daily call at that time (UTC by default); return the id of the settings."""
    wanted = {"timezone": "UTC", "cadence": "daily", "active": True, **more}
    saved = await person.mutation("callSettings:upsertCallSettings", phoneE164=number, timeOfDay=at, **wanted)
    settings_id: str = saved["settingsId"]
    return settings_id


async def has_agreed(world: World, number: str = ALICES) -> None:
    """Record that the holder of the number consented some time ago."""
    agreed = await world.db.pool.execute(
        "update call_settings set consent = 'granted', consent_at = $2 where phone_e164 = $1", number, world.clock.now()
    )
    assert agreed == "UPDATE 1"


async def answers(world: World, how: str, number: str = ALICES, **more: Any) -> None:
    """Set how calls to that number are answered; see daysong/sandbox/vapi/api.py."""
    await world.steer("vapi", "people", number=number, answers=how, **more)


async def rings(world: World) -> list[Any]:
    """Return every ring of a phone: its job and its number."""
    found: list[Any] = (await world.http.get("/sandbox/vapi/rings")).raise_for_status().json()["rings"]
    return found


async def until_due(world: World, at: str = "20:00", *, longer: timedelta = timedelta(minutes=3)) -> None:
    """Move the clock to just after the next occurrence of that time in UTC, and run what is due then.

    The hours before it pass in one step: jobs due in them run late.
    """
    hour, minute = map(int, at.split(":"))
    now = world.clock.now()
    due = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    await world.settle()
    world.clock.move_to((due if due > now else due + timedelta(days=1)) - timedelta(seconds=1))
    await world.pass_time(timedelta(seconds=1))
    if longer:
        await world.pass_time(longer)
