"""A deleted account is closed at once, and none of its data stays, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from daysong.features.users import owned_tables
from daysong.kernel.functions.context import SYSTEM, ActionContext
from daysong.workflows.accounts import account_deletion
from rehearsal.owned_rows import fill_every_table, traces
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

RAIN = "I walked home in the rain and called my sister"
ALICE = ("user_alice", "alice@example.test")


async def user_id(world: World, clerk_id: str = "user_alice") -> str:
    """Return a user's id."""
    found: str = await world.db.pool.fetchval("select id from users where clerk_id = $1", clerk_id)
    return found


async def stored(world: World) -> set[str]:
    """The keys of all stored files."""
    return {file.key async for page in world.app.files.list() for file in page}


async def test_a_deleted_account_leaves_nothing_behind(world: World, alice: Person, bob: Person) -> None:
    """Rows, files, events, jobs, and the person at Clerk; another's things stay."""
    await alice.song(RAIN)
    song = await bob.song(RAIN)
    await alice.mutation("sharing:createShareLink", musicId=(await alice.query("music:listPlaylistMusic"))[0]["_id"])
    needles = [await user_id(world), *ALICE, "walked home"]
    needles += [row["id"] for row in await world.db.pool.fetch("select id from music where user_id = $1", needles[0])]
    bobs_files, everybodys = await bobs(world), await stored(world)
    assert bobs_files < everybodys

    answer = await alice.mutation("users:deleteAccount")
    assert answer == {"success": True, "clerkId": "user_alice"}
    await world.settle()

    assert await traces(world.db.pool, [one for one in needles if one != "walked home"]) == {}
    assert await stored(world) == bobs_files
    assert set(world.sandbox.clerk.users) == {"user_bob"}
    [deletion] = await world.asked("clerk", "/v1/users")
    assert (deletion["method"], deletion["path"]) == ("DELETE", "/v1/users/user_alice")
    assert [one["_id"] for one in await bob.query("music:listPlaylistMusic")] == [song["_id"]]


async def bobs(world: World) -> set[str]:
    """Bob's stored files."""
    rows = await world.db.pool.fetch("select id from files where user_id = $1", await user_id(world, "user_bob"))
    return {row["id"] for row in rows}


async def test_f03_every_table_with_a_reference_to_people_is_erased(world: World, alice: Person, bob: Person) -> None:
    """A row of hers in each table the schema knows, and events and jobs that mention it; the same of his stays."""
    pool = world.db.pool
    hers = await fill_every_table(pool, await user_id(world))
    his = await fill_every_table(pool, await user_id(world, "user_bob"))
    assert len(hers) > 8
    for table, row in [*hers.items(), *his.items()]:
        names = [
            value for key, value in row.items() if isinstance(value, str) and key in {"id", "share_id", "clerk_id"}
        ]
        for name in names:
            await mention(world, f"{table} {name}", name)
    before = {table: await count(world, table) for table in hers}
    needles = [value for row in hers.values() for key, value in row.items() if key in {"id", "share_id"}]
    assert (await traces(pool, needles)).keys() >= hers.keys()

    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await traces(pool, [*needles, *ALICE]) == {}
    for table, rows in before.items():
        assert await count(world, table) == rows // 2, table
    kept = await pool.fetchval("select count(*) from webhook_events")
    assert kept == sum(1 for row in his.values() for key in ("id", "share_id", "clerk_id") if key in row)
    assert await pool.fetchval("select count(*) from jobs where id like 'mention%'") == 2 * kept


async def count(world: World, table: str) -> int:
    """How many rows a table has."""
    rows: int = await world.db.pool.fetchval(f"select count(*) from {table}")  # noqa: S608 - from the catalog
    return rows


async def mention(world: World, number: str, name: str) -> None:
    """An event about something, a job to handle it, and a job about the thing itself."""
    pool = world.db.pool
    await pool.execute(
        """insert into webhook_events (id, vendor, event_id, type, about, body, received_at, handled_at)
           values ('event ' || $1, 'suno', $1, 'text', array[$2], 'quotes ' || $2, now(), now())""",
        number, name,
    )  # fmt: skip
    for place, (status, args) in enumerate(
        (("done", {"eventId": f"event {number}"}), ("dead", {"deep": [{"things": [name]}]}))
    ):
        await pool.execute(
            """insert into jobs (id, ticket, function, args, status, due_at, finished_at)
               values ($1, 't', 'a:b', $2, $3, now(), now())""",
            f"mention {place} {number}", args, status,
        )  # fmt: skip


