"""The data of `script/bench peers`: people with entries, songs, a share link, call settings and a paid plan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import msgspec

from daysong.features.users.tombstones import email_hash
from daysong.kernel.settings import Settings
from rehearsal.library import TIMED

PEOPLE = 512
ENTRIES = 50

ENTRY = "Walked to the market in the rain, met an old friend, and talked until the shops closed. " * 5
LYRIC = "[Verse]\nRain on the market street, an old friend in the doorway\n[Chorus]\nStay until they close, stay\n" * 6
PLAN: dict[str, Any] = {
    "PRODUCTION/APP_STORE/eveokee_premium_monthly": {
        "period": 1_795_000_000_000,
        "product": "eveokee_premium_monthly",
        "tier": "monthly",
        "expires_at": "2099-01-01T00:00:00Z",
    }
}

# $1 now, $2 mailbox hashes, $3 entry, $4 lyric, $5 timing, $6 plan. Entry e of a person is e days old; every fifth has
# a song, and the third has one that is being composed.
FILL = f"""
create temp table people on commit drop as
    select n, md5('person ' || n) as mark, 'user_' || substr(md5('person ' || n), 1, 26) as id from generate_series(0, {PEOPLE - 1}) n;
create temp table entries on commit drop as
    select p.id as owner, p.n, e, e % 5 = 0 as has_song, e % 5 = 0 or e = 3 as is_made,
           substr(md5('entry ' || p.n || ' ' || e), 1, 26) as name, $1::timestamptz - e * interval '1 day' as moment
    from people p, generate_series(1, {ENTRIES}) e;
insert into users (id, clerk_id, email, name, mailbox_hash, created_at, updated_at)
    select id, 'user_bench_' || n, 'bench' || n || '@example.test', 'Bench ' || n, ($2::bytea[])[n + 1], $1::timestamptz, $1::timestamptz
    from people;
insert into subscriptions (id, user_id, tier, product_id, platform, lines, verified_at, last_reset_at, created_at, updated_at)
    select 'sub_' || substr(mark, 1, 26), id, 'monthly', 'eveokee_premium_monthly', 'app_store', $6::jsonb,
           $1::timestamptz + interval '30 days', $1::timestamptz - interval '3 days', $1::timestamptz, $1::timestamptz
    from people;
insert into call_settings (id, user_id, phone_e164, timezone, local_minutes, cadence, byday_mask, active, consent,
                           consent_at, next_run_at, created_at, updated_at)
    select 'callset_' || substr(mark, 1, 26), id, '+1212' || 2000000 + n, 'America/New_York', 750, 'daily', 127, true,
           'granted', $1::timestamptz, $1::timestamptz + interval '1 day', $1::timestamptz, $1::timestamptz
    from people;
insert into usage_charges (id, user_id, charged_at) select 'charge_' || name, owner, moment from entries where is_made;
insert into diaries (id, user_id, content, date, created_at, updated_at)
    select 'diary_' || name, owner, $3 || e, moment, moment, moment from entries;
insert into generations (id, user_id, diary_id, charge_id, status, callback_secret, asked_at, task_id, composing_since,
                         created_at, updated_at)
    select 'gen_' || name, owner, 'diary_' || name, 'charge_' || name, case when has_song then 'ready' else 'composing' end,
           md5(name), moment, 'task ' || name, moment, moment, moment
    from entries where is_made;
insert into music (id, user_id, diary_id, generation_id, music_index, status, title, lyric, lyric_with_time, duration,
                   audio_id, audio_url, image_url, image_width, image_height, created_at, updated_at)
    select 'music_' || case i when 0 then name else substr(md5(name), 1, 26) end, owner, 'diary_' || name, 'gen_' || name, i,
           case when has_song then 'ready' else 'pending' end, 'Song ' || e, $4,
           case when has_song and i = 0 then $5::jsonb end, 180.5, 'audio ' || name || i,
           case when has_song then 'https://cdn.example.test/' || name || '.mp3' end,
           'https://cdn.example.test/' || name || '.jpeg', 1024, 1024, moment, moment
    from entries, generate_series(0, 1) i where is_made;
update diaries d set primary_music_id = 'music_' || name from entries where d.id = 'diary_' || name and is_made;
insert into shared_music (id, share_id, user_id, music_id, created_at, updated_at)
    select 'share_' || name, translate(substr(md5('share ' || n), 1, 10), '01', 'gh'), owner, 'music_' || name, moment, moment
    from entries where e = 5;
"""  # noqa: E501, S608 - a statement a line; constants

# What the measured functions write; everything else that exists was inserted above.
WRITTEN = """
delete from pgqueuer;
delete from pgqueuer_log;
delete from jobs;
delete from budget_reservations;
delete from webhook_events;
delete from generations where created_at > $1;
delete from usage_charges where charged_at > $1;
delete from diaries where created_at > $1;
"""
VACUUMED = (
    "pgqueuer, pgqueuer_log, jobs, budget_reservations, webhook_events, generations, usage_charges, diaries, music"
)


class Sample(NamedTuple):
    """A person's link, open generation, and the secret of its callbacks."""

    share_id: str
    generation_id: str
    callback_secret: str


async def fill(connection: asyncpg.Connection, settings: Settings) -> datetime:
    """Insert the data, and return its time: everything in it is at most that old."""
    now = datetime.now(UTC)
    hashes = [email_hash(settings, f"bench{n}@example.test") for n in range(PEOPLE)]
    values = (now, hashes, ENTRY, LYRIC, _json(TIMED), _json(PLAN))
    async with connection.transaction():
        for statement in _statements(FILL):
            used, args = _numbered(statement, values)
            await connection.execute(used, *args, timeout=120)
    await connection.execute("vacuum analyze")
    return now


async def samples(connection: asyncpg.Connection) -> list[Sample]:
    """Return a sample of each person, in the order of their numbers."""
    rows = await connection.fetch(
        """select s.share_id, g.id, g.callback_secret from users u
           join shared_music s on s.user_id = u.id join generations g on g.user_id = u.id and g.status = 'composing'
           order by substr(u.clerk_id, 12)::int"""
    )
    return [Sample(*row) for row in rows]


async def remove_written(connection: asyncpg.Connection, since: datetime) -> None:
    """Delete what was written after `since`, so that each measurement begins with the same data."""
    for statement in _statements(WRITTEN):
        await connection.execute(statement, *([since] if "$1" in statement else []), timeout=120)
    await connection.execute(f"vacuum analyze {VACUUMED}", timeout=120)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _statements(text: str) -> list[str]:
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


def _numbered(statement: str, values: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Return the statement with the parameters it uses, numbered from 1, and their values."""
    used = [number for number in range(1, len(values) + 1) if f"${number}" in statement]
    for place, number in enumerate(used, 1):
        statement = statement.replace(f"${number}", f"${place}")
    return statement, [values[number - 1] for number in used]
