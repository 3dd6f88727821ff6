"""The options of `daysong flags`, `daysong invites` and `daysong blog`. Light to import, as cli.py is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App as CommandLine
from cyclopts import Parameter
from cyclopts.validators import Number

from daysong.commands import running
from daysong.commands.options import DATA_DIR, DataDir, Json

flags = CommandLine(name="flags", help="Feature flags: for how many accounts each is on, and for which.")
invites = CommandLine(name="invites", help="E-mail addresses that asked to be notified.")
blog = CommandLine(name="blog", help="Posts of the blog; a post is named by its id or its slug.")

Percent = Annotated[int | None, Parameter(help="Of all accounts, 0 to 100.", validator=Number(gte=0, lte=100))]
Allowed = Annotated[list[str] | None, Parameter(help="An account for which it is on.", negative=())]
Denied = Annotated[list[str] | None, Parameter(help="An account for which it is off.", negative=())]
Unlisted = Annotated[list[str] | None, Parameter(help="An account to take off both lists.", negative=())]
PostStatus = Literal["draft", "published", "archived"]
Text = Annotated[
    str | None, Parameter(help='A file of Markdown; "-" reads the standard input.', allow_leading_hyphen=True)
]
Slug = Annotated[str | None, Parameter(help="The end of its address; made from the title by default.")]
Tags = Annotated[list[str] | None, Parameter(help="A tag; can be repeated.", negative=())]
Picture = Annotated[str | None, Parameter(help="The address of a picture, or its path on the site.")]
Former = Annotated[list[str] | None, Parameter(help="A former slug; can be repeated.", negative=())]


@flags.command(name="list")
def list_flags(*, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """List all flags with their percentage and lists."""
    from daysong.commands.admin import flags as command

    running.with_app(data_dir, lambda app: command.list_flags(app, running.say, as_json=json_))


@flags.command(name="set")
def set_flag(
    key: str,
    *,
    percent: Percent = None,
    allow: Allowed = None,
    deny: Denied = None,
    unlist: Unlisted = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Create or change a flag. Accounts are user ids or Clerk ids; the lists override the percentage."""
    from daysong.commands.admin import flags as command

    lists = {"allow": allow or (), "deny": deny or (), "unlist": unlist or ()}
    running.with_app(data_dir, lambda app: command.set_flag(app, running.say, key, percent=percent, **lists))


@flags.command(name="remove")
def remove_flag(key: str, *, data_dir: DataDir = DATA_DIR) -> None:
    """Remove a flag with its lists; one that exists from the start returns to its default."""
    from daysong.commands.admin import flags as command

    running.with_app(data_dir, lambda app: command.remove_flag(app, running.say, key))


@invites.command(name="export")
def export_invites(*, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Print all addresses as CSV."""
    from daysong.commands.admin import invites as command

    running.with_app(data_dir, lambda app: command.export(app, running.say, as_json=json_))


@invites.command(name="remove")
def remove_invite(email: str, *, data_dir: DataDir = DATA_DIR) -> None:
    """Delete an address."""
    from daysong.commands.admin import invites as command

    running.with_app(data_dir, lambda app: command.remove(app, running.say, email))


@blog.command(name="create")
def create_post(
    title: str,
    *,
    body: Annotated[
        str, Parameter(help='A file of Markdown; "-" reads the standard input.', allow_leading_hyphen=True)
    ],
    slug: Slug = None,
    excerpt: str | None = None,
    author: str | None = None,
    tag: Tags = None,
    canonical_url: str | None = None,
    featured_image: Picture = None,
    publish: Annotated[bool, Parameter(negative=(), help="Publish it at once.")] = False,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Save a draft, and print the token by which it can be read before it is published."""
    parts = {
        "title": title, "body": body, "slug": slug, "excerpt": excerpt, "author": author, "tag": tag,
        "canonical_url": canonical_url, "featured_image": featured_image,
    }  # fmt: skip
    from daysong.commands.admin import blog as command

    given = command.given(**parts)
    running.with_app(data_dir, lambda app: command.write(app, running.say, given, publish=publish, as_json=json_))


@blog.command(name="update")
def update_post(
    post: str,
    *,
    title: str | None = None,
    body: Text = None,
    slug: Slug = None,
    excerpt: str | None = None,
    author: str | None = None,
    tag: Tags = None,
    canonical_url: str | None = None,
    featured_image: Picture = None,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Change a post. An empty text removes an excerpt, an address or the tags; a former slug redirects."""
    parts = {
        "title": title, "body": body, "slug": slug, "excerpt": excerpt, "author": author, "tag": tag,
        "canonical_url": canonical_url, "featured_image": featured_image,
    }  # fmt: skip
    _change("updateDraft", post, json_, data_dir, **parts)


@blog.command(name="publish")
def publish_post(post: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Publish a draft, or a post that was archived."""
    _move("published", post, json_, data_dir)


@blog.command(name="archive")
def archive_post(post: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Take a post off the blog; it can be published again."""
    _move("archived", post, json_, data_dir)


@blog.command(name="delete")
def delete_post(post: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Delete a post with its slugs and its numbers of views."""
    _move("deleted", post, json_, data_dir)


@blog.command(name="redirects")
def set_redirects(post: str, *, slug: Former = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Replace the former slugs that lead to a post."""
    _change("setRedirects", post, json_, data_dir, redirect_from=slug or [])


@blog.command(name="preview")
def preview_post(post: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Print a new preview token of a draft; the one before is no longer valid."""
    from daysong.commands.admin import blog as command

    running.with_app(data_dir, lambda app: command.preview(app, running.say, post, as_json=json_))


@blog.command(name="list")
def list_posts(*, status: PostStatus | None = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """List the newest 500 posts, without their texts."""
    from daysong.commands.admin import blog as command

    running.with_app(data_dir, lambda app: command.list_posts(app, running.say, status=status, as_json=json_))


@blog.command(name="show")
def show_post(post: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Print a whole post."""
    from daysong.commands.admin import blog as command

    running.with_app(data_dir, lambda app: command.show(app, running.say, post, as_json=json_))


@blog.command(name="analytics")
def count_views(post: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Print how often a post was viewed, by day and in all."""
    from daysong.commands.admin import blog as command

    running.with_app(data_dir, lambda app: command.analytics(app, running.say, post, as_json=json_))


@blog.command(name="revisions")
def list_revisions(post: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """List the earlier texts of a post, the newest 100."""
    from daysong.commands.admin import blog as command

    running.with_app(data_dir, lambda app: command.list_revisions(app, running.say, post, as_json=json_))


@blog.command(name="revision")
def show_revision(revision: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Print an earlier text of a post."""
    from daysong.commands.admin import blog as command

    running.with_app(data_dir, lambda app: command.show_revision(app, running.say, revision, as_json=json_))


def _change(function: str, post: str, as_json: bool, data_dir: Path, **parts: Any) -> None:
    from daysong.commands.admin import blog as command

    given = command.given(post_id=post, **parts)
    running.with_app(data_dir, lambda app: command.change(app, running.say, function, given, as_json=as_json))


def _move(to: str, post: str, as_json: bool, data_dir: Path) -> None:
    from daysong.commands.admin import blog as command

    running.with_app(data_dir, lambda app: command.move(app, running.say, to, post, as_json=as_json))
