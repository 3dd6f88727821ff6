"""How often a shared song was looked at: each viewer counts once a day, and stays anonymous.

A view is a row of its own, so that a popular song is no bottleneck, and wakes no playlist. What was viewed on
earlier days is tallied up into one number, and the marks of the viewers are forgotten.
"""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

import msgspec

from daysong.features.viewers import viewer_mark
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, mutation

TALLIED_AT_ONCE = 5000


class RecordShareView(Args):
    """The id from the link."""

    share_id: Annotated[str, msgspec.Meta(max_length=64)]


@mutation
async def record_share_view(ctx: MutationContext, args: RecordShareView) -> None:
    """Count a look at a shared song. Once a day for each viewer; nothing for a link that shows nothing.

    That is also what bounds it: one viewer can write one row a day for each link, however often it is called.
    """
    share = await ctx.db.fetchrow(
        """select s.id, s.user_id from shared_music s
           join music m on m.id = s.music_id and m.deleted_at is null and m.status = 'ready'
           join users u on u.id = s.user_id and u.deleted_at is null
           where s.share_id = $1 and not s.is_private for key share of s""",
        args.share_id,
    )
    if share is None:
        return
    day = ctx.now.astimezone(UTC).date()
    mark = viewer_mark(ctx.caller, ctx.settings.hash_key, "share views", f"{share['id']} {day}")
    await ctx.db.execute(
        """insert into share_viewers (share_row_id, user_id, day, viewer) values ($1, $2, $3, $4)
           on conflict do nothing""",
        share["id"], share["user_id"], day, mark,
    )  # fmt: skip


@mutation
async def tally_share_views(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Count up some views of the days before today, and forget who the viewers were; whether there are more.

    The numbers shown stay the same.
    """
    tallied: int = await ctx.db.fetchval(
        """with looked as (
               delete from share_viewers where (share_row_id, day, viewer) in (
                   select share_row_id, day, viewer from share_viewers where day < $1 limit $2)
               returning share_row_id, user_id),
           tallied as (
               insert into share_views (share_row_id, user_id, views)
               select share_row_id, user_id, count(*) from looked group by share_row_id, user_id
               on conflict (share_row_id) do update set views = share_views.views + excluded.views)
           select count(*) from looked""",
        ctx.now.astimezone(UTC).date(), TALLIED_AT_ONCE,
    )  # fmt: skip
    return tallied == TALLIED_AT_ONCE
