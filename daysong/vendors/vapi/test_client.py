"""Every recorded answer of VAPI is parsed; every failure says whether a phone may have rung."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import httpx2
import msgspec
import pytest
import structlog

from daysong.kernel.errors import VendorError
from daysong.kernel.settings import VapiSettings
from daysong.kernel.time.clock import MovableClock
from daysong.vendors.conftest import Answerer, fixture, fixtures
from daysong.vendors.vapi import client as vapi
from daysong.vendors.vapi.client import BUSY_REASON, CALL_REASON, NUMBER_REASON, PAGE, Vapi

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
SETTINGS = VapiSettings(api_key="vapi-secret", base_url="http://vapi.test", phone_number_id="line-1")
CALL = "00000000-0000-4000-8000-0000000000c1"
NUMBER = "+12025550123"
ASSISTANT = {"name": "daysong", "firstMessage": "Hello.", "metadata": {"jobId": "call_job_1"}}


@pytest.fixture
async def phone(answerer: Answerer) -> AsyncIterator[Vapi]:
    phone = Vapi(SETTINGS, transport=answerer.transport, clock=MovableClock(NOW))
    yield phone
    await phone.close()


async def ring(phone: Vapi) -> str:
    return await phone.call(number=NUMBER, assistant=ASSISTANT, job_id="call_job_1")


async def failure(phone: Vapi) -> VendorError:
    with pytest.raises(VendorError) as caught:
        await ring(phone)
    return caught.value


def listed(number: int, *, job_id: str = "another", seconds: int | None = None) -> dict[str, Any]:
    """A call as the list has it, begun so many seconds after eight."""
    begun = NOW + timedelta(seconds=number if seconds is None else seconds)
    return {
        "id": f"call-{number}",
        "createdAt": begun.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status": "queued",
        "assistant": {"metadata": {"jobId": job_id}},
    }


async def test_an_accepted_order_gives_the_calls_id(phone: Vapi, answerer: Answerer) -> None:
    """The assistant is sent with it, and the job's id in a place that comes back."""
    answerer.will_answer(201, fixture("vapi/call-create-201.json"))
    assert await ring(phone) == CALL
    (asked,) = answerer.asked
    assert (asked.method, asked.path) == ("POST", "/call")
    assert asked.headers["authorization"] == "Bearer vapi-secret"
    assert asked.json() == {
        "assistant": ASSISTANT,
        "phoneNumberId": "line-1",
        "customer": {"number": NUMBER, "numberE164CheckEnabled": True, "externalId": "call_job_1"},
    }


@pytest.mark.parametrize("name", fixtures("vapi", "call-create-201*"))
async def test_every_recorded_acceptance_gives_the_calls_id(phone: Vapi, answerer: Answerer, name: str) -> None:
    """Also one that comes as a list of results."""
    answerer.will_answer(201, fixture(f"vapi/{name}.json"))
    assert await ring(phone) == CALL


# By recorded rejection: permanent, ambiguous, code, alarm, the reason shown to the user.
REFUSALS: dict[str, tuple[bool, bool, str, bool, str]] = {
    "error-400-e164": (True, False, "number_refused", False, NUMBER_REASON),
    "error-400-string-message": (False, False, "lines_busy", False, BUSY_REASON),
    "error-400-unknown-property": (True, False, "http_400", True, CALL_REASON),
    "error-401": (True, False, "http_401", True, CALL_REASON),
    "error-402-credits": (True, False, "http_402", True, CALL_REASON),
    "error-500": (False, True, "http_500", False, CALL_REASON),
    "error-503": (False, True, "http_503", False, CALL_REASON),
}


