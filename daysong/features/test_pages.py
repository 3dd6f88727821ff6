"""Pages of long lists have every row once and cost the same everywhere; a whole list is one statement."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daysong.features.days import functions as days
from daysong.features.days import rules
from daysong.features.diaries import functions as diaries
from daysong.features.diaries import store
from daysong.features.library import playlist
from daysong.features.music import playback
from daysong.features.pages import LONGEST_LIST, NEWEST, OLDEST, InvalidCursor, Position, position_of
from daysong.features.phone_calls.schedule import next_call
from daysong.kernel.functions.context import Caller, QueryContext
from daysong.kernel.functions.declarations import Handler, NoArgs
from daysong.kernel.ids import DiaryId, MusicId
from rehearsal import library
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

LISTS = {"diaries:pageDiaries": "diaries:listDiaries", "music:pagePlaylist": "music:listPlaylistMusic"}
MANY = 10_000


async def pages(person: Person, path: str, **args: Any) -> list[list[Any]]:
    """Return all pages of a list."""
    found = [await person.query(path, **args)]
    while cursor := found[-1]["nextCursor"]:
        found.append(await person.query(path, **(args | {"cursor": cursor})))
    return [each["page"] for each in found]


def without_timing(row: dict[str, Any]) -> dict[str, Any]:
    """Return a list's row as a page has it."""
    song = {key: value for key, value in row.items() if key != "lyricWithTime"}
    return song | ({"primaryMusic": without_timing(song["primaryMusic"])} if "primaryMusic" in song else {})


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 4, 5, 6])
async def test_the_pages_of_a_list_are_the_list(
    world: World, alice: Person, bob: Person, path: str, limit: int
) -> None:
    """Pages have the order of the list, each row once, none of another user; only timed words are left out."""
    await library.fill(world, "alice", 5)
    await library.fill(world, "bob", 2)
    found = await pages(alice, path, limit=limit)
    assert [len(page) for page in found] == {1: [1] * 5, 4: [4, 1], 5: [5], 6: [5]}[limit]
    listed = await alice.query(LISTS[path])
    assert [row for page in found for row in page] == [without_timing(row) for row in listed]


@pytest.mark.parametrize("path", LISTS)
async def test_a_page_has_twenty_rows_unless_told_otherwise(world: World, alice: Person, path: str) -> None:
    """A page has at most a hundred rows."""
    await library.fill(world, "alice", 102)
    assert [len(page) for page in await pages(alice, path)] == [20, 20, 20, 20, 20, 2]
    assert [len(page) for page in await pages(alice, path, limit=100)] == [100, 2]
    for limit in (0, 101, 1.5, -1):
        with pytest.raises(FunctionError, match="limit"):
            await alice.query(path, limit=limit)


async def test_entries_of_one_moment_are_not_lost_between_pages(world: World, alice: Person) -> None:
    """Rows of the same time are ordered by id."""
    written = {(await alice.mutation("diaries:createDiary", content=f"Note {n}"))["_id"] for n in range(7)}
    found = await pages(alice, "diaries:pageDiaries", limit=2)
    assert {row["_id"] for page in found for row in page} == written
    assert sum(len(page) for page in found) == 7


@pytest.mark.parametrize("path", LISTS)
async def test_concurrent_writes_do_not_move_pages(world: World, alice: Person, path: str) -> None:
    """The next page continues after the last row, despite inserts and deletes before it."""
    await library.fill(world, "alice", 4)
    first = await alice.query(path, limit=2)
    await alice.mutation("diaries:createDiary", content="New at the top")
    await alice.mutation("diaries:deleteDiary", diaryId=first["page"][0].get("diaryId", first["page"][0]["_id"]))
    await alice.mutation("diaries:deleteDiary", diaryId=first["page"][1].get("diaryId", first["page"][1]["_id"]))
    second = await alice.query(path, limit=2, cursor=first["nextCursor"])
    listed = await alice.query(LISTS[path])
    assert second["page"] == [without_timing(row) for row in listed[-2:]]
    assert second["nextCursor"] is None


