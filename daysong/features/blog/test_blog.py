"""The blog: published posts are public, only the admin key writes, and each viewer counts once a day."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.features.blog import reading, rules
from daysong.kernel.functions.context import Caller
from rehearsal.blog import write_post
from rehearsal.library import nodes, plan
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import FunctionError, Person, World, free_port, functions

pytestmark = pytest.mark.anyio

TODAY = f"{NOW:%Y-%m-%d}"


async def test_an_earlier_text_of_a_post_is_kept(world: World, admin: Person) -> None:
    """A change of another part keeps none, and only the newest hundred stay; they go with the post."""
    post = (await write_post(world, "Rain"))["_id"]
    await admin.mutation("blog:updateDraft", postId=post, tags=["News"])
    assert await admin.query("blog:listRevisions", postId=post) == []
    for number in range(101):
        world.clock.forward(timedelta(minutes=1))
        await admin.mutation("blog:updateDraft", postId=post, bodyMarkdown=f"text {number}")
    revisions = await admin.query("blog:listRevisions", postId=post)
    assert len(revisions) == 100
    newest = await admin.query("blog:getRevision", revisionId=revisions[0]["_id"])
    oldest = await admin.query("blog:getRevision", revisionId=revisions[-1]["_id"])
    assert (newest["bodyMarkdown"], oldest["bodyMarkdown"], newest["title"]) == ("text 99", "text 0", "Rain")
    await admin.mutation("blog:deletePost", postId=post)
    assert await admin.query("blog:getRevision", revisionId=newest["_id"]) is None
    assert await world.db.pool.fetchval("select count(*) from blog_revisions") == 0


async def test_a_post_is_written_read_and_taken_away(world: World, anonymous: Person, admin: Person) -> None:
    """A draft is shown for its token only, a published post to all callers, an archived one to none."""
    draft = await admin.mutation(
        "blog:createDraft", title=" Rain & Songs ", bodyMarkdown="word " * 450, excerpt="How it began", author="Ana",
        tags=["News", " news ", "Söngs"], canonicalUrl="https://daysong.example/rain", featuredImage="/rain.png",
    )  # fmt: skip
    assert draft["slug"] == "rain-songs"
    token = draft["previewToken"]
    seen = await anonymous.query("blog:getDraftByPreviewToken", previewToken=token)
    assert "publishedAt" not in seen
    assert await anonymous.query("blog:getBySlug", slug="rain-songs") is None
    assert await anonymous.query("blog:listPublished") == []
    world.clock.forward(timedelta(hours=1))
    await admin.mutation("blog:publish", postId=draft["_id"])
    assert await anonymous.query("blog:getDraftByPreviewToken", previewToken=token) is None
    post = await anonymous.query("blog:getBySlug", slug="Rain-Songs")
    assert post == {
        "_id": draft["_id"], "_creationTime": NOW.timestamp() * 1000, "slug": "rain-songs", "title": "Rain & Songs",
        "bodyMarkdown": "word " * 450, "excerpt": "How it began", "author": "Ana", "tags": ["News", "Söngs"],
        "readingTime": 3, "canonicalUrl": "https://daysong.example/rain", "featuredImage": "/rain.png",
        "publishedAt": (NOW + timedelta(hours=1)).timestamp() * 1000,
        "updatedAt": (NOW + timedelta(hours=1)).timestamp() * 1000,
    }  # fmt: skip
    for tag, found in (("NEWS", [post]), ("söngs", [post]), ("other", [])):
        assert await anonymous.query("blog:listByTag", tag=tag) == found
    assert await anonymous.query("blog:listPublished") == await anonymous.query("blog:listRecent") == [post]
    await admin.mutation("blog:archive", postId="rain-songs")
    assert await anonymous.query("blog:listPublished") == await anonymous.query("blog:listByTag", tag="news") == []
    assert await anonymous.query("blog:getBySlug", slug="rain-songs") is None
    again = await admin.mutation("blog:publish", postId="rain-songs")
    assert again["publishedAt"] == post["publishedAt"]
    await admin.mutation("blog:deletePost", postId=draft["_id"])
    assert await anonymous.query("blog:listPublished") == []
    with pytest.raises(FunctionError, match="Post not found"):
        await admin.mutation("blog:deletePost", postId=draft["_id"])


async def test_f08_writing_is_for_the_admin_key_alone(alice: Person, anonymous: Person) -> None:
    """To other callers these functions do not exist."""
    public = {"listPublished", "listRecent", "listByTag", "getBySlug", "getDraftByPreviewToken", "incrementViewCount"}
    internal = [one for one in functions() if one.identifier.startswith("blog:") and not one.public]
    assert {
        one.identifier.partition(":")[2] for one in functions() if one.public and "blog:" in one.identifier
    } == public
    assert len(internal) == 13
    for function in internal:
        for person in (alice, anonymous):
            with pytest.raises(FunctionError, match="Could not find public function"):
                await person.call(function.kind.value.lower(), function.identifier, {"title": "x", "bodyMarkdown": "x"})


async def test_a_former_slug_leads_to_the_post(world: World, anonymous: Person, admin: Person) -> None:
    """From publication on; of a draft it is free again. One that leads to a post cannot be taken."""
    post = await write_post(world, "First", published=False)
    await admin.mutation("blog:updateDraft", postId="first", slug="second")
    assert (await write_post(world, "First"))["slug"] == "first"
    await admin.mutation("blog:publish", postId="second")
    changed = await admin.mutation("blog:updateDraft", postId=post["_id"], slug="third", title="Third")
    assert (changed["slug"], changed["status"]) == ("third", "published")
    for slug in ("second", "third"):
        found = await anonymous.query("blog:getBySlug", slug=slug)
        assert (found["slug"], found["redirectFrom"]) == ("third", ["second"])
    for path, args in (
        ("blog:createDraft", {"title": "x", "bodyMarkdown": "x", "slug": "second"}),
        ("blog:updateDraft", {"postId": "first", "slug": "second"}),
        ("blog:setRedirects", {"postId": "first", "redirectFrom": ["new", "third"]}),
    ):
        with pytest.raises(FunctionError) as refused:
            await admin.mutation(path, **args)
        assert refused.value.code == "slug_taken"
    await admin.mutation("blog:setRedirects", postId="third", redirectFrom=["2019-old", "third", "2018-old"])
    found = await anonymous.query("blog:getBySlug", slug="2018-old")
    assert (found["slug"], sorted(found["redirectFrom"])) == ("third", ["2018-old", "2019-old"])
    assert await anonymous.query("blog:getBySlug", slug="second") is None
    assert await anonymous.query("blog:getBySlug", slug="new") is None
    await admin.mutation("blog:updateDraft", postId="third", slug="2018-old")
    assert (await anonymous.query("blog:getBySlug", slug="third"))["slug"] == "2018-old"


async def test_a_title_used_twice_gets_a_number(world: World) -> None:
    """Also by drafts that are written at the same moment."""
    slugs = await asyncio.gather(*(write_post(world, "Same", published=False) for _ in range(4)))
    assert sorted(post["slug"] for post in slugs) == ["same", "same-2", "same-3", "same-4"]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ({"title": " \u2800"}, "invalid_post"),
        ({"title": "雨の日"}, "invalid_slug"),
        ({"slug": "Bad Slug"}, "invalid_slug"),
        ({"author": " "}, "invalid_post"),
        ({"tags": ["a", ""]}, "invalid_post"),
        ({"tags": [f"t{number}" for number in range(11)]}, "invalid_post"),
        ({"canonicalUrl": "javascript:alert(1)"}, "invalid_post"),
        ({"featuredImage": "//evil.example/x.png"}, "invalid_post"),
    ],
)
async def test_a_bad_post_is_refused(world: World, admin: Person, args: dict[str, Any], code: str) -> None:
    """When it is written and when it is changed; nothing is left behind."""
    with pytest.raises(FunctionError) as refused:
        await admin.mutation("blog:createDraft", **({"title": "x", "bodyMarkdown": "x"} | args))
    assert refused.value.code == code
    assert await admin.query("blog:listPosts") == []
    if args != {"title": "雨の日"}:
        post = await write_post(world)
        with pytest.raises(FunctionError) as refused:
            await admin.mutation("blog:updateDraft", postId=post["_id"], **args)
        assert refused.value.code == code
    assert await world.db.pool.fetchval("select count(*) from blog_slugs") <= 1


async def test_a_post_without_a_text_is_not_published(world: World, admin: Person) -> None:
    draft = await write_post(world, bodyMarkdown=" ", published=False)
    with pytest.raises(FunctionError, match="without a text"):
        await admin.mutation("blog:publish", postId=draft["_id"])
    await admin.mutation("blog:updateDraft", postId=draft["_id"], bodyMarkdown="Now", excerpt="Short")
    await admin.mutation("blog:publish", postId=draft["_id"])
    with pytest.raises(FunctionError, match="cannot be empty"):
        await admin.mutation("blog:updateDraft", postId=draft["_id"], bodyMarkdown="")
    await admin.mutation("blog:updateDraft", postId=draft["_id"], excerpt="")
    assert "excerpt" not in (await admin.query("blog:getPost", postId=draft["_id"]))["post"]


async def test_a_preview_token_is_one_drafts_and_can_be_replaced(
    world: World, anonymous: Person, admin: Person
) -> None:
    """It is stored as a hash; a token that is none shows nothing."""
    draft = await write_post(world, published=False)
    for other in ("", "x", draft["previewToken"][:-1], draft["previewToken"].swapcase()):
        assert await anonymous.query("blog:getDraftByPreviewToken", previewToken=other) is None
    assert draft["previewToken"] not in str(await world.db.pool.fetch("select * from blog_posts"))
    renewed = await admin.mutation("blog:createPreviewToken", postId=draft["_id"])
    assert await anonymous.query("blog:getDraftByPreviewToken", previewToken=draft["previewToken"]) is None
    assert await anonymous.query("blog:getDraftByPreviewToken", previewToken=renewed["previewToken"])
    await admin.mutation("blog:archive", postId=draft["_id"])
    assert await anonymous.query("blog:getDraftByPreviewToken", previewToken=renewed["previewToken"]) is None
    with pytest.raises(FunctionError, match="not a draft"):
        await admin.mutation("blog:createPreviewToken", postId=draft["_id"])


async def test_each_viewer_counts_once_a_day(
    world: World, alice: Person, bob: Person, anonymous: Person, admin: Person
) -> None:
    """For today or for yesterday, not for both; the sum stays when the viewers are forgotten."""
    post = await write_post(world)
    yesterday = f"{NOW - timedelta(days=1):%Y-%m-%d}"

    async def views() -> Any:
        found = await admin.query("blog:getPostAnalytics", postId=post["_id"])
        return found["viewCount"], [(day["date"], day["views"]) for day in found["days"]]

    for person in (alice, bob, anonymous):
        for _ in range(3):
            await person.mutation("blog:incrementViewCount", postId=post["_id"], date=TODAY)
            await person.mutation("blog:incrementViewCount", postId=post["_id"], date=yesterday)
    other = Caller(viewer="another address")
    await world.app.call("blog:incrementViewCount", {"postId": post["_id"], "date": yesterday}, caller=other)
    counted = (4, [(yesterday, 1), (TODAY, 3)])
    assert await views() == counted
    assert [one["viewCount"] for one in await admin.query("blog:listPosts")] == [4]
    world.clock.forward(timedelta(days=1))
    await admin.action("crons:retention")
    assert await world.db.pool.fetchval("select count(*) from blog_viewers") == 0
    assert await views() == counted
    with pytest.raises(FunctionError, match="today or yesterday"):
        await bob.mutation("blog:incrementViewCount", postId=post["_id"], date=yesterday)
    await bob.mutation("blog:incrementViewCount", postId=post["_id"], date=TODAY)
    assert await views() == (5, [(yesterday, 1), (TODAY, 4)])


async def test_a_post_that_is_not_published_is_not_counted(world: World, anonymous: Person) -> None:
    """No more than one that does not exist."""
    draft = await write_post(world, published=False)
    for post in (draft["_id"], "post_unknown"):
        assert await anonymous.mutation("blog:incrementViewCount", postId=post, date=TODAY) is None
    assert await world.db.pool.fetchval("select count(*) from blog_viewers") == 0


async def test_lists_are_bounded(world: World, anonymous: Person) -> None:
    """To the newest 500 posts and 4 MiB."""
    await world.db.pool.execute(
        """insert into blog_posts (id, status, slug, title, body_markdown, author, tags, tag_keys, reading_time,
                                   published_at, created_at, updated_at)
           select 'post_' || n, 'published', 'p' || n, 'T', repeat('x', case when n > 590 then 100000 else 10 end), 'A',
                  array['a'], array['a'], 1, $1::timestamptz + n * interval '1 second', $1, $1
           from generate_series(1, 600) n""",
        NOW,
    )
    for listed in (await anonymous.query("blog:listPublished"), await anonymous.query("blog:listByTag", tag="A")):
        assert [one["_id"] for one in listed] == [f"post_{number}" for number in range(600, 100, -1)]
    await world.db.pool.execute("update blog_posts set body_markdown = repeat('x', 100000)")
    assert len(await anonymous.query("blog:listPublished")) == 4 * 2**20 // 101_008
    assert len(await anonymous.query("blog:listRecent", limit=50)) == 41
    assert len(await anonymous.query("blog:listRecent")) == 3
    await world.db.pool.execute("analyze blog_posts")
    for sql, args in ((reading.RECENT_SQL, ("3",)), (reading.SLUG_SQL, ("'p7'",)), (reading.DRAFT_SQL, ("'\\x00'",))):
        found = nodes(await plan(world, sql, args, generic=True))
        scanned = [node.get("Relation Name") for node in found if node["Node Type"] == "Seq Scan"]
        assert "blog_posts" not in scanned
    assert max(node["Actual Rows"] for node in nodes(await plan(world, reading.RECENT_SQL, ("3",), generic=True))) <= 3


async def test_an_anonymous_reader_on_a_socket_sees_changes_at_once(database_url: str, data_dir: Path) -> None:
    """Publishing, a new slug and deletion arrive by themselves."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world:
        draft = await write_post(world, published=False)
        async with SyncSocket(world.origin) as socket:
            await socket.connect()
            await socket.subscribe(
                0, q0=("blog:listPublished", {}), q1=("blog:getBySlug", {"slug": "a-post"}),
                q2=("blog:getDraftByPreviewToken", {"previewToken": draft["previewToken"]}),
                q3=("featureFlags:getUserFlags", {}),
            )  # fmt: skip
            first = _values(await socket.transition(1))
            assert (first[0], first[1], first[2]["slug"], first[3]) == ([], None, "a-post", {})
            caller = Caller(is_admin=True)
            await world.app.call("blog:publish", {"postId": draft["_id"]}, caller=caller)
            published = _values(await socket.receive())
            assert (len(published[0]), published[1]["slug"], published[2]) == (1, "a-post", None)
            await world.app.call("blog:updateDraft", {"postId": draft["_id"], "slug": "b"}, caller=caller)
            assert _values(await socket.receive())[1]["slug"] == "b"
            await world.app.call("blog:deletePost", {"postId": draft["_id"]}, caller=caller)
            assert _values(await socket.receive()) == {0: [], 1: None}


async def test_flags_arrive_on_a_socket(database_url: str, data_dir: Path) -> None:
    """When an operator changes the percentage, and when the account is put on a list."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world:
        alice = await world.person("alice")
        async with SyncSocket(world.origin) as socket:
            await socket.connect()
            await socket.authenticate(0, alice.headers["Authorization"].removeprefix("Bearer "))
            await socket.subscribe(0, q0=("featureFlags:getUserFlags", {}))
            assert _values(await socket.transition(1))[0] == {"event-extraction": True}
            for change, on in (({"percent": 0}, False), ({"allow": ["user_alice"]}, True)):
                args = {"key": "event-extraction", **change}
                await world.app.call("featureFlags:setFlag", args, caller=Caller(is_admin=True))
                assert _values(await socket.receive())[0] == {"event-extraction": on}


def _values(message: dict[str, Any]) -> dict[int, Any]:
    assert message["type"] == "Transition", message
    return {change["queryId"]: change["value"] for change in message["modifications"]}


def test_a_slug_of_an_id_is_a_slug() -> None:
    """A new post has one for a moment."""
    assert rules.check_slug("post-01m83qvwv0e2gvpsa20f7mvqyk")
