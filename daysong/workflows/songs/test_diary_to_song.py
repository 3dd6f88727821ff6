"""From a diary entry to a song, through the front door and with real callbacks."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
import soundfile
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from daysong.features.subscriptions.rules import PLANS
from daysong.kernel import logs
from daysong.kernel.errors import Unauthorized
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.declarations import NoArgs
from daysong.workflows.songs import diary_to_song, song_quota
from rehearsal.statements import sent_twice, until_waiting
from rehearsal.world import FunctionError, Person, World, compose

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("unread_entries")]

RAIN = "I walked home in the rain and called my sister"


def begun() -> float:
    """The songs that were begun, as counted for metrics."""
    return REGISTRY.get_sample_value("daysong_songs_total", {"outcome": "begun", "code": ""}) or 0


async def used(world: World) -> int:
    """Charges that were not given back."""
    count: int = await world.db.pool.fetchval(
        "select count(*) from usage_charges c where not exists (select from usage_refunds r where r.charge_id = c.id)"
    )
    return count


async def test_a_diary_entry_becomes_a_song_that_plays(database_url: str, tmp_path: Path) -> None:
    """The whole way: entry, lyrics, two composed tracks, timed words, own copies, playlist, share page, audio."""
    async with World(database_url, tmp_path, datetime(2026, 11, 23, tzinfo=UTC), compose=compose) as world:
        await _from_diary_to_song(world, await world.person("alice"))


async def _from_diary_to_song(world: World, alice: Person) -> None:
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    assert started["success"]
    assert started["remainingQuota"] == PLANS["free"].songs - 1
    await world.settle()

    diary = await alice.query("diaries:getDiary", diaryId=started["diaryId"])
    assert diary["content"] == RAIN
    assert diary["primaryMusic"]["status"] == "ready"
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["_id"] == diary["primaryMusicId"]
    assert song["diaryContent"] == RAIN
    assert song["audioUrl"].startswith("http://daysong.test/media/file_")
    assert song["imageUrl"].startswith("http://daysong.test/media/file_")

    words = song["lyricWithTime"]["alignedWords"]
    assert all(0 <= word["startS"] <= word["endS"] <= song["duration"] for word in words)
    assert "".join(word["word"] for word in words).split() == song["lyric"].split()

    audio = await world.http.get(song["audioUrl"], headers={"Range": "bytes=0-"})
    assert audio.status_code == httpx2.codes.PARTIAL_CONTENT
    with soundfile.SoundFile(io.BytesIO(audio.content)) as sound:
        assert sound.frames / sound.samplerate == pytest.approx(song["duration"], abs=0.2)
        assert sound.frames / sound.samplerate >= 30

    shared = await alice.mutation("sharing:createShareLink", musicId=song["_id"])
    page = await world.http.get(shared["shareUrl"])
    assert page.status_code == httpx2.codes.OK
    assert (await alice.query("sharing:getSharedMusic", shareId=shared["shareId"]))["audioUrl"] in page.text
    assert RAIN not in page.text
    assert await world.app.runtime.queue.pending() == 0


async def test_f23_both_tracks_are_kept_and_only_the_first_is_listed(world: World, alice: Person) -> None:
    """Suno makes two takes; the playlist shows one."""
    await alice.song()
    rows = await world.db.pool.fetch("select status, audio_file_id, audio_id from music order by music_index")
    assert [row["status"] for row in rows] == ["ready", "ready"]
    assert rows[0]["audio_file_id"] != rows[1]["audio_file_id"]
    assert len(await alice.query("music:listPlaylistMusic")) == 1


async def test_f27_the_song_can_be_started_as_a_mutation_too(world: World, alice: Person) -> None:
    """An app that calls it through useMutation generates songs as well."""
    started = await alice.mutation("music:startDiaryMusicGeneration", content=RAIN)
    assert started["success"]


async def test_f26_the_entry_shows_its_song_as_soon_as_suno_is_at_work(world: World, alice: Person) -> None:
    """A pending song is visible on its diary entry, title and lyrics included."""
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    diary = await alice.query("diaries:getDiary", diaryId=started["diaryId"])
    assert diary["primaryMusic"]["status"] == "pending"
    assert diary["primaryMusic"]["lyric"]
    assert "audioUrl" not in diary["primaryMusic"]


async def test_f19_many_starts_at_once_for_one_entry_are_one_song_and_one_charge(world: World, alice: Person) -> None:
    """Five quick calls are charged once."""
    diary = await alice.mutation("diaries:createDiary", content=RAIN)
    starts = await asyncio.gather(
        *(
            alice.action("music:startDiaryMusicGeneration", content=f"{RAIN} {take}", diaryId=diary["_id"])
            for take in range(5)
        )
    )
    assert sorted(start.get("code", "started") for start in starts) == ["ALREADY_IN_PROGRESS"] * 4 + ["started"]
    assert await used(world) == 1
    await world.settle()
    assert len(await world.asked("suno", "/generate")) == 1 + 2  # the song, and the timing of both tracks


async def test_starting_again_while_a_song_is_made_keeps_the_entry_and_costs_nothing(
    world: World, alice: Person
) -> None:
    """The text is saved, the answer says why there is no second song."""
    first = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    again = await alice.action("music:startDiaryMusicGeneration", content="Sunshine", diaryId=first["diaryId"])
    assert (again["success"], again["code"]) == (False, "ALREADY_IN_PROGRESS")
    assert again["reason"]
    assert (await alice.query("diaries:getDiary", diaryId=first["diaryId"]))["content"] == "Sunshine"
    assert await used(world) == 1


async def test_a_finished_entry_can_get_another_song(world: World, alice: Person) -> None:
    """A second generation replaces the entry's song and is charged."""
    await alice.song()
    [diary] = await alice.query("diaries:listDiaries")
    await alice.song("Now the sun is out", diaryId=diary["_id"])
    [after] = await alice.query("diaries:listDiaries")
    assert after["primaryMusicId"] != diary["primaryMusicId"]
    assert after["primaryMusic"]["status"] == "ready"
    assert await used(world) == 2


