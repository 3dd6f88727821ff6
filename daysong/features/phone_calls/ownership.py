"""Whose a phone number is: one account's at a time, and its verified owner's before anybody else's.

Verified is who Clerk says so of: by a webhook (users.verified_phones), or in the caller's token. Everything here is
part of its caller's transaction.
"""

from __future__ import annotations

from typing import NamedTuple

from daysong.features.phone_calls import consent
from daysong.features.phone_calls.numbers import number_hash
from daysong.features.phone_calls.rules import MOST_TRIES
from daysong.kernel.context import MutationContext
from daysong.kernel.database import lock
from daysong.kernel.errors import ExpectedError
from daysong.kernel.ids import UserId

NUMBER_LOST = "number_lost"


class NumberTaken(ExpectedError):
    """Another account is called on this number."""

    code = "number_taken"
    status = 409
    default_message = "This phone number is used by another account"


class NumberRefused(ExpectedError):
    """Whoever answers this number wants no calls, of anybody."""

    code = "number_refused"
    status = 403
    default_message = "This phone number has asked not to be called"


class Claim(NamedTuple):
    """A number that an account may have: whether Clerk says it is theirs, and whether without consent all tries at it
    are used up.
    """

    verified: bool
    exhausted: bool


async def claim(ctx: MutationContext, user_id: UserId, number: str) -> Claim:
    """Make sure that an account may have a number. NumberRefused, NumberTaken.

    Its verified owner takes it from an account that holds it without consent, and off the list of those who want no
    calls; what was tried before counts no more.
    """
    hashed = number_hash(ctx.settings, number)
    await lock(ctx.db, f"number {hashed.hex()}")
    verified = await _is_verified(ctx, user_id, number)
    known = await consent.known(ctx.db, hashed)
    if known.refused and not verified:
        raise NumberRefused
    if not await _take(ctx, user_id, number, from_others=verified):
        raise NumberTaken
    if verified:
        await _clear(ctx, hashed)
    return Claim(verified, exhausted=known.tries >= MOST_TRIES)


async def _is_verified(ctx: MutationContext, user_id: UserId, number: str) -> bool:
    """Whether Clerk says that a number is this person's."""
    told = ctx.caller.attributes
    if told.get("phoneNumberVerified") is True and told.get("phoneNumber") == number:
        return True
    found: bool = await ctx.db.fetchval(
        "select $2 = any(verified_phones) from users where id = $1", user_id, number
    )  # fmt: skip
    return found


async def _take(ctx: MutationContext, user_id: UserId, number: str, *, from_others: bool) -> bool:
    """Whether nobody else holds the number any more; with `from_others`, it is taken from who has no consent."""
    holder = await ctx.db.fetchrow(
        "select id, consent from call_settings where phone_e164 = $1 and lost_at is null and user_id <> $2",
        number, user_id,
    )  # fmt: skip
    if holder is None:
        return True
    if not from_others or holder["consent"] == "granted":
        return False
    await ctx.db.execute(
        """update call_settings set lost_at = $2, paused_reason = $3, next_run_at = null, updated_at = $2
           where id = $1""",
        holder["id"], ctx.now, NUMBER_LOST,
    )  # fmt: skip
    await consent.call_off(ctx, holder["id"], "switched_off")
    return True


async def _clear(ctx: MutationContext, hashed: bytes) -> None:
    await ctx.db.execute(
        """update phone_numbers
           set refused_at = null, tries = 0, last_try_at = null, last_try_on = null, updated_at = $2
           where number_hash = $1 and (refused_at is not null or tries > 0)""",
        hashed, ctx.now,
    )  # fmt: skip


async def vouch(ctx: MutationContext, user_id: UserId, numbers: tuple[str, ...]) -> bool:
    """Clerk has newly verified these numbers as a person's: whether one of them is the one to call them on.

    Then that counts as consent, unless somebody else who has agreed to be called on it holds it by now. It does not
    switch calls on that are switched off.
    """
    row = await ctx.db.fetchrow(
        """select id, phone_e164 from call_settings
           where user_id = $1 and phone_e164 = any($2) and (consent <> 'granted' or lost_at is not null)""",
        user_id, list(numbers),
    )  # fmt: skip
    if row is None:
        return False
    await lock(ctx.db, f"number {number_hash(ctx.settings, row['phone_e164']).hex()}")
    if not await _take(ctx, user_id, row["phone_e164"], from_others=True):
        return False
    hashed = number_hash(ctx.settings, row["phone_e164"])
    await _clear(ctx, hashed)
    await consent.grant(ctx, row["id"], hashed, None)
    return True
