"""Accounts of the earlier backend, moved in from a made-up snapshot with its oddities."""

from __future__ import annotations

import asyncio
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.kernel.time.clock import to_ms
from daysong.workflows.moving.archive import Archive, MalformedArchive
from daysong.workflows.moving.batches import Batch
from daysong.workflows.moving.run import AT_ONCE, STEPS, Import, Report, as_text
from rehearsal import billing
from rehearsal.snapshots import AT, DAY, FILM, ODDITIES, PHOTO, archive, document, folder, song
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def moved(world: World, path: Path, *, apply: bool = True, only: frozenset[str] | None = None) -> Report:
    """Import an archive."""
    opened = Archive(path)
    try:
        importing = Import(
            opened, world.db, world.app.runtime.queue, world.app.files, world.settings, world.clock.now(), only=only
        )  # fmt: skip
        return await importing.run(apply=apply)
    finally:
        opened.close()


async def rows(world: World) -> dict[str, Any]:
    """Return what an import writes, without what is random."""
    tables = [
        "users", "subscriptions", "subscription_log", "usage_charges", "usage_refunds", "diaries", "music",
        "generations",
        "shared_music", "share_views", "call_settings", "call_jobs", "call_sessions", "imported_ids", "revenuecat_ids",
    ]  # fmt: skip
    return {
        table: await world.db.pool.fetchval(
            f"select jsonb_agg(to_jsonb(t) - 'callback_secret' - 'file_id' order by to_jsonb(t)::text) from {table} t"  # noqa: S608
        )
        for table in tables
    }


@pytest.mark.parametrize("write", [folder, archive])
async def test_an_account_moves_in_with_its_old_ids(world: World, tmp_path: Path, write: Any) -> None:
    """Entries, songs, plan, usage, calls and links are there after the first sign-in; apps see the old ids."""
    report = await moved(world, write(tmp_path, ODDITIES))
    assert report.unknown == ["feedback"]
    alice = await world.person("alice")
    profile = await alice.query("users:getUserProfile")
    assert profile["user"]["_id"] == "j57alice"
    assert profile["subscription"]["tier"] == "monthly"
    assert profile["subscription"]["musicGenerationsUsed"] == 3
    entries = {entry["_id"]: entry for entry in await alice.query("diaries:listDiaries")}
    assert entries.keys() == {"d_rain", "d_wait"}
    assert entries["d_rain"]["content"] == "It rained."
    playlist = {one["_id"]: one for one in await alice.query("music:listPlaylistMusic")}
    assert {"m_rain", "m_alone"} <= playlist.keys()
    assert playlist["m_rain"]["lyricWithTime"]["alignedWords"][0]["word"] == "Rain "
    assert playlist["m_rain"]["userSongId"] == "k_own"
    bob = await world.person("bob")
    [kept] = await bob.query("music:listPlaylistMusic")
    assert (kept["userSongId"], kept["ownershipType"]) == ("k_kept", "shared")
    shown = await world.http.get("/share/l0Il-_share")
    assert shown.status_code == 200
    [share] = await alice.query("sharing:listSharedMusic")
    assert share["viewCount"] >= 41
    settings = profile["callSettings"]
    assert (settings["active"], settings["consent"], settings["pausedReason"]) == (False, "unknown", "imported")
    calls = {job["_id"]: job["status"] for job in await alice.query("callJobs:getCallJobs")}
    assert calls == {"job_done": "completed", "job_open": "canceled"}
    [session] = await alice.query("callJobs:getCallSessions")
    assert session["transcript"] == [{"role": "user", "content": "It rained."}]


