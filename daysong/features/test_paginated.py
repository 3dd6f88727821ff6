"""Pages for the clients' usePaginatedQuery: bounded, without gaps, and live."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.features.pages import END, LARGEST_LIVE_PAGE
from rehearsal import library
from rehearsal.sync_socket import Message, SyncSocket
from rehearsal.world import FunctionError, Person, World, free_port

pytestmark = pytest.mark.anyio

PATHS = ("diaries:pageDiaries", "music:pagePlaylist")


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """Serve the whole app on a port."""
    async with World(database_url, data_dir, NOW, port=free_port()) as whole:
        yield whole


def ids(page: dict[str, Any]) -> list[str]:
    return [row["_id"] for row in page["page"]]


@pytest.mark.parametrize("path", PATHS)
async def test_g44_every_paged_query_takes_pagination_options(world: World, alice: Person, path: str) -> None:
    """All pages, with the options that clients send, have every row once and in the order of the other pages."""
    await library.fill(world, "alice", 5)
    expected = ids(await alice.query(path, limit=100, cursor=None))
    found: list[str] = []
    cursor = None
    for number in (2, 2, 1):
        opts = {"numItems": 2.0, "cursor": cursor, "id": 17.0, "endCursor": None, "maximumRowsRead": 100}
        page = await alice.query(path, paginationOpts=opts)
        assert set(page) == {"page", "isDone", "continueCursor"}
        assert len(page["page"]) == number
        found += ids(page)
        cursor = page["continueCursor"]
    assert page["isDone"]
    assert found == expected
    beyond = await alice.query(path, paginationOpts={"numItems": 2, "cursor": cursor})
    assert beyond == {"page": [], "isDone": True, "continueCursor": END}


@pytest.mark.parametrize("path", PATHS)
async def test_g44_pages_are_bounded_whatever_is_asked(world: World, alice: Person, path: str) -> None:
    """At most 100 rows or maximumRowsRead, and 4 MiB or maximumBytesRead, but at least one row."""
    await library.fill(world, "alice", 120, timing={})
    assert len((await alice.query(path, paginationOpts={"numItems": 10**6, "cursor": None}))["page"]) == 100
    for more, rows in (({"maximumRowsRead": 3}, 3), ({"maximumBytesRead": 1}, 1)):
        page = await alice.query(path, paginationOpts={"numItems": 10, "cursor": None, **more})
        assert (len(page["page"]), page["isDone"]) == (rows, False)
    await world.db.pool.execute("update diaries set content = repeat('x', 50000)")
    for args in ({"paginationOpts": {"numItems": 100, "cursor": None}}, {"limit": 100}):
        page = await alice.query(path, **args)
        assert 75 < len(page["page"]) <= 84
        assert page.get("nextCursor", page.get("continueCursor"))


@pytest.mark.parametrize("path", PATHS)
async def test_g44_an_anonymous_caller_has_an_empty_page(anonymous: Person, path: str) -> None:
    page = await anonymous.query(path, paginationOpts={"numItems": 2, "cursor": None})
    assert page == {"page": [], "isDone": True, "continueCursor": END}


async def test_g44_an_invalid_cursor_makes_the_client_start_over(alice: Person) -> None:
    """usePaginatedQuery starts over on these fields."""
    for opts in ({"cursor": "nonsense"}, {"cursor": None, "endCursor": "nonsense"}):
        with pytest.raises(FunctionError) as refused:
            await alice.query("diaries:pageDiaries", paginationOpts={"numItems": 2, **opts})
        assert refused.value.code == "invalid_cursor"
        assert refused.value.data is not None
        assert refused.value.data["isConvexSystemError"] is True
        assert refused.value.data["paginationError"] == "InvalidCursor"
    for args in ({"numItems": 0, "cursor": None}, {"cursor": None}, {"numItems": 2, "cursor": None, "surprise": 1}):
        with pytest.raises(FunctionError, match="paginationOpts"):
            await alice.query("diaries:pageDiaries", paginationOpts=args)
    with pytest.raises(FunctionError, match="either cursor and limit or paginationOpts"):
        await alice.query("diaries:pageDiaries", cursor="x", paginationOpts={"numItems": 2, "cursor": None})


def update(message: Message) -> dict[str, Any]:
    """Return the only modification of a Transition."""
    [change] = message["modifications"]
    return dict(change)


async def subscribed(
    socket: SyncSocket, person: Person, opts: dict[str, Any], journal: str | None = None
) -> dict[str, Any]:
    """Subscribe to a page, and return its first result."""
    await socket.authenticate(0, person.headers["Authorization"].removeprefix("Bearer "))
    add = {"type": "Add", "queryId": 0, "udfPath": "diaries:pageDiaries", "args": [{"paginationOpts": opts}]}
    change = {"baseVersion": 0, "newVersion": 1, "modifications": [add | {"journal": journal}]}
    await socket.send({"type": "ModifyQuerySet", **change})
    return update(await socket.transition(1))


async def test_g44_a_live_page_keeps_its_end(world: World, alice: Person) -> None:
    """Inserts make the page longer and deletes shorter, also after a reconnect."""
    written = [await alice.mutation("diaries:createDiary", content=str(number)) for number in range(5)]
    async with SyncSocket(world.origin) as socket:
        first = await subscribed(socket, alice, {"numItems": 2, "cursor": None})
        assert [row["content"] for row in first["value"]["page"]] == ["4", "3"]
        await alice.mutation("diaries:createDiary", content="5")
        longer = update(await socket.receive())
        assert [row["content"] for row in longer["value"]["page"]] == ["5", "4", "3"]
        assert longer["value"]["continueCursor"] == first["value"]["continueCursor"]
        # The end does not move, although its row is deleted.
        await alice.mutation("diaries:deleteDiary", diaryId=written[3]["_id"])
        shorter = update(await socket.receive())
        assert [row["content"] for row in shorter["value"]["page"]] == ["5", "4"]
        journal = shorter["journal"]
    async with SyncSocket(world.origin) as socket:
        again = await subscribed(socket, alice, {"numItems": 2, "cursor": None}, journal)
        assert again["value"] == shorter["value"]
        rest = await alice.query(
            "diaries:pageDiaries", paginationOpts={"numItems": 9, "cursor": again["value"]["continueCursor"]}
        )
        assert [row["content"] for row in rest["page"]] == ["2", "1", "0"]


async def test_g44_a_live_page_that_grows_is_to_be_split(world: World, alice: Person) -> None:
    """The page has a split cursor, and both halves are the page; one that is too long shows its first rows."""
    async with SyncSocket(world.origin) as socket:
        await subscribed(socket, alice, {"numItems": 2, "cursor": None})
        await library.fill(world, "alice", 5, timing={})
        while len((grown := update(await socket.receive())["value"])["page"]) < 5:
            pass
        assert (grown["pageStatus"], grown["isDone"]) == ("SplitRecommended", True)
        split = grown["splitCursor"]
        halves = [
            await alice.query("diaries:pageDiaries", paginationOpts={"numItems": 2, "cursor": cursor, "endCursor": end})
            for cursor, end in ((None, split), (split, grown["continueCursor"]))
        ]
        assert [row for half in halves for row in ids(half)] == ids(grown)
        await world.db.pool.execute(
            """insert into diaries (id, user_id, content, date, created_at, updated_at)
               select 'diary_' || substr(md5(n::text), 1, 26), user_id, 'More', date, date, date
               from generate_series(1, $1::int) n, (select user_id, date from diaries limit 1) one""",
            LARGEST_LIVE_PAGE,
        )
        while len((grown := update(await socket.receive())["value"])["page"]) < LARGEST_LIVE_PAGE:
            pass
        assert grown["pageStatus"] == "SplitRequired"
        assert len(grown["page"]) == LARGEST_LIVE_PAGE


async def test_g44_another_person_on_the_same_socket_has_pages_of_their_own(
    world: World, alice: Person, bob: Person
) -> None:
    """The end of Alice's page does not affect Bob's."""
    for number in range(3):
        await alice.mutation("diaries:createDiary", content=f"Alice {number}")
        await bob.mutation("diaries:createDiary", content=f"Bob {number}")
    async with SyncSocket(world.origin) as socket:
        await subscribed(socket, alice, {"numItems": 5, "cursor": None})
        await socket.authenticate(1, bob.headers["Authorization"].removeprefix("Bearer "))
        page = update(await socket.receive())["value"]
        assert [row["content"] for row in page["page"]] == ["Bob 2", "Bob 1", "Bob 0"]
