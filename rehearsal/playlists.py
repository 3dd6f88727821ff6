"""A playlist as people have them: many songs, some that can be heard, one of another's; and people of a diary."""

from __future__ import annotations

from rehearsal import library, memories, shared_songs
from rehearsal.world import World

TITLES = (
    "The Long Way Home",
    "Everything I Forgot to Say to My Brother Before the Last Train Left for the Coast",
    "مطر على شباك أختي",
    "雨の帰り道",
    "Kettle Song",
    "What the Sea Said",
)
STYLES = ("calm, acoustic", "happy, bright", "dark, slow", "warm, folk")
# Songs whose recording is there, the newest ones, and every how many of them have no cover.
HEARD, PLAIN = 12, 4
EVENTS = (
    ("A long call in the rain", "We talked until the kettle was empty, and neither wanted to hang up."),
    ("Soup on the balcony", "The first evening warm enough. The whole street was out, and the swifts."),
    ("The piano on the stairs", "Four of us, two hours, one scratch that nobody will ever find."),
)
NAMES = (("Anna", "sister"), ("Tom", "colleague"), ("Annie", ""), ("أمينة", "friend"), ("健二", "neighbour"))


async def fill(world: World, name: str, size: int) -> list[library.Song]:
    """Insert songs of the person called `name`; the newest can be heard, and have titles and covers."""
    songs = await library.fill(world, name, size, shared_songs.timing(shared_songs.ENGLISH))
    sound = shared_songs.tone()
    for number, song in enumerate(songs[:HEARD]):
        title = TITLES[number % len(TITLES)] + (f" {number // len(TITLES) + 1}" if number >= len(TITLES) else "")
        await world.db.pool.execute(
            "update music set title = $2, lyric = $3, duration = $4 where diary_id = $1",
            song.diary_id, title, shared_songs.ENGLISH, shared_songs.SECONDS,
        )  # fmt: skip
        await world.db.pool.execute(
            "update diaries set content = $2 where id = $1", song.diary_id, "I walked home in the rain."
        )
        await world.app.files.put(song.file_id, sound, "audio/wav")
        await world.db.pool.execute(
            "update files set size = $2, content_type = 'audio/wav' where id = $1", song.file_id, len(sound)
        )
        if number % PLAIN != PLAIN - 1:
            await shared_songs.add_cover(world, song, title, STYLES[number % len(STYLES)])
    return songs


async def meet(world: World, name: str) -> None:
    """Insert events with people, who have names, in the diary of the person called `name`."""
    await memories.fill(world, name, 40, people=len(NAMES))
    rows = await world.db.pool.fetch(
        """select p.id from people p join users u on u.id = p.user_id
           where u.clerk_id = $1 order by (select count(*) from event_people e where e.person_id = p.id) desc, p.id""",
        f"user_{name}",
    )
    for row, (called, label) in zip(rows, NAMES, strict=True):
        await world.db.pool.execute(
            "update person_names set name = $2, folded = lower($2) where person_id = $1", row["id"], called
        )
        await world.db.pool.execute(
            "update people set relationship_label = nullif($2, '') where id = $1", row["id"], label
        )
    await world.db.pool.execute(
        """update people set highlight = 'You called each other on most rainy evenings, and laughed about the boat.',
                             highlighted_at = $2, highlight_is_own = true where id = $1""",
        rows[0]["id"], world.clock.now(),
    )  # fmt: skip
    titles, summaries = zip(*EVENTS, strict=True)
    await world.db.pool.execute(
        """update events e set title = ($2::text[])[n % 3 + 1], summary = ($3::text[])[n % 3 + 1]
           from (select e.id, row_number() over (order by happened_at) as n
                 from events e join users u on u.id = e.user_id where u.clerk_id = $1) numbered
           where numbered.id = e.id""",
        f"user_{name}", titles, summaries,
    )  # fmt: skip


async def of_selma(world: World) -> None:
    """Insert what the studio's tests of songs and people start from: selma's 2,000 songs, with one of bob's."""
    selma, bob = await world.person("selma"), await world.person("bob")
    link = await shared_songs.share(world, bob, "bob", title="Bob’s Harbour")
    await fill(world, "selma", 2000)
    await selma.mutation("userSongs:addFromShare", shareId=link.url.rsplit("/", 1)[1])
    await meet(world, "selma")
