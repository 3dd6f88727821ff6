"""Each query reads exactly the tables it declares: changes to these re-run it."""

from __future__ import annotations

from typing import Any

import pytest

from daysong.features.test_arguments import valid
from daysong.kernel.functions.context import Notes
from daysong.kernel.functions.declarations import Kind
from daysong.kernel.functions.registry import Function
from rehearsal import library, memories, photos
from rehearsal.blog import write_post
from rehearsal.calls.call_history import wants_calls
from rehearsal.world import Person, World, public_functions

pytestmark = pytest.mark.anyio

QUERIES = [function for function in public_functions() if function.kind is Kind.QUERY]
SCANS = """
    select relname as name, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) as scans
    from pg_stat_xact_user_tables where schemaname = current_schema()"""


async def something_of_everything(world: World, alice: Person) -> dict[str, Any]:
    """Insert rows of alice in every table that queries read, and return the arguments that find them, by name."""
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    await world.person("bob")
    bob = await world.person("bob")
    await bob.mutation("sharing:recordShareView", shareId=link["shareId"])
    await photos.attached(world, alice, song["diaryId"])
    await write_post(world, "Something", tags=["something"])
    await library.of_another(world, alice)
    await alice.mutation("pushNotifications:registerPushToken", token="ExpoPushToken[alices-phone]", platform="ios")
    draft = await write_post(world, "A draft", published=False)
    [video] = await library.film(world, library.Song(song["diaryId"], song["_id"], ""))
    [memory] = await memories.fill(world, "alice", 1)
    await wants_calls(alice)
    await world.db.pool.execute("update events set diary_id = $1", song["diaryId"])
    await world.db.pool.execute("update diaries set date = date - interval '365 days'")
    return {
        "previewToken": draft["previewToken"],
        "shareId": link["shareId"],
        "diaryId": song["diaryId"],
        "musicId": song["_id"],
        "videoId": video,
        "eventId": memory.event_id,
        "personId": memory.person_id,
        "year": 2025.0,
    }


@pytest.mark.parametrize("function", QUERIES, ids=lambda function: function.identifier)
async def test_a_query_reads_what_it_declares(world: World, alice: Person, function: Function) -> None:
    known = await something_of_everything(world, alice)
    raw = {name: known.get(name, value) for name, value in valid(function).items()}
    runtime = world.app.runtime
    caller = world.acting_as("user_alice")
    async with runtime.database.snapshot() as db:
        before = {row["name"]: row["scans"] for row in await db.fetch(SCANS)}
        await runtime.query_on(db, function, function.parse(raw), caller, now=world.clock.now(), notes=Notes())
        after = {row["name"]: row["scans"] for row in await db.fetch(SCANS)}
    read = {name for name, scans in after.items() if scans > before.get(name, 0)}
    assert read == set(function.reads)


async def test_the_tables_that_public_queries_read_notify_changes_and_no_others(world: World) -> None:
    """A notification makes commits wait for each other, so a table that no query reads has no trigger."""
    rows = await world.app.runtime.database.pool.fetch(
        """select relname as name, array_agg(tgname::text order by tgname) as triggers
           from pg_trigger t join pg_class c on c.oid = tgrelid
           where tgname like 'live\\_%' and not relname like 'testing\\_%'
                 and relnamespace = current_schema()::regnamespace group by relname"""
    )
    notifying = {row["name"] for row in rows if row["triggers"] == ["live_delete", "live_insert", "live_update"]}
    assert len(notifying) == len(rows)
    assert notifying == {table for function in QUERIES for table in function.reads}
