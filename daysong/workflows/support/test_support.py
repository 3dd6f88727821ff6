"""What operators do and see, by the internal functions."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from conftest import NOW
from daysong.kernel import inbox
from daysong.kernel.inbox import Event
from daysong.kernel.limits.marks import account_mark
from daysong.kernel.time.clock import to_ms
from daysong.workflows.support import calls, jobs, people
from daysong.workflows.support.hiding import HIDDEN, visible_id
from daysong.workflows.vendor_events import handle_clerk_event
from rehearsal.operators import failed_song
from rehearsal.world import FunctionError, Person, World

pytestmark = pytest.mark.anyio

ENTRY = "I walked home in the rain and called my sister"
WHY = "ticket 4711"


async def account(world: World, name: str) -> str:
    found: str = await world.db.pool.fetchval("select id from users where clerk_id = $1", f"user_{name}")
    return found


async def log_of(admin: Person, **which: Any) -> list[tuple[str, str]]:
    return [(row["action"], row["outcome"]) for row in await admin.query("support/audit:listEntries", **which)]


async def test_the_audit_log_cannot_be_changed(world: World, alice: Person, admin: Person) -> None:
    """Not by update, delete or truncate; its rows outlive the account, without its id."""
    user_id = await account(world, "alice")
    await admin.mutation("support/people:grantSongs", userId=user_id, songs=2, reason=WHY)
    for statement in ("update audit_log set who = 'x'", "delete from audit_log", "truncate audit_log"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="not changed or deleted"):
            await world.db.pool.execute(statement)
    await admin.mutation("support/people:erasePerson", userId=user_id, reason=WHY)
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from users") == 0
    rows = await admin.query("support/audit:listEntries", account=account_mark(world.settings.hash_key, user_id))
    assert [(row["action"], row["who"], row["reason"]) for row in rows] == [
        ("people erase", "admin key", WHY), ("people grant songs", "admin key", WHY),
    ]  # fmt: skip
    kept = await world.db.pool.fetchval("select string_agg(a::text, ' ') from audit_log a")
    assert user_id not in kept
    assert "user_alice" not in kept


async def test_people_are_found_by_what_they_say(
    world: World, alice: Person, bob: Person, admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By address, ids, share link, phone number and its hash, song, and keyed hash; other texts find no account."""
    monkeypatch.setattr(people, "SCANNED_AT_ONCE", 1)
    song = await alice.song()
    link = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    number = "+351912345678"
    await alice.mutation(
        "callSettings:upsertCallSettings", phoneE164=number, timezone="Europe/Lisbon", timeOfDay="20:30",
        cadence="daily", active=True,
    )  # fmt: skip
    user_id = await account(world, "alice")
    shown = await admin.query("support/people:showPerson", userId=user_id)
    texts = [
        "Alice@Example.test", "user_alice", user_id, link["shareId"], link["shareUrl"], number, "+351 912 345 678",
        song["_id"], song["diaryId"], shown["mark"],
    ]  # fmt: skip
    for text in texts:
        [found] = await admin.query("support/people:findPeople", text=text)
        assert (found["clerkId"], found["email"], found["state"]) == ("user_alice", "alice@example.test", "active")
    bobs = account_mark(world.settings.hash_key, await account(world, "bob"))
    assert [one["clerkId"] for one in await admin.query("support/people:findPeople", text=bobs)] == ["user_bob"]
    for text in ("nobody@example.test", "user_nobody", "9" * 24, "f" * 64, "+351911111111", "' or true --"):
        assert await admin.query("support/people:findPeople", text=text) == []
    assert (shown["callPlan"]["number"], shown["callPlan"]["timeOfDay"]) == ("+351•••••••78", "20:30")
    assert (shown["plan"]["tier"], shown["counts"]["songs"], shown["counts"]["entries"]) == ("free", 1, 1)
    assert [row["kind"] for row in shown["ledger"]] == ["charge"]
    assert {cost["vendor"] for cost in shown["costs"]} == {"openai", "suno"}
    text = str(shown)
    assert number not in text
    assert "sister" not in text
    assert song["title"] not in text


