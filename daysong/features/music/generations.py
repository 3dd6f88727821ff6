"""Rows of `generations`: start one, move it along its steps, end it with its refund.

Every function here is part of its caller's transaction, and safe to run again.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from prometheus_client import Counter

from daysong.features.diaries.store import RETURNING, Written
from daysong.features.feature_flags.flags import EVENT_EXTRACTION, Setting, default_of
from daysong.features.memory.extraction import may_read_sql
from daysong.features.music.rules import ANSWER_LOST, LIVE, STEPS, TRACKS_PER_SONG, Status
from daysong.features.subscriptions.quotas import usage
from daysong.features.subscriptions.quotas.usage import Charge, charge_ctes
from daysong.features.subscriptions.rules import LONGEST_PERIOD
from daysong.features.users import store as users
from daysong.features.users.store import unchanged, unchanged_sql
from daysong.kernel.database.transactions import Statement, Transaction
from daysong.kernel.functions.context import StatementContext
from daysong.kernel.ids import ChargeId, DiaryId, GenerationId, MusicId, UserId
from daysong.kernel.jobs.queue import job_ctes, job_sql
from daysong.kernel.monitoring.counting import count, label

SONGS = Counter("daysong_songs", "Songs that were begun, and how they ended", ["outcome", "code"])


async def live_for(db: Transaction, diary_id: str) -> bool:
    """Whether a song is being made of that entry."""
    found = await db.fetchval("select true from generations where diary_id = $1 and status = any($2)", diary_id, LIVE)
    return found is not None


class Beginning(NamedTuple):
    """What a generation begins with.

    content   of the entry, for one that is inserted with its song; None for an entry that is there
    charge    to insert; None when `charge_id` is there
    claimed   the columns of a reservation that becomes the generation's, see `budgets.claimed`
    """

    id: GenerationId
    owner: UserId
    diary_id: DiaryId
    charge_id: ChargeId
    content: str | None = None
    charge: Charge | None = None
    style_hint: str | None = None
    claimed: tuple[Any, ...] = (None, None, None)


async def begin(db: Transaction, new: Beginning, now: datetime, job: tuple[Any, ...]) -> Written | None:
    """Insert a queued generation with its pending tracks and its job, in one statement with what it begins with.

    `job` are the parameters of `job_sql`. A unique index lets only one live generation of a diary commit. Returns the
    entry, if it is new.
    """
    row: Any = await db.fetchrow(_BEGIN_SQL, *_begin_args(new, now, job))
    count(SONGS.labels("begun", ""))
    if new.content is None:
        await choose_song(db, new.diary_id, now)
        return None
    return Written(new.diary_id, row["version"], Setting(*row["flag"]))


def _begin_ctes(source: str) -> str:
    """Return the CTEs that insert a generation and what it begins with; with a `source` only if that has a row.

    $13 now, $14 owner, $15 entry, $16 its content, $17 charge to insert, $18 mailbox, $19 generation, $20 its charge,
    $21 style hint, $22 secret, $23 tracks, $24 to $26 reservation, its new reference and end.
    """
    return f"""
    entry as (
        insert into diaries (id, user_id, content, date, primary_music_id, created_at, updated_at)
        select $15, $14, $16, $13, ($23::text[])[1], $13, $13 {source} where $16::text is not null
        {RETURNING}),
    {charge_ctes("$17", "$14", "$13", "true", "1", "$18", source)},
    generation as (
        insert into generations
            (id, user_id, diary_id, charge_id, status, style_hint, callback_secret, created_at, updated_at)
        select $19::text, $14::text, $15::text, $20::text, 'queued', $21, $22, $13::timestamptz, $13 {source}),
    tracks as (
        insert into music (id, user_id, diary_id, generation_id, music_index, status, created_at, updated_at)
        select track.id, $14, $15, $19, track.place - 1, 'pending', $13, $13
        from unnest($23::text[]) with ordinality as track (id, place) {source and f"where exists (select {source})"}),
    claimed as (
        update budget_reservations set reference = $25, expires_at = $26 {source} where reference = $24),"""  # noqa: S608


_BEGIN_SQL = job_sql(
    _begin_ctes(""), output="(select version from entry) as version, (select flag from entry) as flag"
)  # fmt: skip

# Begins a song of a new entry, if the account needs no change and has as many charges as are known, and its entries
# are not read. Charges are counted under the lock. All else that a quota depends on may be of before: it is not
# changed under the lock, or the song counts as begun before the change. It is done also when it is run again, and
# when the first run has committed since this one began: the function sees its charge. $27 to $30 are those of
# `unchanged`, $31 to $33 since when charges are counted, their number, and the flag's default.
_BEGIN_AT_ONCE = f"""
    with account as ({unchanged_sql(27)}),
    charged as (select id, charges_of(id, $31, $17) as charges from account where id = $14),
    begun as (
        select id from charged where charges = $32 and not {may_read_sql("charged.id", "$33::int")}),
    {_begin_ctes("from begun")} {job_ctes("from begun")}"""  # noqa: S608
_IS_BEGUN = """
    select from begun union all select from charged where charges is null
    union all select from usage_charges where id = $17"""


def begin_at_once(
    ctx: StatementContext, new: Beginning, now: datetime, charges: int, job: tuple[Any, ...], result: Any
) -> Statement:
    """Return the statement that begins a song of a new entry of the caller, who has so many charges at `now`."""
    args = (*_begin_args(new, now, job), *unchanged(ctx.settings, ctx.caller), now - LONGEST_PERIOD, charges)
    default = default_of(ctx.settings, EVENT_EXTRACTION)
    return Statement(_BEGIN_AT_ONCE, _IS_BEGUN, (*args, default), result, (SONGS.labels("begun", ""),))


def _begin_args(new: Beginning, now: datetime, job: tuple[Any, ...]) -> tuple[Any, ...]:
    charge_id, mailbox = (new.charge.id, new.charge.mailbox) if new.charge else (None, None)
    return (
        *job, now, new.owner, new.diary_id, new.content, charge_id, mailbox, new.id, new.charge_id, new.style_hint,
        secrets.token_urlsafe(32), [MusicId.new(now) for _ in range(TRACKS_PER_SONG)], *new.claimed,
    )  # fmt: skip


async def insert_tracks(db: Transaction, generation_id: str, now: datetime) -> None:
    """Insert the pending tracks of a generation; existing ones stay as they are."""
    await db.execute(
        """insert into music (id, user_id, diary_id, generation_id, music_index, status, title, lyric,
                              created_at, updated_at)
           select track.id, g.user_id, g.diary_id, g.id, track.place - 1, 'pending', g.title, g.lyric, $3, $3
           from generations g, unnest($2::text[]) with ordinality as track (id, place)
           where g.id = $1
           on conflict (generation_id, music_index) do nothing""",
        generation_id, [MusicId.new(now) for _ in range(TRACKS_PER_SONG)], now,
    )  # fmt: skip


async def choose_song(db: Transaction, diary_id: str, now: datetime) -> None:
    """Set the song of a diary: its newest ready one; without any, that of its newest generation, pending or failed.

    Only first tracks count, and none that was deleted. The diary's row lock makes concurrent choices see each other.
    """
    await db.execute("select from diaries where id = $1 for no key update", diary_id)
    await db.execute(
        """update diaries d set primary_music_id = chosen.id, updated_at = $2
           from (select (
               select m.id from music m join generations g on g.id = m.generation_id
               where m.diary_id = $1 and m.music_index = 0 and m.deleted_at is null
                 and (m.status = 'ready' or not exists (
                     select from generations later
                     where later.diary_id = $1 and (later.created_at, later.id) > (g.created_at, g.id)))
               order by m.status = 'ready' desc, g.created_at desc, g.id desc limit 1) as id) chosen
           where d.id = $1 and d.primary_music_id is distinct from chosen.id""",
        diary_id, now,
    )  # fmt: skip


async def locked(db: Transaction, generation_id: str) -> asyncpg.Record | None:
    """Lock the account of a generation, then the generation; return its row, or None when either is gone.

    Whatever ends a generation takes the account's lock first, as its owner's mutations do: so the two never deadlock.
    """
    owner = await db.fetchval("select user_id from generations where id = $1", generation_id)
    if owner is None or not await users.lock_account(db, owner):
        return None
    return await db.fetchrow("select * from generations where id = $1 for update", generation_id)


async def step(db: Transaction, generation_id: str, to: Status, now: datetime) -> bool:
    """Move to status `to` if the present one allows it; whether it did."""
    allowed = [status for status, following in STEPS.items() if to in following]
    moved = await db.fetchval(
        """update generations set status = $2, updated_at = $4,
             composing_since = case when $2 = 'composing' then $4 else composing_since end
           where id = $1 and status = any($3) returning id""",
        generation_id, to, allowed, now,
    )  # fmt: skip
    if moved is not None and to == "ready":
        count(SONGS.labels("ready", ""))
    return moved is not None


async def deliver_gift(db: Transaction, generation_id: str, now: datetime) -> bool:
    """Move a generation that failed since Suno's answer was lost to ready; whether it did. Its refund stands."""
    moved = await db.fetchval(
        """update generations set status = 'ready', failure_code = null, failure_reason = null, updated_at = $3
           where id = $1 and status = 'failed' and failure_code = $2 returning id""",
        generation_id, ANSWER_LOST, now,
    )  # fmt: skip
    if moved is not None:
        count(SONGS.labels("ready", "after_refund"))
    return moved is not None


