"""Diary entries: their versions, and those that are made of calls."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from daysong.features.diaries import store
from daysong.features.diaries.rules import DiaryIsEmpty, DiaryTooLong, WriterNotFound
from daysong.kernel.errors import ArgumentValidationError, Forbidden
from daysong.kernel.functions.context import SYSTEM, StatementContext
from daysong.kernel.ids import DiaryId
from daysong.kernel.time.clock import to_ms
from rehearsal.statements import sent_twice, until_waiting
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio


async def id_of(person: Person) -> str:
    """Return the account of a user."""
    return str((await person.mutation("users:ensureCurrentUser"))["userId"])


async def internal(world: World, **args: Any) -> str:
    """Make an entry as a workflow does."""
    created = await world.app.call("diaries:createDiaryInternal", args, caller=SYSTEM)
    return str(created.id)


async def test_an_entry_of_a_call_is_made_once(world: World, alice: Person) -> None:
    """The report of a call may be delivered twice, with other words: the first entry stays."""
    owner = await id_of(alice)
    first = await internal(world, userId=owner, content=" Rain ", callSessionId="session_1")
    assert await internal(world, userId=owner, content="Other words", callSessionId="session_1") == first
    assert await internal(world, userId=owner, content="Sun", callSessionId="session_2") != first
    assert {diary["content"] for diary in await alice.query("diaries:listDiaries")} == {"Rain", "Sun"}


async def test_f37_deliveries_at_once_are_one_entry(world: World, alice: Person) -> None:
    """Five workers hand in the same call; all are told of the same entry."""
    owner = await id_of(alice)
    made = await asyncio.gather(
        *(internal(world, userId=owner, content=f"Rain {n}", callSessionId="session_1") for n in range(5))
    )
    assert len(set(made)) == 1
    assert len(await alice.query("diaries:listDiaries")) == 1


async def test_entries_without_a_call_are_made_each_time(world: World, alice: Person) -> None:
    """Nothing but a call session says that two are the same."""
    owner = await id_of(alice)
    assert await internal(world, userId=owner, content="Rain") != await internal(world, userId=owner, content="Rain")


async def test_an_entry_may_be_of_another_day(world: World, alice: Person) -> None:
    """It is listed by its date, and was made now."""
    owner, day = await id_of(alice), datetime(2026, 11, 20, 19, 30, tzinfo=UTC)
    await internal(world, userId=owner, content="Today")
    await internal(world, userId=owner, content="Then", date=to_ms(day))
    newest, older = await alice.query("diaries:listDiaries")
    assert (newest["content"], newest["date"]) == ("Today", to_ms(world.clock.now()))
    assert (older["date"], older["_creationTime"]) == (to_ms(day), to_ms(world.clock.now()))


@pytest.mark.parametrize("date", [-1, 1e300, float("nan"), "now"])
async def test_a_date_that_is_none_is_refused(world: World, alice: Person, date: Any) -> None:
    """The error names the field."""
    with pytest.raises(ArgumentValidationError, match="date"):
        await internal(world, userId=await id_of(alice), content="Rain", date=date)


async def test_f61_an_entry_of_a_call_must_say_something_and_end_somewhere(world: World, alice: Person) -> None:
    """The same bounds hold wherever an entry is written."""
    owner = await id_of(alice)
    with pytest.raises(DiaryIsEmpty):
        await internal(world, userId=owner, content=" \n")
    with pytest.raises(DiaryTooLong):
        await internal(world, userId=owner, content="x" * 50_001)
    assert await alice.query("diaries:listDiaries") == []


async def test_entries_are_only_for_accounts_that_are_there(world: World, alice: Person, bob: Person) -> None:
    """No user, a deleted one, or the call of another: no entry."""
    alices, bobs = await id_of(alice), await id_of(bob)
    with pytest.raises(WriterNotFound, match="User not found"):
        await internal(world, userId="user_nobody", content="Rain")
    await internal(world, userId=alices, content="Rain", callSessionId="session_1")
    with pytest.raises(Forbidden):
        await internal(world, userId=bobs, content="Mine", callSessionId="session_1")
    await world.db.pool.execute("update users set deleted_at = $1 where id = $2", world.clock.now(), alices)
    with pytest.raises(WriterNotFound):
        await internal(world, userId=alices, content="Rain")
    assert await world.db.pool.fetchval("select count(*) from diaries") == 1


async def test_making_entries_for_others_is_not_public(alice: Person) -> None:
    """An app cannot write into an account by its id."""
    with pytest.raises(FunctionError, match="Could not find public function"):
        await alice.mutation("diaries:createDiaryInternal", userId="x", content="Rain")


async def test_f62_every_change_counts_the_version_on(world: World, alice: Person, bob: Person) -> None:
    """Two changes at once are both counted, one after the other; a refused one is not."""
    diary = await alice.mutation("diaries:createDiary", content="Rain")
    assert await version(world) == 1
    world.clock.forward(timedelta(minutes=1))
    updated = await alice.mutation("diaries:updateDiary", diaryId=diary["_id"], content="Sun")
    assert updated == {"_id": diary["_id"], "updatedAt": to_ms(world.clock.now())}
    assert await version(world) == 2
    await asyncio.gather(
        *(alice.mutation("diaries:updateDiary", diaryId=diary["_id"], content=f"Sun {n}") for n in range(4))
    )
    assert await version(world) == 6
    with pytest.raises(FunctionError, match="Forbidden"):
        await bob.mutation("diaries:updateDiary", diaryId=diary["_id"], content="Mine")
    with pytest.raises(FunctionError, match="Content cannot be empty"):
        await alice.mutation("diaries:updateDiary", diaryId=diary["_id"], content=" ")
    assert await version(world) == 6


async def version(world: World) -> int:
    """Of the only entry."""
    counted: int = await world.db.pool.fetchval("select version from diaries")
    return counted


@pytest.fixture
async def unread(world: World) -> None:
    """The flag that has entries read is off, so that an entry takes one statement."""
    await world.app.call("featureFlags:setFlag", {"key": "event-extraction", "percent": 0}, caller=SYSTEM)


def tries(world: World) -> bool:
    """Return whether the next entry is tried in one statement."""
    untried: dict[str, int] = world.app.runtime._untried
    return not untried.pop("diaries:createDiary", 0)


@pytest.mark.usefixtures("unread")
async def test_an_entry_takes_one_statement(world: World, alice: Person) -> None:
    """For an account that is as the token says; otherwise the transaction does what it does besides."""
    await alice.mutation("diaries:createDiary", content="The account is made.")
    tries(world)
    await alice.mutation("diaries:createDiary", content=" Rain ")
    assert tries(world)
    pool = world.app.runtime.database.pool
    await pool.execute("update users set email = 'old@example.test'")
    await alice.mutation("diaries:createDiary", content="Sun")
    assert not tries(world)
    assert await pool.fetchval("select email from users") != "old@example.test"
    await world.app.call("featureFlags:setFlag", {"key": "event-extraction", "percent": 100}, caller=SYSTEM)
    await alice.mutation("diaries:createDiary", content="Wind")
    assert not tries(world)
    assert await pool.fetchval("select count(*) from jobs where function like '%processDiaryEntry'") == 1
    listed = await alice.query("diaries:listDiaries")
    assert [each["content"] for each in listed] == ["Wind", "Sun", "Rain", "The account is made."]


@pytest.mark.usefixtures("unread")
async def test_a_suspended_or_closed_account_writes_nothing(world: World, alice: Person) -> None:
    """Neither by the statement nor by the transaction after it."""
    await id_of(alice)
    pool = world.app.runtime.database.pool
    for state in ("suspension = 'banned', suspension_told_at = now()", "suspension = null, deleted_at = now()"):
        await pool.execute(f"update users set {state}")  # noqa: S608 - constants
        with pytest.raises(FunctionError) as refused:
            await alice.mutation("diaries:createDiary", content="Rain")
        assert refused.value.code == "unauthorized"
        tries(world)
    assert await pool.fetchval("select count(*) from diaries") == 0


@pytest.mark.usefixtures("unread")
async def test_an_entry_waits_for_the_lock_of_its_account(world: World, alice: Person) -> None:
    """The account is closed meanwhile, by a transaction that began first: then there is no entry."""
    await id_of(alice)
    database = world.app.runtime.database
    async with database.pool.acquire() as other:
        await other.execute("begin; update users set deleted_at = now()")
        writing = asyncio.create_task(alice.mutation("diaries:createDiary", content="Rain"))
        await until_waiting(database.pool)
        await other.execute("commit")
    with pytest.raises(FunctionError):
        await writing
    assert await database.pool.fetchval("select count(*) from diaries") == 0


@pytest.mark.usefixtures("unread")
async def test_a_statement_that_is_sent_again_while_the_first_still_runs_returns_its_entry(
    world: World, alice: Person
) -> None:
    """Only the connection was lost, and the server goes on: otherwise the transaction after it adds another entry."""
    await id_of(alice)
    runtime = world.app.runtime
    context = StatementContext(world.clock.now(), world.acting_as("user_alice"), runtime.settings, runtime.queue)
    statement = store.insert_at_once(context, DiaryId.new(context.now), "Rain", None)
    pool = runtime.database.pool
    assert None not in await sent_twice(pool, statement)
    assert await pool.fetchval("select count(*) from diaries") == 1