async def test_people_are_found_by_how_their_name_begins(world: World, admin: Person) -> None:
    """In either case, at most twenty, first by name; no text is a pattern."""
    names = ["Charlie Ångström", "charlie b", "Charlotte", "100% Bob", *(f"Dan {number:02}" for number in range(25))]
    for number, name in enumerate(names):
        await world.db.pool.execute(
            "insert into users (id, clerk_id, name, created_at, updated_at) values ($1, $1, $2, $3, $3)",
            f"user_{number:02}", name, NOW,
        )  # fmt: skip

    async def found(text: str) -> list[str]:
        return [one["name"] for one in await admin.query("support/people:findPeople", text=text)]

    assert await found("CHARLIE") == ["charlie b", "Charlie Ångström"]
    assert await found("charlie å") == ["Charlie Ångström"]
    assert await found("100%") == ["100% Bob"]
    assert await found("dan") == [f"Dan {number:02}" for number in range(20)]
    assert [await found(text) for text in ("c", "%", "ch%", "ngström")] == [[], [], [], []]


async def test_people_are_found_by_indexes_alone(world: World) -> None:
    """With a million accounts as with ten: no way to find one reads a whole table."""
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        for sql in (*people.FOUND_SQL.values(), people.NAMED_SQL):
            statement = await connection.prepare(sql)
            empty = {"text": "''", "bytea": "''", "text[]": "'{a}'", "bytea[]": "'{}'"}
            value = empty[statement.get_parameters()[0].name]
            plan = "\n".join(row[0] for row in await connection.fetch("explain " + sql.replace("$1", value)))
            assert "Seq Scan" not in plan, plan


async def test_granted_songs_and_a_limit_count(world: World, alice: Person, admin: Person) -> None:
    """A grant raises the limit of its period alone; a limit holds in each."""
    user_id = await account(world, "alice")
    await admin.mutation("support/people:grantSongs", userId=user_id, songs=3, reason=WHY)
    assert (await alice.query("usage:getCurrentUserUsage"))["remainingQuota"] == 8
    await admin.mutation("support/people:setSongLimit", userId=user_id, limit=1, reason=WHY)
    assert (await alice.query("usage:getCurrentUserUsage"))["musicLimit"] == 4
    again = await admin.mutation("support/people:setSongLimit", userId=user_id, limit=1, reason=WHY)
    assert again == {"outcome": "unchanged"}
    await admin.mutation("support/people:setSongLimit", userId=user_id, limit=None, reason=WHY)
    await world.db.pool.execute("update usage_grants set granted_at = granted_at - interval '31 days'")
    assert (await alice.query("usage:getCurrentUserUsage"))["musicLimit"] == 5
    assert [action for action, _ in await log_of(admin, userId=user_id)] == [
        "people set limit", "people set limit", "people set limit", "people grant songs",
    ]  # fmt: skip


async def test_a_block_holds_whatever_clerk_says(world: World, alice: Person, admin: Person) -> None:
    """The person is signed out and their waiting song refunded; after the block, what Clerk says holds."""
    user_id = await account(world, "alice")
    await alice.action("music:startDiaryMusicGeneration", content=ENTRY)
    await admin.mutation("support/people:blockPerson", userId=user_id, reason=WHY)
    assert await alice.query("users:getUserProfile") is None
    with pytest.raises(FunctionError, match="Unauthorized"):
        await alice.mutation("diaries:createDiary", content="Sun.")
    [song] = await admin.query("support/songs:listSongs", status="failed")
    assert (song["failureCode"], song["refunded"]) == ("suspended", True)
    body = {"id": "user_alice", "banned": False, "locked": False, "updated_at": to_ms(world.clock.now())}
    await world.http.post("/sandbox/clerk/users/user_alice", json=body)
    await world.settle()
    assert await alice.query("users:getUserProfile") is None
    assert await admin.mutation("support/people:blockPerson", userId=user_id, reason=WHY) == {"outcome": "unchanged"}
    await admin.mutation("support/people:unblockPerson", userId=user_id, reason=WHY)
    assert (await alice.query("users:getUserProfile"))["user"]["_id"] == user_id


