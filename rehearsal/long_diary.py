"""A long diary inserted into the database, for tests and for pictures."""

from __future__ import annotations

from rehearsal.world import World

TEXTS = [
    "Walked along the river before work. The heron stood in the same bend as last week, and for a moment nobody spoke.",
    "Rain all day. I cooked the soup my grandmother used to make, and called my sister. She laughed about the onions.",
    "Ben's birthday. Too much cake, old songs, the kitchen full of people until two.",
    "مشيت اليوم على شاطئ البحر مع أختي وتحدثنا عن الطفولة حتى غابت الشمس",
    "今日は雨が降っていた。帰り道、傘を忘れて走ったけれど、なぜか楽しかった。",
    "Finished the book.\n\nI keep thinking about the last chapter: how she opens the window and lets the letters go.",
    "Long meeting, short temper. Then the train stopped in the middle of nowhere, and a whole carriage began to talk.",
]

# $1 Clerk id, $2 count, $3 now, $4 texts.
WRITE = """
    insert into diaries (id, user_id, content, date, created_at, updated_at)
    select 'diary_' || substr(md5('long' || $1 || n), 1, 26), u.id, ($4::text[])[1 + n % cardinality($4::text[])],
           moment, moment, moment
    from users u, generate_series(1, $2::int) n, lateral (select $3::timestamptz - n * interval 'EVERY' as moment) at
    where u.clerk_id = $1"""


async def write(world: World, name: str, size: int, *, every: str = "5 hours") -> None:
    """Insert that many entries without songs, the newest one pause ago."""
    await world.person(name)
    async with world.db.pool.acquire() as connection:
        await connection.execute(WRITE.replace("EVERY", every), f"user_{name}", size, world.clock.now(), TEXTS)
        await connection.execute("analyze diaries")
