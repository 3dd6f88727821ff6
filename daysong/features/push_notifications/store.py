"""Rows of `push_tokens`, `push_occasions` and `push_deliveries`.

Every function here is part of its caller's transaction, and idempotent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import asyncpg

from daysong.features.push_notifications.rules import (
    MOST_NEW_TOKENS,
    MOST_TOKENS,
    Kind,
    Platform,
    TooManyPushTokens,
    after_failure,
    is_stale,
)
from daysong.kernel.database.transactions import Reader
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Result
from daysong.kernel.ids import PushOccasionId, PushTokenId
from daysong.vendors.expo.answers import Receipt, Ticket


class Device(Result):
    """A device that a message is being sent to."""

    token_id: str
    token: str


async def register(ctx: MutationContext, owner: str, token: str, platform: Platform) -> None:
    """Register a token for an account whose lock is held; one of another account moves. Errors: TooManyPushTokens."""
    known = await ctx.db.fetchval(
        """update push_tokens set platform = $3, updated_at = $4 where token = $1 and user_id = $2 returning true""",
        token, owner, platform, ctx.now,
    )  # fmt: skip
    if known:
        return
    counted = await ctx.db.fetchval(
        """insert into push_settings as p (user_id, new_tokens, new_tokens_on, updated_at) values ($1, 1, $2, $3)
           on conflict (user_id) do update set new_tokens_on = $2, updated_at = $3,
             new_tokens = case when p.new_tokens_on = $2 then p.new_tokens + 1 else 1 end
           where p.new_tokens_on is distinct from $2 or p.new_tokens < $4
           returning true""",
        owner, ctx.now.date(), ctx.now, MOST_NEW_TOKENS,
    )  # fmt: skip
    if not counted:
        raise TooManyPushTokens
    await ctx.db.execute(
        """insert into push_tokens (id, user_id, token, platform, created_at, updated_at)
           values ($1, $2, $3, $4, $5, $5)
           on conflict (token) do update set user_id = $2, platform = $4, created_at = $5, updated_at = $5""",
        PushTokenId.new(ctx.now), owner, token, platform, ctx.now,
    )  # fmt: skip
    await ctx.db.execute(
        """delete from push_tokens where id in (
             select id from push_tokens where user_id = $1 order by updated_at desc, id desc offset $2)""",
        owner, MOST_TOKENS,
    )  # fmt: skip


async def insert_occasion(
    ctx: MutationContext, owner: str, kind: Kind, subject: str, *, music_id: str | None = None,
    video_id: str | None = None, diary_id: str | None = None, reason: str | None = None,
) -> PushOccasionId | None:  # fmt: skip
    """Insert an occasion; return its id when it is new and the person has a device to be told on."""
    occasion_id = PushOccasionId.new(ctx.now)
    has_device = await ctx.db.fetchval(
        """insert into push_occasions (id, user_id, kind, subject, music_id, video_id, diary_id, reason, created_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (kind, subject) do nothing
           returning exists (select from push_tokens where user_id = $2)""",
        occasion_id, owner, kind, subject, music_id, video_id, diary_id, reason, ctx.now,
    )  # fmt: skip
    return occasion_id if has_device else None


# The occasion with what decides whether its person is told of it now.
OCCASION_SQL = """
    select o.*, u.language, u.suspension is null as may_be_told,
           case o.kind when 'music_ready' then coalesce(p.music_ready, true)
                       when 'music_failed' then coalesce(p.music_failed, true)
                       when 'video_ready' then coalesce(p.video_ready, true)
                       else coalesce(p.call_missed, true) end as is_wanted,
           (o.music_id is null
             or exists (select from music m where m.id = o.music_id and m.deleted_at is null))
           and (o.video_id is null or exists (select from music_videos v where v.id = o.video_id)) as is_there
    from push_occasions o join users u on u.id = o.user_id left join push_settings p on p.user_id = o.user_id
    where o.id = $1 for update of o"""


async def take(ctx: MutationContext, occasion: asyncpg.Record) -> list[Device]:
    """Choose the devices that a message is sent to now, and note it before Expo is asked.

    `occasion` is a row of OCCASION_SQL, and locked. A device that an earlier worker was sending to is not sent to
    again: whether Expo had the message is not known.
    """
    await ctx.db.execute(
        "update push_deliveries set state = 'lost', updated_at = $2 where occasion_id = $1 and state = 'sending'",
        occasion["id"], ctx.now,
    )  # fmt: skip
    is_first = occasion["taken_at"] is None
    if is_first:
        await ctx.db.execute("update push_occasions set taken_at = $2 where id = $1", occasion["id"], ctx.now)
    tells = (occasion["may_be_told"], occasion["is_wanted"], occasion["is_there"])
    if not all(tells) or is_stale(occasion["created_at"], ctx.now):
        await fail_waiting(ctx, occasion["id"], "not_wanted")
        return []
    if is_first:
        rows = await ctx.db.fetch(
            """with chosen as (
                 insert into push_deliveries (occasion_id, token_id, state, updated_at)
                 select $1, id, 'sending', $3 from push_tokens where user_id = $2
                 order by updated_at desc, id desc limit $4 returning token_id)
               select t.id, t.token from chosen join push_tokens t on t.id = chosen.token_id order by t.id""",
            occasion["id"], occasion["user_id"], ctx.now, MOST_TOKENS,
        )  # fmt: skip
    else:
        # A device may have moved to another account since.
        rows = await ctx.db.fetch(
            """update push_deliveries d set state = 'sending', not_before = null, tries = tries + 1, updated_at = $3
               from push_tokens t
               where d.occasion_id = $1 and d.state = 'waiting' and d.not_before <= $3
                 and t.id = d.token_id and t.user_id = $2
               returning t.id, t.token""",
            occasion["id"], occasion["user_id"], ctx.now,
        )  # fmt: skip
    return [Device(token_id=row["id"], token=row["token"]) for row in rows]


async def fail_waiting(ctx: MutationContext, occasion_id: str, error: str) -> None:
    """Give up the messages that wait to be sent again."""
    await ctx.db.execute(
        """update push_deliveries set state = 'failed', not_before = null, error = $2, updated_at = $3
           where occasion_id = $1 and state = 'waiting'""",
        occasion_id, error, ctx.now,
    )  # fmt: skip


async def note_not_sent(
    ctx: MutationContext, occasion_id: str, token_ids: list[str], *, again: bool, error: str
) -> None:
    """Note that Expo certainly took none of these messages; `again` says whether the job will send them once more."""
    await ctx.db.execute(
        """update push_deliveries
           set state = case when $3 then 'waiting' else 'failed' end,
             not_before = case when $3 then $5::timestamptz end,
             tries = tries - 1, error = $4, updated_at = $5
           where occasion_id = $1 and token_id = any($2) and state in ('sending', 'lost')""",
        occasion_id, token_ids, again, error, ctx.now,
    )  # fmt: skip


async def note_lost(ctx: MutationContext, occasion_id: str, token_ids: list[str], error: str) -> None:
    """Note that Expo's answer about these messages was lost."""
    await ctx.db.execute(
        """update push_deliveries set state = 'lost', error = $3, updated_at = $4
           where occasion_id = $1 and token_id = any($2) and state = 'sending'""",
        occasion_id, token_ids, error, ctx.now,
    )  # fmt: skip


async def record_ticket(
    ctx: MutationContext, occasion: asyncpg.Record, token_id: str, ticket: Ticket
) -> datetime | None:
    """Record Expo's answer about one message; return when it is to be sent again, if it is."""
    row = await ctx.db.fetchrow(
        """select tries, state in ('sending', 'lost') as is_open, updated_at from push_deliveries
           where occasion_id = $1 and token_id = $2 for update""",
        occasion["id"], token_id,
    )  # fmt: skip
    if row is None or not row["is_open"]:
        return None
    if ticket.id is not None:
        await ctx.db.execute(
            """update push_deliveries set state = 'sent', ticket = $3, error = null, sent_at = $4, updated_at = $4
               where occasion_id = $1 and token_id = $2""",
            occasion["id"], token_id, ticket.id, ctx.now,
        )  # fmt: skip
        return None
    return await _not_shown(ctx, occasion, token_id, row["tries"], ticket, sent_at=row["updated_at"])


UNREAD_SQL = """
    select ticket from push_deliveries where occasion_id = $1 and state = 'sent' order by token_id limit 300"""


async def unread_tickets(db: Reader, occasion_id: str) -> list[str]:
    """Return the tickets of an occasion whose receipts were not read."""
    return [row["ticket"] for row in await db.fetch(UNREAD_SQL, occasion_id)]


async def record_receipts(
    ctx: MutationContext, occasion: asyncpg.Record, receipts: Mapping[str, Receipt]
) -> list[datetime]:
    """Record what became of messages; return when those that were not shown are to be sent again."""
    rows = await ctx.db.fetch(
        """select token_id, ticket, tries, sent_at from push_deliveries
           where occasion_id = $1 and state = 'sent' and ticket = any($2) order by token_id for update""",
        occasion["id"], list(receipts),
    )  # fmt: skip
    again = []
    for row in rows:
        receipt = receipts[row["ticket"]]
        if receipt.failure is None:
            await ctx.db.execute(
                """update push_deliveries set state = 'delivered', updated_at = $3
                   where occasion_id = $1 and token_id = $2""",
                occasion["id"], row["token_id"], ctx.now,
            )  # fmt: skip
            continue
        moment = await _not_shown(ctx, occasion, row["token_id"], row["tries"], receipt, sent_at=row["sent_at"])
        again += [] if moment is None else [moment]
    return again


async def _not_shown(
    ctx: MutationContext, occasion: asyncpg.Record, token_id: str, tries: int, answer: Ticket | Receipt, *,
    sent_at: datetime,
) -> datetime | None:  # fmt: skip
    """Act on an error. Only one of them says that the device is gone, and only if it has not registered since."""
    assert answer.failure is not None  # noqa: S101 - an error has one
    if answer.failure == "unregistered" and await ctx.db.fetchval(
        "delete from push_tokens where id = $1 and updated_at <= $2 returning true", token_id, sent_at
    ):
        # Its deliveries went with it.
        return None
    state, not_before = after_failure(answer.failure, tries, created_at=occasion["created_at"], now=ctx.now)
    await ctx.db.execute(
        """update push_deliveries set state = $3, not_before = $4, error = $5, updated_at = $6
           where occasion_id = $1 and token_id = $2""",
        occasion["id"], token_id, state, not_before, answer.error, ctx.now,
    )  # fmt: skip
    return not_before