async def test_a_ban_at_clerk_outlasts_a_block(world: World, alice: Person, admin: Person) -> None:
    """It holds again when the block ends; a lock that has ended meanwhile does not."""
    user_id = await account(world, "alice")
    for state, ends, after in (("banned", None, "banned"), ("locked", world.clock.now(), None)):
        await world.db.pool.execute("update users set suspension = $1, suspension_ends_at = $2", state, ends)
        await admin.mutation("support/people:blockPerson", userId=user_id, reason=WHY)
        [found] = await admin.query("support/people:findPeople", text=user_id)
        assert found["state"] == "blocked"
        await admin.mutation("support/people:unblockPerson", userId=user_id, reason=WHY)
        assert await world.db.pool.fetchval("select suspension from users") == after


async def test_a_failed_song_is_made_again_and_counted_once_at_most(world: World, alice: Person, admin: Person) -> None:
    """As a gift by default: the refund of the first stays, and the second counts nothing. A third is not made."""
    failed = await failed_song(world, alice, ENTRY)
    shown = await admin.query("support/songs:showSong", songId=failed)
    assert (shown["status"], shown["refunded"], shown["rerunnable"], bool(shown["reason"])) == (
        "failed", True, True, True,
    )  # fmt: skip
    begun = await admin.action("support/songs:rerunSong", songId=failed, reason=WHY)
    assert begun["outcome"] == "done"
    assert (await admin.action("support/songs:rerunSong", songId=failed))["outcome"] == "in progress"
    await world.settle()
    new = await admin.query("support/songs:showSong", songId=begun["songId"])
    assert (new["status"], [track["status"] for track in new["tracks"]]) == ("ready", ["ready", "ready"])
    assert {cost["vendor"] for cost in new["costs"]} == {"openai", "suno"}
    assert (await admin.action("support/songs:rerunSong", songId=failed))["outcome"] == "made already"
    assert (await admin.action("support/songs:rerunSong", songId=begun["songId"]))["outcome"] == "not failed"
    assert (await alice.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 0
    listed = await alice.query("music:listPlaylistMusic")
    assert [song["_id"] for song in listed if song["status"] == "ready"] == [new["musicId"]]
    assert (await log_of(admin, target=failed))[-1] == ("songs rerun", "done")


async def test_a_rerun_that_counts_needs_a_song_that_is_left(world: World, alice: Person, admin: Person) -> None:
    """With `charge` it counts once, by the quota's rules."""
    failed, user_id = await failed_song(world, alice, ENTRY), await account(world, "alice")
    await admin.mutation("support/people:setSongLimit", userId=user_id, limit=0, reason=WHY)
    refused = await admin.action("support/songs:rerunSong", songId=failed, charge=True)
    assert refused == {"outcome": "no songs left"}
    await admin.mutation("support/people:setSongLimit", userId=user_id, limit=1, reason=WHY)
    assert (await admin.action("support/songs:rerunSong", songId=failed, charge=True))["outcome"] == "done"
    assert (await alice.query("usage:getCurrentUserUsage"))["musicGenerationsUsed"] == 1
    assert await log_of(admin, target=failed) == [("songs rerun", "done"), ("songs rerun", "no songs left")]


async def test_words_need_a_reason_that_is_kept(world: World, alice: Person, admin: Person) -> None:
    """Without one, no function of operators returns a word that a person wrote or was written for them."""
    song = await alice.song()
    generation = await world.db.pool.fetchval("select id from generations")
    user_id = await account(world, "alice")
    for path, args in (
        ("support/people:showPerson", {"userId": user_id}),
        ("support/songs:showSong", {"songId": song["_id"]}),
        ("support/songs:listSongs", {}),
        ("support/jobs:listJobs", {}),
    ):
        said = str(await admin.query(path, **args))
        assert "sister" not in said
        assert song["title"] not in said
        assert song["lyric"][:40] not in said
    for event in await admin.query("support/webhooks:listEvents", vendor="suno"):
        said = str(await admin.query("support/webhooks:showEvent", eventId=event["id"]))
        assert song["title"] not in said
        assert "http" not in said
    for reason in ("", "  ", "x"):
        with pytest.raises(FunctionError, match="reason"):
            await admin.mutation("support/songs:readSong", songId=generation, reason=reason)
    assert await log_of(admin) == []
    words = await admin.mutation("support/songs:readSong", songId=generation, reason=WHY)
    assert (words["entry"], words["title"]) == (ENTRY, song["title"])
    [row] = await admin.query("support/audit:listEntries")
    assert (row["action"], row["target"], row["reason"]) == ("songs read", generation, WHY)


async def test_a_canceled_job_is_given_up_and_a_dead_one_retried(world: World, alice: Person, admin: Person) -> None:
    """Giving up the job of a song refunds it; the log has both, and a job that is over is not canceled."""
    await alice.action("music:startDiaryMusicGeneration", content=ENTRY)
    [job] = await admin.query("support/jobs:listJobs", function="musicActions:requestSunoGeneration")
    shown = await admin.query("support/jobs:showJob", jobId=job["id"])
    assert shown["args"]["generationId"].startswith("gen_")
    assert await admin.mutation("support/jobs:cancelJob", jobId=job["id"]) == {"outcome": "done"}
    assert await admin.mutation("support/jobs:cancelJob", jobId=job["id"]) == {"outcome": "not queued"}
    await world.settle()
    [song] = await admin.query("support/songs:listSongs")
    assert (song["status"], song["refunded"]) == ("failed", True)
    [dead] = await admin.query("support/jobs:listJobs", status="dead")
    assert dead["lastError"] == "canceled by an operator"
    assert await admin.mutation("support/jobs:retryJob", jobId=job["id"], reason=WHY) == {"outcome": "done"}
    await world.settle()
    assert await admin.mutation("support/jobs:retryJob", jobId=job["id"]) == {"outcome": "not dead"}
    assert await log_of(admin, target=job["id"]) == [
        ("jobs retry", "not dead"), ("jobs retry", "done"), ("jobs cancel", "not queued"), ("jobs cancel", "done"),
    ]  # fmt: skip
    with pytest.raises(FunctionError, match="There is no such job"):
        await admin.mutation("support/jobs:cancelJob", jobId="job_none")


async def test_an_event_is_traced_to_its_effects(world: World, alice: Person, admin: Person) -> None:
    """Filters, the ids it mentions, the jobs it led to; its body with private values hidden; replayed once."""
    await alice.song()
    generation = await world.db.pool.fetchval("select id from generations")
    events = await admin.query("support/webhooks:listEvents", about=generation, status="handled")
    assert {event["vendor"] for event in events} == {"suno"}
    event = await admin.query("support/webhooks:showEvent", eventId=events[0]["id"])
    functions = [job["function"] for job in event["trace"]]
    assert functions[0] == "webhooks:handleSunoEvent"
    assert "music:fetchTimedLyrics" in functions or "music:checkAudio" in functions
    assert await admin.query("support/webhooks:listEvents", vendor="vapi") == []
    assert await admin.query("support/webhooks:listEvents", since=to_ms(world.clock.now()) + 1) == []
    with pytest.raises(FunctionError, match="was not kept"):
        await admin.mutation("support/webhooks:replayEvent", eventId=events[0]["id"])


async def test_a_dead_event_is_replayed_once(world: World, admin: Person) -> None:
    """What the person told Clerk is in the body alone, which needs a reason."""
    body = '{"type":"user.created","data":{"id":"user_1","first_name":"Zoë"},"timestamp":1795161600000}'
    event = Event(vendor="clerk", event_id="msg_1", type="user.created", body=body, subject="user_1")
    await inbox.receive(world.app.runtime, event, handle_clerk_event)
    await world.db.pool.execute("update jobs set status = 'dead', finished_at = due_at, last_error = 'OSError'")
    [dead] = await admin.query("support/webhooks:listEvents", status="dead", vendor="clerk", type="user.created")
    one = {"eventId": dead["id"]}
    shown = await admin.query("support/webhooks:showEvent", **one)
    assert shown["body"]["data"] == {"id": HIDDEN, "first_name": HIDDEN}
    read = await admin.mutation("support/webhooks:readEvent", **one, reason=WHY)
    assert read["body"]["data"]["first_name"] == "Zoë"
    assert await admin.mutation("support/webhooks:replayEvent", **one) == {"outcome": "done"}
    assert await admin.mutation("support/webhooks:replayEvent", **one) == {"outcome": "waiting"}
    await world.settle()
    assert (await admin.query("support/webhooks:showEvent", **one))["status"] == "handled"
    assert await log_of(admin, target=dead["id"]) == [
        ("webhooks replay", "waiting"), ("webhooks replay", "done"), ("webhooks read", "done"),
    ]  # fmt: skip


async def test_what_is_counted_adds_up(world: World, alice: Person, admin: Person) -> None:
    """Today's row has the song, the person and the money; the state has the vendors with their caps."""
    await alice.song()
    await failed_song(world, alice, ENTRY)
    days = await admin.query("support/overview:countDays", days=7)
    assert len(days) == 7
    today = days[-1]
    assert (today["songs"], today["failedSongs"], today["signUps"]) == (2, 1, 1)
    [cost] = await admin.query("support/overview:listCosts", by="day")
    assert (cost["what"], cost["amount"]) == (today["day"], today["spent"])
    state = await admin.query("support/overview:showState")
    assert state["queue"]["running"] == 0
    assert "backupOf" not in state
    await world.db.pool.execute("insert into holds (reason, since, snapshot_at) values ('restored', $1, $1)", NOW)
    assert (await admin.query("support/overview:showState"))["backupOf"] == to_ms(NOW)
    assert {row["vendor"] for row in state["webhooks"]} >= {"suno"}
    assert {"suno", "openai", "all"} <= {row["vendor"] for row in state["vendors"]}


async def test_two_operators_make_one_song(world: World, alice: Person, admin: Person) -> None:
    """Of several reruns at once, one begins; each is in the log."""
    failed = await failed_song(world, alice, ENTRY)
    reruns = [admin.action("support/songs:rerunSong", songId=failed) for _ in range(4)]
    outcomes = [answer["outcome"] for answer in await asyncio.gather(*reruns)]
    assert sorted(outcomes) == ["done", *["in progress"] * 3]
    assert sorted(outcome for _, outcome in await log_of(admin, target=failed)) == sorted(outcomes)


def test_ids_that_vendors_name_are_shown_and_what_may_name_a_person_is_hidden() -> None:
    """RevenueCat has the ids that an app gave it."""
    ids = [
        "user_2abcDEF", "$RCAnonymousID:8069238d6049ce87cc529853916d624c", "gen_01jd0000000000000000000000",
        "5c79be8e11aa2233445566778899aabb", "8069238d-6049-ce87-cc52-9853916d624c",
    ]  # fmt: skip
    assert [visible_id(one) for one in ids] == ids
    for text in ("alice@example.test", "+351912345678", "351912345678", "Alice Smith", "alice"):
        assert visible_id(text) == HIDDEN


async def test_jobs_of_all_accounts_are_read_by_their_primary_key(world: World) -> None:
    """With a million rows, the newest are found without sorting the others; sessions are looked up for listed calls."""
    async with world.db.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain {jobs.LIST_SQL}", 100, *(None,) * 4))
        assert "Index Scan Backward using jobs_pkey" in plan
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain {calls.LIST_SQL}", 100, *(None,) * 3))
        before, _, _ = plan.partition("call_sessions_by_job")
        assert before.rindex("Limit") > before.rindex("Nested Loop")
