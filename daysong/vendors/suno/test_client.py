"""Every answer Suno is known to give is understood; every error code has its meaning."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest
import structlog

from daysong.kernel.errors import VendorError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.settings import SunoSettings
from daysong.kernel.time.clock import MovableClock
from daysong.vendors import envelopes
from daysong.vendors.conftest import Answerer, fixture, fixtures
from daysong.vendors.files import FileHosts
from daysong.vendors.suno.answers import parse_task
from daysong.vendors.suno.client import Suno

pytestmark = pytest.mark.anyio

SETTINGS = SunoSettings(api_key="suno-secret", base_url="http://suno.test", model="V5")
CALLBACK = "https://api.diary.example/hooks/suno/TASKTOKEN0001"
TASK = "5f00aa11bb22cc33dd44ee55ff660001"
AUDIO = "00000000-0000-4000-8000-00000000a001"


@pytest.fixture
async def maker(answerer: Answerer) -> AsyncIterator[Suno]:
    clock = MovableClock(datetime(2026, 11, 20, tzinfo=UTC))
    maker = Suno(SETTINGS, transport=answerer.transport, clock=clock)
    yield maker
    await maker.close()


async def order(maker: Suno, lyric: str = "La", style: str = "folk", title: str = "A") -> str:
    return await maker.generate(lyric=lyric, style=style, title=title, callback_url=CALLBACK)


async def failure(maker: Suno) -> VendorError:
    with pytest.raises(VendorError) as caught:
        await order(maker)
    return caught.value


async def test_an_accepted_order_gives_the_task(maker: Suno, answerer: Answerer) -> None:
    """Custom mode, with vocals, real line breaks, and our callback address."""
    answerer.will_answer(200, fixture("suno/generate-200.json"))
    assert await order(maker, lyric="[Verse 1]\nLa") == TASK
    (asked,) = answerer.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/generate")
    assert asked.headers["authorization"] == "Bearer suno-secret"
    assert asked.json() == {
        "customMode": True,
        "instrumental": False,
        "model": "V5",
        "callBackUrl": CALLBACK,
        "prompt": "[Verse 1]\nLa",
        "style": "folk",
        "title": "A",
    }


async def test_an_order_is_cut_to_what_its_model_takes(answerer: Answerer) -> None:
    """V4 takes 3000 characters of lyric and 200 of style; a title is 80 everywhere."""
    answerer.will_answer(200, fixture("suno/generate-200.json"))
    maker = Suno(msgspec.structs.replace(SETTINGS, model="V4"), transport=answerer.transport)
    await order(maker, lyric="la la\n" * 1000, style="folk, " * 100, title="word " * 40)
    await maker.close()
    body = answerer.asked[0].json()
    assert [len(body[field]) <= limit for field, limit in (("prompt", 3000), ("style", 200), ("title", 80))] == [
        True
    ] * 3


# Of each: whether it is permanent, how long to wait, whether it is ambiguous, whether it is an alarm.
CODES: dict[int, tuple[bool, float | None, bool, bool]] = {
    400: (True, None, False, False),
    401: (True, None, False, True),
    402: (True, None, False, True),
    404: (True, None, False, True),
    405: (False, 10.0, False, False),
    408: (False, None, True, False),
    413: (True, None, False, False),
    422: (True, None, False, False),
    429: (True, None, False, True),
    430: (False, 10.0, False, False),
    451: (True, None, False, False),
    455: (False, 300.0, False, False),
    500: (False, None, True, False),
    501: (False, None, True, False),
    505: (True, None, False, True),
    531: (False, None, False, False),
}


@pytest.mark.parametrize("http_status", [200, 0])
@pytest.mark.parametrize("code", CODES)
async def test_the_code_in_the_body_decides(
    maker: Suno, answerer: Answerer, code: int, http_status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the HTTP status is 200 or the same number, the code tells what to do; key and credits raise an alarm."""
    answerer.will_answer(http_status or code, {"code": code, "msg": "secret words of credits", "data": None})
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(envelopes, "_log", structlog.get_logger())
        error = await failure(maker)
    alarm = any(line["log_level"] == "error" for line in lines)
    assert (error.permanent, error.retry_after, error.ambiguous, alarm) == CODES[code]
    assert error.code == f"suno_{code}"
    assert "secret words" not in f"{error} {error.reason}"


