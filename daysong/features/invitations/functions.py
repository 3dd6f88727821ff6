"""Invitations: addresses that asked to be notified by e-mail, and their export."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.invitations import rules, store
from daysong.features.viewers import viewer_mark
from daysong.kernel.database.transactions import lock
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, Result, given, mutation, query
from daysong.kernel.ids import InvitationId
from daysong.kernel.limits.errors import RateLimited
from daysong.kernel.time.clock import to_ms
from daysong.kernel.visible import trimmed

Email = Annotated[str, msgspec.Meta(max_length=rules.LONGEST_EMAIL)]
LARGEST_PAGE = 1000


class AddEmailNotification(Args):
    """An address; `source` says where it was entered."""

    email: Email
    is_android_invite: bool = False
    source: Annotated[str, msgspec.Meta(max_length=rules.LONGEST_SOURCE)] = ""


class Invitation(Result):
    """An address that asked to be notified.

    is_android  whether it asked for the Android app, once or more
    source      where it was entered last
    created_at, updated_at  when it was entered first and last
    """

    id: str = msgspec.field(name="_id")
    email: str
    is_android: bool
    created_at: float
    updated_at: float
    source: str | UnsetType = UNSET


class ExportInvitations(Args):
    """A page: the addresses after this one, in alphabetical order."""

    after: Email = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_PAGE)] = LARGEST_PAGE


class OneAddress(Args):
    """An address."""

    email: Email


# Not recorded for retries: a recorded answer would keep the address after its account is deleted.
@mutation(repeatable=True)
async def add_email_notification(ctx: MutationContext, args: AddEmailNotification) -> str:
    """Save an address to be notified, and return it normalized: the same whether it was known or not.

    Each viewer may enter five addresses an hour. Errors: InvalidEmail, RateLimited.
    """
    email = rules.normalized(args.email, production=ctx.settings.production)
    await _count(ctx)
    await ctx.db.execute(
        """insert into invitations (id, email, is_android, source, created_at, updated_at)
           values ($1, $2, $3, $4, $5, $5)
           on conflict (email) do update set is_android = invitations.is_android or excluded.is_android,
             source = coalesce(excluded.source, invitations.source), updated_at = excluded.updated_at""",
        InvitationId.new(ctx.now), email, args.is_android_invite, trimmed(args.source) or None, ctx.now,
    )  # fmt: skip
    return email


async def _count(ctx: MutationContext) -> None:
    """Count an address against the viewer's limit. Holds for all callers but the operator. Errors: RateLimited."""
    if ctx.caller.is_admin and ctx.caller.subject is None:
        return
    viewer = viewer_mark(ctx.caller, ctx.settings.hash_key, "invitations", "attempt")
    await lock(ctx.db, f"invitations of {viewer.hex()}")
    rows = await ctx.db.fetch(
        "select at from invitation_attempts where viewer = $1 and at > $2 order by at desc limit $3",
        viewer, ctx.now - rules.WINDOW, rules.MOST,
    )  # fmt: skip
    if (left := rules.wait([row["at"] for row in rows], ctx.now)) is not None:
        raise RateLimited(left.total_seconds())
    await ctx.db.execute("insert into invitation_attempts (viewer, at) values ($1, $2)", viewer, ctx.now)


@query(reads=("invitations",))
async def export_invitations(ctx: QueryContext, args: ExportInvitations) -> list[Invitation]:
    """Return a page of all addresses, in alphabetical order."""
    rows = await ctx.db.fetch(
        """select id, email, is_android, source, created_at, updated_at from invitations
           where email > $1 order by email limit $2""",
        args.after, args.limit,
    )  # fmt: skip
    return [
        Invitation(
            id=row["id"],
            email=row["email"],
            is_android=row["is_android"],
            source=given(row["source"]),
            created_at=to_ms(row["created_at"]),
            updated_at=to_ms(row["updated_at"]),
        )
        for row in rows
    ]


@mutation
async def remove_invitation(ctx: MutationContext, args: OneAddress) -> bool:
    """Delete an address, and return whether it was there."""
    return await store.erase(ctx.db, args.email)
