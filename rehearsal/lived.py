"""A year with daysong, inserted into the database: entries, songs, calls and people, for pictures of the studio.

Long titles, Arabic and Japanese, an entry of 3,000 words, a failed song, songs without cover, one of another's.
"""

from __future__ import annotations

import io
import random
from datetime import timedelta

from PIL import Image, ImageDraw, ImageFilter

from rehearsal import library, photos, playlists, shared_songs
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


# $1 Clerk id, $2 now. One call on each of the last days, agreed to, and an entry of each.
TALK = (
    """with job as (select j.id, row_number() over (order by j.status = 'failed' desc, j.scheduled_for desc) as n
                    from call_jobs j join users u on u.id = j.user_id where u.clerk_id = $1)
       update call_jobs j set scheduled_for = $2::timestamptz - (job.n - 0.7) * interval '1 day',
              error_message = case when error_message is not null then 'The line was busy.' end
       from job where job.id = j.id""",
    """with job as (select j.id, j.scheduled_for, row_number() over (order by j.scheduled_for desc) as n
                    from call_jobs j join users u on u.id = j.user_id
                    where u.clerk_id = $1 and j.status = 'completed'),
            talk as (select s.id, row_number() over (order by s.created_at desc) as n
                     from call_sessions s join users u on u.id = s.user_id where u.clerk_id = $1),
            diary as (select d.id, row_number() over (order by d.date desc) as n
                      from diaries d join users u on u.id = d.user_id where u.clerk_id = $1 and d.date < $2)
       update call_sessions s set call_job_id = job.id, diary_id = case when job.n <> 4 then diary.id end,
              started_at = job.scheduled_for, created_at = job.scheduled_for,
              duration_sec = case when job.n = 4 then 9 else 95 + 40 * job.n end,
              outcome = case when job.n = 4 then 'too_short' else 'diary' end
       from talk join job using (n) join diary using (n) where talk.id = s.id""",
    """update call_settings c set consent = 'granted', consent_at = $2 from users u
       where u.id = c.user_id and u.clerk_id = $1""",
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
    for statement in TALK:
        await world.db.pool.execute(statement, f"user_{name}", world.clock.now())
    newest = (await person.query("diaries:listDiaries"))[0]["_id"]
    for seed in range(3):
        await photos.attached(world, person, newest, bokeh(seed))
    return person


def bokeh(seed: int) -> bytes:
    """Return a JPEG of lights out of focus, as a photo taken at night."""
    dice = random.Random(seed)  # noqa: S311
    picture = Image.new("RGB", (900, 900), ((24, 20, 46), (40, 24, 30), (14, 34, 44))[seed % 3])
    for blur in (40, 14, 5):
        drawn = ImageDraw.Draw(picture)
        for _ in range(26):
            x, y, size = dice.randrange(900), dice.randrange(900), dice.randrange(16, 90)
            light = dice.choice([(250, 196, 110), (236, 120, 92), (250, 232, 190), (120, 160, 220), (200, 90, 140)])
            drawn.ellipse((x, y, x + size, y + size), fill=light)
        picture = picture.filter(ImageFilter.GaussianBlur(blur))
    kept = io.BytesIO()
    picture.save(kept, "JPEG", quality=82)
    return kept.getvalue()


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
        await world.db.pool.execute(MOVE[2], song.diary_id, now + timedelta(milliseconds=1), ENTRIES[0])
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