@pytest.mark.parametrize("path", LISTS)
async def test_an_anonymous_caller_has_an_empty_page(anonymous: Person, path: str) -> None:
    """An anonymous caller gets an empty page."""
    assert await anonymous.query(path) == {"page": [], "nextCursor": None}


A_DIARY, A_SONG = DiaryId(f"diary_{'0' * 26}"), MusicId(f"music_{'0' * 26}")


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


MALFORMED = [
    "", "x", "nonsense", "ÄÖÜ", "====", "a b", encoded(""), encoded("5"), encoded(f"x:{A_DIARY}"),
    encoded(f"5:{A_SONG}"), encoded(f"5:{A_DIARY}0"), encoded("5:diary_"), encoded(f"05:{A_DIARY}"),
    encoded(f"5:{A_DIARY}\n"), encoded(f"{'9' * 18}:{A_DIARY}"), encoded(f"-{'9' * 18}:{A_DIARY}"),
    encoded(f"5:{A_DIARY}") + "=", encoded(f"5:{A_DIARY}") + "\n",
]  # fmt: skip


@pytest.mark.parametrize("cursor", MALFORMED, ids=repr)
def test_an_invalid_cursor_is_refused(cursor: str) -> None:
    """Only an unmodified cursor of the same list is accepted."""
    with pytest.raises(InvalidCursor):
        position_of(cursor, DiaryId)


@pytest.mark.parametrize("path", LISTS)
async def test_f60_a_malformed_cursor_is_a_clear_error(alice: Person, path: str) -> None:
    """An invalid cursor does not return the first page."""
    with pytest.raises(FunctionError) as refused:
        await alice.query(path, cursor=encoded(f"5:user_{'0' * 26}"))
    assert refused.value.code == "invalid_cursor"


@pytest.mark.parametrize("microseconds", [-1, 0, 1, 999_999, 86_400_000_001])
def test_a_cursor_keeps_its_position_to_the_microsecond(microseconds: int) -> None:
    """A cursor has PostgreSQL's precision."""
    place = Position(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds), str(A_DIARY))
    assert position_of(place.cursor(), DiaryId) == place


@pytest.fixture
async def crowd(world: World, alice: Person, bob: Person) -> World:
    """A world in which Alice has 10,000 songs, Bob a few, and many others have accounts."""
    await library.fill(world, "alice", MANY, timing={})
    await library.fill(world, "bob", 20)
    await library.keep_many(world, "alice", 2_000)
    await library.crowd(world, 2_000)
    return world


async def assert_lists_and_days_are_cheap(crowd: World) -> None:
    """Assert that the playlist reads the newest 500 of 12,000 rows by index, and days only the rows asked for."""
    for generic in (False, True):
        root = await library.plan(crowd, playlist.PLAYLIST_SQL, ("'user_alice'",), generic=generic)
        [listed] = [node for node in library.nodes(root) if node.get("Relation Name") == "user_songs"]
        assert listed["Index Name"] == "user_songs_playlist"
        assert listed["Actual Rows"] == LONGEST_LIST
        await assert_days_are_cheap(crowd, generic=generic)


async def assert_days_are_cheap(crowd: World, *, generic: bool) -> None:
    """Assert that a quiet year, two weeks, this day in a hundred years, one entry and the next call read few blocks."""
    now = crowd.clock.now()
    spans = [
        (each.years_ago, *rules.span_of_anniversary(each, either_side=2)) for each in rules.anniversaries(now.date())
    ]
    diary = await crowd.db.pool.fetchval("select id from diaries order by date offset 5000 limit 1")
    for sql, args, most in (
        (days.CALENDAR_SQL, rules.span_of_year(2024), 60),
        # Of 370 charges, also their refunds.
        (days.USAGE_SQL, rules.span_of_weeks(now, 2), 1_500),
        # A hundred descents; 147 entries of some days a year ago, and their songs.
        (days.ON_THIS_DAY_SQL, tuple(zip(*spans, strict=True)), 2_000),
        (playback.TRACKS_SQL, (diary,), 60),
        (next_call.NEXT_CALL_SQL, (now - timedelta(days=2),), 300),
    ):
        typed = sql.replace(">= $2", ">= $2::timestamptz").replace("< $3", "< $3::timestamptz")
        root = await library.plan(crowd, typed, ("'user_alice'", *map(literal, args)), generic=generic)
        assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] <= most, (sql, root)


