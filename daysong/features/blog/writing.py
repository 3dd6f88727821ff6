"""Writing the blog: drafts, publishing, former slugs, numbers of views. For operators alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.blog import rules
from daysong.features.blog.reading import COLUMNS, Post, shown
from daysong.features.blog.rules import InvalidPost, InvalidSlug, NotADraft, PostNotFound, SlugTaken
from daysong.kernel.database.transactions import Transaction
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, Result, given, mutation, query
from daysong.kernel.ids import BlogPostId
from daysong.kernel.time.clock import from_ms, to_ms
from daysong.kernel.visible import trimmed

Status = Literal["draft", "published", "archived"]
Slug = Annotated[str, msgspec.Meta(max_length=rules.LONGEST_SLUG)]
Title = Annotated[str, msgspec.Meta(max_length=rules.LONGEST_TITLE)]
Body = Annotated[str, msgspec.Meta(max_length=rules.LONGEST_BODY)]
Excerpt = Annotated[str, msgspec.Meta(max_length=rules.LONGEST_EXCERPT)]
Author = Annotated[str, msgspec.Meta(max_length=rules.LONGEST_AUTHOR)]
Address = Annotated[str, msgspec.Meta(max_length=rules.LONGEST_ADDRESS)]
Tags = Annotated[list[Annotated[str, msgspec.Meta(max_length=rules.LONGEST_TAG)]], msgspec.Meta(max_length=100)]

AUTHOR = "daysong"
# Slugs tried for a title whose own slug is taken.
MOST_NUMBERS = 100
# Days of analytics, and posts in the operators' list.
MOST_DAYS = 400
MOST_LISTED = 500
# 13 digits of milliseconds: up to the year 2286.
LATEST_MS = 9_999_999_999_999.0


class CreateDraft(Args):
    """A new draft; its slug is made from the title unless it is given."""

    title: Title
    body_markdown: Body
    slug: Slug | UnsetType = UNSET
    excerpt: Excerpt = ""
    author: Author = AUTHOR
    tags: Tags = msgspec.field(default_factory=list)
    canonical_url: Address = ""
    featured_image: Address = ""


class OnePost(Args):
    """Which post: its id or its slug."""

    post_id: Slug


class UpdateDraft(OnePost):
    """What to change of a post; "" removes an excerpt or an address."""

    title: Title | UnsetType = UNSET
    body_markdown: Body | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    excerpt: Excerpt | UnsetType = UNSET
    author: Author | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    canonical_url: Address | UnsetType = UNSET
    featured_image: Address | UnsetType = UNSET


class Publish(OnePost):
    """Which post; `published_at` is shown as its date, now or that of the first publication by default."""

    published_at: Annotated[float, msgspec.Meta(ge=0, le=LATEST_MS)] | UnsetType = UNSET


class SetRedirects(OnePost):
    """Which post, and all former slugs that lead to it."""

    redirect_from: Annotated[list[Slug], msgspec.Meta(max_length=rules.MOST_REDIRECTS)]


class ListPosts(Args):
    """Posts of one status, or all."""

    status: Status | UnsetType = UNSET


class NewDraft(Result, kw_only=True):
    """A draft; the token is shown this once."""

    id: str = msgspec.field(name="_id")
    slug: str
    preview_token: str


class PostState(Result, kw_only=True):
    """A post after a change."""

    id: str = msgspec.field(name="_id")
    slug: str
    status: Status
    published_at: float | UnsetType = UNSET


class ListedPost(PostState, kw_only=True):
    """A post in the operators' list; `view_count` counts each viewer once a day."""

    title: str
    author: str
    tags: list[str]
    created_at: float
    updated_at: float
    view_count: int


class WrittenPost(Result, kw_only=True):
    """A whole post of any status."""

    status: Status
    post: Post


class DayViews(Result):
    """Views of one day, UTC."""

    date: str
    views: int


class PostAnalytics(Result, kw_only=True):
    """Views of a post: in all, and on those of the last 400 days that had any, oldest first."""

    post_id: str
    slug: str
    title: str
    status: Status
    view_count: int
    days: list[DayViews]


@mutation
async def create_draft(ctx: MutationContext, args: CreateDraft) -> NewDraft:
    """Save a new draft, and return the token by which it can be read. Errors: InvalidPost, InvalidSlug, SlugTaken."""
    post_id, token = BlogPostId.new(ctx.now), rules.new_token()
    columns = _columns({name: value for name, value in msgspec.structs.asdict(args).items() if name != "slug"})
    # Reserving a slug needs the post's row, which is inserted under a slug made of its id.
    slugs = [rules.check_slug(args.slug)] if args.slug is not UNSET else _candidates(args.title)
    placeholder = post_id.replace("_", "-")
    columns |= {
        "id": post_id, "slug": placeholder, "status": "draft", "preview_hash": rules.token_hash(token),
        "created_at": ctx.now, "updated_at": ctx.now,
    }  # fmt: skip
    names = ", ".join(columns)
    places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    await ctx.db.execute(f"insert into blog_posts ({names}) values ({places})", *columns.values())  # noqa: S608 - ours
    slug = await _reserve(ctx, post_id, slugs)
    await ctx.db.execute("update blog_posts set slug = $2 where id = $1", post_id, slug)
    return NewDraft(id=post_id, slug=slug, preview_token=token)


