"""Rows of `diaries`, and an entry as apps see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.diaries.rules import DiaryNotFound
from daysong.features.feature_flags.flags import EVENT_EXTRACTION, Setting, default_of
from daysong.features.links import media_url
from daysong.features.memory.extraction import flag_sql, may_read_sql
from daysong.features.pages import LARGEST_LIST, LARGEST_LIVE_PAGE, LONGEST_LIST, PageSql, json_bytes
from daysong.features.users.callers import CALLERS_ID, IS_CALLER
from daysong.features.users.store import unchanged, unchanged_sql
from daysong.kernel.database.transactions import Statement, Transaction
from daysong.kernel.errors import Forbidden
from daysong.kernel.functions.context import StatementContext
from daysong.kernel.functions.declarations import Result, given, stored
from daysong.kernel.ids import DiaryId, UserId
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import ms_sql
from daysong.kernel.values import StoredJson


class PrimaryMusic(Result):
    """The song shown with an entry; `reason` says why a failed one failed."""

    id: str = msgspec.field(name="_id")
    status: Literal["pending", "ready", "failed"]
    reason: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    image_url: str | UnsetType = UNSET
    audio_url: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    lyric: str | UnsetType = UNSET
    lyric_with_time: StoredJson | UnsetType = UNSET


class Diary(Result):
    """An entry as apps see it; times in ms since the epoch."""

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    user_id: str
    content: str
    date: float
    updated_at: float
    title: str | UnsetType = UNSET
    primary_music_id: str | UnsetType = UNSET
    primary_music: PrimaryMusic | UnsetType = UNSET


COLUMNS = f"""d.id, d.user_id, d.title, d.content, d.date, {ms_sql("d.date")} as date_ms,
           {ms_sql("d.created_at")} as created_ms, {ms_sql("d.updated_at")} as updated_ms,
           m.id as music_id, m.status, m.failure_reason, m.title as music_title,
           m.image_url, m.image_file_id, m.audio_url, m.stream_url, m.audio_file_id, m.duration, m.lyric"""
# What `shown` reads of them.
SHOWN = """id, user_id, title, content, created_ms, date_ms, updated_ms, music_id, status, failure_reason, music_title,
           image_url, image_file_id, audio_url, stream_url, audio_file_id, duration, lyric"""

# A soft-deleted song is not served with its entry.
DIARY_SQL = f"""
    select {COLUMNS}, m.lyric_with_time::text
    from diaries d
    join users u on u.id = d.user_id and {IS_CALLER}
    left join music m on m.id = d.primary_music_id and m.deleted_at is null"""  # noqa: S608 - a constant

BYTES = json_bytes("d.content", "d.title", "m.title", "m.lyric", "m.image_url", "m.audio_url", "m.stream_url")

# Entries that begin without words are in no list; see unwritten.py.
HAS_WORDS = "content <> ''"

# The newest entries of a person, as many as fit.
LIST_SQL = f"""
    select {SHOWN} from (
        select {COLUMNS}, sum({BYTES}) over (order by d.date desc, d.id desc rows unbounded preceding) as bytes_so_far
        from (select * from diaries
              where user_id = {CALLERS_ID} and {HAS_WORDS}
              order by date desc, id desc limit {LONGEST_LIST}) d
        left join music m on m.id = d.primary_music_id and m.deleted_at is null) listed
    where bytes_so_far <= {LARGEST_LIST}
    order by date desc, id desc"""  # noqa: S608 - constants

# A page of a person's entries; see PageSql. The owner is looked up beforehand, and the inner limit is a constant: both
# let PostgreSQL walk the index from the place on and stop, whatever it thinks of how many rows there are.
PAGE = PageSql(
    f"""
    select {SHOWN}, date, bytes_so_far from (
        select *, sum(bytes) over newest as bytes_so_far, first_value(bytes) over newest as bytes_of_first
        from (select {COLUMNS}, {BYTES} as bytes
              from (select * from diaries
                    where user_id = {CALLERS_ID} and {HAS_WORDS}
                      and (date, id) < ($2, $3) and (date, id) >= ($4, $5)
                    order by date desc, id desc limit {LARGEST_LIVE_PAGE + 1}) d
              left join music m on m.id = d.primary_music_id and m.deleted_at is null
              order by d.date desc, d.id desc limit $6) sized
        window newest as (order by date desc, id desc rows unbounded preceding)) listed
    where bytes_so_far - bytes <= greatest($7, bytes_of_first)
    order by date desc, id desc""",  # noqa: S608 - constants
    DiaryId,
    "date",
)


def shown(row: asyncpg.Record, settings: Settings) -> Diary:
    """The entry of a row of one of the statements above."""
    return Diary(
        id=row["id"],
        creation_time=row["created_ms"],
        user_id=row["user_id"],
        content=row["content"],
        date=row["date_ms"],
        updated_at=row["updated_ms"],
        title=given(row["title"]),
        primary_music_id=given(row["music_id"]),
        primary_music=UNSET if row["music_id"] is None else _primary_music(row, settings),
    )


def _primary_music(row: asyncpg.Record, settings: Settings) -> PrimaryMusic:
    return PrimaryMusic(
        id=row["music_id"],
        status=row["status"],
        reason=given(row["failure_reason"]),
        title=given(row["music_title"]),
        image_url=given(media_url(settings, row["image_file_id"], row["image_url"])),
        audio_url=given(media_url(settings, row["audio_file_id"], row["audio_url"] or row["stream_url"])),
        duration=given(row["duration"]),
        lyric=given(row["lyric"]),
        lyric_with_time=stored(row.get("lyric_with_time")),
    )


class Written(NamedTuple):
    """An entry that was written or changed, and the setting of the flag that has its events read."""

    id: DiaryId
    version: int
    flag: Setting


RETURNING = f"returning id, version, {flag_sql('diaries.user_id')} as flag"


def _written(row: asyncpg.Record) -> Written:
    return Written(DiaryId(row["id"]), row["version"], Setting(*row["flag"]))


async def insert(db: Transaction, owner: UserId, content: str, now: datetime) -> Written:
    """Insert an entry, dated now."""
    return _written(
        await db.fetchrow(
            f"""insert into diaries (id, user_id, content, date, created_at, updated_at)
                values ($1, $2, $3, $4, $4, $4) {RETURNING}""",  # noqa: S608 - constants
            DiaryId.new(now), owner, content, now,
        )
    )  # fmt: skip


# Inserts an entry of a caller whose account needs no change, and whose entries are not read: then there is no job. It
# is done also when it is run again, and when the first run has committed since this one began: only an update sees a
# row of then. $1 to $4 are those of `unchanged`.
_INSERT_AT_ONCE = f"""
    with account as ({unchanged_sql(1)}),
    entry as (
        insert into diaries (id, user_id, content, date, created_at, updated_at)
        select $5, id, $6, $7, $7, $7 from account where not {may_read_sql("account.id", "$8::int")}
        on conflict (id) do update set id = excluded.id returning id)"""  # noqa: S608
_IS_INSERTED = "select id from entry union all select id from diaries where id = $5"


def insert_at_once(ctx: StatementContext, diary_id: DiaryId, content: str, result: Any) -> Statement:
    """Return the statement that inserts an entry of the caller, dated now, if nothing else is to be done with it."""
    default = default_of(ctx.settings, EVENT_EXTRACTION)
    args = (*unchanged(ctx.settings, ctx.caller), diary_id, content, ctx.now, default)
    return Statement(_INSERT_AT_ONCE, _IS_INSERTED, args, result)


async def insert_of_call(
    db: Transaction, owner: UserId, content: str, *, date: datetime, call_session_id: str | None, now: datetime
) -> DiaryId | Written:
    """Insert the entry of a call session, of that date; return the id of the one there is when there is one."""
    inserted = await db.fetchrow(
        f"""insert into diaries (id, user_id, content, date, call_session_id, created_at, updated_at)
            values ($1, $2, $3, $4, $5, $6, $6) on conflict (call_session_id) do nothing {RETURNING}""",  # noqa: S608
        DiaryId.new(now), owner, content, date, call_session_id, now,
    )  # fmt: skip
    if inserted is None:
        found = await db.fetchrow("select id, user_id from diaries where call_session_id = $1", call_session_id)
        if found is None or found["user_id"] != owner:
            raise Forbidden
        return DiaryId(found["id"])
    return _written(inserted)


async def check_owner(db: Transaction, diary_id: str, owner: UserId) -> None:
    """DiaryNotFound when there is no such entry, Forbidden when it is another's."""
    found = await db.fetchval("select user_id from diaries where id = $1", diary_id)
    if found is None:
        raise DiaryNotFound
    if found != owner:
        raise Forbidden


async def update(db: Transaction, diary_id: str, content: str, now: datetime) -> Written:
    """Replace the content of an entry and count its version on."""
    return _written(
        await db.fetchrow(
            f"update diaries set content = $2, updated_at = $3, version = version + 1 where id = $1 {RETURNING}",  # noqa: S608
            diary_id, content, now,
        )
    )  # fmt: skip