def literal(value: Any) -> str:
    """Return a value as SQL."""
    if isinstance(value, tuple):
        return "'{" + ",".join(literal(each).strip("'") for each in value) + "}'"
    return f"'{value.isoformat() if isinstance(value, datetime) else value}'"


async def test_f60_pages_of_a_large_library_cost_the_same_at_every_place(crowd: World, alice: Person) -> None:
    """Only index scans, without sorting or discarded rows, for the first page, the middle and a small library."""
    middle = (crowd.clock.now() - timedelta(hours=MANY // 2)).isoformat()
    for sql in (store.PAGE.sql, playlist.PAGE.sql):
        for generic in (False, True):
            types = sql.replace("$2, $3", "$2::timestamptz, $3::text").replace("$4, $5", "$4::timestamptz, $5::text")
            for who, moment in (
                ("alice", NEWEST.moment.isoformat()),
                ("alice", middle),
                ("bob", NEWEST.moment.isoformat()),
            ):
                args = (f"'user_{who}'", f"'{moment}'", "''", f"'{OLDEST.moment.isoformat()}'", "''", "21", "4000000")
                root = await library.plan(crowd, types, args, generic=generic)
                assert_cheap(root, rows=21 if who == "alice" else 20)
    await assert_lists_and_days_are_cheap(crowd)
    first = await alice.query("diaries:pageDiaries", limit=100)
    assert len((await alice.query("diaries:pageDiaries", limit=100, cursor=first["nextCursor"]))["page"]) == 100


def assert_cheap(root: dict[str, Any], rows: int) -> None:
    """Assert that each row and its joined row are read once by an index, and nothing else."""
    assert root["Actual Rows"] == rows
    for node in library.nodes(root):
        assert "Sort" not in node["Node Type"], node["Node Type"]
        if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan":
            assert node["Node Type"] in {"Index Scan", "Index Only Scan"}, node
            assert node["Actual Rows"] * node["Actual Loops"] <= rows
            assert node.get("Rows Removed by Filter", 0) == 0
    # An index descent reads a few blocks, and each row one; far below 12,000 rows.
    assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] <= 16 * rows


@pytest.mark.parametrize(
    ("handler", "columns"),
    [(diaries.list_diaries, "primary_music"), (playlist.list_playlist_music, "lyric_with_time")],
    ids=["listDiaries", "listPlaylistMusic"],
)
async def test_f60_a_whole_list_is_one_statement(world: World, alice: Person, handler: Handler, columns: str) -> None:
    """The number of statements does not depend on the number of songs."""
    for size in (3, 100):
        await world.db.empty()
        await alice.mutation("users:ensureCurrentUser")
        await library.fill(world, "alice", size)
        sent: list[str] = []
        async with world.db.pool.acquire() as connection:
            with connection.query_logger(lambda query, sent=sent: sent.append(query.query)):
                found = await handler(
                    QueryContext(
                        db=connection,
                        now=world.clock.now(),
                        caller=Caller(subject="user_alice"),
                        settings=world.settings,
                    ),
                    NoArgs(),
                )
        await asyncio.sleep(0)  # asyncpg calls the logger in the loop's next turn
        assert len(found) == size
        assert all(getattr(row, columns) for row in found)
        assert len(sent) == 1
