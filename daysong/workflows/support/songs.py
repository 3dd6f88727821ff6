"""Songs, as operators see them: listed by status, shown with what became of them, read with a reason."""

from __future__ import annotations

from typing import Any

import asyncpg
from msgspec import UNSET, UnsetType

from daysong.features.music.rules import Status, TrackStatus
from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, given, mutation, query
from daysong.kernel.limits.budgets import references_of
from daysong.kernel.limits.marks import account_marks
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.workflows.support import audit, jobs
from daysong.workflows.support.audit import Limit, Reason
from daysong.workflows.support.jobs import Job


class SongNotFound(ExpectedError):
    """No such song: a generation, or one of its tracks."""

    code = "song_not_found"
    status = 404
    default_message = "There is no such song"


class ListSongs(Args):
    """Which songs: of a status or an account, begun before a moment (ms)."""

    status: Status | UnsetType = UNSET
    user_id: IdText | UnsetType = UNSET
    before: float | UnsetType = UNSET
    limit: Limit = 50


class OneSong(Args):
    """Which song: the id of the generation, or of one of its tracks."""

    song_id: IdText


class ReadSong(OneSong):
    """Which song, and why its words are read."""

    reason: Reason


class Song(Result):
    """A song that was begun; times in ms. `reason` is what its owner reads when it failed.

    song_id   the generation's id
    music_id  its first track
    refunded  whether its charge was given back
    """

    song_id: str
    user_id: str
    status: Status
    created_at: float
    updated_at: float
    refunded: bool
    diary_id: str | UnsetType = UNSET
    music_id: str | UnsetType = UNSET
    failure_code: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class Track(Result):
    """A track; `duration` in seconds. `audio` and `cover`: whether there is a copy of our own."""

    music_id: str
    status: TrackStatus
    audio: bool
    cover: bool
    timed: bool
    deleted: bool
    duration: float | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class SongCost(Result):
    """What a vendor cost, in micro-dollars; `at` in ms."""

    vendor: str
    function: str
    amount: int
    at: float


class SongInFull(Song, kw_only=True):
    """A song with its steps, tracks, costs and jobs. Nothing that the person wrote.

    steps     the moments (ms) of its steps, by name
    others    the other songs of the same entry, newest first
    rerunnable  whether a rerun is possible now
    """

    owner: str
    steps: dict[str, float]
    polls: int
    tracks: list[Track]
    costs: list[SongCost]
    jobs: list[Job]
    others: list[Song]
    rerunnable: bool
    task_id: str | UnsetType = UNSET
    refund_reason: str | UnsetType = UNSET


class SongWords(Result):
    """What was written for a song: the entry, the style that was asked for, and what the model wrote."""

    entry: str | UnsetType = UNSET
    style_hint: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    lyric: str | UnsetType = UNSET
    mood: str | UnsetType = UNSET
    style: str | UnsetType = UNSET


COLUMNS = """
    g.id, g.user_id, g.diary_id, g.status, g.created_at, g.updated_at, g.failure_code, g.failure_reason,
    exists (select from usage_refunds r where r.charge_id = g.charge_id) as refunded,
    (select m.id from music m where m.generation_id = g.id and m.music_index = 0) as music_id"""


def of_row(row: asyncpg.Record) -> Song:
    """Return the song of a row with COLUMNS."""
    return Song(**_fields(row))


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "song_id": row["id"],
        "user_id": row["user_id"],
        "status": row["status"],
        "created_at": to_ms(row["created_at"]),
        "updated_at": to_ms(row["updated_at"]),
        "refunded": row["refunded"],
        "diary_id": given(row["diary_id"]),
        "music_id": given(row["music_id"]),
        "failure_code": given(row["failure_code"]),
        "reason": given(row["failure_reason"]),
    }


async def listed(
    ctx: QueryContext, *, user_id: str | None = None, status: str | None = None, before: float | None = None, limit: int
) -> list[Song]:
    """Return the newest songs."""
    rows = await ctx.db.fetch(
        f"""select {COLUMNS} from generations g
            where ($2::text is null or g.user_id = $2) and ($3::text is null or g.status = $3)
              and ($4::timestamptz is null or g.created_at < $4)
            order by g.created_at desc, g.id desc limit $1""",  # noqa: S608 - a constant
        limit, user_id, status, None if before is None else from_ms(before),
    )  # fmt: skip
    return [of_row(row) for row in rows]


@query(reads=("generations", "music", "usage_refunds"))
async def list_songs(ctx: QueryContext, args: ListSongs) -> list[Song]:
    """Return the songs that were begun last, first."""
    return await listed(
        ctx, user_id=args.user_id or None, status=args.status or None, before=args.before or None, limit=args.limit
    )