async def test_photos_devices_flags_invitations_and_the_blog_move_in(world: World, tmp_path: Path) -> None:
    """A photo is what its bytes say, and is there to be fetched; a run that only rehearses stores none."""
    path = archive(tmp_path, ODDITIES)
    await moved(world, path, apply=False)
    assert [file async for page in world.app.files.list() for file in page] == []
    report = await moved(world, path)
    assert report.files == 3
    alice, bob = await world.person("alice"), await world.person("bob")
    [photo] = await alice.query("diaryMedia:getDiaryMedia", diaryId="d_rain")
    assert (photo["_id"], photo["contentType"], photo["fileSize"]) == ("p_1", "image/jpeg", len(PHOTO))
    assert (await world.http.get(photo["url"])).content == PHOTO
    videos = {video["_id"]: video for video in await alice.query("videos:listVideosForMusic", musicId="m_rain")}
    assert {name: video["status"] for name, video in videos.items()} == {
        "w_1": "ready", "w_2": "pending", "w_3": "failed",
    }  # fmt: skip
    assert videos["w_1"]["isPrimary"]
    assert (await world.http.get(videos["w_1"]["videoUrl"])).content == FILM
    people = {person["_id"]: person for person in await alice.query("memory/people:listPeople")}
    assert {name: person["primaryName"] for name, person in people.items()} == {"a_1": "Anna", "a_2": "ANNA (2)"}
    assert (people["a_1"]["interactionCount"], people["a_1"]["highlights"]["summary"]) == (1, "Your sister.")
    [event] = await alice.query("memory/events:getTimelineEvents")
    assert (event["_id"], event["mood"], event["tags"]) == ("o_1", -2, ["Rain", "RAIN (2)"])
    [device] = await alice.query("pushNotifications:getMyPushTokens")
    assert device["platform"] == "ios"
    assert (await bob.query("featureFlags:getUserFlags"))["new-player"]
    post = await bob.query("blog:getBySlug", slug="song-one")
    assert (post["_id"], post["tags"], post["redirectFrom"]) == ("b_1", ["News"], ["song-one"])
    revision = await world.db.pool.fetchrow("select id, post_id, title from blog_revisions")
    assert tuple(revision) == ("h_1", "b_1", "First")
    assert await world.db.pool.fetchval("select email from invitations") == "charlie@example.test"
    assert await world.db.pool.fetchval("select sum(views) from blog_views") == 7


async def test_each_line_that_is_left_out_is_reported_with_its_reason(world: World, tmp_path: Path) -> None:
    """By table and line; nothing that a person wrote is quoted."""
    report = await moved(world, archive(tmp_path, ODDITIES))
    skipped = {table: tally.skipped for table, tally in report.tables.items() if tally.skipped}
    assert skipped == {
        "users": {"no clerkId": 1, "not JSON": 1, "not a document with an _id": 1},
        "subscriptionStatuses": {"not the active subscription of its user": 1, "its user is not there": 1},
        "diaries": {"an entry without words": 1, "its user is not there": 1},
        "music": {"its entry is not there": 2},
        "sharedMusic": {"revoked": 1, "a shareId that is none": 1},
        "userSongs": {"its song is not there": 1},
        "diaryMedia": {
            "its file is no photo or video of a known type": 1,
            "its file is damaged: the checksum differs": 1,
            "its file is not in the archive": 1,
            "its entry is not there": 1,
        },
        "people": {"a person without a name": 1},
        "events": {"its entry is not there": 1},
        "musicVideos": {"its song is not there": 1},
        "callSettings": {"its number cannot be called": 1},
        "pushTokens": {"not an Expo push token": 1},
        "emailNotify": {"not an e-mail address": 1},
        "featureFlags": {"not the name of a flag": 1},
    }
    assert report.tables["users"].merged == 1
    text = "\n".join(as_text(report))
    assert "line 5: not JSON" in text
    assert "rained" not in text
    assert "example.test" not in text


async def test_f01_users_of_one_clerk_id_become_the_oldest(world: World, tmp_path: Path) -> None:
    """What belonged to the others is its own, and RevenueCat may still call it by their ids."""
    await moved(world, archive(tmp_path, ODDITIES))
    bob = await world.person("bob")
    assert (await bob.query("users:getUserProfile"))["user"]["_id"] == "j57bob1"
    assert [entry["_id"] for entry in await bob.query("diaries:listDiaries")] == ["d_bob"]
    named = await world.db.pool.fetchval("select user_id from revenuecat_ids where app_user_id = 'j57bob2'")
    assert named == "j57bob1"


async def test_an_account_that_is_here_already_takes_over_what_moves_in(
    world: World, alice: Person, tmp_path: Path
) -> None:
    """Its id stays; the old one is another name of it."""
    before = (await alice.query("users:getUserProfile"))["user"]["_id"]
    await alice.mutation("diaries:createDiary", content="New.")
    await moved(world, archive(tmp_path, ODDITIES))
    assert (await alice.query("users:getUserProfile"))["user"]["_id"] == before
    assert len(await alice.query("diaries:listDiaries")) == 3
    assert (await alice.query("users:getUserProfile"))["subscription"]["tier"] == "monthly"


async def test_a_deleted_account_does_not_come_back(world: World, alice: Person, tmp_path: Path) -> None:
    """Its documents are skipped, with all that belongs to it."""
    await alice.mutation("users:deleteAccount")
    await world.settle()
    report = await moved(world, archive(tmp_path, ODDITIES))
    assert report.tables["users"].skipped["the account was deleted here"] == 1
    assert await world.db.pool.fetchval("select count(*) from diaries where content = 'It rained.'") == 0


