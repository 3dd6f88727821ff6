"""Rows of `generations`: start one, move it along its steps, end it with its refund.

Every function here is part of its caller's transaction, and safe to run again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

import asyncpg

from daysong.features.music.rules import LIVE, STEPS, TRACKS_PER_SONG, Status
from daysong.features.subscriptions import usage
from daysong.kernel.database import Transaction
from daysong.kernel.ids import ChargeId, GenerationId, MusicId, UserId


async def live_for(db: Transaction, diary_id: str) -> bool:
    """Whether a song is being made of that entry."""
    found = await db.fetchval("select true from generations where diary_id = $1 and status = any($2)", diary_id, LIVE)
    return found is not None


async def insert(
    db: Transaction, *, owner: UserId, diary_id: str, charge_id: ChargeId, style_hint: str | None, now: datetime
) -> GenerationId:
    """A new generation, queued. A unique index lets only one live generation of a diary commit."""
    generation_id = GenerationId.new(now)
    await db.execute(
        """insert into generations
             (id, user_id, diary_id, charge_id, status, style_hint, callback_secret, created_at, updated_at)
           values ($1, $2, $3, $4, 'queued', $5, $6, $7, $7)""",
        generation_id, owner, diary_id, charge_id, style_hint, secrets.token_urlsafe(32), now,
    )  # fmt: skip
    return generation_id


async def locked(db: Transaction, generation_id: str) -> asyncpg.Record | None:
    """The generation's row, locked for this transaction; None when its diary or user is gone."""
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
    return moved is not None


async def fail(db: Transaction, generation_id: str, *, code: str, reason: str, now: datetime) -> bool:
    """End in failure and give the charge back; False, and nothing changes, when it had ended already."""
    failed = await db.fetch(
        """update generations set status = 'failed', failure_code = $2, failure_reason = $3, updated_at = $4
           where id = $1 and status = any($5) returning id, charge_id""",
        generation_id, code, reason, now, LIVE,
    )  # fmt: skip
    await _give_back(db, failed, reason=code, now=now)
    return bool(failed)


async def cancel_of(db: Transaction, diary_id: str, *, reason: str, now: datetime) -> None:
    """Stop whatever is being made of an entry, and give its charge back; nothing to do when nothing is."""
    canceled = await db.fetch(
        """update generations set status = 'canceled', updated_at = $2
           where diary_id = $1 and status = any($3) returning id, charge_id""",
        diary_id, now, LIVE,
    )  # fmt: skip
    await _give_back(db, canceled, reason=reason, now=now)


async def _give_back(db: Transaction, ended: Iterable[asyncpg.Record], *, reason: str, now: datetime) -> None:
    """What follows when generations end without a song: their tracks fail, their charges are given back."""
    for row in ended:
        await db.execute(
            "update music set status = 'failed', updated_at = $2 where generation_id = $1 and status = 'pending'",
            row["id"], now,
        )  # fmt: skip
        await usage.refund(db, row["charge_id"], reason, now)


async def make_tracks(db: Transaction, generation: asyncpg.Record, now: datetime) -> None:
    """The pending tracks of a generation, and the first of them as the diary's song; those there already stay."""
    for index in range(TRACKS_PER_SONG):
        await db.execute(
            """insert into music (id, user_id, diary_id, generation_id, music_index, status, title, lyric,
                                  created_at, updated_at)
               values ($1, $2, $3, $4, $5, 'pending', $6, $7, $8, $8)
               on conflict (generation_id, music_index) do nothing""",
            MusicId.new(now), generation["user_id"], generation["diary_id"], generation["id"], index,
            generation["title"], generation["lyric"], now,
        )  # fmt: skip
    # Only the newest generation's: a late callback of an older one must not take the place back.
    await db.execute(
        """update diaries d set primary_music_id = m.id, updated_at = $2
           from music m
           where m.generation_id = $1 and m.music_index = 0 and d.id = m.diary_id
             and d.primary_music_id is distinct from m.id
             and not exists (select from generations later where later.diary_id = d.id and later.created_at > $3)""",
        generation["id"], now, generation["created_at"],
    )  # fmt: skip


async def overdue_writing(db: Transaction, before: datetime) -> list[str]:
    """Generations begun before that moment which still have not reached Suno."""
    rows = await db.fetch(
        "select id from generations where status in ('queued', 'writing') and created_at < $1 limit 500", before
    )
    return [row["id"] for row in rows]


async def due_for_poll(db: Transaction, now: datetime, patience: timedelta) -> list[asyncpg.Record]:
    """Generations composing for longer than `patience` whose next look is due: id, task_id, polls, composing_since."""
    return await db.fetch(
        """select id, task_id, polls, composing_since from generations
           where status = 'composing' and composing_since <= $1 and (next_poll_at is null or next_poll_at <= $2)
           order by composing_since limit 500""",
        now - patience, now,
    )  # fmt: skip
