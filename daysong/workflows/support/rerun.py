"""A failed song is made again: a new generation of its entry, which counts only if the operator says so.

The refund of the failed one stays. Without `charge` the new one does not count: its charge is refunded at once.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from daysong.features.music import generations
from daysong.features.subscriptions.quotas import usage
from daysong.features.users import store as users
from daysong.kernel.functions.context import ActionContext, MutationContext
from daysong.kernel.functions.declarations import action, mutation
from daysong.kernel.ids import ChargeId, DiaryId, GenerationId, UserId
from daysong.workflows.songs import song_budget
from daysong.workflows.songs.diary_to_song import begin_song
from daysong.workflows.support import audit
from daysong.workflows.support.audit import Outcome, Reason
from daysong.workflows.support.songs import OneSong, SongNotFound, refusal, show_song

GIFT = "rerun"


class RerunSong(OneSong):
    """Which song is made again, why, and whether it counts against the quota of its owner."""

    reason: Reason | UnsetType = UNSET
    charge: bool = False


class BeginRerun(RerunSong):
    """The same, with the budget's answer: the reservation, or the cap that is reached."""

    reservation: str | None = None
    cap: str | None = None


class Rerun(Outcome):
    """The song that was begun, if the outcome is `done`."""

    song_id: str | UnsetType = UNSET


@mutation
async def begin_rerun(ctx: MutationContext, args: BeginRerun) -> Rerun:
    """Insert the new generation and schedule its job, or say why not. Errors: SongNotFound."""
    row = await ctx.db.fetchrow(
        """select id, user_id, diary_id from generations
           where id = $1 or id = (select generation_id from music where id = $1)""",
        args.song_id,
    )
    if row is None or not await users.lock_account(ctx.db, row["user_id"]):
        raise SongNotFound
    owner, new = UserId(row["user_id"]), None
    outcome = await _refusal(ctx, row["id"], args)
    if outcome is None:
        charge = await _charge(ctx, owner, counts=args.charge)
        if charge is None:
            outcome = "no songs left"
        else:
            new = await _begin(ctx, owner, row["id"], charge, args.reservation)
    await audit.record(
        ctx, "songs rerun", account=owner, target=row["id"], reason=args.reason, outcome=outcome or audit.DONE,
        details={"charged": int(args.charge)},
    )  # fmt: skip
    return Rerun(outcome=outcome or audit.DONE, song_id=UNSET if new is None else new)


async def _refusal(ctx: MutationContext, song_id: str, args: BeginRerun) -> str | None:
    row = await ctx.db.fetchrow(
        "select id, status, diary_id, created_at from generations where id = $1 for update", song_id
    )
    if row is None:
        raise SongNotFound
    suspended = await ctx.db.fetchval(
        "select true from users u join generations g on g.user_id = u.id where g.id = $1 and u.suspension is not null",
        song_id,
    )
    if suspended:
        return "account is suspended"
    found = await refusal(ctx.db, row)
    return found if found is not None or args.cap is None else f"daily limit of {args.cap}"


async def _charge(ctx: MutationContext, owner: UserId, *, counts: bool) -> ChargeId | None:
    await usage.open_free_plan(ctx.db, owner, ctx.now)
    if not counts:
        return await usage.charge_nothing(ctx.db, owner, GIFT, ctx.now)
    charged = await usage.charge_locked(ctx.db, owner, ctx.now)
    return None if charged is None else charged.id


async def _begin(
    ctx: MutationContext, owner: UserId, song_id: str, charge: ChargeId, reservation: str | None
) -> GenerationId:
    former = await ctx.db.fetchrow("select diary_id, style_hint from generations where id = $1", song_id)
    if former is None:
        raise SongNotFound
    new = generations.Beginning(
        GenerationId.new(ctx.now), owner, DiaryId(former["diary_id"]), charge, style_hint=former["style_hint"]
    )
    await begin_song(ctx, new, reservation)
    return new.id


@action
async def rerun_song(ctx: ActionContext, args: RerunSong) -> Rerun:
    """Make a failed song again; the outcome says why not: `not failed`, `in progress`, `made already`,
    `account is suspended`, `no songs left`, `daily limit of …`. Errors: SongNotFound.
    """
    song = await ctx.run_query(show_song, OneSong(song_id=args.song_id))
    reserved = await song_budget.reserve_song(ctx, song.user_id)
    begun = None
    try:
        begun = await ctx.run_mutation(
            begin_rerun,
            BeginRerun(
                song_id=args.song_id, reason=args.reason, charge=args.charge, reservation=reserved.reservation,
                cap=reserved.cap,
            ),
        )  # fmt: skip
    finally:
        if begun is None or begun.song_id is UNSET:
            await song_budget.cancel(ctx, reserved)
    return begun
