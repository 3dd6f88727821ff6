"""The statements of `floor.py`, where they are not daysong's own."""

from __future__ import annotations

from daysong.features.subscriptions.entitlements import status_columns
from daysong.features.users.callers import IS_CALLER

SHARED_SQL = """
    select m.title, m.lyric, m.lyric_with_time, m.duration, s.created_at, u.clerk_id, m.image_width, m.image_height,
           coalesce(m.audio_file_id, m.audio_url) <> '' as has_audio,
           coalesce(m.image_file_id, m.image_url) <> '' as has_cover,
           case when u.show_name_on_shares then u.name end as name
    from shared_music s join music m on m.id = s.music_id join users u on u.id = s.user_id
    where s.share_id = $1 and not s.is_private and m.deleted_at is null and m.status = 'ready'
          and u.deleted_at is null"""

ACCOUNT_SQL = f"select id from users u where {IS_CALLER} for no key update"  # noqa: S608 - a constant
DIARY_SQL = "insert into diaries (id, user_id, content, date, created_at, updated_at) values ($1, $2, $3, $4, $4, $4)"
QUOTA_SQL = f"select {status_columns('$2')} from subscriptions s where s.user_id = $1"  # noqa: S608 - a constant

QUEUE = """
    insert into pgqueuer (priority, entrypoint, payload, dedupe_key, status)
    select 0, {lane}, convert_to(id || ':' || ticket, 'UTF8'), id || ':' || ticket, 'queued' from job"""

# $1 owner, $2 now, $3 diary, $4 content, $5 charge, $6 generation, $7 secret, $8 tracks, $9 job, $10 ticket
SONG_SQL = f"""
    with entry as (
        insert into diaries (id, user_id, content, date, primary_music_id, created_at, updated_at)
        values ($3, $1, $4, $2, ($8::text[])[1], $2, $2)),
    charge as (insert into usage_charges (id, user_id, charged_at) values ($5, $1, $2)),
    song as (
        insert into generations (id, user_id, diary_id, charge_id, status, callback_secret, created_at, updated_at)
        values ($6::text, $1, $3, $5, 'queued', $7, $2, $2)),
    tracks as (
        insert into music (id, user_id, diary_id, generation_id, music_index, status, created_at, updated_at)
        select track.id, $1, $3, $6::text, track.place - 1, 'pending', $2, $2
        from unnest($8::text[]) with ordinality as track (id, place)),
    job as (
        insert into jobs (id, ticket, function, args, due_at)
        values ($9, $10, 'musicActions:requestSunoGeneration', jsonb_build_object('generationId', $6::text), $2)
        returning id, ticket)
    {QUEUE.format(lane="'daysong songs'")}"""  # noqa: S608 - constants

# $1 id, $2 vendor, $3 vendor's id, $4 type, $5 subject, $6 about, $7 body, $8 now, $9 handler, $10 job, $11 ticket
EVENT_SQL = f"""
    with event as (
        insert into webhook_events (id, vendor, event_id, type, subject, about, body, received_at, handler)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (vendor, event_id) do nothing returning id),
    job as (
        insert into jobs (id, ticket, function, args, due_at, unique_key)
        select $10, $11, $9, jsonb_build_object('eventId', id), $8, 'event ' || id || ' 0' from event
        returning id, ticket)
    {QUEUE.format(lane="'daysong'")}"""  # noqa: S608 - constants