async def test_only_chosen_users_move_in(world: World, tmp_path: Path) -> None:
    """By Clerk id or by old id."""
    await moved(world, archive(tmp_path, ODDITIES), only=frozenset({"user_bob"}))
    assert {row["clerk_id"] for row in await world.db.pool.fetch("select clerk_id from users")} == {"user_bob"}


async def test_others_who_are_here_already_get_nothing_of_an_import_of_chosen_users(
    world: World, tmp_path: Path
) -> None:
    """Also when an earlier import of the chosen ones brought them along."""
    few = {table: documents for table, documents in ODDITIES.items() if table == "users"}
    await moved(world, archive(tmp_path, few))
    await moved(world, archive(tmp_path, ODDITIES), only=frozenset({"user_bob"}))
    found = await world.db.pool.fetch("select distinct user_id from diaries")
    assert [row["user_id"] for row in found] == ["j57bob1"]


async def test_one_import_runs_at_a_time(world: World, tmp_path: Path) -> None:
    """Another one, of any archive, says so and writes nothing."""
    path = archive(tmp_path, ODDITIES)
    results = await asyncio.gather(moved(world, path), moved(world, path), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["ImportRunning", "Report"]
    assert (await moved(world, path)).tables == next(one for one in results if isinstance(one, Report)).tables


async def test_an_import_sends_no_notification(world: World, tmp_path: Path) -> None:
    """Nor does a pending song or video that is looked up afterwards, although its person has a device."""
    await moved(world, archive(tmp_path, ODDITIES))
    await world.pass_time(timedelta(minutes=40))
    assert (await world.http.get("/sandbox/expo/notifications")).json() in ([], {"notifications": []})
    assert await world.db.pool.fetchval("select count(*) from push_deliveries") == 0


async def test_without_apply_nothing_is_written(world: World, tmp_path: Path) -> None:
    """The report is the one of the import that follows."""
    path, before = archive(tmp_path, ODDITIES), await rows(world)
    rehearsed = await moved(world, path, apply=False)
    assert await rows(world) == before
    applied = await moved(world, path)
    assert (rehearsed.applied, applied.applied) == (False, True)
    assert rehearsed.tables == applied.tables


async def test_an_import_that_is_killed_goes_on_and_twice_is_once(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any batch: the same rows as of one run, and the same report."""
    many = dict(ODDITIES)
    many["diaries"] = [
        *ODDITIES["diaries"],
        *(document(f"d_{place}", userId="j57alice", content=f"Day {place}", date=AT) for place in range(AT_ONCE)),
    ]
    path = archive(tmp_path, many)
    whole = await moved(world, path)
    wanted = await rows(world)
    await world.db.empty()

    class Killed(Exception):
        pass

    left = 0
    commit = world.db.mutate

    async def mutate(*args: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return await commit(*args, **named)

    monkeypatch.setattr(world.db, "mutate", mutate)
    for lives in (3, 9, 7, 1):
        left = lives
        with pytest.raises(Killed):
            await moved(world, path)
    left = 1000
    assert await moved(world, path) == whole
    assert await rows(world) == wanted
    assert await moved(world, path) == whole
    assert await rows(world) == wanted


async def test_an_import_that_is_killed_goes_on_after_another_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one, of chosen users say, has deleted what the first one had staged."""
    path = archive(tmp_path, ODDITIES)

    async def killed(batch: Batch) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("daysong.workflows.moving.run.STEPS", (STEPS[0], STEPS[1]._replace(importer=killed)))
        with pytest.raises(ZeroDivisionError):
            await moved(world, path)
    await moved(world, path, only=frozenset({"j57alice"}))
    await moved(world, path)
    assert await world.db.pool.fetchval("select count(*) from users where id = 'j57bob1'") == 1


async def test_a_pending_song_is_looked_up_once_and_gives_its_charge_back(world: World, tmp_path: Path) -> None:
    """Suno does not know the task any more, so the song fails."""
    await moved(world, archive(tmp_path, ODDITIES))
    await world.pass_time(timedelta(minutes=20))
    row = await world.db.pool.fetchrow(
        """select g.status, (select count(*) from usage_refunds r where r.charge_id = g.charge_id) as refunds
           from generations g join music m on m.generation_id = g.id where m.id = 'm_wait'"""
    )
    assert row is not None
    assert tuple(row) == ("failed", 1)
    assert await world.asked("suno", "/record-info")
    assert [call for call in await world.asked("vapi", "/call") if call["method"] == "POST"] == []


async def test_what_revenuecat_says_of_an_old_id_lands(world: World, tmp_path: Path) -> None:
    """Also when that id was merged into another."""
    await moved(world, archive(tmp_path, ODDITIES))
    bob = await world.person("bob")
    assert (await bob.query("users:getUserProfile"))["subscription"]["tier"] == "free"
    await billing.tell(world, type="INITIAL_PURCHASE", app_user_id="j57bob2",
                       expiration_at_ms=int(to_ms(NOW) + 30 * DAY), purchased_at_ms=int(to_ms(NOW)))  # fmt: skip
    assert (await bob.query("users:getUserProfile"))["subscription"]["tier"] == "monthly"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("../../etc/documents.jsonl", "leads out"), ("/users/documents.jsonl", "leads out")],
)
def test_an_archive_that_leads_elsewhere_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    """Before anything is read."""
    path = archive(tmp_path, {"users": []})
    with zipfile.ZipFile(path, "a") as out:
        out.writestr(name, "{}")
    with pytest.raises(MalformedArchive, match=reason):
        Archive(path)