def test_every_recorded_refusal_has_its_meaning_here() -> None:
    """A new recording without an expectation is noticed."""
    assert set(fixtures("vapi", "error-*")) == set(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
async def test_each_recorded_refusal_says_whether_somebody_may_have_been_rung_up(
    phone: Vapi, answerer: Answerer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours to mend, the person's to mend, a matter of waiting, or open; and VAPI's own words go nowhere."""
    answerer.will_answer(int(name.split("-")[1]), fixture(f"vapi/{name}.json"))
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(vapi, "_log", structlog.get_logger())
        error = await failure(phone)
    alarm = any(line["log_level"] == "error" for line in lines)
    assert (error.permanent, error.ambiguous, error.code, alarm, error.reason) == REFUSALS[name]
    words = json.loads(fixture(f"vapi/{name}.json").read_bytes())["message"]
    for sentence in [words] if isinstance(words, str) else words:
        assert sentence not in f"{error} {error.reason}"


async def test_f35_an_order_is_never_repeated_by_itself(phone: Vapi, answerer: Answerer) -> None:
    """Another request is another call."""
    for status in (500, 502, 429, 408):
        answerer.answers = []
        answerer.asked.clear()
        answerer.will_answer(status, b"<html>")
        await failure(phone)
        assert len(answerer.asked) == 1


async def test_a_request_we_got_wrong_names_the_field_in_the_log_and_nothing_in_it(
    phone: Vapi, answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The field's value may be personal data."""
    told = ["assistant.property foo should not exist", f"assistant.name {NUMBER} is too long"]
    answerer.will_answer(400, {"message": told, "statusCode": 400})
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(vapi, "_log", structlog.get_logger())
        await failure(phone)
    assert lines[-1]["fields"] == ["assistant.property foo should not exist", "assistant.name"]
    assert NUMBER not in str(lines)


@pytest.mark.parametrize(
    ("status", "body", "permanent", "ambiguous", "code"),
    [
        (201, b"<html>", False, True, "unreadable_answer"),
        (201, b"", False, True, "unreadable_answer"),
        (200, [], False, True, "unreadable_answer"),
        (201, {"id": ""}, False, True, "unreadable_answer"),
        (201, {"id": "../x"}, False, True, "unreadable_answer"),
        (201, {"results": [], "errors": []}, False, True, "unreadable_answer"),
        (201, {"results": [None], "errors": [{"error": "x"}]}, False, True, "unreadable_answer"),
        (201, {"results": [], "errors": [{"error": "customer.number must be …"}]}, True, False, "number_refused"),
        (201, {"results": [], "errors": [{"error": "Over Concurrency Limit."}]}, False, False, "lines_busy"),
        (201, {"results": [], "errors": [{}]}, True, False, "http_201"),
        (302, b"", False, True, "http_302"),
        (400, b"<html>", True, False, "http_400"),
        (403, b"<html>", True, False, "http_403"),
        (404, {"message": "Not Found", "statusCode": 404}, True, False, "http_404"),
        (408, b"", False, True, "http_408"),
        (422, b"", True, False, "http_422"),
        (429, {"message": "ThrottlerException: Too Many Requests", "statusCode": 429}, False, False, "http_429"),
        (502, b"<html>", False, True, "http_502"),
        (504, b"", False, True, "http_504"),
    ],
)
async def test_answers_nobody_recorded_leave_no_doubt_unclear(
    phone: Vapi, answerer: Answerer, status: int, body: object, permanent: bool, ambiguous: bool, code: str
) -> None:
    """Whatever might have followed a call is ambiguous; a plain refusal is not."""
    answerer.will_answer(status, body)
    error = await failure(phone)
    assert (error.permanent, error.ambiguous, error.code) == (permanent, ambiguous, code)


async def test_a_rate_limit_says_how_long_to_wait(phone: Vapi, answerer: Answerer) -> None:
    """And so do busy lines, at least half a minute."""
    answerer.will_answer(429, b"", {"retry-after": "7"})
    assert (await failure(phone)).retry_after == 7.0
    for header, wait in (({}, 30.0), ({"retry-after": "90"}, 90.0)):
        answerer.answers = []
        answerer.will_answer(400, fixture("vapi/error-400-string-message.json"), header)
        assert (await failure(phone)).retry_after == wait


@pytest.mark.parametrize(
    ("broken", "ambiguous"),
    [(httpx2.ConnectError("x"), False), (httpx2.ReadTimeout("x"), True), (httpx2.RemoteProtocolError("x"), True)],
)
async def test_a_lost_answer_is_ambiguous_and_a_lost_question_is_not(broken: Exception, ambiguous: bool) -> None:
    """A request that was not sent rang no phone; reads are never ambiguous."""

    def fail(request: httpx2.Request) -> httpx2.Response:
        raise broken

    phone = Vapi(SETTINGS, transport=httpx2.MockTransport(fail), clock=MovableClock(NOW))
    error = await failure(phone)
    assert (error.permanent, error.ambiguous, error.code, error.reason) == (
        False,
        ambiguous,
        "unreachable",
        CALL_REASON,
    )
    for asking in (phone.get(CALL), phone.find("call_job_1", since=NOW), phone.delete(CALL)):
        with pytest.raises(VendorError) as caught:
            await asking
        assert (caught.value.permanent, caught.value.ambiguous) == (False, False)
    await phone.close()


@pytest.mark.parametrize("missing", ["api_key", "phone_number_id"])
async def test_without_a_key_or_a_line_nobody_is_called(answerer: Answerer, missing: str) -> None:
    """No request is sent."""
    changed = msgspec.structs.replace(SETTINGS, **{missing: None})
    phone = Vapi(changed, transport=answerer.transport, clock=MovableClock(NOW))
    error = await failure(phone)
    assert (error.permanent, error.ambiguous, error.code) == (True, False, "not_configured")
    assert not phone.configured
    assert answerer.asked == []
    await phone.close()


async def test_a_call_can_be_asked_for(phone: Vapi, answerer: Answerer) -> None:
    """With its report once it is over; one VAPI does not know is none."""
    assert phone.configured
    answerer.will_answer(200, fixture("vapi/call-get-200-ended-not-answered.json"))
    found = await phone.get(CALL)
    assert found is not None
    assert found.report is not None
    assert found.report.ended_reason == "customer-did-not-answer"
    assert (answerer.asked[0].method, answerer.asked[0].path) == ("GET", f"/call/{CALL}")
    answerer.answers = []
    answerer.will_answer(404, {"message": "Not Found", "statusCode": 404})
    assert await phone.get(CALL) is None


@pytest.mark.parametrize("identifier", ["", "..", "a/b", "a?b", "x" * 201])
async def test_an_id_that_is_none_is_not_asked_for(phone: Vapi, answerer: Answerer, identifier: str) -> None:
    """It would be another address."""
    assert await phone.get(identifier) is None
    await phone.delete(identifier)
    assert answerer.asked == []


@pytest.mark.parametrize(
    ("status", "body", "permanent"),
    [(200, b"<html>", False), (200, {"id": "another"}, False), (200, [], False), (500, b"", False), (401, b"", True)],
)
async def test_a_call_that_cannot_be_read_is_an_error(
    phone: Vapi, answerer: Answerer, status: int, body: object, permanent: bool
) -> None:
    """Not None, which would say that there is no such call; and never ambiguous."""
    answerer.will_answer(status, body)
    with pytest.raises(VendorError) as caught:
        await phone.get(CALL)
    assert (caught.value.permanent, caught.value.ambiguous) == (permanent, False)


@pytest.mark.parametrize(
    "place",
    [
        {"assistant": {"metadata": {"jobId": "call_job_1"}}},
        {"assistantOverrides": {"metadata": {"jobId": "call_job_1"}}},
        {"customer": {"externalId": "call_job_1"}},
    ],
)
async def test_f35_a_call_is_found_by_the_job_it_was_ordered_for(
    phone: Vapi, answerer: Answerer, place: dict[str, Any]
) -> None:
    """Among those of its time, with some minutes for clocks that differ."""
    answerer.will_answer(200, [listed(1), {"id": CALL, "createdAt": "2026-11-20T08:00:00.000Z", **place}])
    found = await phone.find("call_job_1", since=NOW)
    assert found is not None
    assert found.id == CALL
    (asked,) = answerer.asked
    assert (asked.method, asked.path) == ("GET", "/call")
    assert parse_qs(asked.query) == {"createdAtGe": ["2026-11-20T07:55:00.000Z"], "limit": [str(PAGE)]}


async def test_a_call_that_was_not_made_is_surely_not_there(phone: Vapi, answerer: Answerer) -> None:
    """A list that ends is a list that was seen whole."""
    answerer.will_answer(200, [listed(number) for number in range(PAGE - 1)])
    assert await phone.find("call_job_1", since=NOW) is None
    answerer.answers = []
    answerer.will_answer(200, [])
    assert await phone.find("call_job_1", since=NOW) is None


@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_long_list_is_looked_through_page_by_page(newest_first: bool) -> None:
    """Whichever way it is sorted, calls of one moment included."""
    calls = [listed(number, seconds=number // 3) for number in range(250)]
    calls[7] |= {"assistant": {"metadata": {"jobId": "early"}}}
    calls[243] |= {"assistant": {"metadata": {"jobId": "late"}}}

    def answer(request: httpx2.Request) -> httpx2.Response:
        query = dict(request.url.params)
        found = [
            call
            for call in calls
            if query["createdAtGe"] <= call["createdAt"] <= query.get("createdAtLe", "3")
        ]  # fmt: skip
        found.sort(key=lambda call: (call["createdAt"], call["id"]), reverse=newest_first)
        return httpx2.Response(200, json=found[: int(query["limit"])])

    phone = Vapi(SETTINGS, transport=httpx2.MockTransport(answer), clock=MovableClock(NOW))
    for job_id, number in (("early", 7), ("late", 243)):
        found = await phone.find(job_id, since=NOW)
        assert found is not None
        assert found.id == f"call-{number}"
    assert await phone.find("never", since=NOW) is None
    await phone.close()


@pytest.mark.parametrize(
    "body",
    [[listed(number, seconds=0) for number in range(PAGE)], [{"id": f"c{number}"} for number in range(PAGE)],
     [None] * PAGE],
)  # fmt: skip
async def test_a_list_that_does_not_end_is_no_proof(phone: Vapi, answerer: Answerer, body: object) -> None:
    """None would have the call made a second time."""
    answerer.will_answer(200, body)
    with pytest.raises(VendorError) as caught:
        await phone.find("call_job_1", since=NOW)
    assert (caught.value.permanent, caught.value.code) == (False, "too_many_calls")
    assert len(answerer.asked) <= vapi.MAX_PAGES


async def test_a_call_is_forgotten_on_demand(phone: Vapi, answerer: Answerer) -> None:
    """Once more is no error; a failure is one, and worth another try."""
    for status, body in ((200, fixture("vapi/call-delete-200.json")), (404, b"")):
        answerer.answers = []
        answerer.will_answer(status, body)
        await phone.delete(CALL)
    assert [(asked.method, asked.path) for asked in answerer.asked] == [("DELETE", f"/call/{CALL}")] * 2
    answerer.answers = []
    answerer.will_answer(503, fixture("vapi/error-503.json"))
    with pytest.raises(VendorError) as caught:
        await phone.delete(CALL)
    assert (caught.value.permanent, caught.value.ambiguous) == (False, False)
