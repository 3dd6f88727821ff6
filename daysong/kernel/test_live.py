"""Only watchers of the changed rows are woken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from daysong.kernel.live import ANY_OWNER, Live

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Ear:
    """A watcher that counts how often it was woken."""

    def __init__(self, *tables: str) -> None:
        self.tables = frozenset(tables)
        self.woken = 0

    def touched(self) -> None:
        self.woken += 1


async def heard(connection: asyncpg.Connection, live: Live) -> None:
    """Wait until all that was committed so far has been told: notifications come in the order of commits."""
    mark = Ear("mark")
    live.watch(mark, "end")
    async with asyncio.timeout(20):
        while not mark.woken:
            await connection.execute("select notify_live('mark', 'end')")
            await asyncio.sleep(0.01)
    live.forget(mark, "end")


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    listening = Live(database_url)
    listening.open()
    yield listening
    await listening.close()


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def user(db: asyncpg.Connection, name: str) -> None:
    await db.execute(
        "insert into users (id, clerk_id, created_at, updated_at) values ($1, 'clerk_' || $1, $2, $2)", name, NOW
    )


async def entries(db: asyncpg.Connection, owner: str, *names: str) -> None:
    await db.execute(
        """insert into diaries (id, user_id, content, date, created_at, updated_at)
           select name, $1, 'Rain', $2, $2, $2 from unnest($3::text[]) name""",
        owner, NOW, names,
    )  # fmt: skip


async def test_each_owner_is_told_once_for_a_statement_and_for_a_transaction(
    db: asyncpg.Connection, live: Live
) -> None:
    await heard(db, live)
    await user(db, "alice")
    await user(db, "bob")
    hers, his, music, any_owner = Ear("diaries"), Ear("diaries"), Ear("music"), Ear("diaries")
    for ear, owner in ((hers, "alice"), (his, "bob"), (music, "alice"), (any_owner, ANY_OWNER)):
        live.watch(ear, owner)
    async with db.transaction():
        await entries(db, "alice", "one", "two", "three")
        await db.execute("update diaries set content = 'Sun'")
    await heard(db, live)
    assert (hers.woken, his.woken, music.woken, any_owner.woken) == (1, 0, 0, 1)
    await db.execute("update diaries set user_id = 'bob' where id = 'one'")
    await heard(db, live)
    assert (hers.woken, his.woken) == (2, 1)
    await db.execute("update diaries set content = 'Fog' where id = 'none'")
    await heard(db, live)
    assert (hers.woken, his.woken) == (2, 1)


async def test_rows_that_go_along_with_others_are_told_of_as_well(db: asyncpg.Connection, live: Live) -> None:
    await heard(db, live)
    await user(db, "alice")
    await entries(db, "alice", "one")
    await heard(db, live)
    diaries, account = Ear("diaries"), Ear("users")
    live.watch(diaries, "alice")
    live.watch(account, "clerk_alice")
    await db.execute("delete from users")
    await heard(db, live)
    assert (diaries.woken, account.woken) == (1, 1)


async def test_what_was_undone_is_not_told(db: asyncpg.Connection, live: Live) -> None:
    await heard(db, live)
    await user(db, "alice")
    ear = Ear("diaries")
    live.watch(ear, "alice")
    transaction = db.transaction()
    await transaction.start()
    await entries(db, "alice", "one")
    await transaction.rollback()
    await heard(db, live)
    assert ear.woken == 0


async def test_who_forgets_is_not_woken(db: asyncpg.Connection, live: Live) -> None:
    await heard(db, live)
    await user(db, "alice")
    ear = Ear("diaries")
    live.watch(ear, "alice")
    live.forget(ear, "alice")
    await entries(db, "alice", "one")
    await heard(db, live)
    assert ear.woken == 0