@pytest.mark.parametrize("name", fixtures("suno", "generate-error-*"))
async def test_each_recorded_refusal_follows_its_code(maker: Suno, answerer: Answerer, name: str) -> None:
    """Recorded refusals come with HTTP 200."""
    answerer.will_answer(200, fixture(f"suno/{name}.json"))
    error = await failure(maker)
    permanent, wait, ambiguous, _ = CODES[int(name.split("-")[2])]
    assert (error.permanent, error.retry_after, error.ambiguous) == (permanent, wait, ambiguous)


async def test_a_retry_after_header_is_heeded_when_it_is_longer(maker: Suno, answerer: Answerer) -> None:
    """The rule's pause is a minimum."""
    answerer.will_answer(200, {"code": 430, "msg": ""}, {"retry-after": "60"})
    assert (await failure(maker)).retry_after == 60.0
    answerer.answers = []
    answerer.will_answer(200, {"code": 430, "msg": ""}, {"retry-after": "1"})
    assert (await failure(maker)).retry_after == 10.0


@pytest.mark.parametrize(
    ("status", "body", "permanent", "ambiguous"),
    [
        (200, b"<html>", False, True),
        (200, b"", False, True),
        (200, [], False, True),
        (200, {"code": 200, "data": None}, False, True),
        (200, {"code": 200, "data": {"taskId": ""}}, False, True),
        (200, {"code": "ok"}, False, True),
        (502, b"<html>", False, True),
        (504, b"", False, True),
        (429, b"<html>", False, False),
        (401, b"<html>", True, False),
        (403, b"<html>", True, False),
        (500, {"code": 200, "data": {"taskId": "t"}}, False, True),
    ],
)
async def test_an_unreadable_answer_to_an_order_leaves_it_open(
    maker: Suno,
    answerer: Answerer,
    status: int,
    body: object,
    permanent: bool,
    ambiguous: bool,
) -> None:
    """Garbage may follow an accepted order; a refusal by HTTP status alone does not."""
    answerer.will_answer(status, body)
    error = await failure(maker)
    assert (error.permanent, error.ambiguous) == (permanent, ambiguous)


RECORDS = {
    "record-info-success": ("done", 2, 2),
    "record-info-text-success": ("working", 2, 0),
    "record-info-first-success": ("working", 2, 1),
    "record-info-callback-exception-with-audio": ("done", 2, None),
    "record-info-callback-exception-no-audio": ("working", 2, 0),
    "record-info-create-task-failed": ("failed", 0, 0),
    "record-info-sensitive-word-error": ("failed", 0, 0),
}


def test_every_recorded_record_has_its_state_here() -> None:
    """A new recording without an expectation is noticed."""
    assert set(fixtures("suno", "record-info-*")) == set(RECORDS)


@pytest.mark.parametrize("name", RECORDS)
async def test_each_recorded_task_has_its_state(maker: Suno, answerer: Answerer, name: str) -> None:
    """CALLBACK_EXCEPTION is done when there is audio; the echoed request with its secret is nowhere in the result."""
    answerer.will_answer(200, fixture(f"suno/{name}.json"))
    task = await maker.task(TASK)
    state, tracks, with_audio = RECORDS[name]
    assert (task.task_id, task.state, len(task.tracks)) == (TASK, state, tracks)
    if with_audio is not None:
        assert sum(track.audio_url is not None for track in task.tracks) == with_audio
    assert bool(task.reason) is (state == "failed")
    assert "TASKTOKEN" not in repr(task)
    assert answerer.asked[0].query == f"taskId={TASK}"


async def test_a_content_failure_is_told_as_one(maker: Suno, answerer: Answerer) -> None:
    """The reason says that the text is at fault, so that the user can change it."""
    answerer.will_answer(200, fixture("suno/record-info-sensitive-word-error.json"))
    task = await maker.task(TASK)
    assert task.code == 400
    assert "words" in task.reason