SONG_SQL = f"""
    select {COLUMNS}, g.charge_id, g.asked_at, g.composing_since, g.polls, g.task_id, u.clerk_id,
           (select reason from usage_refunds r where r.charge_id = g.charge_id) as refund_reason,
           (select charged_at from usage_charges c where c.id = g.charge_id) as charged_at,
           (select refunded_at from usage_refunds r where r.charge_id = g.charge_id) as refunded_at
    from generations g join users u on u.id = g.user_id
    where g.id = $1 or g.id = (select generation_id from music where id = $1)"""  # noqa: S608 - a constant
STEPS = {
    "charged": "charged_at", "begun": "created_at", "asked": "asked_at", "composing": "composing_since",
}  # fmt: skip


@query(reads=("generations", "music", "usage_charges", "usage_refunds", "users", "vendor_costs", "jobs"), snapshot=True)
async def show_song(ctx: QueryContext, args: OneSong) -> SongInFull:
    """Return one song. Errors: SongNotFound."""
    row = await ctx.db.fetchrow(SONG_SQL, args.song_id)
    if row is None:
        raise SongNotFound
    song_id = row["id"]
    others = await ctx.db.fetch(
        f"""select {COLUMNS} from generations g where g.diary_id = $1 and g.id <> $2
            order by g.created_at desc, g.id desc limit 20""",  # noqa: S608 - a constant
        row["diary_id"], song_id,
    )  # fmt: skip
    about = await ctx.db.fetch("select * from jobs where mentioned(args) ? $1 order by due_at, id limit 50", song_id)
    return SongInFull(
        **_fields(row),
        owner=row["clerk_id"],
        steps=_steps(row),
        polls=row["polls"],
        task_id=given(row["task_id"]),
        refund_reason=given(row["refund_reason"]),
        tracks=await _tracks(ctx, song_id),
        costs=await _costs(ctx, row),
        jobs=[jobs.of_row(each) for each in about],
        others=[of_row(each) for each in others],
        rerunnable=await refusal(ctx.db, row) is None,
    )


def _steps(row: asyncpg.Record) -> dict[str, float]:
    """Return the moments of the steps so far, the last one by the status."""
    moments = {step: row[column] for step, column in STEPS.items()}
    if row["status"] in {"ready", "failed", "canceled"}:
        moments[row["status"]] = row["updated_at"]
    moments["refunded"] = row["refunded_at"]
    return {step: to_ms(moment) for step, moment in moments.items() if moment is not None}


async def _tracks(ctx: QueryContext, song_id: str) -> list[Track]:
    rows = await ctx.db.fetch(
        """select id, status, duration, failure_reason, audio_file_id is not null as audio,
                  image_file_id is not null as cover, lyric_with_time is not null as timed,
                  deleted_at is not null as deleted
           from music where generation_id = $1 order by music_index""",
        song_id,
    )
    return [
        Track(
            music_id=row["id"],
            duration=given(row["duration"]),
            reason=given(row["failure_reason"]),
            **{name: row[name] for name in ("status", "audio", "cover", "timed", "deleted")},
        )
        for row in rows
    ]


async def _costs(ctx: QueryContext, row: asyncpg.Record) -> list[SongCost]:
    rows = await ctx.db.fetch(
        """select vendor, function, amount, at from vendor_costs
           where account = any($1) and at >= $2 and split_part(reference, ' ', 1) = any($3) order by at, id""",
        account_marks(ctx.settings.hash_keys, row["user_id"]), row["created_at"],
        references_of(ctx.settings, row["id"]),
    )  # fmt: skip
    return [
        SongCost(vendor=each["vendor"], function=each["function"], amount=each["amount"], at=to_ms(each["at"]))
        for each in rows
    ]


async def refusal(db: Reader, row: asyncpg.Record) -> str | None:
    """Return why a song is not made again; None when it may be. `row` is one of `generations`."""
    if row["status"] != "failed":
        return "not failed"
    newer = await db.fetchval(
        """select min(case when status in ('queued', 'writing', 'composing') then 1 else 2 end) from generations
           where diary_id = $1 and status in ('queued', 'writing', 'composing', 'ready')
             and (status <> 'ready' or (created_at, id) > ($2, $3))""",
        row["diary_id"], row["created_at"], row["id"],
    )  # fmt: skip
    return {None: None, 1: "in progress", 2: "made already"}[newer]


@mutation(repeatable=True)
async def read_song(ctx: MutationContext, args: ReadSong) -> SongWords:
    """Return the words of a song and its entry; the audit log keeps the reason. Errors: SongNotFound."""
    row = await ctx.db.fetchrow(
        """select g.*, d.content from generations g left join diaries d on d.id = g.diary_id
           where g.id = $1 or g.id = (select generation_id from music where id = $1)""",
        args.song_id,
    )
    if row is None:
        raise SongNotFound
    await audit.record(ctx, "songs read", account=row["user_id"], target=row["id"], reason=args.reason)
    words = {name: given(row[name]) for name in ("style_hint", "title", "lyric", "mood", "style")}
    return SongWords(entry=given(row["content"]), **words)
