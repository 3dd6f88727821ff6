"""Many events with people and tags inserted into the database, for tests that need many, or need them fast."""

from __future__ import annotations

from typing import NamedTuple

from daysong.features.feature_flags.flags import EVENT_EXTRACTION
from rehearsal.world import World

# $1 Clerk id, $2 count, $3 now, $4 people, $5 tags. Event n is n hours old; each names two people and has one tag.
FILL = """
with who as (select id from users where clerk_id = $1),
     happened as materialized (
         select who.id as owner, n, substr(md5($1 || ' event ' || n), 1, 26) as name,
                $3::timestamptz - n * interval '1 hour' as moment
         from who, generate_series(1, $2::int) n),
     known as materialized (
         select who.id as owner, n, substr(md5($1 || ' person ' || n), 1, 26) as name
         from who, generate_series(0, $4::int - 1) n),
     subjects as materialized (
         select who.id as owner, n, substr(md5($1 || ' tag ' || n), 1, 26) as name
         from who, generate_series(0, $5::int - 1) n),
     written as (insert into diaries (id, user_id, content, date, created_at, updated_at)
                 select 'diary_' || name, owner, 'Secret thought ' || n || ' of ' || $1, moment, moment, moment
                 from happened),
     met as (insert into people (id, user_id, created_at, updated_at)
             select 'person_' || name, owner, $3, $3 from known),
     named as (insert into person_names (user_id, folded, person_id, name)
               select owner, 'secret friend ' || n, 'person_' || name, 'Secret friend ' || n from known),
     tagged as (insert into tags (id, user_id, name, display_name, created_at)
                select 'tag_' || name, owner, 'secret subject ' || n, 'Secret subject ' || n, $3 from subjects),
     told as (insert into events (id, user_id, diary_id, happened_at, title, summary, mood, arousal,
                                  created_at, updated_at)
              select 'memory_' || name, owner, 'diary_' || name, moment, 'Secret event ' || n, 'Secret summary ' || n,
                     n % 5 - 2, n % 5 + 1, moment, moment from happened),
     linked as (insert into event_people (event_id, person_id, user_id, happened_at, place)
                select 'memory_' || h.name, 'person_' || k.name, h.owner, h.moment, least(k.n, 1)
                from happened h join known k on k.n in (h.n % $4, 0))
insert into event_tags (event_id, tag_id, user_id, happened_at)
select 'memory_' || h.name, 'tag_' || s.name, h.owner, h.moment from happened h join subjects s on s.n = h.n % $5"""


class Memory(NamedTuple):
    """The ids of an event, its entry, and the person whom every event names."""

    event_id: str
    diary_id: str
    person_id: str


async def fill(world: World, person: str, size: int, *, people: int = 3, tags: int = 2) -> list[Memory]:
    """Insert that many events, an hour apart, the newest an hour old; return them, newest first."""
    whose = f"user_{person}"
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local statement_timeout = 0")
        await connection.execute(FILL, whose, size, world.clock.now(), people, tags, timeout=100)
        await connection.execute("analyze events, event_people, event_tags, people, person_names, tags, diaries")
    rows = await world.db.pool.fetch(
        """select e.id, e.diary_id, l.person_id
           from events e join event_people l on l.event_id = e.id and l.place = 0
           join users u on u.id = e.user_id where u.clerk_id = $1 order by e.happened_at desc""",
        whose,
    )
    return [Memory(*row) for row in rows]


async def unread(world: World) -> None:
    """Turn the reading of entries off, for tests that count jobs, costs or requests of something else."""
    await world.db.pool.execute(
        """insert into feature_flags (key, percent, created_at, updated_at) values ($1, 0, $2, $2)
           on conflict (key) do update set percent = 0""",
        EVENT_EXTRACTION, world.clock.now(),
    )  # fmt: skip
