"""The calendar, the weeks and this day in earlier years, in the user's time zone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.kernel.time.clock import to_ms
from rehearsal import library
from rehearsal.calls.call_history import has_talked, wants_calls
from rehearsal.sync_socket import SyncSocket
from rehearsal.world import FunctionError, Person, World, free_port

pytestmark = pytest.mark.anyio


async def wrote(world: World, person: str, *moments: str, content: str = "Rain") -> None:
    """Insert entries of those moments, UTC."""
    for moment in moments:
        await world.db.pool.execute(
            """insert into diaries (id, user_id, content, date, created_at, updated_at)
               select 'diary_' || substr(md5($1 || $2::timestamptz || $3), 1, 26), id, $3, $2, $2, $2
               from users where clerk_id = $1""",
            f"user_{person}", datetime.fromisoformat(moment).replace(tzinfo=UTC), content,
        )  # fmt: skip


async def lives_in(person: Person, timezone: str) -> None:
    await person.mutation("users:updateSettings", timezone=timezone)


async def counts(person: Person, year: int) -> dict[str, tuple[int, int, int]]:
    """Return entries, songs and calls by date."""
    found = await person.query("diaries:getCalendar", year=year)
    assert [day["date"] for day in found] == sorted(day["date"] for day in found)
    return {day["date"]: (day["entries"], day["songs"], day["calls"]) for day in found}


async def test_the_calendar_counts_by_local_days(world: World, alice: Person, bob: Person) -> None:
    """An entry belongs to the date on the user's clock, at both ends of the year and where clocks change."""
    await wrote(world, "alice", "2025-12-31 22:59", "2025-12-31 23:00", "2026-03-28 23:00", "2026-03-29 21:59",
                "2026-10-25 22:59", "2026-12-31 23:30")  # fmt: skip
    await wrote(world, "bob", "2026-01-01 12:00")
    assert await counts(alice, 2026) == {
        "2026-03-28": (1, 0, 0), "2026-03-29": (1, 0, 0), "2026-10-25": (1, 0, 0), "2026-12-31": (1, 0, 0),
    }  # fmt: skip
    await lives_in(alice, "Europe/Berlin")
    assert await counts(alice, 2026) == {"2026-01-01": (1, 0, 0), "2026-03-29": (2, 0, 0), "2026-10-25": (1, 0, 0)}
    assert await counts(alice, 2025) == {"2025-12-31": (1, 0, 0)}
    assert await counts(alice, 2027) == {"2027-01-01": (1, 0, 0)}
    assert [await counts(alice, year) for year in (1, 9998)] == [{}, {}]
    await world.db.pool.execute("update users set timezone = 'Mars/Olympus'")
    assert set(await counts(alice, 2025)) == {"2025-12-31"}


async def test_the_calendar_has_songs_and_calls(world: World, alice: Person) -> None:
    """Songs that are ready, of the day's entries; calls that were talked, also without an entry."""
    [_, other, hidden] = await library.fill(world, "alice", 3)
    await world.db.pool.execute("update music set status = 'failed' where id = $1", other.music_id)
    await alice.mutation("music:softDeleteMusic", musicId=hidden.music_id)
    await has_talked(world, "alice", 2)
    await world.db.pool.execute("update call_sessions set state = 'no-answer' where vapi_call_id like '% user_alice1'")
    await world.db.pool.execute("update call_sessions set started_at = started_at - interval '1 day'")
    assert await counts(alice, 2026) == {"2026-11-22": (0, 0, 1), "2026-11-23": (3, 1, 0)}
    assert hidden.music_id not in [
        track["_id"] for track in await alice.query("music:listTracks", diaryId=hidden.diary_id)
    ]


async def test_an_entry_without_words_is_nowhere(world: World, alice: Person) -> None:
    """One that was begun for a photo counts once it says something."""
    begun = await alice.mutation("diaries:createDiary", content="")
    await world.db.pool.execute("update diaries set date = date - interval '365 days'")
    assert await counts(alice, 2025) == {}
    assert await alice.query("diaries:onThisDay") == []
    await world.db.pool.execute("update diaries set date = date + interval '365 days'")
    assert (await alice.query("usage:getUsageByWeek", weeks=1))[0]["entries"] == 0
    await alice.mutation("diaries:updateDiary", diaryId=begun["_id"], content="Rain")
    assert await counts(alice, 2026) == {"2026-11-23": (1, 0, 0)}
    assert (await alice.query("usage:getUsageByWeek", weeks=1))[0]["entries"] == 1


