"""Every answer Kie is known to give is understood; every error code has its meaning."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import structlog

from daysong.kernel.errors import VendorError
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.settings import KieSettings
from daysong.kernel.time.clock import MovableClock
from daysong.vendors import envelopes
from daysong.vendors.conftest import Answerer, fixture, fixtures
from daysong.vendors.kie.client import Kie

pytestmark = pytest.mark.anyio

SETTINGS = KieSettings(api_key="kie-secret", base_url="http://kie.test")
CALLBACK = "https://api.diary.example/hooks/kie/TASKTOKEN0001"
TASK = "00000000000000000000000000000aa1"
PROMPT = "A calm river at noon, two herons."
PHOTO = "https://files.diary.example/cover.jpg"


@pytest.fixture
async def maker(answerer: Answerer) -> AsyncIterator[Kie]:
    clock = MovableClock(datetime(2026, 11, 20, tzinfo=UTC))
    maker = Kie(SETTINGS, transport=answerer.transport, clock=clock)
    yield maker
    await maker.close()


async def order(maker: Kie, prompt: str = PROMPT, image_url: str | None = None) -> str:
    return await maker.generate(prompt=prompt, image_url=image_url, callback_url=CALLBACK)


async def failure(maker: Kie) -> VendorError:
    with pytest.raises(VendorError) as caught:
        await order(maker)
    return caught.value


@pytest.mark.parametrize(("image_url", "name"), [(None, "text"), (PHOTO, "image")])
async def test_an_order_looks_as_recorded(maker: Kie, answerer: Answerer, image_url: str | None, name: str) -> None:
    """A portrait clip from the prompt, or one that begins with the picture."""
    answerer.will_answer(200, fixture("kie/createtask-200.json"))
    assert await order(maker, image_url=image_url) == TASK
    (asked,) = answerer.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/jobs/createTask")
    assert asked.headers["authorization"] == "Bearer kie-secret"
    assert asked.json() == json.loads(fixture(f"kie/createtask-request-{name}.json").read_bytes())


async def test_a_long_prompt_is_cut(maker: Kie, answerer: Answerer) -> None:
    """To 5000 characters."""
    answerer.will_answer(200, fixture("kie/createtask-200.json"))
    await order(maker, prompt="word " * 3000)
    assert len(answerer.asked[0].json()["input"]["prompt"]) <= 5000


# Of each: whether it is permanent, how long to wait, whether it is ambiguous, whether it is an alarm.
CODES: dict[int, tuple[bool, float | None, bool, bool]] = {
    400: (True, None, False, False),
    401: (True, None, False, True),
    402: (True, None, False, True),
    404: (True, None, False, True),
    422: (True, None, False, False),
    429: (False, 10.0, False, False),
    455: (False, 300.0, False, False),
    500: (False, None, True, False),
    501: (True, None, False, False),
    505: (True, None, False, True),
    599: (False, None, True, False),
}


@pytest.mark.parametrize("http_status", [200, 0])
@pytest.mark.parametrize("code", CODES)
async def test_the_code_in_the_body_decides(
    maker: Kie, answerer: Answerer, code: int, http_status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the HTTP status is 200 or the same number, the code tells what to do; key and credits raise an alarm."""
    answerer.will_answer(http_status or code, {"code": code, "msg": "secret words", "data": None})
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(envelopes, "_log", structlog.get_logger())
        error = await failure(maker)
    alarm = any(line["log_level"] == "error" for line in lines)
    assert (error.permanent, error.retry_after, error.ambiguous, alarm) == CODES[code]
    assert error.code == f"kie_{code}"
    assert "secret words" not in f"{error} {error.reason}"


@pytest.mark.parametrize("name", fixtures("kie", "createtask-error-*"))
async def test_each_recorded_refusal_follows_its_code(maker: Kie, answerer: Answerer, name: str) -> None:
    """Recorded refusals come with HTTP 200."""
    answerer.will_answer(200, fixture(f"kie/{name}.json"))
    error = await failure(maker)
    assert error.code == f"kie_{name.rpartition('-')[2]}"
    assert isinstance(error, Deferred) is (error.code == "kie_429")


@pytest.mark.parametrize(
    ("status", "body", "permanent", "ambiguous"),
    [
        (200, b"<html>", False, True),
        (200, b"[]", False, True),
        (200, {"code": 200, "msg": "success", "data": None}, False, True),
        (200, {"code": 200, "data": {"taskId": ""}}, False, True),
        (502, b"", False, True),
        (408, b"", False, True),
        (403, b"", True, False),
        (429, b"", False, False),
    ],
)
async def test_what_is_no_answer_of_kies_may_hide_an_order(
    maker: Kie, answerer: Answerer, status: int, body: object, permanent: bool, ambiguous: bool
) -> None:
    """Unless the HTTP status says that nothing was done."""
    answerer.will_answer(status, body)
    error = await failure(maker)
    assert (error.permanent, error.ambiguous) == (permanent, ambiguous)


async def test_an_unknown_task_is_unknown_and_a_lookup_never_ambiguous(maker: Kie, answerer: Answerer) -> None:
    """Reading buys nothing."""
    answerer.will_answer(200, fixture("kie/recordinfo-unknown-task.json"))
    assert (await maker.task(TASK)).state == "unknown"
    assert answerer.asked[0].query == f"taskId={TASK}"
    answerer.will_answer(200, {"code": 500, "msg": "", "data": None})
    await maker.task(TASK)
    with pytest.raises(VendorError) as caught:
        await maker.task(TASK)
    assert not caught.value.ambiguous


async def test_the_credits_that_are_left(maker: Kie, answerer: Answerer) -> None:
    """A number; anything else is no answer."""
    answerer.will_answer(200, {"code": 200, "msg": "success", "data": 87.0})
    assert await maker.credits() == 87
    answerer.will_answer(200, {"code": 200, "msg": "success", "data": None})
    await maker.credits()
    with pytest.raises(VendorError):
        await maker.credits()
