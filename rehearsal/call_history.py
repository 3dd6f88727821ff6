"""Call settings as people save them, and calls put straight into the database, for tests that need many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rehearsal.world import Person, World

# Where it is not night when it is noon in a world.
SETTINGS = {
    "phoneE164": "+12025550123",
    "timezone": "Europe/London",
    "timeOfDay": "19:30",
    "cadence": "daily",
    "active": True,
}

STATUSES = ("completed", "failed", "canceled", "started", "scheduled")

# $1 whose (Clerk id), $2 how many, $3 now, $4 the status, $5 a pause. Call number n was due n hours and the pause ago.
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
    """Somebody saves call settings: at half past seven in London every day, unless otherwise said."""
    return await person.mutation("callSettings:upsertCallSettings", **{**SETTINGS, **more})


async def had_calls(world: World, person: str, count: int, status: str = "completed") -> None:
    """Somebody who has call settings has had that many calls, one an hour; the newest an hour ago, if completed.

    Those of each other status are some minutes older.
    """
    pause = timedelta(minutes=STATUSES.index(status))
    await world.db.pool.execute(JOBS, f"user_{person}", count, world.clock.now(), status, pause)


async def has_talked(world: World, person: str, count: int) -> None:
    """Somebody has had that many talks, one an hour, the newest an hour ago."""
    await world.db.pool.execute(SESSIONS, f"user_{person}", count, world.clock.now())
