"""A year with daysong, inserted into the database: entries, songs, calls and people, as pictures and eyes need them.

Long titles, Arabic and Japanese, an entry of 3,000 words, a failed song, songs without cover, one of another's.
"""

from __future__ import annotations

from datetime import timedelta

from rehearsal import library, playlists, shared_songs
from rehearsal.calls import call_history
from rehearsal.world import Person, World

SONGS = 40
# Who has shared a song with them.
FRIEND = "dora"
# Every how many days there is an entry, and of how many years.
EVERY, YEARS = 3, 2
ENTRIES = (
    "I walked home the long way in the rain and called my sister. She laughed about the boat and the bell.",
    "Slow morning. Bread, the radio, a letter from Lisbon that had been opened and glued again.",
    "Ran into Tom at the station. Neither of us took the train we had come for.",
    "Mother's hands are shaking a little. She says it is the cold, in July.",
    "مشيت تحت المطر إلى البيت، وكان صوتك في الهاتف ضوءا.",
    "We finally fixed the kitchen light. It had only been the bulb, for a year.",
    "雨の帰り道を歩いた。電話の向こうで姉が笑った。",
    "Forty lengths, then a nap on the warm stones. The sea was there all the time, behind the wall.",
    "Bad day. The meeting went as everyone knew it would. I said nothing, and am writing it here instead.",
    "First snow. The whole street came out as if somebody had called their names.",
    "Taught Annie to ride the red bicycle. She taught me not to run beside her.",
    "Nothing happened, and it was lovely.",
)
TITLES = (
    "The Long Way Home",
    "Everything I Forgot to Say to My Brother Before the Last Train Left for the Coast",
    "Kettle Song",
    "مطر على شباك أختي",
    "What the Sea Said",
    "雨の帰り道",
    "Red Bicycle",
    "Forty Lengths",
    "First Snow",
    "Only the Bulb",
)
STYLES = ("calm, acoustic", "happy, bright", "dark, slow", "warm, folk", "wide, electronic")

# $1 Clerk id, $2 moments, $3 texts.
WRITE = """
insert into diaries (id, user_id, content, date, created_at, updated_at)
select 'diary_' || substr(md5($1 || moment), 1, 26), u.id, content, moment, moment, moment
from users u, unnest($2::timestamptz[], $3::text[]) as written (moment, content) where u.clerk_id = $1"""

# $1 entry, $2 moment, $3 its text.
MOVE = (
    "update diaries set date = $2, created_at = $2, updated_at = $2, content = $3 where id = $1",
    "update music set created_at = $2, updated_at = $2 where diary_id = $1 and $3 <> ''",
    """update user_songs l set created_at = $2 from music m
       where m.id = l.music_id and m.diary_id = $1 and $3 <> ''""",
    """update usage_charges c set charged_at = $2 from generations g
       where g.charge_id = c.id and g.diary_id = $1 and $3 <> ''""",
)
FAIL = (
    """update generations set status = 'failed', failure_code = 'vendor_failed',
                              failure_reason = 'The song could not be made this time. It was not counted.'
       where diary_id = $1""",
    """update music set status = 'failed', audio_file_id = null, lyric = null, lyric_with_time = null, duration = null,
                        failure_reason = 'The song could not be made this time. It was not counted.'
       where diary_id = $1""",
)


async def live(world: World, name: str) -> Person:
    """Insert the year of the person called `name`, and return them."""
    person, other = await world.person(name), await world.person(FRIEND)
    await person.mutation("users:updateSettings", timezone="Europe/Lisbon")
    link = await shared_songs.share(world, other, FRIEND, title="A Harbour, Seen from the Train")
    await person.mutation("userSongs:addFromShare", shareId=link.url.rsplit("/", 1)[1])
    await playlists.meet(world, name)
    await _sing(world, name)
    await _write(world, name)
    await call_history.wants_calls(person, timezone="Europe/Lisbon", timeOfDay="20:30")
    await call_history.had_calls(world, name, 9)
    await call_history.had_calls(world, name, 1, "failed")
    await call_history.has_talked(world, name, 9)
    return person


async def _sing(world: World, name: str) -> None:
    """Insert the songs, about nine days apart; all can be heard, most have covers, the third one failed."""
    now = world.clock.now()
    songs = await library.fill(world, name, SONGS, shared_songs.timing(shared_songs.ENGLISH))
    sound = shared_songs.tone()
    covers = {}
    for number, song in enumerate(songs):
        moment = now - timedelta(days=9 * number, hours=3 + number % 5)
        for statement in MOVE:
            await world.db.pool.execute(statement, song.diary_id, moment, ENTRIES[number % len(ENTRIES)])
        lyric = {3: shared_songs.ARABIC, 5: shared_songs.JAPANESE}.get(number % len(TITLES), shared_songs.ENGLISH)
        await world.db.pool.execute(
            "update music set title = $2, lyric = $3, duration = $4 where diary_id = $1",
            song.diary_id, TITLES[number % len(TITLES)], lyric, shared_songs.SECONDS,
        )  # fmt: skip
        await world.app.files.put(song.file_id, sound, "audio/wav")
        await world.db.pool.execute(
            "update files set size = $2, content_type = 'audio/wav' where id = $1", song.file_id, len(sound)
        )
        if number % 7 != 6:  # noqa: PLR2004 - the others have no cover
            covers[number] = song
    for number, song in covers.items():
        await shared_songs.add_cover(world, song, TITLES[number % len(TITLES)], STYLES[number % len(STYLES)])
    # Two of them in the period of the plan, which began today.
    for song in songs[:2]:
        await world.db.pool.execute(MOVE[2], song.diary_id, now, ENTRIES[0])
    for statement in FAIL:
        await world.db.pool.execute(statement, songs[2].diary_id)


async def _write(world: World, name: str) -> None:
    """Insert entries without songs, on most days of the year and on this day of earlier ones."""
    now = world.clock.now()
    days = [n for n in range(1, 366 * YEARS) if n % EVERY or n % 7 == 0]
    moments = [now - timedelta(days=n, minutes=37 * n % 600) for n in days]
    texts = [ENTRIES[(n * 5) % len(ENTRIES)] for n in days]
    texts[20] = " ".join(ENTRIES[n % 4] for n in range(110))
    moments += [now.replace(year=now.year - back) for back in (1, 3)]
    texts += [ENTRIES[9], ENTRIES[0]]
    await world.db.pool.execute(WRITE, f"user_{name}", moments, texts)
    told = await world.db.pool.fetch(
        """select d.id from diaries d join users u on u.id = d.user_id
           where u.clerk_id = $1 and d.content like 'Secret thought%'""",
        f"user_{name}",
    )
    for number, row in enumerate(told):
        moment = now - timedelta(days=6 * number + 1, hours=2)
        for statement in (MOVE[0], "update events set happened_at = $2 where diary_id = $1 and $3 <> ''"):
            await world.db.pool.execute(statement, row["id"], moment, ENTRIES[(2 * number) % len(ENTRIES)])
