"""Which account a phone number belongs to: the first that proved it. Before that, any number of accounts may name it.

A number is proved by consent in a call, or by Clerk, where the user entered a code that was sent to it
(vendors/clerk/events.py). A claim without proof does not affect other accounts and is not visible to them.

Locks are taken in this order: the account (users.store), then the number (`consent.lock_number`), then rows. No
transaction writes the settings of two accounts; the unique index `call_settings_proved` allows one proved account for
each number.
"""

from __future__ import annotations

from typing import NamedTuple

from daysong.features.phone_calls.numbers import consent
from daysong.features.phone_calls.numbers.numbers import key_of, number_hashes
from daysong.features.phone_calls.rules import MOST_TRIES
from daysong.kernel.database.transactions import Reader
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.ids import UserId


class NumberRefused(ExpectedError):
    """The person on this number refused calls from every account."""

    code = "number_refused"
    status = 403
    default_message = "This phone number has asked not to be called"


class Claim(NamedTuple):
    """An account's claim to a number.

    proved      the account has proved it to Clerk, and no other account proved it before
    exhausted   all tries without consent are used up
    """

    proved: bool
    exhausted: bool


async def claim(ctx: MutationContext, user_id: UserId, number: str) -> Claim:
    """Claim a number for an account, whose lock the caller holds. NumberRefused.

    A proof by Clerk clears the number's refusal and its tries.
    """
    hashed = await consent.hash_of(ctx, number)
    state = await consent.lock_number_state(ctx.db, hashed)
    proved = await _is_proved(ctx, user_id, number) and not await is_anothers(ctx.db, user_id, number)
    if state.refused and not proved:
        raise NumberRefused
    if proved:
        await _clear(ctx, number)
    return Claim(proved, exhausted=state.tries >= MOST_TRIES)


async def _is_proved(ctx: MutationContext, user_id: UserId, number: str) -> bool:
    """Return whether the user has proved a number to Clerk. Tokens do not count: they lack the way of verification."""
    found: bool = await ctx.db.fetchval("select $2 = any(verified_phones) from users where id = $1", user_id, number)
    return found


async def is_anothers(db: Reader, user_id: str, number: str) -> bool:
    """Return whether another account has proved the number."""
    found: bool = await db.fetchval(
        """select exists (select from call_settings
             where number_key = $1 and consent = 'granted' and lost_at is null and user_id <> $2)""",
        key_of(number), user_id,
    )  # fmt: skip
    return found


async def _clear(ctx: MutationContext, number: str) -> None:
    await ctx.db.execute(
        """update phone_numbers
           set refused_at = null, tries = 0, last_try_at = null, last_try_on = null, updated_at = $2
           where number_hash = any($1) and (refused_at is not null or tries > 0)""",
        number_hashes(ctx.settings, number), ctx.now,
    )  # fmt: skip


async def grant_verified(ctx: MutationContext, user_id: UserId, numbers: tuple[str, ...]) -> bool:
    """Grant consent when one of the numbers newly proved to Clerk is in the user's settings; return whether it was.

    It is not granted when another account has proved the number before. Calls that are switched off stay off. The
    caller holds the account's lock.
    """
    row = await ctx.db.fetchrow(
        """select id, phone_e164 from call_settings
           where user_id = $1 and phone_e164 = any($2) and consent <> 'granted'""",
        user_id, list(numbers),
    )  # fmt: skip
    if row is None:
        return False
    hashed = await consent.hash_of(ctx, row["phone_e164"])
    if await is_anothers(ctx.db, user_id, row["phone_e164"]):
        return False
    await _clear(ctx, row["phone_e164"])
    await consent.grant(ctx, row["id"], hashed, None)
    return True
