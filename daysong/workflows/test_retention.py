"""What is over is forgotten after a declared time, a few rows at a time; what people have stays."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conftest import NOW
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.settings import RETENTION_DAYS, read
from daysong.workflows.retention import AT_ONCE, RETENTION, delete_expired_rows
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio

# Tables that no account owns and that have no age: why their rows go, or do not.
OTHERWISE = {
    "users": "erased by workflows/accounts/account_deletion.py",
    "schema_migrations": "one row a migration",
    "pgqueuer": "a row goes when its job has been handled",
    "pgqueuer_schedules": "never has rows: crons are jobs",
    "pgqueuer_statistics": "none are made",
    "call_lines": "never has rows: its lock is what it is for",
    "call_plans": "never has rows: its lock is what it is for",
    "phone_numbers": "forgotten a day after the call, unless refused: features/phone_calls/numbers/consent.py",
    "feature_flags": "an operator's: `daysong flags remove`",
    "blog_posts": "an operator's: `daysong blog delete`",
    "blog_slugs": "deleted with the post",
    "blog_revisions": "at most 100 a post; deleted with the post",
    "blog_views": "one row a post and day; deleted with the post",
    "blog_viewers": "tallied the day after: features/blog/views.py",
    "rate_limits": "one row a limit and key, for as long as it says something: kernel/limits",
    "reconciliation_runs": "one row",
    "audit_log": "what operators did, which cannot be deleted; a few rows a day, without a person",
    "primary_timeline": "one row",
    "holds": "one row, until `daysong resume`",
}


async def test_g56_each_table_is_an_accounts_or_has_a_declared_end(world: World) -> None:
    """A new table without an owner needs a line in RETENTION, or here a reason why not."""
    owned = await world.db.pool.fetch(
        """with recursive owned as (
             select 'users'::regclass::oid as oid
             union select conrelid from pg_constraint join owned on confrelid = owned.oid where contype = 'f')
           select oid::regclass::text as name from owned"""
    )
    tables = await world.db.pool.fetch(
        "select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')"
    )
    declared = {rule.table.partition(" ")[0] for rule in RETENTION.values()}
    ours = {row["name"] for row in tables if not row["name"].startswith("testing_")}
    assert ours - {row["name"] for row in owned} - declared - set(OTHERWISE) == set()


async def test_g56_a_purge_is_many_small_transactions(world: World, admin: Person) -> None:
    """Each deletes some hundred rows at most; one night forgets all that is over."""
    await world.db.pool.execute(
        """insert into jobs (id, ticket, function, args, status, due_at, finished_at)
           select 'job_' || n, '', 'f', '{}', case when n % 2 = 0 then 'done' else 'dead' end, $1, $1
           from generate_series(1, $2) n""",
        NOW - timedelta(days=91), 5 * AT_ONCE,
    )  # fmt: skip
    function = world.app.runtime.registry.of(delete_expired_rows).identifier
    assert await world.app.call(function, {"name": "jobs"}, caller=SYSTEM) is True
    assert await world.db.pool.fetchval("select count(*) from jobs") == 4 * AT_ONCE
    await admin.action("crons:retention")
    assert await world.db.pool.fetchval("select count(*) from jobs") == 0


async def test_g56_dead_jobs_and_unhandled_events_stay_for_three_months(world: World, admin: Person) -> None:
    """Long enough to be found and tried again; then they go."""
    for n, days in enumerate((30, 89, 91)):
        at = NOW - timedelta(days=days)
        await world.db.pool.execute(
            """insert into jobs (id, ticket, function, args, status, due_at, finished_at)
               values ($1, '', 'f', '{}', 'dead', $2, $2)""", f"job_{n}", at,
        )  # fmt: skip
        await world.db.pool.execute(
            """insert into webhook_events (id, vendor, event_id, type, body, received_at)
               values ($1, 'clerk', $1, 't', '{}', $2)""", f"event_{n}", at,
        )  # fmt: skip
    await admin.action("crons:retention")
    for table in ("jobs", "webhook_events"):
        left = await world.db.pool.fetch(f"select id from {table} order by id")  # noqa: S608 - constants
        assert [row["id"][-1] for row in left] == ["0", "1"]


async def test_g56_old_books_go_and_songs_stay(world: World, alice: Person, admin: Person) -> None:
    """Two years on, charges without a song and the log of the plan are gone; the song is not, nor are counts wrong."""
    await alice.song()
    await alice.mutation("usage:recordCurrentUserMusicGeneration")
    await world.db.pool.execute(
        """insert into subscription_log (id, user_id, event_type, tier, product_id, status, recorded_at)
           select 'log_1', id, 'RENEWAL', 'free', 'p', 'active', $1 from users""", NOW,
    )  # fmt: skip
    world.clock.forward(timedelta(days=800))
    await admin.action("crons:retention")
    assert await world.db.pool.fetchval("select count(*) from usage_charges") == 1
    assert await world.db.pool.fetchval("select count(*) from subscription_log where id = 'log_1'") == 0
    assert await world.db.pool.fetchval("select count(*) from generations") == 1
    assert await world.db.pool.fetchval("select count(*) from music where status = 'ready'") > 0


async def test_g56_an_answer_kept_is_small(world: World, alice: Person) -> None:
    """With its share of the indexes a usual answer takes 300 bytes at most: two weeks of them have to fit."""
    count = 5_000
    await world.db.pool.execute(
        """insert into answered_mutations (session_id, request_id, caller, user_id, result, ts, answered_at)
           select gen_random_uuid(), n, sha256('a')::bytea, (select id from users limit 1),
                  '{"_id":"diary_01jd2v7fq8e6e9a2p1t5x3k4mz"}', 1764158400000000000 + n, now()
           from generate_series(1, $1) n""",
        count,
    )  # fmt: skip
    size = await world.db.pool.fetchval("select pg_total_relation_size('answered_mutations')")
    assert size / count < 300


def test_g56_days_are_settings() -> None:
    """Each kind of rows has its days; a wrong name, or too few days, is a problem that names the right ones."""
    assert set(RETENTION) == set(RETENTION_DAYS)
    found, _ = read({"RETENTION_DAYS": "dead_jobs=10, call_jobs = 60"})
    assert (found.retention_days["dead_jobs"], found.retention_days["call_jobs"]) == (10, 60)
    assert found.retention_days["answered_mutations"] == 14
    for wrong, says in (("deadjobs=10", "dead_jobs"), ("jobs=1", "from 8"), ("jobs", "from 8"), ("jobs=x", "from 8")):
        _, problems = read({"RETENTION_DAYS": wrong})
        assert [says in problem.what for problem in problems if problem.name == "RETENTION_DAYS"] == [True]
