"""A photo and a video in the demo: the entry begins with the photo, and its song becomes a video."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console

from daysong.commands.demo.person import DemoFailed, Person

WITHIN = 60.0


async def entry_with_photo(http: httpx2.AsyncClient, person: Person, photo: Path, console: Console) -> str:
    """Save an entry that has a photo and no words yet; return its id. Errors: DemoFailed."""
    try:
        content = await asyncio.to_thread(photo.read_bytes)
    except OSError as error:
        raise DemoFailed(f"{photo} cannot be read ({type(error).__name__})") from None
    diary_id = (await person.call("mutation", "diaries:createDiary", {"content": ""}))["_id"]
    address = await person.call("action", "diaryMedia:generateUploadUrl", {})
    answer = await http.post(address, content=content, headers={"Content-Type": "application/octet-stream"})
    if answer.status_code != httpx2.codes.OK:
        raise DemoFailed(f"{photo} was not accepted as a photo ({answer.status_code})")
    details = {"mediaType": "photo", "contentType": "application/octet-stream", "fileSize": len(content)}
    storage_id = answer.json()["storageId"]
    await person.call(
        "mutation", "diaryMedia:createDiaryMedia", {"diaryId": diary_id, "storageId": storage_id, **details}
    )
    console.print("[dim]•[/] The photo is uploaded and attached to the entry")
    return str(diary_id)


async def video_of(
    http: httpx2.AsyncClient, person: Person, song: dict[str, Any], folder: Path, console: Console
) -> str:
    """Have a video made of the song and save it; return where, and its size. Errors: DemoFailed."""
    started = await person.call("action", "videoActions:startVideoGeneration", {"musicId": song["_id"]})
    if not started["success"]:
        raise DemoFailed(started["reason"])
    console.print("[dim]•[/] A video of the song is being made")
    try:
        async with asyncio.timeout(WITHIN):
            while (video := await person.call("query", "videos:getVideo", {"videoId": started["videoId"]})) is None or (
                video["status"] == "pending"
            ):
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise DemoFailed(f"there was no video within {WITHIN:.0f} seconds; the log above says more") from None
    if video["status"] != "ready":
        raise DemoFailed(video.get("reason", "the video failed"))
    answer = (await http.get(video["videoUrl"])).raise_for_status()
    name = re.sub(r"[^\w-]+", "-", song["title"]).strip("-").lower()[:60] or "song"
    file = folder / f"{name}.mp4"
    file.write_bytes(answer.content)
    return f"{file} ({video['duration']:.0f} s, {len(answer.content) // 1000} kB)"
