"""Whether the caller can afford a song, read before the account is locked: the song begins only if that still holds."""

from __future__ import annotations

import msgspec

from daysong.features.subscriptions import revenuecat_billing
from daysong.features.subscriptions.entitlements import READS, status_columns
from daysong.features.subscriptions.quotas import usage
from daysong.features.subscriptions.revenuecat_billing import Subscriber
from daysong.features.subscriptions.rules import LONGEST_PERIOD
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, query
from daysong.kernel.time.clock import from_ms, to_ms


class AffordableSong(Result):
    """That an account could afford a song at a moment (ms): the songs left after it, and the number of its charges."""

    at: float
    remaining: float
    charges: int


class PersonAndSong(Subscriber):
    """The caller, with a song that is affordable without the lock of a mailbox, if one is."""

    song: AffordableSong | None = None


_PERSON_SQL = f"""
    select u.id, u.clerk_id, u.suspension, u.mailbox_hash, s.verified_at, {status_columns("$2")}, {usage.CHARGES_SO_FAR}
    from users u join subscriptions s on s.user_id = u.id where u.clerk_id = $1 and u.deleted_at is null"""  # noqa: S608


@query(reads=READS)
async def current_person_and_song(ctx: QueryContext, args: NoArgs) -> PersonAndSong | None:  # noqa: ARG001
    """Return the caller as `currentPerson` does, and whether a song is affordable now."""
    at = to_ms(ctx.now)
    now = from_ms(at)
    row = await ctx.db.fetchrow(_PERSON_SQL, ctx.caller.subject, now - LONGEST_PERIOD)
    if row is None:
        return None
    person = revenuecat_billing.subscriber_of(row)
    charge = usage.charge_of(row, now)
    song = None
    if charge is not None and charge.mailbox is None:
        song = AffordableSong(at=at, remaining=charge.remaining, charges=row["charges_so_far"])
    return PersonAndSong(**msgspec.structs.asdict(person), song=song)
