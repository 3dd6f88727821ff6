"""Shared songs with a recording, a cover and timed words, for tests and pictures of the share page."""

from __future__ import annotations

import io
import math
import wave
from typing import Any, NamedTuple

from daysong.sandbox.music.cover import draw_cover
from rehearsal import library
from rehearsal.world import Person, World

SECONDS = 60
RATE = 8000
# Seconds before the first word, of a word, and between two lines.
INTRO, WORD, BREATH = 2.0, 0.5, 0.6

ENGLISH = """[Verse 1]
I walked home the long way in the rain
Your voice in my ear like a lamp in the lane
We laughed about summer, the boat and the bell
And all of the things that we never could tell

[Chorus]
Oh, the long way home
With the rain on the stone
I was never alone
On the long way home

[Verse 2]
The kettle was singing, the window was grey
I wrote down the words that you wanted to say"""
ARABIC = """[Verse 1]
مشيت تحت المطر إلى البيت
وكان صوتك في الهاتف ضوءا

[Chorus]
يا ليل خذني إلى الشباك
حيث القمر يغني لنا"""
JAPANESE = """[Verse 1]
雨の帰り道を歩いた
電話の向こうで姉が笑った

[Chorus]
ああ、窓をたたく雨
今日という日を歌にして"""


class Link(NamedTuple):
    """A share: its link, and the id of its row."""

    url: str
    shared_music_id: str


async def share(
    world: World,
    person: Person,
    name: str,
    *,
    title: str,
    lyric: str | None = ENGLISH,
    is_timed: bool = True,
    has_cover: bool = True,
    style: str = "calm, acoustic",
) -> Link:
    """Insert a finished song of the person called `name`, with a minute of sound, and share it."""
    count = await world.db.pool.fetchval(
        "select count(*) from music m join users u on u.id = m.user_id where u.clerk_id = $1 and m.music_index = 0",
        f"user_{name}",
    )
    assert count == 0, "a person has one song here"
    [song] = await library.fill(world, name, 1, timing(lyric) if is_timed and lyric else None)
    sound = tone()
    await world.app.files.put(song.file_id, sound, "audio/wav")
    await world.db.pool.execute(
        "update files set size = $2, content_type = 'audio/wav' where id = $1", song.file_id, len(sound)
    )
    await world.db.pool.execute(
        "update music set title = $2, lyric = $3, duration = $4 where id = $1", song.music_id, title, lyric, SECONDS
    )
    if has_cover:
        await add_cover(world, song, title, style)
    link = await person.mutation("sharing:createShareLink", musicId=song.music_id)
    [row] = await person.query("sharing:listSharedMusic")
    return Link(link["shareUrl"], row["_id"])


async def add_cover(world: World, song: library.Song, title: str, style: str) -> None:
    """Draw a cover for a song of a library, and store it."""
    cover, file_id = draw_cover(title=title, style=style, seed="7"), f"cover_{song.file_id}"
    await world.app.files.put(file_id, cover, "image/png")
    await world.db.pool.execute(
        """with kept as (insert into files (id, user_id, content_type, size, created_at)
                         select $1, user_id, 'image/png', $2, created_at from files where id = $3 returning id)
           update music set image_file_id = kept.id from kept where music.diary_id = $4""",
        file_id, len(cover), song.file_id, song.diary_id,
    )  # fmt: skip


def timing(lyric: str) -> dict[str, Any]:
    """Return `lyricWithTime` of a lyric, word after word as Suno has them: of Japanese, each character."""
    words, moment, before = [], INTRO, ""
    for line in lyric.split("\n"):
        if not line or line.startswith("["):
            before += f"{line}\n"
            continue
        parts = line.split() if line.isascii() or " " in line else [*line]
        for number, part in enumerate(parts):
            after = "\n" if number == len(parts) - 1 else " " if " " in line else ""
            word = f"{before}{part}{after}"
            words.append({"word": word, "success": True, "startS": moment, "endS": moment + WORD, "palign": 0.0})
            moment, before = round(moment + WORD, 3), ""
        moment = round(moment + BREATH, 3)
    levels = [
        0.15 + 0.55 * abs(math.sin(n / 9)) * (0.4 + 0.6 * abs(math.sin(n / 47))) + 0.2 * abs(math.sin(n * 2.3))
        for n in range(300)
    ]
    return {"alignedWords": words, "waveformData": levels, "hootCer": 0.02}


def tone() -> bytes:
    """Return a minute of a quiet tone as WAV."""
    period = bytes(128 + round(20 * math.sin(2 * math.pi * n / 40)) for n in range(40))
    kept = io.BytesIO()
    with wave.open(kept, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(RATE)
        file.writeframes(period * (RATE * SECONDS // 40))
    return kept.getvalue()
