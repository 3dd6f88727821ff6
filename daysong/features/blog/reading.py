"""The public functions of the blog: published posts, and a draft for clients that have its preview token."""

from __future__ import annotations

from typing import Annotated

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.blog import rules
from daysong.features.pages import LARGEST_LIST, LONGEST_LIST, json_bytes
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, NoArgs, Result, given, query
from daysong.kernel.time.clock import to_ms

# The key that the triggers of blog_posts and blog_slugs notify with.
CHANGES = "blog"
LARGEST_RECENT = 50
READS = ("blog_posts", "blog_slugs")


class Post(Result, kw_only=True):
    """A post.

    published_at   when it was published first; missing in a draft
    reading_time   in minutes
    redirect_from  former slugs, oldest first, which lead to it too
    """

    id: str = msgspec.field(name="_id")
    creation_time: float = msgspec.field(name="_creationTime")
    slug: str
    title: str
    body_markdown: str
    excerpt: str | UnsetType = UNSET
    published_at: float | UnsetType = UNSET
    author: str
    tags: list[str]
    reading_time: int | UnsetType = UNSET
    canonical_url: str | UnsetType = UNSET
    featured_image: str | UnsetType = UNSET
    redirect_from: list[str] | UnsetType = UNSET
    updated_at: float


class ListRecent(Args):
    """How many posts."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LARGEST_RECENT)] = 3


class ListByTag(Args):
    """Which tag; upper and lower case are the same."""

    tag: Annotated[str, msgspec.Meta(max_length=rules.LONGEST_TAG)]


class GetBySlug(Args):
    """Which slug: a post's own, or a former one."""

    slug: Annotated[str, msgspec.Meta(max_length=2 * rules.LONGEST_SLUG)]


class GetDraftByPreviewToken(Args):
    """The token of a draft."""

    preview_token: Annotated[str, msgspec.Meta(max_length=64)]


COLUMNS = f"""
    p.id, p.slug, p.title, p.body_markdown, p.excerpt, p.author, p.tags, p.reading_time, p.canonical_url,
    p.featured_image, p.published_at, p.created_at, p.updated_at,
    (select array_agg(former.slug order by former.created_at, former.slug)
     from (select s.slug, s.created_at from blog_slugs s where s.post_id = p.id and s.slug <> p.slug
           order by s.created_at desc, s.slug desc limit {rules.MOST_REDIRECTS}) former) as redirect_from"""  # noqa: S608
BYTES = json_bytes("p.title", "p.body_markdown", "p.excerpt", "p.canonical_url", "p.featured_image")


def _list_sql(condition: str, limit: str) -> str:
    return f"""
        select {COLUMNS}
        from (select p.*, sum({BYTES}) over (order by p.published_at desc, p.id desc rows unbounded preceding) as so_far
              from (select * from blog_posts where status = 'published' and {condition}
                    order by published_at desc, id desc limit {limit}) p) p
        where p.so_far <= {LARGEST_LIST}
        order by p.published_at desc, p.id desc"""  # noqa: S608 - constants


PUBLISHED_SQL = _list_sql("true", str(LONGEST_LIST))
RECENT_SQL = _list_sql("true", "$1")
TAG_SQL = _list_sql("tag_keys @> array[$1::text]", str(LONGEST_LIST))
SLUG_SQL = f"""
    select {COLUMNS} from blog_slugs wanted
    join blog_posts p on p.id = wanted.post_id and p.status = 'published'
    where wanted.slug = $1"""  # noqa: S608 - constants
DRAFT_SQL = f"""
    select {COLUMNS}, p.preview_hash from blog_posts p
    where p.preview_hash = $1 and p.status = 'draft'"""  # noqa: S608 - constants


@query(reads=READS, replica="current")
async def list_published(ctx: QueryContext, args: NoArgs) -> list[Post]:  # noqa: ARG001
    """Return the published posts, newest first: at most the newest 500, and at most 4 MiB of them."""
    ctx.depends_on(CHANGES)
    return [shown(row) for row in await ctx.db.fetch(PUBLISHED_SQL)]


@query(reads=READS, replica="current")
async def list_recent(ctx: QueryContext, args: ListRecent) -> list[Post]:
    """Return the newest published posts, three if `limit` does not say otherwise."""
    ctx.depends_on(CHANGES)
    return [shown(row) for row in await ctx.db.fetch(RECENT_SQL, args.limit)]


@query(reads=READS, replica="current")
async def list_by_tag(ctx: QueryContext, args: ListByTag) -> list[Post]:
    """Return the published posts with a tag, newest first, at most 500 and 4 MiB."""
    ctx.depends_on(CHANGES)
    return [shown(row) for row in await ctx.db.fetch(TAG_SQL, rules.tag_key(args.tag))]


@query(reads=READS, replica="current")
async def get_by_slug(ctx: QueryContext, args: GetBySlug) -> Post | None:
    """Return the published post that a slug leads to, or null.

    For a former slug, the `slug` of the post is another one: that is where to redirect.
    """
    ctx.depends_on(CHANGES)
    row = await ctx.db.fetchrow(SLUG_SQL, args.slug.strip().lower())
    return None if row is None else shown(row)


@query(reads=READS)
async def get_draft_by_preview_token(ctx: QueryContext, args: GetDraftByPreviewToken) -> Post | None:
    """Return the draft of a preview token; null for any other token, and once the post is published."""
    ctx.depends_on(CHANGES)
    # Found by its hash, so the time of the search tells nothing about the token.
    row = await ctx.db.fetchrow(DRAFT_SQL, rules.token_hash(args.preview_token))
    if row is None or not rules.is_token(args.preview_token, row["preview_hash"]):
        return None
    return shown(row)


def shown(row: asyncpg.Record) -> Post:
    """Return a post from its row."""
    return Post(
        id=row["id"],
        creation_time=to_ms(row["created_at"]),
        slug=row["slug"],
        title=row["title"],
        body_markdown=row["body_markdown"],
        excerpt=given(row["excerpt"]),
        published_at=UNSET if row["published_at"] is None else to_ms(row["published_at"]),
        author=row["author"],
        tags=row["tags"],
        reading_time=row["reading_time"],
        canonical_url=given(row["canonical_url"]),
        featured_image=given(row["featured_image"]),
        redirect_from=given(row["redirect_from"]),
        updated_at=to_ms(row["updated_at"]),
    )