@pytest.mark.parametrize(
    "body", [{"code": 422, "msg": "recordInfo is null", "data": None}, {"code": 200, "msg": "success", "data": None}]
)
async def test_a_task_suno_does_not_know_is_unknown(maker: Suno, answerer: Answerer, body: object) -> None:
    """Not an error: the sweeper decides what to make of it."""
    answerer.will_answer(200, body)
    assert (await maker.task(TASK)).state == "unknown"


async def test_reading_is_never_ambiguous(maker: Suno, answerer: Answerer) -> None:
    """Nothing is bought by asking how things are."""
    answerer.will_answer(200, {"code": 500, "msg": ""})
    for call in (maker.task(TASK), maker.timed_lyrics(TASK, AUDIO), maker.credits()):
        with pytest.raises(VendorError) as caught:
            await call
        assert (caught.value.permanent, caught.value.ambiguous) == (False, False)


async def test_success_without_any_audio_is_not_done() -> None:
    """A task is done once a track has audio; an unknown status counts as working."""
    response = {"sunoData": [{"id": "a", "audioUrl": ""}]}
    assert parse_task(TASK, {"status": "SUCCESS", "response": response}).state == "working"
    assert parse_task(TASK, {"status": "SOMETHING_NEW", "response": response}).state == "working"
    assert parse_task(TASK, {"status": "GENERATE_AUDIO_FAILED", "errorCode": "531"}).code == 531


async def test_timed_lyrics_arrive_as_the_app_shows_them(maker: Suno, answerer: Answerer) -> None:
    """alignedWords, waveformData and hootCer in camelCase."""
    answerer.will_answer(200, fixture("suno/lyrics-200.json"))
    timed = await maker.timed_lyrics(TASK, AUDIO)
    assert answerer.asked[0].json() == json.loads(fixture("suno/lyrics-request.json").read_bytes())
    shown = msgspec.to_builtins(timed)
    assert shown["alignedWords"][0] == {"word": "[Verse 1]\nMorning ", "startS": 4.15, "endS": 4.62, "palign": 0.0}
    assert (len(shown["alignedWords"]), shown["waveformData"], shown["hootCer"]) == (3, (0.0, 1.0, 0.5, 0.75), 0.38)


async def test_a_track_without_words_has_no_timed_lyrics(maker: Suno, answerer: Answerer) -> None:
    """Instrumentals answer with null."""
    answerer.will_answer(200, fixture("suno/lyrics-data-null.json"))
    assert await maker.timed_lyrics(TASK, AUDIO) is None


async def test_credits_are_a_number(maker: Suno, answerer: Answerer) -> None:
    """And anything else is an error."""
    answerer.will_answer(200, fixture("suno/credit-200.json"))
    assert await maker.credits() == 100
    answerer.answers = []
    answerer.will_answer(200, {"code": 200, "data": None})
    with pytest.raises(VendorError):
        await maker.credits()


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (200, "The current credits are insufficient. Please top up.", "suno_429"),
        (429, "Insufficient credits", "suno_429"),
        (200, "", "suno_429"),
        (200, "Your call frequency is too high. Please try again later.", "suno_430"),
        (429, "Rate limit exceeded", "suno_430"),
        (429, "", "suno_430"),
    ],
)
async def test_g15_429_is_credits_or_frequency_by_its_words(
    maker: Suno, answerer: Answerer, status: int, message: str, code: str
) -> None:
    """Without a clear message the HTTP status decides. A rate limit postpones songs, and fails none."""
    answerer.will_answer(status, {"code": 429, "msg": message, "data": None})
    with pytest.raises(VendorError) as caught:
        await maker.generate(lyric="La", style="folk", title="A", callback_url="http://app.test/x")
    assert (caught.value.code, caught.value.permanent) == (code, code == "suno_429")
    assert isinstance(caught.value, Deferred) == (code == "suno_430")


@pytest.mark.parametrize("host", ["musicfile.kie.ai", "tempfile.aiquickdraw.com", "cdn1.suno.ai", "musicfile.api.box"])
def test_g15_the_hosts_of_resellers_are_known(host: str) -> None:
    """Files of the same engine, through kie.ai too."""
    assert FileHosts(SunoSettings(api_key="k").file_hosts).allows(f"https://{host}/a.mp3")