async def fail(db: Transaction, generation_id: str, *, code: str, reason: str, now: datetime) -> bool:
    """End in failure and refund the charge; False, and nothing changes, when it had ended already."""
    if await locked(db, generation_id) is None:
        return False
    failed = await db.fetchrow(
        """update generations set status = 'failed', failure_code = $2, failure_reason = $3, updated_at = $4
           where id = $1 and status = any($5) returning id, diary_id, charge_id""",
        generation_id, code, reason, now, LIVE,
    )  # fmt: skip
    if failed is None:
        return False
    await _end_tracks(db, failed, now, reason)
    await usage.refund(db, failed["charge_id"], code, now)
    count(SONGS.labels("failed", label(code)))
    return True


async def cancel_of(db: Transaction, diary_id: str, *, reason: str, now: datetime) -> None:
    """Cancel the live generation of a diary, if there is one. See `cancel`."""
    live = await db.fetch("select id from generations where diary_id = $1 and status = any($2)", diary_id, LIVE)
    for row in live:
        await cancel(db, row["id"], reason=reason, now=now)


async def cancel(db: Transaction, generation_id: str, *, reason: str, now: datetime) -> bool:
    """Cancel a generation its owner no longer wants; False, and nothing changes, when it had ended already.

    The charge is refunded only while Suno was not asked: afterwards the song is bought. The row lock decides between
    this and a job that is about to ask.
    """
    canceled = await db.fetchrow(
        """update generations set status = 'canceled', updated_at = $2
           where id = $1 and status = any($3) returning id, diary_id, charge_id, asked_at""",
        generation_id, now, LIVE,
    )  # fmt: skip
    if canceled is None:
        return False
    await _end_tracks(db, canceled, now)
    count(SONGS.labels("canceled", label(reason)))
    if canceled["asked_at"] is None:
        await usage.refund(db, canceled["charge_id"], reason, now)
    return True


