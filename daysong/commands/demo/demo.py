"""`script/demo`: a diary entry or a phone call becomes a song, before your eyes, through the front door."""

from __future__ import annotations

import asyncio
import io
import re
from pathlib import Path
from typing import Any

import httpx2
import soundfile
from rich.console import Console
from rich.panel import Panel

from daysong.app import App
from daysong.commands import dev, environment
from daysong.commands.demo.person import DemoFailed, Person
from daysong.commands.demo.phone_call import diary_of_a_call
from daysong.commands.demo.video import entry_with_photo, video_of
from daysong.kernel import logs
from daysong.transport.server.server import PortTaken, listen

WITHIN = 80.0
STAGES = {
    "queued": "The entry is saved, the song is in line",
    "writing": "The lyrics are being written",
    "composing": "Two tracks are being composed",
    "ready": "The tracks are delivered",
}


async def demo(*, entry: str | None, photo: Path | None, port: int, data_dir: Path, leave: bool) -> None:
    """Start everything, make the song, show it; then keep serving until Ctrl-C, unless `leave`.

    The song is of `entry`; without one, of a phone call that is due within the minute. With a `photo`, the
    entry has it, and the song becomes a video that begins with it.
    """
    console = Console(highlight=False)
    logs.configure(readable=True, quiet=True)
    try:
        listen(environment.HOST, port).close()
    except PortTaken:
        console.print(f"Port {port} is taken by another program; using a free one.")
        port = environment.free_port()
    stop = environment.until_asked_to_stop()

    def tell(text: str) -> None:
        console.print(f"[dim]•[/] {text}")

    # An empty environment: a demo uses no real keys and writes to no real database.
    async with dev.running(port=port, data_dir=data_dir, sandbox=True, tell=tell, environ={}) as app:
        tell(f"daysong ready on {app.settings.site_url}")
        making = asyncio.create_task(_make_song(app, entry, photo, data_dir, console))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({making, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            making.cancel()
            tell("stopping")
            return
        making.result()
        if not leave:
            console.print(f"Studio      {app.settings.site_url}/ (one click signs you in)", soft_wrap=True)
            console.print("\nStill serving. Press Ctrl-C to stop.")
            await stopping
        stopping.cancel()


async def _make_song(app: App, entry: str | None, photo: Path | None, data_dir: Path, console: Console) -> None:
    async with httpx2.AsyncClient(base_url=app.settings.site_url, timeout=30, trust_env=False) as http:
        person = Person(http, app.settings.admin_key)
        await person.sign_in()
        console.print("[dim]•[/] Signed in as a new person")
        if entry is None:
            diary_id = await diary_of_a_call(person, app.clock, console)
        else:
            asked = {"content": entry}
            if photo is not None:
                asked["diaryId"] = await entry_with_photo(http, person, photo, console)
            started = await person.call("action", "music:startDiaryMusicGeneration", asked)
            if not started["success"]:
                raise DemoFailed(started["reason"])
            diary_id = started["diaryId"]
        try:
            async with asyncio.timeout(WITHIN):
                await _follow(person, diary_id, console)
                song = await _kept_song(person, console)
        except TimeoutError:
            raise DemoFailed(f"there was no song within {WITHIN:.0f} seconds; the log above says more") from None
        console.print(Panel(song["lyric"], title=song["title"], expand=False))
        audio = await _saved_audio(http, song, data_dir)
        shared = await person.call("mutation", "sharing:createShareLink", {"musicId": song["_id"]})
        page = await http.get(shared["shareUrl"])
        if page.status_code != httpx2.codes.OK:
            raise DemoFailed(f"the share page answered {page.status_code}")
        video = None if photo is None else await video_of(http, person, song, data_dir / "demo", console)
        console.print(f"Audio       {audio}", soft_wrap=True)
        if video is not None:
            console.print(f"Video       {video}", soft_wrap=True)
        console.print(f"Share link  {shared['shareUrl']} (answers {page.status_code})", soft_wrap=True)


async def _follow(person: Person, diary_id: str, console: Console) -> None:
    shown: list[str] = []
    while True:
        progress = await person.call("query", "music:generationProgress", {"diaryId": diary_id}, admin=True)
        if progress is None:
            # The entry is there, and its song is yet to be begun.
            await asyncio.sleep(0.2)
            continue
        # A stage may pass between two looks; each is shown, since each happened.
        stages = list(STAGES)
        if progress["stage"] not in STAGES:
            raise DemoFailed(progress.get("reason", "the song failed"))
        for stage in stages[: stages.index(progress["stage"]) + 1]:
            if stage not in shown:
                shown.append(stage)
                console.print(f"[dim]•[/] {STAGES[stage]}")
        if progress["stage"] == "ready":
            return
        await asyncio.sleep(0.2)


async def _kept_song(person: Person, console: Console) -> dict[str, Any]:
    while True:
        songs = await person.call("query", "music:listPlaylistMusic", {})
        song: dict[str, Any] = songs[0] if songs else {}
        if "lyricWithTime" in song and "/media/" in song.get("audioUrl", ""):
            words = len(song["lyricWithTime"]["alignedWords"])
            console.print(f"[dim]•[/] {words} words are timed to the music; audio and cover are in our own storage")
            return song
        await asyncio.sleep(0.2)


async def _saved_audio(http: httpx2.AsyncClient, song: dict[str, Any], data_dir: Path) -> str:
    answer = (await http.get(song["audioUrl"])).raise_for_status()
    with soundfile.SoundFile(io.BytesIO(answer.content)) as sound:
        seconds, kind = sound.frames / sound.samplerate, sound.format.lower()
    name = re.sub(r"[^\w-]+", "-", song["title"]).strip("-").lower()[:60] or "song"
    file = data_dir / "demo" / f"{name}.{'ogg' if kind == 'ogg' else 'mp3'}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(answer.content)
    return f"{file} ({seconds:.1f} s)"
