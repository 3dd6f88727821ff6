"""The sandbox's director: a prompt for a music video out of a song, without a model and without the network."""

from __future__ import annotations

import re

from daysong.sandbox.openai.lyricist import PRIVATE, feeling_of

MOST_LINES = 6
LIGHT = "Slow camera, soft grain, one continuous portrait shot, no text."


def write_prompt(title: str, lyric: str) -> str:
    """Return what a camera would see: the song's title and its first lines in quotation marks, and a mood."""
    lyric = re.sub(r"[“”]", '"', PRIVATE.sub("", lyric))
    lines = [line.strip() for line in lyric.splitlines() if line.strip() and not line.startswith("[")]
    shown = " ".join(f"“{line}”" for line in list(dict.fromkeys(lines))[:MOST_LINES])
    name = re.sub(r"[“”]", '"', title).strip() or "Untitled"
    return f"A music video in portrait for the song “{name}”, {feeling_of(lyric)}. {LIGHT} Scenes after: {shown}"