async def test_what_mentions_somebody_is_found_without_reading_all(world: World, alice: Person) -> None:
    """However many jobs and events of others there are."""
    await world.db.pool.execute(
        """insert into jobs (id, ticket, function, args, due_at)
           select 'j' || n, 't', 'a:b', jsonb_build_object('musicId', 'music_' || n), now()
           from generate_series(1, 20000) n"""
    )
    await world.db.pool.execute(
        """insert into webhook_events (id, vendor, event_id, type, about, body, received_at)
           select 'e' || n, 'suno', 'e' || n, 'text', array['gen_' || n], '', now() from generate_series(1, 20000) n"""
    )
    await world.db.pool.execute("analyze jobs, webhook_events")
    names = [f"music_{number}" for number in range(19_500, 21_000)] + ["gen_7"]
    async with world.db.pool.acquire() as connection, connection.transaction():
        found = await connection.fetchval(owned_tables.SCHEMA_SQL)
        while await account_deletion._delete_mentions(connection, found, names):
            pass
        rows = await connection.fetch(
            """select relname, seq_scan, n_tup_del from pg_stat_xact_user_tables
               where relname in ('jobs', 'webhook_events') order by 1"""
        )
    assert [tuple(row) for row in rows] == [("jobs", 0, 501), ("webhook_events", 0, 1)]


async def test_a_song_in_the_making_is_stopped(world: World, alice: Person) -> None:
    """It is canceled at once, what is under way finds nothing to do, and what Suno sends later has no owner."""
    await world.fault("suno", callbacks="lost")
    await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    await alice.action("music:startDiaryMusicGeneration", content="Another one")
    await alice.mutation("users:deleteAccount")
    statuses = await world.db.pool.fetch("select status from generations")
    assert [row["status"] for row in statuses] == ["canceled", "canceled"]
    await world.pass_time(timedelta(hours=1))
    assert await traces(world.db.pool, ALICE) == {}
    assert len(await world.asked("suno", "/generate")) == 1
    assert await stored(world) == set()


async def test_links_stop_at_once(world: World, alice: Person, anonymous: Person) -> None:
    """Before anything is erased."""
    song = await alice.song(RAIN)
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    assert (await anonymous.query("sharing:getSharedMusic", shareId=link["shareId"]))["found"]
    await alice.mutation("users:deleteAccount")
    assert await anonymous.query("sharing:getSharedMusic", shareId=link["shareId"]) == {"found": False}
    assert (await world.http.get(f"/share/{link['shareId']}")).status_code == 404


async def test_deleting_twice_is_deleting_once(world: World, alice: Person) -> None:
    """The second time the account is not there any more for its token, also once it is erased."""
    await alice.mutation("users:deleteAccount")
    for _ in range(2):
        with pytest.raises(FunctionError) as refused:
            await alice.mutation("users:deleteAccount")
        assert refused.value.code == "unauthorized"
        await world.settle()
    assert await world.db.pool.fetchval("select count(*) from users") == 0


async def test_clerks_own_deletion_erases_the_same_and_ours_ends_it(world: World, alice: Person, bob: Person) -> None:
    """A user deleted at Clerk is not deleted there again; Clerk's event about our deletion changes nothing."""
    await world.steer("clerk", "webhooks", automatic=True)
    await alice.song(RAIN)
    await bob.song(RAIN)
    await world.steer("clerk", "delete", sub="user_alice")
    await world.settle()
    assert await traces(world.db.pool, ALICE) == {}
    assert await world.asked("clerk", "/v1/users") == []
    await bob.mutation("users:deleteAccount")
    await world.settle()
    assert await traces(world.db.pool, ["user_bob", "bob@example.test", "gen_", "music_"]) == {}
    told = [message["type"] for message in (await world.http.get("/sandbox/clerk/webhooks")).json()]
    assert told == ["session.removed", "user.deleted"] * 2
    assert await stored(world) == set()


