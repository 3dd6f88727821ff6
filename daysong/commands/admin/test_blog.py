"""`daysong blog` and `daysong invites`."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from daysong.commands.admin import blog, invites
from daysong.commands.admin import command_line as options
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def test_a_post_is_written_published_and_deleted(world: World, tmp_path: Path) -> None:
    """Named by id or slug; each command as text and as JSON."""
    said: list[str] = []
    app, say = world.app, said.append
    text = tmp_path / "post.md"
    text.write_text("# Rain", encoding="utf-8")
    given = blog.given(title="Rain", body=str(text), tag=["news", ""], slug=None, canonical_url="https://x.org")
    assert given == {"title": "Rain", "bodyMarkdown": "# Rain", "tags": ["news"], "canonicalUrl": "https://x.org"}
    await blog.write(app, say, given, publish=False, as_json=True)
    draft = json.loads(said.pop())
    assert draft["slug"] == "rain"
    await blog.preview(app, say, "rain", as_json=False)
    assert said.pop() != draft["previewToken"]
    await blog.change(app, say, "updateDraft", blog.given(post_id="rain", title="Snow"), as_json=False)
    await blog.list_revisions(app, say, "rain", as_json=False)
    revision = said.pop()
    assert revision.endswith("6  Rain")
    await blog.show_revision(app, say, revision.split()[0], as_json=False)
    assert said.pop() == "title: Rain\n\n# Rain"
    await blog.move(app, say, "published", "rain", as_json=False)
    await blog.change(app, say, "setRedirects", blog.given(post_id="rain", redirect_from=["old"]), as_json=False)
    assert {line.split("  ", 1)[1] for line in said} == {"draft  rain", "published  rain"}
    await blog.list_posts(app, say, status="published", as_json=True)
    assert [post["title"] for post in json.loads(said.pop())] == ["Snow"]
    await blog.list_posts(app, say, status=None, as_json=False)
    assert said.pop().endswith("published  views      0  rain  Snow")
    await blog.show(app, say, "rain", as_json=False)
    assert said.pop() == "\n# Rain"
    assert "redirectFrom: old" in said
    await blog.analytics(app, say, "rain", as_json=True)
    assert json.loads(said.pop())["viewCount"] == 0
    await blog.move(app, say, "archived", "rain", as_json=True)
    assert json.loads(said.pop())["status"] == "archived"
    await blog.move(app, say, "archived", "rain", as_json=False)
    assert said.pop().endswith("archived  rain")
    await blog.move(app, say, "deleted", "rain", as_json=False)
    await blog.list_posts(app, say, status=None, as_json=False)
    assert said[-2:] == ["deleted", "none"]
    for gone in (blog.show(app, say, "rain", as_json=False), blog.move(app, say, "published", "rain", as_json=False)):
        with pytest.raises(DaysongError, match="Post not found"):
            await gone
    log = await world.db.pool.fetch("select action, outcome, who, target from audit_log order by id")
    assert {(row["who"], row["target"]) for row in log} == {("command line", draft["_id"])}
    assert [(row["action"], row["outcome"]) for row in log] == [
        ("blog published", "done"), ("blog archived", "done"), ("blog archived", "unchanged"), ("blog deleted", "done"),
    ]  # fmt: skip
    await blog.write(app, say, blog.given(title="At once", body=str(text)), publish=True, as_json=False)
    assert "published  at-once" in said[-1]


def test_a_text_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DaysongError, match="cannot be read"):
        blog.given(body=str(tmp_path / "missing.md"))


async def test_addresses_are_exported(world: World, anonymous: Person) -> None:
    """As CSV whose cells a spreadsheet does not evaluate, or as JSON; all of them, however many pages."""
    said: list[str] = []
    add = "emailNotify:addEmailNotification"
    await anonymous.mutation(add, email="=cmd@x.org", source='=HYPERLINK("http://evil.example"),x')
    await anonymous.mutation(add, email="bob@x.org", isAndroidInvite=True)
    for number in range(1500):
        await world.db.pool.execute(
            """insert into invitations (id, email, is_android, created_at, updated_at)
               values ($1, $1 || '@x.org', false, now(), now())""",
            f"z{number}",
        )
    await invites.export(world.app, said.append, as_json=False)
    rows = list(csv.reader(said))
    assert len(rows) == 1503
    assert rows[0][0] == "email"
    cells = {row[0]: row for row in rows}
    assert cells["'=cmd@x.org"][2] == '\'=HYPERLINK("http://evil.example"),x'
    assert cells["bob@x.org"][1:3] == ["yes", ""]
    said.clear()
    await invites.export(world.app, said.append, as_json=True)
    exported: list[Any] = json.loads(said.pop())
    assert len(exported) == 1502
    assert "=cmd@x.org" in {one["email"] for one in exported}
    await invites.remove(world.app, said.append, "BOB@x.org")
    with pytest.raises(DaysongError):
        await invites.remove(world.app, said.append, "bob@x.org")
    assert await world.app.call("emailNotify:removeInvitation", {"email": "nobody"}, caller=SYSTEM) is False


def test_the_options_are_understood() -> None:
    """Lists are repeated, and texts may be empty."""
    _, bound, _ = options.blog.parse_args(
        ["update", "rain", "--tag", "a", "--tag", "b", "--excerpt", "", "--body", "-"]
    )
    assert bound.arguments["tag"] == ["a", "b"]
    assert (bound.arguments["excerpt"], bound.arguments["body"]) == ("", "-")
    _, bound, _ = options.flags.parse_args(["set", "beta", "--percent", "5", "--allow", "user_a", "--allow", "user_b"])
    assert (bound.arguments["percent"], bound.arguments["allow"]) == (5, ["user_a", "user_b"])
