"""Videos of songs.

One whose file is in the archive is ready at once. Of any other, Kie is asked once: its links last two weeks. Charges
are refunded at once, since the songs that an account has used are charged with its subscription.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from datetime import timedelta

from daysong.features.music import video_rules
from daysong.features.subscriptions.rules import SONGS_OF_A_VIDEO
from daysong.kernel.ids import FileId
from daysong.kernel.settings import Settings
from daysong.workflows.moving import documents as read
from daysong.workflows.moving.batches import Batch, Entry
from daysong.workflows.moving.media import inspect, store

LONGEST_PROMPT = 10_000
LAST_LOOK = timedelta(minutes=10)
STORED = ("videoStorageId", "storageId")


async def import_videos(batch: Batch) -> None:
    """Import videos of tracks that are there."""
    entries = await batch.owned()
    tracks = await batch.present("music", [entry.document.get("musicId") for entry in entries])
    known = await batch.present("music_videos", [entry.id for entry in entries])
    for entry in entries:
        if entry.id in known:
            batch.tally.known += 1
        elif tracks.get(str(entry.document.get("musicId"))) != entry.user_id:
            batch.tally.skip(entry.line, "its song is not there")
        else:
            await _import_video(batch, entry)


async def _import_video(batch: Batch, entry: Entry) -> None:
    document = entry.document
    file_id = await _stored(batch, entry)
    task_id = read.text(document, "kieTaskId", 200)
    music_id = str(document["musicId"])
    live = await batch.db.fetchval(
        "select true from music_videos where music_id = $1 and status = any($2)", music_id, list(video_rules.LIVE)
    )
    status = "ready" if file_id else "failed"
    if status == "failed" and task_id and not live and read.text(document, "status") in {"pending", "ready"}:
        status = "rendering"
    made = read.made(document, batch.now)
    charge_id = read.derived_id("charge", entry.id)
    await batch.db.execute(
        "insert into usage_charges (id, user_id, charged_at, amount) values ($1, $2, $3, $4) on conflict do nothing",
        charge_id, entry.user_id, made, SONGS_OF_A_VIDEO,
    )  # fmt: skip
    await batch.db.execute(
        """insert into usage_refunds (charge_id, reason, refunded_at) values ($1, 'imported', $2)
           on conflict do nothing""",
        charge_id, made,
    )  # fmt: skip
    is_rendering = status == "rendering"
    inserted = await batch.db.fetchval(
        """insert into music_videos (id, user_id, music_id, charge_id, status, callback_secret, script_prompt, duration,
                                     requested_at, task_id, rendering_since, next_poll_at, file_id, failure_code,
                                     created_at, updated_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
           on conflict do nothing returning true""",
        entry.id, entry.user_id, music_id, charge_id, status, secrets.token_urlsafe(24),
        read.text(document, "scriptPrompt", LONGEST_PROMPT), max(0.0, read.number(document, "duration") or 0.0) or None,
        None if status == "failed" else made, task_id if is_rendering else None,
        batch.now - video_rules.RENDERING_DEADLINE + LAST_LOOK if is_rendering else None,
        batch.now if is_rendering else None, file_id, "imported" if status == "failed" else None,
        made, read.changed(document, batch.now),
    )  # fmt: skip
    if inserted is None:
        batch.tally.skip(entry.line, "its task is that of another video")
    else:
        batch.tally.imported += 1
        if is_rendering:
            await batch.never_notify([(entry.user_id, "video_ready", entry.id)])


async def _stored(batch: Batch, entry: Entry) -> str | None:
    """Store the video's file, if it is in the archive and is a video; return its new id."""
    for field in STORED:
        storage_id = read.text(entry.document, field, 64)
        name = None if storage_id is None else batch.archive.stored.get(storage_id)
        if name is None:
            continue
        digest = await batch.db.fetchval("select sha256 from import_files where old_id = $1", storage_id)
        file = await asyncio.to_thread(inspect, batch.archive, name, digest)
        if isinstance(file, str):
            batch.tally.note(entry.line, file)
        elif file.content_type.startswith("video/"):
            file_id = file_id_of(batch.settings, str(storage_id))
            await batch.db.execute(
                "insert into files (id, user_id, content_type, size, created_at) values ($1, $2, $3, $4, $5)"
                " on conflict (id) do nothing",
                file_id, entry.user_id, file.content_type, file.size, batch.now,
            )  # fmt: skip
            await store(batch, file, file_id)
            return file_id
    return None


def file_id_of(settings: Settings, storage_id: str) -> FileId:
    """Return the id of a stored video, which cannot be guessed: another run stores it under the same."""
    return FileId.of(hmac.digest(settings.hash_key.encode(), f"imported file {storage_id}".encode(), "sha256"))


async def import_primary_videos(batch: Batch) -> None:
    """Make the chosen video of each track its primary one, if it is ready and no other is."""
    rows = [(entry.id, video) for entry in batch.entries if (video := read.text(entry.document, "primaryVideoId", 64))]
    await batch.execute(
        """update music_videos v set is_primary = true
           from unnest($1::text[], $2::text[]) as p (music_id, video_id)
           where v.id = p.video_id and v.music_id = p.music_id and v.status = 'ready'
             and not exists (select from music_videos o where o.music_id = v.music_id and o.is_primary)""",
        rows,
    )
