"""What /metrics says of jobs, crons, open work, webhooks and sizes; and the worker's own page."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from conftest import NOW
from daysong.kernel.jobs import queue
from daysong.transport import schedule
from daysong.transport.metrics import state
from daysong.workflows.support import overview
from rehearsal.world import ADMIN_KEY, Person, World

pytestmark = pytest.mark.anyio

ADMIN = {"Authorization": f"Convex {ADMIN_KEY}"}


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look reads the database."""
    monkeypatch.setattr(state, "FRESH_FOR", -1.0)


async def series(world: World, pattern: str) -> dict[str, float]:
    """Return the samples whose name and labels match, from /metrics."""
    text = (await world.http.get("/metrics", headers=ADMIN)).raise_for_status().text
    samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in samples if re.search(pattern, name)}


async def test_g58_a_song_is_seen_from_its_start_to_its_end(world: World, alice: Person) -> None:
    """Open with its age, its jobs due, and counted once when it is ready; vendors with their latency and cost."""
    before = await series(world, "daysong_songs_total")
    await alice.action("music:startDiaryMusicGeneration", content="I walked home in the rain.")
    world.clock.move_to(NOW + timedelta(seconds=60))
    name = '{function="musicActions:requestSunoGeneration"'
    open_jobs = await series(world, "daysong_(queue|open)")
    assert open_jobs[f'daysong_queue_jobs{name},state="due"}}'] == 1
    assert open_jobs[f"daysong_queue_oldest_seconds{name}}}"] == 60
    assert open_jobs['daysong_open{kind="song",status="queued"}'] == 1
    assert open_jobs['daysong_open_oldest_seconds{kind="song",status="queued"}'] == 60
    await world.settle()
    await world.db.pool.execute("insert into budget_days (day, vendor, amount) values ($1, 'suno', 60000)", NOW.date())
    after = await series(world, "daysong_songs_total")
    for outcome in ("begun", "ready"):
        sample = f'daysong_songs_total{{code="",outcome="{outcome}"}}'
        assert after[sample] - before.get(sample, 0) == 1
    seen = await series(world, "daysong_(vendor_seconds_count|cost_today|job_starts|jobs_total|webhooks_total)")
    assert seen['daysong_vendor_seconds_count{outcome="2xx",vendor="suno"}'] >= 1
    assert seen['daysong_cost_today_dollars{vendor="suno"}'] == 0.06
    assert seen['daysong_jobs_total{function="musicActions:requestSunoGeneration",outcome="done"}'] >= 1
    assert seen['daysong_job_starts_total{function="musicActions:requestSunoGeneration"}'] >= 1
    assert seen['daysong_webhooks_total{outcome="new",vendor="suno"}'] >= 1


async def test_g58_failures_refunds_and_dead_jobs_are_seen(world: World, alice: Person) -> None:
    """A failed song with its code and its refund; a dead job by its function, until it is retried."""
    before = await series(world, "daysong_(songs|refunds)_total")
    await world.fault("suno", status=401)
    await alice.action("music:startDiaryMusicGeneration", content="I walked home in the rain.")
    await world.settle()
    after = await series(world, "daysong_(songs|refunds)_total")
    assert sum(after.values()) - sum(before.values()) == 3  # begun, failed, refunded
    await world.db.pool.execute(
        "insert into jobs (id, ticket, function, args, status, due_at, finished_at, last_error) "
        "values ('job_x', 't', 'x:y', '{}', 'dead', $1, $1, 'OSError')",
        NOW,
    )
    assert (await series(world, "daysong_queue_jobs"))['daysong_queue_jobs{function="x:y",state="dead"}'] == 1


async def test_g58_crons_that_do_not_run_lag(world: World) -> None:
    """From when the run after the last one that is done was due; one that was never done, since the process began."""
    assert set((await series(world, "daysong_cron_lag_seconds")).values()) == {0}
    world.clock.move_to(world.clock.now() + timedelta(minutes=2))
    never = await series(world, "daysong_cron_lag_seconds")
    assert len(never) == len(schedule.timetable())
    assert never['daysong_cron_lag_seconds{cron="generation-sweeper"}'] == 60
    await world.pass_time(timedelta(minutes=5))
    lags = await series(world, "daysong_cron_lag_seconds")
    assert set(lags.values()) == {0}
    world.clock.move_to(world.clock.now() + timedelta(minutes=10))
    lags = await series(world, "daysong_cron_lag_seconds")
    assert lags['daysong_cron_lag_seconds{cron="generation-sweeper"}'] == pytest.approx(540, abs=61)


async def test_g58_refused_webhooks_are_counted_by_vendor(world: World) -> None:
    """An event without a signature."""
    before = await series(world, "daysong_webhooks_total")
    assert (await world.http.post("/http/clerk-webhook", json={})).status_code == 401
    after = await series(world, "daysong_webhooks_total")
    refused = 'daysong_webhooks_total{outcome="refused",vendor="clerk"}'
    assert after[refused] - before.get(refused, 0) == 1