async def remembered(person: Person, **args: Any) -> dict[int, list[str]]:
    """Return the texts of this day by years ago."""
    found = await person.query("diaries:onThisDay", **args)
    return {each["yearsAgo"]: [diary["content"] for diary in each["diaries"]] for each in found}


async def test_this_day_is_the_users(world: World, alice: Person, bob: Person) -> None:
    """Today on the user's clock, or the date that was asked for; newest years and entries first."""
    for moment in ("2025-11-22 23:30", "2025-11-23 08:00", "2025-11-23 23:30", "2023-11-24 09:59", "2023-11-24 10:30"):
        await wrote(world, "alice", moment, content=moment)
    await wrote(world, "alice", "2026-11-23 08:00", content="today")
    assert await remembered(alice) == {1: ["2025-11-23 23:30", "2025-11-23 08:00"]}
    await lives_in(alice, "Europe/Berlin")
    assert await remembered(alice) == {1: ["2025-11-23 08:00", "2025-11-22 23:30"]}
    await lives_in(alice, "Pacific/Kiritimati")  # 14 hours ahead: the 24th has begun
    assert await remembered(alice) == {1: ["2025-11-23 23:30"], 3: ["2023-11-24 09:59"]}
    assert await remembered(alice, date="2026-11-25") == {3: ["2023-11-24 10:30"]}
    assert await remembered(bob, date="2026-11-25") == {}
    with pytest.raises(FunctionError) as refused:
        await alice.query("diaries:onThisDay", date="2026-02-30")
    assert refused.value.code == "invalid_date"


async def test_29_february_goes_with_the_28th(world: World, alice: Person) -> None:
    """In years without it, both ways."""
    for moment in ("2024-02-28 12:00", "2024-02-29 12:00", "2025-02-28 12:00", "2024-03-01 12:00"):
        await wrote(world, "alice", moment, content=moment[:10])
    assert await remembered(alice, date="2026-02-28") == {1: ["2025-02-28"], 2: ["2024-02-29", "2024-02-28"]}
    assert await remembered(alice, date="2028-02-28") == {3: ["2025-02-28"], 4: ["2024-02-28"]}
    assert await remembered(alice, date="2028-02-29") == {3: ["2025-02-28"], 4: ["2024-02-29"]}
    assert await remembered(alice, date="2026-03-01") == {2: ["2024-03-01"]}


async def test_weeks_begin_on_monday_where_the_user_lives(world: World, alice: Person, bob: Person) -> None:
    """Songs without refunds, minutes and entries; weeks without any are there too."""
    await library.fill(world, "alice", 3)  # Monday 11:00, 10:00 and 09:00 UTC
    refunded = await world.db.pool.fetchval("select max(id) from usage_charges")
    await world.db.pool.execute(
        "insert into usage_refunds (charge_id, reason, refunded_at) values ($1, 'failed', $2)", refunded, NOW
    )
    await world.db.pool.execute(
        """insert into call_minutes (id, user_id, vapi_call_id, reserved_at, seconds)
           select 'minutes_1', id, 'talk', $1, 90 from users where clerk_id = 'user_alice'""",
        NOW - timedelta(days=9),
    )
    empty = {"songs": 0, "minutes": 0, "entries": 0}
    assert await alice.query("usage:getUsageByWeek", weeks=3) == [
        {"weekStart": "2026-11-09", **empty, "minutes": 1.5},
        {"weekStart": "2026-11-16", **empty},
        {"weekStart": "2026-11-23", "songs": 2, "minutes": 0, "entries": 3},
    ]
    assert await bob.query("usage:getUsageByWeek", weeks=1) == [{"weekStart": "2026-11-23", **empty}]
    await lives_in(alice, "Pacific/Pago_Pago")  # 11 hours behind: two of the three were on Sunday
    newest = await alice.query("usage:getUsageByWeek")
    assert len(newest) == 53
    assert [week["entries"] for week in newest[-2:]] == [2, 1]
    for weeks in (0, 54, 1.5):
        with pytest.raises(FunctionError, match="weeks"):
            await alice.query("usage:getUsageByWeek", weeks=weeks)


