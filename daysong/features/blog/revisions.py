"""Earlier texts of posts. For operators alone; a trigger writes them."""

from __future__ import annotations

import msgspec

from daysong.features.blog.writing import OnePost
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, IdText, Result, query
from daysong.kernel.time.clock import to_ms

MOST_LISTED = 100


class OneRevision(Args):
    """Which revision."""

    revision_id: IdText


class ListedRevision(Result, kw_only=True):
    """An earlier text of a post, without the text; `length` in characters."""

    id: str = msgspec.field(name="_id")
    title: str
    length: int
    created_at: float


class Revision(ListedRevision, kw_only=True):
    """An earlier text of a post."""

    post_id: str
    body_markdown: str


@query(reads=("blog_posts", "blog_revisions"))
async def list_revisions(ctx: QueryContext, args: OnePost) -> list[ListedRevision]:
    """Return the newest 100 earlier texts of a post, newest first."""
    rows = await ctx.db.fetch(
        f"""select r.id, r.title, length(r.body_markdown) as length, r.created_at
            from blog_revisions r join blog_posts p on p.id = r.post_id where p.id = $1 or p.slug = $1
            order by r.created_at desc, r.id desc limit {MOST_LISTED}""",  # noqa: S608 - a constant
        args.post_id,
    )
    return [
        ListedRevision(id=row["id"], title=row["title"], length=row["length"], created_at=to_ms(row["created_at"]))
        for row in rows
    ]


@query(reads=("blog_revisions",))
async def get_revision(ctx: QueryContext, args: OneRevision) -> Revision | None:
    """Return an earlier text of a post, or null."""
    row = await ctx.db.fetchrow("select * from blog_revisions where id = $1", args.revision_id)
    if row is None:
        return None
    return Revision(
        id=row["id"],
        post_id=row["post_id"],
        title=row["title"],
        length=len(row["body_markdown"]),
        body_markdown=row["body_markdown"],
        created_at=to_ms(row["created_at"]),
    )