async def test_g58_sizes_sandbox_and_parts_are_told(world: World, alice: Person) -> None:
    """Bytes of tables and files, connections, and what this process is."""
    await alice.song()
    told = await series(world, "daysong_(table|storage|database|info|part_on|sandbox)")
    assert told['daysong_table_bytes{table="users"}'] > 0
    assert told['daysong_storage_bytes{kind="audio"}'] > 0
    assert told["daysong_database_up"] == 1
    assert told['daysong_database_connections{what="used"}'] >= 1
    assert told['daysong_part_on{part="phone"}'] == 1
    assert told["daysong_sandbox_on"] == 0


async def test_g58_a_database_that_is_away_is_said_and_the_rest_is_shown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics are needed most when something is wrong."""
    monkeypatch.setattr(state, "_JOBS_SQL", "select no_such_column from jobs where due_at < $1")
    text = (await world.http.get("/metrics", headers=ADMIN)).text
    assert "daysong_database_up 0.0" in text
    assert "daysong_http_request_seconds_count" in text
    assert list(text_string_to_metric_families(text))


async def test_g58_a_worker_answers_for_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Health, readiness and metrics on its own port; metrics for METRICS_FROM and the admin key alone."""
    worker = httpx2.ASGITransport(app=world.app.worker_asgi())
    async with httpx2.AsyncClient(transport=worker, base_url="http://worker") as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["code"]) == (503, "ServiceUnavailable")
        monkeypatch.setattr(world.app.worker, "_manager", object())
        assert (await http.get("/readyz")).json() == {"status": "ready"}
        assert "daysong_queue_jobs" in (await http.get("/metrics", headers=ADMIN)).text
        monkeypatch.setattr(world.app.gate, "_metrics_from", [])
        assert (await http.get("/metrics", headers={"Authorization": "Convex wrong"})).status_code == 403
        assert (await http.get("/metrics", headers=ADMIN)).status_code == 200
        assert (await http.get("/api/query")).status_code == 404


async def test_jobs_are_looked_up_by_indexes_that_the_start_of_a_job_does_not_change(world: World) -> None:
    """Among thousands that are done, those to be run, lost, or dead are found without reading the others."""
    sources = {
        queue.TAKE_DUE_SQL: "jobs_unfinished", queue.LOST_SQL: "jobs_unfinished", queue.PENDING_SQL: "jobs_unfinished",
        state._JOBS_SQL: "jobs_unfinished", state._DEAD_SQL: "jobs_with_error",
        overview.QUEUE_SQL: "jobs_with_error", overview.WAITING_SQL: "jobs_unfinished",
        "delete from jobs where status = 'done' and finished_at < $1": "jobs_ended",
        """select count(*) from jobs r
           where r.account = 'a' and r.finished_at is null and r.status = 'running'""": "jobs_unfinished_of_account",
    }  # fmt: skip
    values = {"$1": f"'{NOW - timedelta(hours=3)}'::timestamptz", "$2": "'t'", "$3": f"'{NOW}'::timestamptz"}
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            """insert into jobs (id, ticket, function, args, status, account, due_at, finished_at, last_error)
               select 'job_' || n, 't', 'f', '{}', (array['done', 'dead', 'queued', 'running'])[kind + 1],
                      'a' || n % 500, due, case when kind < 2 then due end, case kind when 1 then 'OSError' end
               from (select n, $1::timestamptz - n * interval '1 second' as due,
                            case when n % 500 < 4 then n % 500 else 0 end as kind from generate_series(1, 4000) n) j""",
            NOW,
        )
        await connection.execute("analyze jobs")
        for sql, index in sources.items():
            text = re.sub(r"\$\d", lambda found: values[found[0]], sql)
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain {text}"))
            assert f" using {index} on" in plan or f" on {index} " in plan, plan
            assert "Seq Scan on jobs" not in plan, plan


async def test_the_start_of_a_job_changes_no_column_of_an_index(world: World) -> None:
    """So PostgreSQL writes a new version of the row to its page alone (HOT). Conditions of indexes count as well."""
    indexed = await world.db.pool.fetch(
        """select distinct attrelid::regclass::text || '.' || attname as name
           from pg_depend join pg_index on indexrelid = objid and classid = 'pg_class'::regclass
           join pg_attribute on attrelid = indrelid and attrelid = refobjid and attnum = refobjsubid
           where attrelid in ('jobs'::regclass, 'generations'::regclass)"""
    )
    names = {row["name"] for row in indexed}
    assert names >= {"jobs.due_at", "jobs.finished_at", "jobs.args", "generations.created_at"}
    changed = {"jobs": ("status", "ticket", "starts", "started_at", "failures", "deferrals"),
               "generations": ("updated_at", "asked_at", "lyric", "polls", "next_poll_at")}  # fmt: skip
    assert names.isdisjoint({f"{table}.{column}" for table, columns in changed.items() for column in columns})
