"""Owned tables are derived from the schema, including tables added later."""

from __future__ import annotations

import json

import asyncpg
import pytest

from daysong.features.users import owned_tables
from rehearsal.owned_rows import schema
from rehearsal.world import World

pytestmark = pytest.mark.anyio

# Columns that identify a person in tables without a reference to `users`, and how they are erased.
ERASED_OTHERWISE = {
    # Erased with the whole event, whose `about` has the ids.
    "webhook_events.subject",
    # Ids of customers without an account; erased with the first of them that gets one.
    "parked_customers.app_user_ids",
    # Deleted when the account of the address is closed.
    "invitations.email",
    # Keyed hashes that outlive the account on purpose.
    "tombstones.clerk_hash",
    "tombstones.email_hash",
    # A keyed hash, deleted at the end of an import.
    "import_users.clerk_hash",
}
TELLING = ("user", "owner", "person", "clerk", "email", "phone", "caller", "customer", "subject")


async def test_every_owned_table_is_found(world: World) -> None:
    """Tables that reference users directly or through others are found, referencing tables first."""
    names = [table.name for table in owned_tables.tables(await schema(world.db.pool))]
    assert {"diaries", "music", "files", "generations", "subscriptions", "usage_charges", "shared_music"} <= set(names)
    # Its only reference is to a charge.
    assert names.index("usage_refunds") < names.index("usage_charges")
    assert names.index("shared_music") < names.index("music") < names.index("generations") < names.index("diaries")
    direct = await world.db.pool.fetch(
        "select conrelid::regclass::text as name from pg_constraint where confrelid = 'users'::regclass"
    )
    assert {row["name"] for row in direct} <= set(names)


async def test_a_new_table_is_found(world: World) -> None:
    """Tables owned through another table, and with unusual references, are found too."""
    connection = await asyncpg.connect(world.settings.database_url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(
            """create table "Odd one" (id text primary key, clerk text references users (clerk_id) on delete set null);
               create table photos (id text primary key, diary_id text not null references diaries on delete cascade);
               create table labels (photo_id text references photos on delete cascade, id text primary key);
               create table covers (id text primary key, photo_id text references photos on delete set null);
               create table news (id text primary key, about text[] not null);
               create index on news using gin (about)"""
        )
        await connection.set_type_codec("json", schema="pg_catalog", encoder=str, decoder=json.loads)
        found = await connection.fetchval(owned_tables.SCHEMA_SQL)
    finally:
        await transaction.rollback()
        await connection.close()
    tables = {table.name: table for table in owned_tables.tables(found)}
    order = list(tables)
    assert order.index("labels") < order.index("photos") < order.index("diaries")
    assert tables['"Odd one"'].conditions == ("(t.clerk) in (select clerk_id from users where id = $1)",)
    # Its reference is set to null on delete, so it is not owned.
    assert "covers" not in tables
    assert [table.name for table in owned_tables.mentioning(found) if table.name == "news"] == ["news"]


async def test_every_column_with_a_person_is_erased(world: World) -> None:
    """Each column that identifies a person is in an owned table or in the list above."""
    found = await schema(world.db.pool)
    known = {owned_tables.USERS, *(table.name for table in owned_tables.tables(found))}
    rows = await world.db.pool.fetch(
        """select relname as table, attname as column from pg_attribute join pg_class on pg_class.oid = attrelid
           where relkind in ('r', 'p') and relnamespace = current_schema()::regnamespace and attnum > 0
             and not attisdropped and relname not like 'pgqueuer%'"""
    )
    strangers = {
        f"{row['table']}.{row['column']}"
        for row in rows
        if row["table"] not in known and any(word in row["column"] for word in TELLING)
    }
    assert strangers == ERASED_OTHERWISE


async def test_every_reference_to_what_people_own_is_indexed(world: World) -> None:
    """Without an index, each erased row would scan the referencing table."""
    found = await schema(world.db.pool)
    owned = {owned_tables.USERS, *(table.name for table in owned_tables.tables(found))}
    unindexed = []
    for key in owned_tables.foreign_keys(found):
        leads = await world.db.pool.fetchval(
            """select exists (select from pg_index join pg_attribute on attrelid = indrelid and attnum = indkey[0]
                              where indrelid = $1::regclass and attname = $2 and indpred is null)""",
            key.child, key.columns[0],
        )  # fmt: skip
        if key.parent in owned and not leads:
            unindexed.append(f"{key.child} ({', '.join(key.columns)})")
    assert unindexed == []