async def _end_tracks(db: Transaction, ended: asyncpg.Record, now: datetime, reason: str | None = None) -> None:
    """Fail the pending tracks of a generation that ended without a song, and give the diary its former song back."""
    await db.execute(
        """update music set status = 'failed', failure_reason = $3, audio_url = null, stream_url = null, updated_at = $2
           where generation_id = $1 and status = 'pending'""",
        ended["id"], now, reason,
    )  # fmt: skip
    await choose_song(db, ended["diary_id"], now)


async def mark_requested(db: Transaction, generation_id: str, now: datetime) -> bool:
    """Set `asked_at` before Suno is requested; False when it is set: then Suno must not be requested again."""
    marked = await db.fetchval(
        """update generations set asked_at = $2, updated_at = $2
           where id = $1 and status = 'writing' and asked_at is null returning id""",
        generation_id, now,
    )  # fmt: skip
    return marked is not None


async def mark_rejected(db: Transaction, generation_id: str, now: datetime) -> None:
    """Clear `asked_at` after a rejection, so that Suno may be requested again; refund a canceled generation."""
    rejected = await db.fetchrow(
        """update generations set asked_at = null, updated_at = $2
           where id = $1 and status in ('writing', 'canceled') and task_id is null and asked_at is not null
           returning status, charge_id""",
        generation_id, now,
    )  # fmt: skip
    if rejected is not None and rejected["status"] == "canceled":
        await usage.refund(db, rejected["charge_id"], "not_bought", now)


async def save_lyrics(
    db: Transaction, generation_id: str, *, lyric: str, mood: str, style: str, title: str, now: datetime
) -> None:
    """Keep the lyrics of a generation that has not reached Suno, and show them on its tracks."""
    saved = await db.fetchval(
        """update generations set lyric = $2, mood = $3, style = $4, title = $5, updated_at = $6
           where id = $1 and status = 'writing' and asked_at is null returning id""",
        generation_id, lyric, mood, style, title, now,
    )  # fmt: skip
    if saved is not None:
        await db.execute(
            """update music set title = $2, lyric = $3, updated_at = $4
               where generation_id = $1 and status = 'pending'""",
            generation_id, title, lyric, now,
        )  # fmt: skip


async def overdue_writing(db: Transaction, before: datetime) -> list[str]:
    """Generations begun before that moment which still have not reached Suno."""
    rows = await db.fetch(
        "select id from generations where status in ('queued', 'writing') and created_at < $1 limit 500", before
    )
    return [row["id"] for row in rows]


async def due_for_poll(db: Transaction, now: datetime, patience: timedelta) -> list[asyncpg.Record]:
    """Generations composing for longer than `patience` whose next look is due."""
    return await db.fetch(
        """select id, status, task_id, polls, created_at, composing_since from generations
           where status = 'composing' and composing_since <= $1 and (next_poll_at is null or next_poll_at <= $2)
           order by composing_since limit 500""",
        now - patience, now,
    )  # fmt: skip