async def test_the_free_plan_ends_after_five_songs_and_the_entry_is_kept(world: World, alice: Person) -> None:
    """The sixth start saves the entry and says that the limit is reached."""
    for number in range(PLANS["free"].songs):
        assert (await alice.action("music:startDiaryMusicGeneration", content=f"Day {number}"))["success"]
    refused = await alice.action("music:startDiaryMusicGeneration", content="Day six")
    assert (refused["success"], refused["code"], refused["remainingQuota"]) == (False, "USAGE_LIMIT_REACHED", 0)
    assert (await alice.query("diaries:getDiary", diaryId=refused["diaryId"]))["content"] == "Day six"
    world.clock.forward(PLANS["free"].period)
    assert (await alice.action("music:startDiaryMusicGeneration", content="A new month"))["success"]


async def test_many_starts_at_once_never_go_past_the_limit(world: World, alice: Person) -> None:
    """With one song left, of twenty starts at once exactly one succeeds."""
    for number in range(PLANS["free"].songs - 1):
        await alice.action("music:startDiaryMusicGeneration", content=f"Day {number}")
    starts = await asyncio.gather(
        *(alice.action("music:startDiaryMusicGeneration", content=f"Hour {number}") for number in range(20))
    )
    assert sum(start["success"] for start in starts) == 1
    assert await used(world) == PLANS["free"].songs


async def test_a_style_hint_is_kept_word_for_word(world: World, alice: Person) -> None:
    """What the writer asked for reaches Suno as it was typed."""
    await alice.action("music:startDiaryMusicGeneration", content=RAIN, style="70s Bossa-Nova, ♀ voice")
    await world.settle()
    [asked, *_] = await world.asked("suno", "/generate")
    assert "70s Bossa-Nova, ♀ voice" in asked["body"]["style"]


async def test_sad_and_happy_entries_sound_different(world: World, alice: Person) -> None:
    """The mood of the entry reaches the style Suno is asked for."""
    await alice.action("music:startDiaryMusicGeneration", content="I cried at the funeral. I miss grandma so much.")
    await alice.action("music:startDiaryMusicGeneration", content="We won! I danced and laughed all night, so happy!")
    await world.settle()
    styles = [call["body"]["style"] for call in await world.asked("suno", "/generate") if "style" in call["body"]]
    assert styles[0] != styles[1]


