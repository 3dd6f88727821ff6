"""Songs of others that an account has kept. Own tracks are in the library from the moment they are imported."""

from __future__ import annotations

from daysong.workflows.moving import documents as read
from daysong.workflows.moving.batches import Batch, Entry


async def import_user_songs(batch: Batch) -> None:
    """Import kept songs; a row of an own track takes over its old id."""
    entries = await batch.owned()
    tracks = await batch.present("music", [entry.document.get("musicId") for entry in entries])
    shares = await batch.present("shared_music", [entry.document.get("sharedMusicId") for entry in entries])
    own, rows = [], []
    for entry in entries:
        music_id = str(entry.document.get("musicId"))
        if music_id not in tracks:
            batch.tally.skip(entry.line, "its song is not there")
        elif tracks[music_id] == entry.user_id:
            own.append(entry)
        else:
            share_id = str(entry.document.get("sharedMusicId"))
            made = read.made(entry.document, batch.now)
            rows.append((entry.id, entry.user_id, music_id, share_id if share_id in shares else None, made))
    await _rename(batch, own)
    await batch.insert(
        """insert into user_songs (id, user_id, ownership_type, music_id, shared_music_id, created_at, updated_at)
           select id, user_id, 'shared', music_id, share_id, at, at
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
             as s (id, user_id, music_id, share_id, at)
           on conflict do nothing returning id""",
        rows,
    )


async def _rename(batch: Batch, entries: list[Entry]) -> None:
    """Give rows of own tracks the ids that apps know them by."""
    renamed = {
        row["id"]
        for row in await batch.db.fetch(
            """update user_songs s set id = n.id
               from unnest($1::text[], $2::text[], $3::text[]) as n (id, user_id, music_id)
               where s.user_id = n.user_id and s.music_id = n.music_id and s.ownership_type = 'owned'
                 and not exists (select from user_songs o where o.id = n.id)
               returning s.id""",
            [entry.id for entry in entries],
            [entry.user_id for entry in entries],
            [str(entry.document["musicId"]) for entry in entries],
        )
    }
    batch.tally.imported += len(renamed)
    batch.tally.known += len(entries) - len(renamed)
