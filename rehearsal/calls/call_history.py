"""Call settings as users save them, consent states of their numbers, and calls inserted into the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from daysong.features.phone_calls.numbers.numbers import number_hashes
from rehearsal.world import FunctionError, Person, World

NUMBER, OTHER = "+12025550123", "+442079460123"
# A zone where it is not night at a world's noon.
SETTINGS = {
    "phoneE164": NUMBER,
    "timezone": "Europe/London",
    "timeOfDay": "19:30",
    "cadence": "daily",
    "active": True,
}

STATUSES = ("completed", "failed", "canceled", "started", "scheduled")

# $1 Clerk id, $2 count, $3 now, $4 status, $5 an interval. Call n was due n hours and the interval ago.
JOBS = """
    insert into call_jobs (id, user_id, settings_id, scheduled_for, status, asked_at, number_hash, with_consent,
                           vapi_call_id, error_code, error_message, created_at, updated_at, ended_at)
    select 'call_' || substr(md5($1 || $4 || n), 1, 26), u.id, s.id,
           $3::timestamptz - $5::interval - n * interval '1 hour', $4, $3, '\\x00', true,
           'vapi ' || $1 || $4 || n, case when $4 in ('failed', 'canceled') then 'busy' end,
           case when $4 in ('failed', 'canceled') then 'The line was busy (' || n || ').' end, $3, $3,
           case when $4 in ('completed', 'failed', 'canceled') then $3 end
    from users u join call_settings s on s.user_id = u.id, generate_series(1, $2::int) n where u.clerk_id = $1"""

SESSIONS = """
    insert into call_sessions (id, user_id, vapi_call_id, direction, state, started_at, ended_at, duration_sec,
                               ended_reason, transcript, reported_at, outcome, created_at, updated_at)
    select 'talk_' || substr(md5($1 || n), 1, 26), u.id, 'talk ' || $1 || n, 'outbound', 'completed',
           $3::timestamptz - n * interval '1 hour', $3::timestamptz - n * interval '1 hour' + interval '90 seconds', 90,
           'customer-ended-call', jsonb_build_array(jsonb_build_object('role', 'user', 'message', 'Secret talk ' || n)),
           $3, 'diary', $3::timestamptz - n * interval '1 hour', $3
    from users u, generate_series(1, $2::int) n where u.clerk_id = $1"""


async def wants_calls(person: Person, **more: Any) -> Any:
    """Save call settings: half past seven in London every day by default."""
    return await person.mutation("callSettings:upsertCallSettings", **{**SETTINGS, **more})


async def had_calls(world: World, person: str, count: int, status: str = "completed") -> None:
    """Insert this many calls, one an hour, for a person with call settings; the newest an hour ago, if completed.

    Calls of each other status are some minutes older.
    """
    pause = timedelta(minutes=STATUSES.index(status))
    await world.db.pool.execute(JOBS, f"user_{person}", count, world.clock.now(), status, pause)


async def has_talked(world: World, person: str, count: int) -> None:
    """Insert this many talks, one an hour, the newest an hour ago."""
    await world.db.pool.execute(SESSIONS, f"user_{person}", count, world.clock.now())


async def settings_of(person: Person) -> dict[str, Any]:
    """Return the person's call settings, as the profile shows them."""
    found: dict[str, Any] = (await person.query("users:getUserProfile"))["callSettings"]
    return found


async def standing(person: Person) -> tuple[Any, Any, bool]:
    """Return the consent for the person's number, why calls are off, and whether a call is due."""
    found = await settings_of(person)
    return found["consent"], found.get("pausedReason"), "nextRunAtUTC" in found


async def refused(person: Person, **more: Any) -> str | None:
    """Return the error code with which settings are refused."""
    try:
        saved = await wants_calls(person, **more)
    except FunctionError as error:
        return error.code
    raise AssertionError(f"saved all the same: {saved}")


async def wants_none(world: World, number: str = NUMBER) -> None:
    """Record that the holder of a number opted out of calls."""
    await world.db.pool.execute(
        """insert into phone_numbers (number_hash, refused_at, updated_at) values ($1, $2, $2)
           on conflict (number_hash) do update set refused_at = $2""",
        number_hashes(world.settings, number)[0], world.clock.now(),
    )  # fmt: skip


async def was_tried(world: World, times: int, number: str = NUMBER) -> None:
    """Record this many calls to a number without consent."""
    await world.db.pool.execute(
        """insert into phone_numbers (number_hash, tries, last_try_at, last_try_on, updated_at)
           values ($1, $2, $3, $4, $3)""",
        number_hashes(world.settings, number)[0], times, world.clock.now(), world.clock.now().date(),
    )  # fmt: skip


async def agrees(world: World, name: str, consent: str = "granted") -> None:
    """Record the consent, or refusal, of the holder of the person's number."""
    await world.db.pool.execute(
        """update call_settings s set consent = $2, consent_at = $3, consent_session_id = 'talk_1',
             paused_reason = case when $2 = 'refused' then 'refused' end,
             active = $2 <> 'refused', next_run_at = case when $2 <> 'refused' then next_run_at end
           from users u where u.id = s.user_id and u.clerk_id = $1""",
        f"user_{name}", consent, world.clock.now(),
    )  # fmt: skip
