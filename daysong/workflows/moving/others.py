"""Devices, invitations, feature flags and the blog."""

from __future__ import annotations

from typing import Any

from daysong.features.blog import rules as blog
from daysong.features.feature_flags.rules import check_key
from daysong.features.invitations import rules as invitations
from daysong.kernel.errors import ExpectedError
from daysong.vendors.expo.client import is_token
from daysong.workflows.moving import documents as read
from daysong.workflows.moving.batches import Batch, Entry

STATUSES = {"draft": "draft", "published": "published", "archived": "archived"}
MOST_LISTED = 10_000
ALL = 100
LISTS = ((True, ("allowList", "allowedUserIds", "allow")), (False, ("denyList", "deniedUserIds", "deny")))


async def import_push_tokens(batch: Batch) -> None:
    """Import the devices of accounts."""
    rows = []
    for entry in await batch.owned():
        token, platform = read.text(entry.document, "token", 200), read.text(entry.document, "platform")
        if token is None or not is_token(token) or platform not in {"ios", "android"}:
            batch.tally.skip(entry.line, "not an Expo push token")
        else:
            made, changed = read.made(entry.document, batch.now), read.changed(entry.document, batch.now)
            rows.append((entry.id, entry.user_id, token, platform, made, changed))
    await batch.insert(
        """insert into push_tokens (id, user_id, token, platform, created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
           on conflict do nothing returning id""",
        rows,
    )


async def import_invitations(batch: Batch) -> None:
    """Import e-mail addresses that asked to be notified; an address that is here already stays as it is."""
    rows: dict[str, tuple[Any, ...]] = {}
    for entry in batch.entries:
        document = entry.document
        try:
            email = invitations.normalized(
                read.text(document, "email", invitations.LONGEST_EMAIL) or "", production=batch.settings.production
            )
        except invitations.InvalidEmail:
            batch.tally.skip(entry.line, "not an e-mail address")
            continue
        if email in rows:
            batch.tally.merged += 1
            continue
        rows[email] = (
            entry.id, email, read.flag(document, "isAndroidInvite") or False,
            read.text(document, "source", invitations.LONGEST_SOURCE), read.made(document, batch.now),
            read.changed(document, batch.now),
        )  # fmt: skip
    await batch.insert(
        """insert into invitations (id, email, is_android, source, created_at, updated_at)
           select * from unnest($1::text[], $2::text[], $3::boolean[], $4::text[], $5::timestamptz[], $6::timestamptz[])
           on conflict do nothing returning id""",
        list(rows.values()),
    )


async def import_feature_flags(batch: Batch) -> None:
    """Import flags with their percentage and lists; one that an operator has set here stays as it is."""
    for entry in batch.entries:
        document = entry.document
        key = read.text(document, "key", 64) or read.text(document, "name", 64) or read.text(document, "flag", 64)
        try:
            check_key(key or "")
        except ExpectedError:
            batch.tally.skip(entry.line, "not the name of a flag")
            continue
        inserted = await batch.db.fetchval(
            """insert into feature_flags (key, percent, created_at, updated_at) values ($1, $2, $3, $3)
               on conflict (key) do nothing returning true""",
            key, _percent(document), batch.now,
        )  # fmt: skip
        if inserted is None:
            batch.tally.known += 1
            continue
        batch.tally.imported += 1
        for is_on, names in (
            (True, ("allowList", "allowedUserIds", "allow")),
            (False, ("denyList", "deniedUserIds", "deny")),
        ):
            listed = [one for name in names for one in read.texts(document, name, MOST_LISTED, 64)]
            await batch.db.execute(
                """insert into feature_flag_accounts (flag_key, user_id, is_on, created_at)
                   select distinct on (u.id) $1, u.id, $2, $3 from users u left join imported_ids i on i.user_id = u.id
                   where u.id = any($4) or u.clerk_id = any($4) or i.old_id = any($4) on conflict do nothing""",
                key, is_on, batch.now, listed,
            )  # fmt: skip


def _percent(document: read.Document) -> int | None:
    """Return the share of accounts that a flag is on for; None for its default."""
    enabled = read.flag(document, "enabled")
    if enabled is False:
        return 0
    for name in ("percentage", "percent", "rolloutPercentage"):
        percent = read.whole(document, name, ALL)
        if percent is not None:
            return percent
    return ALL if enabled else None


