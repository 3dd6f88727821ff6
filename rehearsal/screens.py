"""Takes the pictures in docs/screens anew: `script/screens`."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from rehearsal import databases, lived, operators, shared_songs
from rehearsal.world import World, free_port

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "screens"
LARGEST = 60_000  # bytes
PERSON = "clara"
# The share of the front page.
FEATURED = "DayLong234"
SIZES = {"phone": (375, 760), "tablet": (768, 1000), "desk": (1280, 800)}


async def pictures(world: World) -> list[dict[str, Any]]:
    """Create songs as people have them, and return what to take of them."""
    people = {name: await world.person(name) for name in ("alice", "layla", "hana", "bob")}
    songs = {
        "english": await shared_songs.share(world, people["alice"], "alice", title="The Long Way Home"),
        "arabic": await shared_songs.share(
            world, people["layla"], "layla", title="مطر على شباك أختي", lyric=shared_songs.ARABIC, style="dark, slow"
        ),
        "japanese": await shared_songs.share(
            world, people["hana"], "hana", title="雨の帰り道", lyric=shared_songs.JAPANESE, style="happy, bright"
        ),
        "plain": await shared_songs.share(
            world, people["bob"], "bob", is_timed=False, has_cover=False,
            title="Everything I Forgot to Say to My Brother Before the Last Train Left for the Coast",
        ),
    }  # fmt: skip
    options = {"sharedMusicId": songs["english"].shared_music_id, "allowDownload": True}
    await people["alice"].mutation("sharing:setShareOptions", **options)
    taken = [
        ("share", "english", 11.0, ("phone", "desk"), (False, True)),
        ("share", "english", 0, ("tablet",), (False,)),
        ("arabic", "arabic", 4.2, ("phone",), (True,)),
        ("japanese", "japanese", 4.2, ("tablet",), (False,)),
        ("no-cover", "plain", 0, ("phone", "desk"), (False, True)),
    ]
    found = [
        {"name": f"{name}-{size}-{'dark' if dark else 'light'}", "url": songs[song].url, "dark": dark, "at": at}
        | dict(zip(("width", "height"), SIZES[size], strict=True))
        for name, song, at, sizes, themes in taken
        for size in sizes
        for dark in themes
    ]
    width, height = SIZES["phone"]
    nothing = {"name": "nothing-phone-light", "url": f"{world.origin}/share/2345678923", "dark": False, "at": 0}
    return [
        *found,
        nothing | {"width": width, "height": height},
        *await studio(world),
        *await operators.pictures(world),
    ]


# Pages of the studio: name, path, and what is done before; see tests/browser/screens.mjs.
STUDIO: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("front", "/", {"as": None, "wait": ".deck"}),
    (
        "today",
        "/today",
        {
            "wait": ".so-far:not([hidden]) .song-card",
            "text": "The kettle was singing when I came in, and the whole house smelled of rain.",
        },
    ),
    ("diary-month", "/diary", {"wait": ".day.covered"}),
    ("diary-year", "/diary?view=year", {"wait": ".year-map"}),
    ("diary-list", "/diary?view=list", {"wait": ".virtual .entry-row"}),
    ("entry", "/diary?view=list", {"wait": ".virtual .entry-row", "click": [".virtual .entry-row >> nth=0"]}),
    ("calls", "/calls", {"wait": ".next-when"}),
    ("you", "/you", {"wait": ".weeks"}),
    ("songs", "/songs", {"wait": ".song-cover img"}),
    (
        "now-playing",
        "/songs",
        {"wait": ".song-cover img", "click": [".song.is-ready .song-main >> nth=1", ".bar-song"], "at": 11.0},
    ),
    ("people", "/people", {"wait": ".person-card"}),
    ("person", "/people", {"wait": ".person-card", "click": [".person-card >> nth=0"]}),
)


async def studio(world: World) -> list[dict[str, Any]]:
    """Return what to take of the studio: each page on a phone in both themes, and on a desk in the light."""
    await lived.live(world, PERSON)
    harper = await world.person("harper")
    link = await shared_songs.share(world, harper, "harper", title="The Long Way Home")
    await world.db.pool.execute(
        "update shared_music set share_id = $1 where share_id = $2", FEATURED, link.url.rpartition("/")[2]
    )
    taken = (("phone", False), ("phone", True), ("desk", False))
    return [
        {"name": f"{name}-{size}-{'dark' if dark else 'light'}", "url": f"{world.origin}{path}", "dark": dark}
        | {"as": PERSON}
        | before
        | dict(zip(("width", "height"), SIZES[size], strict=True))
        for name, path, before in STUDIO
        for size, dark in taken
    ]


async def take(database_url: str, folder: Path, names: Sequence[str]) -> None:
    """Write the pictures as PNG: all, or those whose names begin with one of `names`."""
    environ = {"FEATURED_SHARE_ID": FEATURED}
    async with World(database_url, folder, datetime.now(UTC), environ, port=free_port()) as world:
        found = [one for one in await pictures(world) if not names or one["name"].startswith(tuple(names))]
        listed = json.dumps(found)
        environ = os.environ | {"DAYSONG_ORIGIN": world.origin, "DAYSONG_CHROMIUM": shutil.which("chromium") or ""}
        program = await asyncio.create_subprocess_exec(
            "node", "screens.mjs", str(folder), listed, cwd=ROOT / "tests" / "browser", env=environ
        )
        if await program.wait():
            raise subprocess.CalledProcessError(program.returncode or 1, "node screens.mjs")


def compress(png: Path) -> None:
    """Write the picture as WebP of at most LARGEST bytes."""
    with Image.open(png) as picture:
        for quality in (90, 80, 65, 50, 35):
            kept = io.BytesIO()
            picture.save(kept, "WEBP", quality=quality, method=6)
            if kept.tell() <= LARGEST:
                break
    (TARGET / f"{png.stem}.webp").write_bytes(kept.getvalue())


def main() -> None:
    """Replace the pictures; with arguments, those whose names begin with one of them."""
    for needed in ("chromium", "node"):
        if shutil.which(needed) is None:
            sys.exit(f"screens: {needed} is needed")
    databases.begin_run()
    try:
        with tempfile.TemporaryDirectory() as name, databases.server() as server, databases.own_database(server) as own:
            asyncio.run(take(own.url, Path(name), sys.argv[1:]))
            TARGET.mkdir(parents=True, exist_ok=True)
            for old in TARGET.glob("*.webp") if not sys.argv[1:] else ():
                old.unlink()
            for png in sorted(Path(name).glob("*.png")):
                compress(png)
    finally:
        databases.end_run()


if __name__ == "__main__":
    main()
