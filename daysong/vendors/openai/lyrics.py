"""Lyrics, and the lengths Suno accepts."""

from __future__ import annotations

import msgspec

from daysong.vendors.openai.completions import UnusableAnswer
from daysong.vendors.text import clean, fit, fit_tags

MAX_LYRIC = 5000
MAX_STYLE = 1000
MAX_TITLE = 80


class Lyrics(msgspec.Struct, frozen=True):
    """What a song is generated from: the words, and tags that describe how they should sound."""

    lyric: str
    mood: str
    style: str
    title: str


def within_limits(lyrics: Lyrics) -> Lyrics:
    """Return the lyrics cleaned, and cut to 5000 characters of words, 1000 of style and 80 of title."""
    lyric = fit(clean(lyrics.lyric), MAX_LYRIC)
    title = fit(" ".join(clean(lyrics.title).split()), MAX_TITLE)
    style = fit_tags(" ".join(clean(lyrics.style).split()), MAX_STYLE)
    mood = fit_tags(" ".join(clean(lyrics.mood).split()), MAX_TITLE)
    if not lyric:
        raise UnusableAnswer("empty_lyric")
    if not title or not style:
        raise UnusableAnswer("wrong_shape")
    return Lyrics(lyric=lyric, mood=mood, style=style, title=title)


def final_style(lyrics: Lyrics, hint: str | None) -> str:
    """Return Suno's style text: the user's hint unchanged, then mood and style tags up to 1000 characters in all."""
    parts = [hint] if hint and hint.strip() else []
    known = {tag.strip().lower() for part in parts for tag in part.split(",")}
    length = sum(map(len, parts))
    for tag in (tag.strip() for text in (lyrics.mood, lyrics.style) for tag in text.split(",")):
        if not tag or tag.lower() in known:
            continue
        length += len(tag) + (2 if parts else 0)
        if length > MAX_STYLE:
            break
        known.add(tag.lower())
        parts.append(tag)
    return ", ".join(parts)
