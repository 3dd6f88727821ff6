"""Views of posts: each viewer counts once a day for a post, and stays anonymous."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

import msgspec

from daysong.features.blog import rules
from daysong.features.viewers import viewer_mark
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, mutation

TALLIED_AT_ONCE = 5000


class IncrementViewCount(Args):
    """Which post, and the day: today or yesterday, UTC, as YYYY-MM-DD."""

    post_id: IdText
    date: Annotated[str, msgspec.Meta(max_length=10)]


@mutation
async def increment_view_count(ctx: MutationContext, args: IncrementViewCount) -> None:
    """Count a view of a published post, once a day for each viewer. Errors: InvalidViewDate."""
    day = rules.view_day(args.date, ctx.now)
    found = await ctx.db.fetchval(
        "select true from blog_posts where id = $1 and status = 'published' for key share", args.post_id
    )
    if not found:
        return
    # By the server's day, so that a viewer cannot count for both days.
    today = ctx.now.astimezone(UTC).date()
    mark = viewer_mark(ctx.caller, ctx.settings.hash_key, "blog views", f"{args.post_id} {today}")
    await ctx.db.execute(
        "insert into blog_viewers (post_id, seen_on, viewer, day) values ($1, $2, $3, $4) on conflict do nothing",
        args.post_id, today, mark, day,
    )  # fmt: skip


@mutation
async def tally_views(ctx: MutationContext, args: NoArgs) -> bool:  # noqa: ARG001
    """Add up some views of the days before today, and delete their viewers; return whether there are more."""
    tallied: int = await ctx.db.fetchval(
        """with seen as (
               delete from blog_viewers where (post_id, seen_on, viewer) in (
                   select post_id, seen_on, viewer from blog_viewers where seen_on < $1 limit $2)
               returning post_id, day),
           tallied as (
               insert into blog_views (post_id, day, views)
               select post_id, day, count(*) from seen group by post_id, day
               on conflict (post_id, day) do update set views = blog_views.views + excluded.views)
           select count(*) from seen""",
        ctx.now.astimezone(UTC).date(), TALLIED_AT_ONCE,
    )  # fmt: skip
    return tallied == TALLIED_AT_ONCE