def test_an_archive_that_expands_without_bounds_is_refused(tmp_path: Path) -> None:
    """A bomb of zeros; a text of documents is well below."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("users/documents.jsonl", b"0" * (8 * 1024 * 1024))
    with pytest.raises(MalformedArchive, match="expands"):
        Archive(path)


def test_links_are_refused(tmp_path: Path) -> None:
    """In a folder and in an archive."""
    snapshot = folder(tmp_path, {"users": []})
    (snapshot / "users" / "documents.jsonl").unlink()
    (snapshot / "users" / "documents.jsonl").symlink_to("/etc/passwd")
    with pytest.raises(MalformedArchive, match="link"):
        Archive(snapshot)
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as out:
        member = zipfile.ZipInfo("users/documents.jsonl")
        member.external_attr = 0o120777 << 16
        out.writestr(member, "/etc/passwd")
    with pytest.raises(MalformedArchive, match="link"):
        Archive(path)


def test_a_line_without_an_end_is_one_problem(tmp_path: Path) -> None:
    """Not a reason to take the memory for it, nor to leave the lines after it."""
    deep = "[" * 100_000
    snapshot = folder(tmp_path, {"users": ['{"_id": "' + "x" * 5_000_000 + '"}', deep, document("u1", clerkId="c1")]})
    lines = list(Archive(snapshot).lines("users"))
    assert [(line.number, line.document is None) for line in lines] == [(1, True), (2, True), (3, False)]


def test_every_step_has_a_name_of_its_own() -> None:
    """Progress is kept by name."""
    assert len({step.name for step in STEPS}) == len(STEPS)


async def test_lines_that_the_database_would_refuse_stop_no_import(world: World, tmp_path: Path) -> None:
    """NUL in ids and texts, a task of two accounts, a video of negative length, a name of too many people."""
    words = {"said\0": "a\0b", "path": "C:\\u0000"}
    tables = {
        "users": [
            document("j57alice", clerkId="user_alice", email="alice@example.test"),
            document("j57bob", clerkId="user_bob", email="bob@example.test"),
            document("j57\0charlie", clerkId="user_charlie"),
        ],
        "diaries": [
            document("d_alice", userId="j57alice", content="Rain\0", date=AT),
            document("d_bob", userId="j57bob", content="Sun", date=AT),
            document("d_nobody", userId="j57\0nobody", content="Snow", date=AT),
        ],
        "music": [
            song("m_alice", "j57alice", "d_alice", taskId="the-same", metadata=words, lyricWithTime=words),
            song("m_bob", "j57bob", "d_bob", taskId="the-same"),
        ],
        "musicVideos": [document("v_alice", userId="j57alice", musicId="m_alice", duration=-5)],
        "callSessions": [document("c_alice", userId="j57alice", vapiCallId="call-1", endOfCallReport=words)],
        "subscriptionLog": [document("l_alice", userId="j57alice", raw=words)],
        "people": [document(f"p_{place}", userId="j57alice", primaryName="Mom") for place in range(60)],
    }
    report = await moved(world, archive(tmp_path, tables))
    assert report.tables["users"].imported == 3
    assert (report.tables["music"].imported, sum(report.tables["music"].skipped.values())) == (1, 1)
    assert report.tables["people"].skipped == {"too many have this name": 11}
    nameless = "select count(*) from people p where not exists (select from person_names n where n.person_id = p.id)"
    assert await world.db.pool.fetchval(nameless) == 0
    unpaid = """select count(*) from usage_charges c
                where not exists (select from usage_refunds r where r.charge_id = c.id)"""
    assert await world.db.pool.fetchval(unpaid) == 0