async def test_the_next_call_is_told_with_its_zone_and_minutes(world: World, alice: Person, bob: Person) -> None:
    """A paused call tells when it would be; switched off, there is none."""
    assert await alice.query("callSettings:getNextCall") is None
    await wants_calls(alice)
    await wants_calls(bob, phoneE164="+442079460123", timeOfDay="08:30")
    at = to_ms(datetime(2026, 11, 23, 19, 30, tzinfo=UTC))
    told = await alice.query("callSettings:getNextCall")
    limit = (await alice.query("users:getUserProfile"))["callSettings"]["minutesLimit"]
    assert told == {"at": at, "timezone": "Europe/London", "minutesLeft": limit}
    await world.db.pool.execute(
        "update call_settings set paused_reason = 'no_consent', next_run_at = null where phone_e164 like '+1%'"
    )
    assert await alice.query("callSettings:getNextCall") == told | {"pausedReason": "no_consent"}
    await world.db.pool.execute("update call_settings set timezone = 'Mars/Olympus' where phone_e164 like '+1%'")
    lost = await alice.query("callSettings:getNextCall")
    assert lost == {"timezone": "Mars/Olympus", "minutesLeft": limit, "pausedReason": "no_consent"}
    await wants_calls(alice, active=False)
    assert await alice.query("callSettings:getNextCall") is None
    assert (await bob.query("callSettings:getNextCall"))["at"] == to_ms(datetime(2026, 11, 24, 8, 30, tzinfo=UTC))


async def test_pages_of_entries_begin_before_a_moment(world: World, alice: Person) -> None:
    """A month's entries are reached without the pages of later ones; the cursor goes on from there."""
    await wrote(world, "alice", "2026-01-31 12:00", "2026-02-01 00:00", "2026-02-28 23:59", "2026-03-01 00:00")
    before = to_ms(datetime(2026, 3, 1, tzinfo=UTC))
    first = await alice.query("diaries:pageDiaries", before=before, limit=2)
    second = await alice.query("diaries:pageDiaries", before=before, limit=2, cursor=first["nextCursor"])
    dates = [
        datetime.fromtimestamp(diary["date"] / 1000, UTC).day for page in (first, second) for diary in page["page"]
    ]
    assert (dates, second["nextCursor"]) == ([28, 1, 31], None)
    options = {"numItems": 2, "cursor": None}
    paginated = await alice.query("diaries:pageDiaries", before=before, paginationOpts=options)
    assert [diary["_id"] for diary in paginated["page"]] == [diary["_id"] for diary in first["page"]]


@pytest.fixture
async def served(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """Serve the whole app on a port."""
    async with World(database_url, data_dir, NOW, port=free_port()) as whole:
        yield whole


async def test_the_days_change_by_themselves(served: World) -> None:
    """Subscribers of all of them hear of an entry, a song and a schedule."""
    alice = await served.person("alice")
    diary = await alice.mutation("diaries:createDiary", content="Rain")
    queries: list[tuple[str, dict[str, Any]]] = [
        ("diaries:getCalendar", {"year": 2026}),
        ("diaries:onThisDay", {"date": "2027-11-23"}),
        ("usage:getUsageByWeek", {"weeks": 1}),
        ("callSettings:getNextCall", {}),
        ("music:listTracks", {"diaryId": diary["_id"]}),
    ]
    async with SyncSocket(served.origin) as socket:
        await socket.connect()
        await socket.authenticate(0, alice.headers["Authorization"].removeprefix("Bearer "))
        changes = [
            {"type": "Add", "queryId": number, "udfPath": path, "args": [args]}
            for number, (path, args) in enumerate(queries)
        ]
        await socket.send({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": changes})
        values = values_in(await socket.transition(1))
        assert (values[0][0]["entries"], values[2][0]["songs"], values[3], values[4]) == (1, 0, None, [])
        await alice.action("music:startDiaryMusicGeneration", diaryId=diary["_id"], content="Rain at last")
        await wants_calls(alice)
        await served.settle()
        while not (values[0][0]["songs"] and values[3] and values[4] and values[4][0]["status"] == "ready"):
            values |= values_in(await socket.receive(lambda message: message["type"] == "Transition"))
        assert values[1][0]["diaries"][0]["content"] == "Rain at last"
        assert values[2][0]["songs"] == 1
        assert [track["status"] for track in values[4]] == ["ready", "ready"]


def values_in(transition: dict[str, Any]) -> dict[int, Any]:
    """Return the values of a transition by query."""
    return {change["queryId"]: change["value"] for change in transition["modifications"]}