async def test_bob_cannot_make_a_song_of_alices_entry(world: World, alice: Person, bob: Person) -> None:
    """Another's entry is Forbidden, and nothing is changed or charged."""
    diary = await alice.mutation("diaries:createDiary", content=RAIN)
    with pytest.raises(FunctionError) as refused:
        await bob.action("music:startDiaryMusicGeneration", content="Mine now", diaryId=diary["_id"])
    assert refused.value.code == "forbidden"
    assert (await alice.query("diaries:getDiary", diaryId=diary["_id"]))["content"] == RAIN
    assert await used(world) == 0


async def test_nobody_signed_in_is_unauthorized(world: World, anonymous: Person) -> None:
    """Making songs needs an account."""
    with pytest.raises(FunctionError) as refused:
        await anonymous.action("music:startDiaryMusicGeneration", content=RAIN)
    assert refused.value.code == "unauthorized"


async def test_f22_a_diary_gone_in_mid_generation_stops_quietly(world: World, alice: Person) -> None:
    """Jobs and callbacks of an entry that no longer exists end without an error."""
    await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    await world.app.worker.drain(until=None, clock=world.clock)
    await world.db.pool.execute("delete from diaries")
    await world.settle()
    assert await world.db.pool.fetchval("select count(*) from jobs where status <> 'done'") == 0
    assert await world.db.pool.fetchval("select count(*) from music") == 0


async def test_one_request_id_runs_from_the_request_to_the_vendor_calls(world: World, alice: Person) -> None:
    """The id a client sees in X-Request-Id is in the log of its request, of its jobs, and of every call they make."""
    with capture_logs(processors=[logs.with_request_id]) as lines:
        answer = await world.http.post(
            "/api/action",
            json={"path": "music:startDiaryMusicGeneration", "args": {"content": RAIN}, "format": "json"},
            headers=alice.headers,
        )
        await world.app.worker.drain(until=None, clock=world.clock)
    carried = [line for line in lines if line.get("request_id") == answer.headers["X-Request-Id"]]
    for field, value in (
        ("function", "music:startDiaryMusicGeneration"),
        ("vendor", "openai"),
        ("vendor", "suno"),
        ("event", "job done"),
    ):
        assert any(line.get(field) == value for line in carried), value


async def test_f24_timed_words_and_files_come_later_when_suno_is_slow_with_them(world: World, alice: Person) -> None:
    """The song is ready at once; what needs another try is tried again."""
    await world.fault("suno", path="timestamped", status=503, times=3)
    await alice.song()
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["status"] == "ready"
    await world.pass_time(timedelta(minutes=10))
    [song] = await alice.query("music:listPlaylistMusic")
    assert song["lyricWithTime"]["alignedWords"]


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that are sent to PostgreSQL: each is a round trip."""
    sent: list[str] = []

    def noting(real: Any) -> Any:
        async def note(self: Any, sql: str, *args: Any, **options: Any) -> Any:
            sent.append(sql)
            return await real(self, sql, *args, **options)

        return note

    for name in ("execute", "fetch", "fetchrow", "fetchval"):
        monkeypatch.setattr(asyncpg.Connection, name, noting(getattr(asyncpg.Connection, name)))
    return sent


async def test_entries_and_songs_take_few_round_trips(world: World, alice: Person, statements: list[str]) -> None:
    """One for an entry and one for the disk; a song's transaction has three besides its begin and commit.

    For a plan without a mailbox's lock, one finds the account and its quota, and the song is as an entry. Here
    limits are off: another one reserves money.
    """
    await world.app.call("featureFlags:setFlag", {"key": "event-extraction", "percent": 0}, caller=SYSTEM)
    await alice.mutation("users:ensureCurrentUser")
    await world.db.pool.execute("update users set email = null, mailbox_hash = null")
    caller = world.acting_as("user_alice")
    # The first start asks RevenueCat.
    await world.app.call("music:startDiaryMusicGeneration", {"content": RAIN}, caller=caller)
    for name, round_trips in (
        ("diaries:createDiary", 2), ("music:beginGeneration", 5), ("music:startDiaryMusicGeneration", 3),
    ):  # fmt: skip
        statements.clear()
        await world.app.call(name, {"content": RAIN}, caller=caller)
        assert len(statements) == round_trips, statements


@pytest.fixture
async def one_song_left(world: World, alice: Person) -> World:
    """The world, in which Alice's plan has a limit of its own, so that no mailbox is locked: one song."""
    await alice.mutation("users:ensureCurrentUser")
    await world.db.pool.execute("update subscriptions set custom_music_limit = 1")
    return world