@mutation
async def update_draft(ctx: MutationContext, args: UpdateDraft) -> PostState:
    """Change a draft, or a post that is published. The former slug of a published post leads to it from then on.

    Errors: PostNotFound, InvalidPost, InvalidSlug, SlugTaken.
    """
    row = await locked(ctx.db, args.post_id)
    changes = {name: value for name, value in msgspec.structs.asdict(args).items() if value is not UNSET}
    columns = _columns({name: value for name, value in changes.items() if name not in {"post_id", "slug"}})
    if args.slug is not UNSET and args.slug != row["slug"]:
        columns["slug"] = await _reserve(ctx, row["id"], [rules.check_slug(args.slug)])
        if row["published_at"] is None:
            # Never published, so no link has this slug.
            await ctx.db.execute("delete from blog_slugs where slug = $1", row["slug"])
    if not columns:
        return _state(row)
    if row["status"] == "published" and not columns.get("body_markdown", row["body_markdown"]).strip():
        raise InvalidPost("The text of a published post cannot be empty")
    columns["updated_at"] = ctx.now
    values = ", ".join(f"{name} = ${place}" for place, name in enumerate(columns, 2))
    changed = await ctx.db.fetchrow(
        f"update blog_posts set {values} where id = $1 returning *",  # noqa: S608 - our names
        row["id"], *columns.values(),
    )  # fmt: skip
    return _state(changed)


@mutation
async def create_preview_token(ctx: MutationContext, args: OnePost) -> NewDraft:
    """Return a new token for a draft; the one before is no longer valid. Errors: PostNotFound, NotADraft."""
    row = await locked(ctx.db, args.post_id)
    if row["status"] != "draft":
        raise NotADraft
    token = rules.new_token()
    await ctx.db.execute("update blog_posts set preview_hash = $2 where id = $1", row["id"], rules.token_hash(token))
    return NewDraft(id=row["id"], slug=row["slug"], preview_token=token)


@mutation
async def publish(ctx: MutationContext, args: Publish) -> PostState:
    """Publish a draft or an archived post; its preview token is deleted. Errors: PostNotFound, InvalidPost."""
    row = await locked(ctx.db, args.post_id)
    if not row["body_markdown"].strip():
        raise InvalidPost("A post without a text cannot be published")
    at = None if args.published_at is UNSET else from_ms(args.published_at)
    if row["status"] == "published" and at in {None, row["published_at"]}:
        return _state(row)
    changed = await ctx.db.fetchrow(
        """update blog_posts set status = 'published', preview_hash = null, updated_at = $3,
             published_at = coalesce($2, published_at, $3) where id = $1 returning *""",
        row["id"], at, ctx.now,
    )  # fmt: skip
    return _state(changed)


@mutation
async def archive(ctx: MutationContext, args: OnePost) -> PostState:
    """Take a post off the blog, and its preview token with it; it can be published again. Errors: PostNotFound."""
    row = await locked(ctx.db, args.post_id)
    changed = await ctx.db.fetchrow(
        """update blog_posts set status = 'archived', preview_hash = null, updated_at = $2
           where id = $1 and status <> 'archived' returning *""",
        row["id"], ctx.now,
    )  # fmt: skip
    return _state(changed or row)


@mutation
async def delete_post(ctx: MutationContext, args: OnePost) -> None:
    """Delete a post with its slugs and views. Errors: PostNotFound."""
    row = await locked(ctx.db, args.post_id)
    await ctx.db.execute("delete from blog_posts where id = $1", row["id"])


@mutation
async def set_redirects(ctx: MutationContext, args: SetRedirects) -> PostState:
    """Replace the former slugs that lead to a post. Errors: PostNotFound, InvalidSlug, SlugTaken."""
    row = await locked(ctx.db, args.post_id)
    wanted = [rules.check_slug(slug) for slug in args.redirect_from if slug != row["slug"]]
    await ctx.db.execute(
        "delete from blog_slugs where post_id = $1 and slug <> $2 and slug <> all($3)", row["id"], row["slug"], wanted
    )
    # In one order everywhere, so that two calls that take each other's slugs do not deadlock.
    for slug in sorted(set(wanted)):
        await _reserve(ctx, row["id"], [slug])
    changed = await ctx.db.fetchrow(
        "update blog_posts set updated_at = $2 where id = $1 returning *", row["id"], ctx.now
    )  # fmt: skip
    return _state(changed)


VIEWS = """
    coalesce((select sum(v.views) from blog_views v where v.post_id = p.id), 0)::bigint
    + (select count(*) from blog_viewers w where w.post_id = p.id)"""


