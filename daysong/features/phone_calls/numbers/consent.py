"""The consent of the person on a number: the state of each number, and how an answer changes it.

A number is stored under a keyed hash, apart from accounts: a refusal, and the count of calls without consent, apply to
every account that names the number. When the hash key is replaced, a number keeps the hash of its row. Everything here
runs in its caller's transaction.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import NamedTuple

from daysong.features.phone_calls.numbers.numbers import number_hashes
from daysong.features.phone_calls.rules import (
    MOST_SCREENED,
    MOST_TRIES,
    REASONS,
    SCREENED_WITHIN,
    UNKNOWN_TIMEZONE,
    Number,
    dialled,
)
from daysong.features.phone_calls.schedule.calendar import is_known, next_run
from daysong.kernel.database.transactions import Transaction, lock
from daysong.kernel.functions.context import MutationContext

DELETED_AT_ONCE = 1000


class Holder(NamedTuple):
    """An account whose settings have the number."""

    settings_id: str
    user_id: str
    consent: str
    number: str


async def lock_number(db: Transaction, *hashes: bytes) -> None:
    """Lock a number until the transaction ends, whether or not it has a row."""
    await lock(db, *(f"number {hashed.hex()}" for hashed in hashes))


async def hash_of(ctx: MutationContext, number: str) -> bytes:
    """Lock a number (E.164), and return the hash that its row has or will have.

    Of several rows, which two processes with different keys could have made, a refusal counts.
    """
    hashes = number_hashes(ctx.settings, number)
    await lock_number(ctx.db, *hashes)
    found: bytes | None = await ctx.db.fetchval(
        """select number_hash from phone_numbers where number_hash = any($1)
           order by refused_at is null, tries desc, array_position($1, number_hash) limit 1""",
        hashes,
    )
    return found or hashes[0]


async def lock_number_state(db: Transaction, hashed: bytes) -> Number:
    """Lock a number and return its state."""
    await lock_number(db, hashed)
    row = await db.fetchrow(
        """select refused_at is not null as refused, tries, last_try_at, last_try_on, dials, dialled_on
           from phone_numbers where number_hash = $1 for update""",
        hashed,
    )
    return Number() if row is None else Number(*row)


async def record_dial(
    ctx: MutationContext, hashed: bytes, number: Number, *, agreed: bool, timezone: str
) -> None:  # fmt: skip
    """Count a dial of the number, and without consent one of its three tries."""
    await _save(ctx, hashed, dialled(number, agreed=agreed, now=ctx.now, timezone=timezone))


async def undo_dial(ctx: MutationContext, hashed: bytes, *, agreed: bool, day: date) -> None:
    """Undo what `record_dial` counted on `day` (UTC), since the number was not dialled."""
    number = await lock_number_state(ctx.db, hashed)
    if number.dials_on(day):
        number = number._replace(dials=number.dials - 1)
    if not agreed and number.tries:
        number = number._replace(tries=number.tries - 1, last_try_at=None, last_try_on=None)
    await _save(ctx, hashed, number)


async def record_screened(ctx: MutationContext, hashed: bytes, settings_id: str) -> None:
    """Give back the try of a call that only a call-screening assistant took; there is no second try on this day.

    After MOST_SCREENED such calls each one counts as a try, which bounds their number.
    """
    screened = await ctx.db.fetchval(
        "select count(*) from call_jobs where settings_id = $1 and scheduled_for > $2 and error_code = 'screened'",
        settings_id, ctx.now - SCREENED_WITHIN,
    )  # fmt: skip
    number = await lock_number_state(ctx.db, hashed)
    if number.tries and screened < MOST_SCREENED:
        await _save(ctx, hashed, number._replace(tries=number.tries - 1))
    elif number.tries >= MOST_TRIES:
        await pause(ctx, settings_id, "screened")


async def _save(ctx: MutationContext, hashed: bytes, number: Number) -> None:
    await ctx.db.execute(
        """insert into phone_numbers
             (number_hash, tries, last_try_at, last_try_on, dials, dialled_on, updated_at)
           values ($1, $2, $3, $4, $5, $6, $7)
           on conflict (number_hash) do update set tries = excluded.tries, last_try_at = excluded.last_try_at,
             last_try_on = excluded.last_try_on, dials = excluded.dials, dialled_on = excluded.dialled_on,
             updated_at = excluded.updated_at""",
        hashed, number.tries, number.last_try_at, number.last_try_on, number.dials, number.dialled_on, ctx.now,
    )  # fmt: skip


async def grant(ctx: MutationContext, settings_id: str, hashed: bytes, session_id: str | None) -> None:
    """Record that the person on the number agreed to calls of that account, in that session if it was in a call.

    Ends a pause of its calls; calls that are switched off stay off. The caller holds the number's lock, and has
    checked that no other account has proved it.
    """
    row = await ctx.db.fetchrow(
        "select timezone, local_minutes, byday_mask from call_settings where id = $1 for update", settings_id
    )
    if row is None:
        return
    paused = None if is_known(row["timezone"]) else UNKNOWN_TIMEZONE
    due = None if paused else next_run(after=ctx.now, **row)
    await ctx.db.execute(
        """update call_settings
           set consent = 'granted', consent_at = $2, consent_session_id = $3, lost_at = null, paused_reason = $4::text,
               next_run_at = case when active and $4::text is null then coalesce(next_run_at, $5) end, updated_at = $2
           where id = $1""",
        settings_id, ctx.now, session_id, paused, due,
    )  # fmt: skip
    await ctx.db.execute(
        """update phone_numbers set tries = 0, last_try_at = null, last_try_on = null, updated_at = $2
           where number_hash = $1""",
        hashed, ctx.now,
    )  # fmt: skip


async def refuse(ctx: MutationContext, hashed: bytes, holder: Holder | None) -> None:
    """Record that the person on the number refused calls: no account calls it from now on.

    Only an account that has proved the number to Clerk can undo that (`ownership.py`).
    """
    await lock_number(ctx.db, hashed)
    await ctx.db.execute(
        """insert into phone_numbers (number_hash, refused_at, updated_at) values ($1, $2, $2)
           on conflict (number_hash) do update
             set refused_at = coalesce(phone_numbers.refused_at, excluded.refused_at), updated_at = $2""",
        hashed, ctx.now,
    )  # fmt: skip
    if holder is not None:
        await ctx.db.execute(
            """update call_settings set consent = 'refused', consent_at = $2, consent_session_id = null,
                 active = false, paused_reason = 'refused', next_run_at = null, updated_at = $2
               where id = $1""",
            holder.settings_id, ctx.now,
        )  # fmt: skip
        await cancel_calls(ctx, holder.settings_id, "refused")


async def pause_without_consent(ctx: MutationContext, settings_id: str) -> None:
    """Pause the calls of settings whose tries ended without consent."""
    await pause(ctx, settings_id, "no_consent")


async def pause(ctx: MutationContext, settings_id: str, code: str) -> None:
    """Pause the calls of settings without consent until they are saved again; `code` is a key of `rules.REASONS`."""
    await ctx.db.execute(
        """update call_settings set paused_reason = $3, next_run_at = null, updated_at = $2
           where id = $1 and consent = 'unknown'""",
        settings_id, ctx.now, code,
    )  # fmt: skip
    await cancel_calls(ctx, settings_id, code)


async def tries_are_used_up(db: Transaction, hashed: bytes) -> bool:
    """Return whether the tries at a number without consent are used up."""
    return (await lock_number_state(db, hashed)).tries >= MOST_TRIES


async def cancel_calls(ctx: MutationContext, settings_id: str, code: str) -> None:
    """Cancel the calls of these settings that were not dialled yet; `code` is a key of `rules.REASONS`."""
    await ctx.db.execute(
        """update call_jobs set status = 'canceled', error_code = $2, error_message = $3, ended_at = $4, updated_at = $4
           where settings_id = $1 and status = 'queued' and asked_at is null""",
        settings_id, code, REASONS[code], ctx.now,
    )  # fmt: skip


async def delete_unused(ctx: MutationContext) -> bool:
    """Delete one batch of numbers without refusal, tries or dials since yesterday; return whether there may be more."""
    done = await ctx.db.execute(
        """delete from phone_numbers where number_hash in (
             select number_hash from phone_numbers
             where refused_at is null and tries = 0 and coalesce(dialled_on < $1, true)
             limit $2 for update skip locked)""",
        ctx.now.date() - timedelta(days=1), DELETED_AT_ONCE,
    )  # fmt: skip
    return done == f"DELETE {DELETED_AT_ONCE}"


async def holder_of(ctx: MutationContext, hashed: bytes, user_id: str) -> Holder | None:
    """Return the user's settings when they have this number and have not lost it."""
    row = await ctx.db.fetchrow(
        "select id, phone_e164, consent from call_settings where user_id = $1 and lost_at is null for update", user_id
    )
    if row is None or hashed not in number_hashes(ctx.settings, row["phone_e164"]):
        return None
    return Holder(row["id"], user_id, row["consent"], row["phone_e164"])