async def import_blog_posts(batch: Batch) -> None:
    """Import posts with the slugs that lead to them."""
    for entry in batch.entries:
        try:
            row = _post(batch, entry)
        except ExpectedError:
            batch.tally.skip(entry.line, "not a valid post")
            continue
        inserted = await batch.insert(
            """insert into blog_posts (id, status, slug, title, body_markdown, excerpt, author, tags, tag_keys,
                                       reading_time, canonical_url, featured_image, published_at, created_at,
                                       updated_at)
               select id, status, slug, title, body, excerpt, author, string_to_array(tags, e'\\n'),
                      string_to_array(keys, e'\\n'), minutes, canonical, image, published, made, changed
               from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                           $8::text[], $9::text[], $10::integer[], $11::text[], $12::text[], $13::timestamptz[],
                           $14::timestamptz[], $15::timestamptz[])
                 as p (id, status, slug, title, body, excerpt, author, tags, keys, minutes, canonical, image, published,
                       made, changed)
               where not exists (select from blog_slugs s where s.slug = p.slug)
               on conflict do nothing returning id""",
            [row],
        )
        former = read.texts(entry.document, "redirectFrom", blog.MOST_REDIRECTS, blog.LONGEST_SLUG)
        await batch.execute(
            """insert into blog_slugs (slug, post_id, created_at)
               select s.slug, s.post_id, s.at
               from unnest($1::text[], $2::text[], $3::timestamptz[]) as s (slug, post_id, at)
               where not exists (select from blog_posts b where b.slug = s.slug) on conflict do nothing""",
            [(slug, entry.id, batch.now) for slug in former if inserted and _is_slug(slug)],
        )


def _is_slug(text: str) -> bool:
    try:
        return bool(blog.check_slug(text))
    except blog.InvalidSlug:
        return False


def _post(batch: Batch, entry: Entry) -> tuple[Any, ...]:
    document = entry.document
    title = read.text(document, "title", blog.LONGEST_TITLE) or "Untitled"
    body = read.text(document, "bodyMarkdown", blog.LONGEST_BODY) or ""
    published = read.moment(document, "publishedAt")
    status = STATUSES.get(read.text(document, "status") or "", "draft" if published is None else "published")
    made = read.made(document, batch.now)
    tags = blog.tags_of(read.texts(document, "tags", blog.MOST_TAGS, blog.LONGEST_TAG))
    return (
        entry.id, status, blog.check_slug(read.text(document, "slug") or blog.slug_of(title)), title, body,
        read.text(document, "excerpt", blog.LONGEST_EXCERPT),
        read.text(document, "author", blog.LONGEST_AUTHOR) or "Anonymous", "\n".join(tags),
        "\n".join(map(blog.tag_key, tags)), blog.reading_time(body),
        _address(document, "canonicalUrl", may_be_path=False), _address(document, "featuredImage", may_be_path=True),
        published or (made if status == "published" else None), made, read.changed(document, batch.now),
    )  # fmt: skip


def _address(document: read.Document, name: str, *, may_be_path: bool) -> str | None:
    return blog.address(name, read.text(document, name, blog.LONGEST_ADDRESS) or "", may_be_path=may_be_path)


async def import_blog_revisions(batch: Batch) -> None:
    """Import earlier texts of posts."""
    rows = []
    for entry in batch.entries:
        post_id, body = read.text(entry.document, "postId", 64), read.text(entry.document, "bodyMarkdown")
        if post_id is None or body is None or len(body) > blog.LONGEST_BODY:
            batch.tally.skip(entry.line, "not a revision of a post")
            continue
        title = read.text(entry.document, "title", blog.LONGEST_TITLE) or "Untitled"
        rows.append((entry.id, post_id, title, body, read.made(entry.document, batch.now)))
    await batch.insert(
        """insert into blog_revisions (id, post_id, title, body_markdown, created_at)
           select r.* from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
             as r (id, post_id, title, body, at)
           join blog_posts p on p.id = r.post_id
           on conflict do nothing returning id""",
        rows,
    )


async def import_blog_views(batch: Batch) -> None:
    """Import the views of posts by day."""
    rows: dict[tuple[str, Any], int] = {}
    for entry in batch.entries:
        post_id, day = read.text(entry.document, "postId", 64), read.day(entry.document, "date")
        views = read.whole(entry.document, "views", 2**53) or read.whole(entry.document, "viewCount", 2**53) or 0
        if post_id is None or day is None:
            batch.tally.skip(entry.line, "no postId or date")
        else:
            rows[post_id, day] = rows.get((post_id, day), 0) + views
    inserted = await batch.db.fetch(
        """insert into blog_views (post_id, day, views)
           select v.post_id, v.day, v.views from unnest($1::text[], $2::date[], $3::bigint[]) as v (post_id, day, views)
           join blog_posts b on b.id = v.post_id
           on conflict do nothing returning post_id""",
        [post_id for post_id, _ in rows], [day for _, day in rows], list(rows.values()),
    )  # fmt: skip
    batch.tally.imported += len(inserted)
    batch.tally.known += len(rows) - len(inserted)