@pytest.mark.parametrize(
    ("fault", "asked"), [({"status": 500, "times": 2}, 3), ({"status": 429, "retryAfter": 60, "times": 1}, 2)]
)
async def test_clerk_may_be_down(world: World, alice: Person, fault: dict[str, Any], asked: int) -> None:
    """What is ours is erased without it; the account's row waits, closed, until Clerk has done its part."""
    await alice.song(RAIN)
    await world.fault("clerk", path="/v1/users", **fault)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from diaries") == 0
    assert await world.db.pool.fetchval("select email from users where deleted_at is not null") is None
    assert await stored(world) == set()
    await world.pass_time(timedelta(minutes=3))
    assert len(await world.asked("clerk", "/v1/users")) == asked
    assert await traces(world.db.pool, ALICE) == {}


async def test_somebody_clerk_does_not_know_is_erased_too(world: World, alice: Person) -> None:
    """404 is done."""
    world.sandbox.clerk.users.clear()
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await traces(world.db.pool, ALICE) == {}


async def test_an_erasure_that_stands_still_is_taken_up_again(world: World, alice: Person) -> None:
    """Its job was given up, since Clerk refused for a reason that trying again does not mend; a day later it works."""
    await alice.song(RAIN)
    await world.fault("clerk", path="/v1/users", status=401)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    [job] = await world.app.runtime.queue.list("dead", 10)
    assert job["function"] == "users:eraseAccount"
    assert await world.db.pool.fetchval("select count(*) from users") == 1
    await world.fault("clerk")
    await world.pass_time(timedelta(hours=2))
    assert await traces(world.db.pool, ALICE) == {}


class Killed(BaseException):
    """The process died here, as far as the erasure can tell."""


async def test_an_erasure_may_die_between_any_two_steps(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time a little later; each next run goes on with what is left, and in the end nothing is."""
    for day in range(3):
        await alice.song(f"{RAIN} {day}")
    await alice.mutation("users:deleteAccount")
    [erasure_id] = await world.db.pool.fetchrow("select erasure_id from users")
    left = 0

    def dying(step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def stepped(*args: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            result = await step(*args)
            left -= 1
            if left == 0:
                raise Killed
            return result

        return stepped

    monkeypatch.setattr(ActionContext, "run_mutation", dying(ActionContext.run_mutation))
    monkeypatch.setattr(world.app.files, "delete", dying(world.app.files.delete))
    monkeypatch.setattr(world.app._clerk_users, "delete_user", dying(world.app._clerk_users.delete_user))
    deaths = 0
    while await world.db.pool.fetchval("select count(*) from users"):
        left = 2 * deaths + 1
        try:
            await world.app.call("users:eraseAccount", {"erasureId": erasure_id}, caller=SYSTEM)
        except Killed:
            deaths += 1
    assert deaths > 10
    await world.settle()
    assert await traces(world.db.pool, ALICE) == {}
    assert await stored(world) == set()


async def test_a_long_erasure_is_split_into_several_jobs(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run leaves the rest to the next one, so that its duration is bounded."""
    await alice.song(RAIN)
    monkeypatch.setattr(account_deletion, "TRANSACTIONS_PER_RUN", 3)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert await traces(world.db.pool, ALICE) == {}
    runs = await world.db.pool.fetch("select args from jobs where function = 'users:eraseAccount' order by id")
    assert len(runs) > 2
    assert [row["args"]["run"] for row in runs] == [str(run) for run in range(1, len(runs) + 1)]


async def test_what_comes_in_between_is_erased_as_well(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row written for the person while their things are erased is found before the account's row goes."""
    whose = await user_id(world)
    erase_user = account_deletion.erase_user
    written: list[Any] = []

    async def late(ctx: Any, handler: Any, args: Any, run: Any = ActionContext.run_mutation) -> Any:
        if handler is erase_user and not written:
            written.append(await fill_every_table(world.db.pool, whose))
        return await run(ctx, handler, args)

    monkeypatch.setattr(ActionContext, "run_mutation", late)
    await alice.mutation("users:deleteAccount")
    await world.settle()
    assert written
    assert await traces(world.db.pool, [whose, *ALICE, written[0]["diaries"]["id"]]) == {}


async def test_nothing_in_the_log_or_the_jobs_says_who_left(world: World, alice: Person) -> None:
    """The erasure goes by a name of its own."""
    await alice.mutation("users:deleteAccount")
    row = await world.db.pool.fetchrow("select args, unique_key from jobs")
    assert row is not None
    assert set(row["args"]) == {"erasureId", "run"}
    assert "user_alice" not in json.dumps(row["args"]) + row["unique_key"]