async def test_a_song_begun_by_one_statement_is_as_in_a_transaction(one_song_left: World, alice: Person) -> None:
    """With its entry, tracks, job, charge and counter; it becomes a song that plays."""
    before = begun()
    started = await alice.action("music:startDiaryMusicGeneration", content=RAIN, style="slow")
    assert (started["success"], started["remainingQuota"]) == (True, 0)
    assert begun() == before + 1
    row = await one_song_left.db.pool.fetchrow(
        "select g.style_hint, g.status from generations g join jobs j on j.args->>'generationId' = g.id"
    )
    assert tuple(row) == ("slow", "queued")
    await one_song_left.settle()
    diary = await alice.query("diaries:getDiary", diaryId=started["diaryId"])
    assert (diary["content"], diary["primaryMusic"]["status"]) == (RAIN, "ready")
    refused = await alice.action("music:startDiaryMusicGeneration", content=RAIN)
    assert (refused["success"], refused["code"]) == (False, "USAGE_LIMIT_REACHED")


async def test_a_song_charged_while_a_start_waits_is_counted(one_song_left: World, alice: Person) -> None:
    """The statement has the snapshot of before its wait for the account's lock; the charges are of after."""
    pool = one_song_left.db.pool
    async with pool.acquire() as other, other.transaction():
        await other.execute("select from users for no key update")
        starting = asyncio.create_task(alice.action("music:startDiaryMusicGeneration", content=RAIN))
        await until_waiting(pool)
        await other.execute(
            "insert into usage_charges (id, user_id, charged_at) select 'charge_1', id, $1 from users",
            one_song_left.clock.now(),
        )
    refused = await starting
    assert (refused["success"], refused["code"]) == (False, "USAGE_LIMIT_REACHED")
    assert await used(one_song_left) == 1


async def test_a_start_sent_again_while_the_first_still_runs_is_one_song(one_song_left: World) -> None:
    """Only the connection was lost, and the server goes on."""
    runtime, pool = one_song_left.app.runtime, one_song_left.db.pool
    caller = one_song_left.acting_as("user_alice")
    person = await runtime.run_query(song_quota.current_person_and_song, NoArgs(), caller)
    assert person.song is not None
    begin = diary_to_song.BeginAffordable(content=RAIN, owner=person.user_id, song=person.song)
    statement = runtime.statement_of(runtime.registry.of(diary_to_song.begin_generation), begin, caller)
    assert statement is not None
    assert None not in await sent_twice(pool, statement)
    await pool.execute("update users set suspension = 'banned'")
    assert await pool.fetchrow(statement.sql, *statement.args) is not None, "it was begun before"
    for table in ("diaries", "generations", "usage_charges", "jobs"):
        assert await pool.fetchval(f"select count(*) from {table}") == 1  # noqa: S608


async def test_many_starts_by_one_statement_never_go_past_the_limit(one_song_left: World, alice: Person) -> None:
    """Of twenty at once that all saw the last song exactly one succeeds, whichever way the others then take."""
    runtime = one_song_left.app.runtime
    caller = one_song_left.acting_as("user_alice")
    person = await runtime.run_query(song_quota.current_person_and_song, NoArgs(), caller)
    begin = diary_to_song.BeginAffordable(content=RAIN, owner=person.user_id, song=person.song)
    starts = await asyncio.gather(
        *(runtime.run_mutation(diary_to_song.begin_generation, begin, caller) for _ in range(20))
    )
    assert sum(start.success for start in starts) == 1
    assert await used(one_song_left) == 1


async def test_a_suspension_since_the_quota_was_read_is_seen(one_song_left: World) -> None:
    """The account is checked under its lock."""
    runtime = one_song_left.app.runtime
    caller = one_song_left.acting_as("user_alice")
    person = await runtime.run_query(song_quota.current_person_and_song, NoArgs(), caller)
    await one_song_left.db.pool.execute("update users set suspension = 'banned'")
    begin = diary_to_song.BeginAffordable(content=RAIN, owner=person.user_id, song=person.song)
    with pytest.raises(Unauthorized):
        await runtime.run_mutation(diary_to_song.begin_generation, begin, caller)
    assert await used(one_song_left) == 0