@query(reads=("blog_posts", "blog_views", "blog_viewers"))
async def list_posts(ctx: QueryContext, args: ListPosts) -> list[ListedPost]:
    """Return all posts without their texts, the newest 500, of one status if it is given."""
    rows = await ctx.db.fetch(
        f"""select p.id, p.slug, p.status, p.title, p.author, p.tags, p.published_at, p.created_at, p.updated_at,
                   {VIEWS} as views
            from blog_posts p where $1::text is null or p.status = $1
            order by p.created_at desc, p.id desc limit {MOST_LISTED}""",  # noqa: S608 - constants
        None if args.status is UNSET else args.status,
    )
    return [
        ListedPost(
            id=row["id"],
            slug=row["slug"],
            status=row["status"],
            title=row["title"],
            author=row["author"],
            tags=row["tags"],
            published_at=given(_ms(row)),
            created_at=to_ms(row["created_at"]),
            updated_at=to_ms(row["updated_at"]),
            view_count=row["views"],
        )
        for row in rows
    ]


@query(reads=("blog_posts", "blog_slugs"))
async def get_post(ctx: QueryContext, args: OnePost) -> WrittenPost | None:
    """Return a post of any status, or null."""
    row = await ctx.db.fetchrow(
        f"select {COLUMNS}, p.status from blog_posts p where p.id = $1 or p.slug = $1",  # noqa: S608 - constants
        args.post_id,
    )
    return None if row is None else WrittenPost(status=row["status"], post=shown(row))


@query(reads=("blog_posts", "blog_views", "blog_viewers"))
async def get_post_analytics(ctx: QueryContext, args: OnePost) -> PostAnalytics | None:
    """Return how often a post was viewed, in all and by day, or null."""
    row = await ctx.db.fetchrow(
        f"""select p.id, p.slug, p.title, p.status, {VIEWS} as views,
                   (select array_agg(row(day, views) order by day) from (
                        select day, sum(views)::bigint as views from (
                            select v.day, v.views from blog_views v where v.post_id = p.id and v.day >= $2
                            union all
                            select w.day, 1 from blog_viewers w where w.post_id = p.id and w.day >= $2) counted
                        group by day) by_day) as days
            from blog_posts p where p.id = $1 or p.slug = $1""",  # noqa: S608 - constants
        args.post_id, (ctx.now - timedelta(days=MOST_DAYS)).date(),
    )  # fmt: skip
    if row is None:
        return None
    return PostAnalytics(
        post_id=row["id"],
        slug=row["slug"],
        title=row["title"],
        status=row["status"],
        view_count=row["views"],
        days=[DayViews(date=day.isoformat(), views=views) for day, views in row["days"] or ()],
    )


def _columns(given: dict[str, Any]) -> dict[str, Any]:
    """Return checked columns from arguments. Errors: InvalidPost."""
    columns: dict[str, Any] = {}
    for name, value in given.items():
        match name:
            case "title" | "author":
                columns[name] = rules.visible(name.title(), value)
            case "body_markdown":
                columns |= {name: value, "reading_time": rules.reading_time(value)}
            case "excerpt":
                columns[name] = trimmed(value) or None
            case "tags":
                tags = rules.tags_of(value)
                columns |= {name: tags, "tag_keys": [rules.tag_key(tag) for tag in tags]}
            case "canonical_url":
                columns[name] = rules.address("canonicalUrl", value, may_be_path=False)
            case "featured_image":
                columns[name] = rules.address("featuredImage", value, may_be_path=True)
    return columns


def _candidates(title: str) -> list[str]:
    """Return the slugs for a title, in the order in which they are tried. Errors: InvalidSlug."""
    slug = rules.slug_of(title)
    if not slug:
        raise InvalidSlug("No slug can be made from this title: give one")
    return [slug, *(rules.numbered(slug, number) for number in range(2, MOST_NUMBERS))]


async def _reserve(ctx: MutationContext, post_id: str, slugs: list[str]) -> str:
    """Return the first of these slugs that leads to no other post; from now on it leads to this. Errors: SlugTaken."""
    for slug in slugs:
        # A slug that another transaction reserves at the same time is waited for.
        owner = await ctx.db.fetchval(
            """insert into blog_slugs (slug, post_id, created_at) values ($1, $2, $3)
               on conflict (slug) do update set slug = excluded.slug returning post_id""",
            slug, post_id, ctx.now,
        )  # fmt: skip
        if owner == post_id:
            return slug
    raise SlugTaken


async def locked(db: Transaction, post: str) -> asyncpg.Record:
    """Lock a post, named by its id or slug, and return its row. Errors: PostNotFound."""
    row = await db.fetchrow("select * from blog_posts where id = $1 or slug = $1 for update", post)
    if row is None:
        raise PostNotFound
    return row


def _ms(row: asyncpg.Record) -> float | None:
    return None if row["published_at"] is None else to_ms(row["published_at"])


def _state(row: asyncpg.Record | None) -> PostState:
    if row is None:
        raise PostNotFound
    return PostState(id=row["id"], slug=row["slug"], status=row["status"], published_at=given(_ms(row)))
