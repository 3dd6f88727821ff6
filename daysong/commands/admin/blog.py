"""`daysong blog`: writing, publishing and counting posts. What publishes, archives or deletes is in the audit log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from daysong.app import App
from daysong.commands.support import saying
from daysong.commands.support.saying import say_json
from daysong.kernel import values
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.registry import camel
from daysong.kernel.time.clock import from_ms

Say = Callable[[str], None]


def given(**arguments: Any) -> dict[str, Any]:
    """Return the arguments that were given, by their names on the wire; `body` names a file, "-" the standard input."""
    found = {name: value for name, value in arguments.items() if value is not None}
    if "body" in found:
        found["body_markdown"] = _read(found.pop("body"))
    if "tag" in found:
        found["tags"] = [tag for tag in found.pop("tag") if tag]
    return {camel(name): value for name, value in found.items()}


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DaysongError(f"The text cannot be read: {error}") from None


async def write(app: App, say: Say, arguments: dict[str, Any], *, publish: bool, as_json: bool) -> None:
    """Save a new draft, or publish it at once."""
    draft = await _call(app, "createDraft", arguments)
    if publish:
        await move(app, say, "published", draft["_id"], as_json=as_json)
        return
    if as_json:
        say_json(say, draft)
        return
    say(f"{draft['_id']}  draft  {draft['slug']}")
    say(f"preview token {draft['previewToken']}")


async def change(app: App, say: Say, function: str, arguments: dict[str, Any], *, as_json: bool) -> None:
    """Change a post, and say its id, status and slug."""
    _say_post(say, await _call(app, function, arguments), as_json=as_json)


async def move(app: App, say: Say, to: str, post: str, *, as_json: bool) -> None:
    """Publish, archive or delete a post by the function of the console, and say its id, status and slug."""
    changed = await saying.call(app, "support/publishing:changePost", post_id=post, to=to)
    _say_post(say, changed.get("post"), as_json=as_json)


def _say_post(say: Say, post: Any, *, as_json: bool) -> None:
    if as_json:
        say_json(say, post)
    elif post is None:
        say("deleted")
    else:
        say(f"{post['_id']}  {post['status']}  {post['slug']}")


async def preview(app: App, say: Say, post: str, *, as_json: bool) -> None:
    """Say a new preview token of a draft; the one before is no longer valid."""
    draft = await _call(app, "createPreviewToken", {"postId": post})
    if as_json:
        say_json(say, draft)
    else:
        say(draft["previewToken"])


async def list_posts(app: App, say: Say, *, status: str | None, as_json: bool) -> None:
    """Say all posts without their texts, newest first."""
    posts = await _call(app, "listPosts", {} if status is None else {"status": status})
    if as_json:
        say_json(say, posts)
        return
    for post in posts:
        say(f"{post['_id']}  {post['status']:9}  views {post['viewCount']:>6.0f}  {post['slug']}  {post['title']}")
    if not posts:
        say("none")


async def show(app: App, say: Say, post: str, *, as_json: bool) -> None:
    """Say a whole post: a line for each part and then its text."""
    found = await _call(app, "getPost", {"postId": post})
    if found is None:
        raise DaysongError("Post not found")
    if as_json:
        say_json(say, found)
        return
    parts = {"status": found["status"], **found["post"]}
    text = parts.pop("bodyMarkdown")
    for name, value in parts.items():
        say(f"{name}: {', '.join(value) if isinstance(value, list) else value}")
    say(f"\n{text}")


async def analytics(app: App, say: Say, post: str, *, as_json: bool) -> None:
    """Say how often a post was viewed, by day."""
    found = await _call(app, "getPostAnalytics", {"postId": post})
    if found is None:
        raise DaysongError("Post not found")
    if as_json:
        say_json(say, found)
        return
    for day in found["days"]:
        say(f"{day['date']}  {day['views']:>6.0f}")
    say(f"in all      {found['viewCount']:>6.0f}")


async def list_revisions(app: App, say: Say, post: str, *, as_json: bool) -> None:
    """Say the earlier texts of a post, newest first, with their lengths in characters."""
    revisions = await _call(app, "listRevisions", {"postId": post})
    if as_json:
        say_json(say, revisions)
        return
    for revision in revisions:
        written = f"{from_ms(revision['createdAt']):%Y-%m-%d %H:%M}"
        say(f"{revision['_id']}  {written}  {revision['length']:>6.0f}  {revision['title']}")
    if not revisions:
        say("none")


async def show_revision(app: App, say: Say, revision: str, *, as_json: bool) -> None:
    """Say an earlier text of a post: its title and the text."""
    found = await _call(app, "getRevision", {"revisionId": revision})
    if found is None:
        raise DaysongError("Revision not found")
    if as_json:
        say_json(say, found)
        return
    say(f"title: {found['title']}\n\n{found['bodyMarkdown']}")


async def _call(app: App, function: str, arguments: dict[str, Any]) -> Any:
    return values.encode(await app.call(f"blog:{function}", arguments, caller=SYSTEM), "json")
