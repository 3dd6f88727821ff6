"""The real VAPI client against the sandbox: dialling, the course of calls, and looking them up."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from daysong.features.phone_calls.talk.assistant import Talk, assistant_for
from daysong.features.phone_calls.talk.phrases import PHRASES
from daysong.sandbox.conftest import NOW, failure, recorded, shape
from daysong.sandbox.vapi.reports import AUTH_TOKEN
from daysong.vendors.vapi.client import NUMBER_REFUSED, Vapi
from rehearsal.calls.telephone import ORIGIN, SAM, Telephone

pytestmark = pytest.mark.anyio

ORDER = recorded("vapi/call-create-request-transient")
SERVER = ORDER["assistant"]["server"] | {"url": f"{ORIGIN}/http/vapi-webhook"}
ASSISTANT = ORDER["assistant"] | {"server": SERVER}
ASKING = ASSISTANT | {
    "firstMessage": "Hi, I am an AI. Sam asked for this call, it would be kept as a diary. Is that right?",
    "analysisPlan": {
        "structuredDataPlan": {
            "enabled": True,
            "schema": {
                "type": "object",
                "properties": {"consent": {"type": "string"}, "stopCalling": {"type": "boolean"}},
            },
        }
    },
}


def open_to_all(assistant: dict[str, Any]) -> dict[str, Any]:
    """The assistant with everything recorded and monitored, as the recorded calls were."""
    plans = {"artifactPlan": {"recordingEnabled": True}, "monitorPlan": {"listenEnabled": True, "controlEnabled": True}}
    return assistant | plans


def as_recorded(assistant: dict[str, Any]) -> dict[str, Any]:
    """The recorded order, for that assistant."""
    return {"assistant": assistant, "phoneNumberId": ORDER["phoneNumberId"], "customer": {"number": SAM}}


async def test_somebody_is_rung_up_and_talks(phone: Telephone) -> None:
    """Queued until all is settled; then it has happened, and can be asked about by id and by job."""
    call_id = await phone.dial(ASSISTANT)
    queued = await phone.vapi.get(call_id)
    assert queued is not None
    assert (queued.status, queued.job_id, queued.report) == ("queued", "job_1", None)
    await phone.settle()
    assert phone.steps == ["queued", "ringing", "in-progress", "ended", "end-of-call-report"]
    ended = await phone.vapi.find("job_1", since=NOW)
    assert ended is not None
    assert (ended.id, ended.status) == (call_id, "ended")
    assert ended.report == phone.told[-1].report
    assert ended.report is not None
    assert (ended.report.ended_reason, ended.report.success) == ("customer-ended-call", True)
    assert ended.report.turns[0].text == ASSISTANT["firstMessage"]
    assert ended.report.turns[1].role == "user"
    assert ended.report.summary
    assert ended.report.seconds is not None
    assert ended.report.seconds > 15
    assert await phone.vapi.find("job_2", since=NOW) is None


async def test_made_and_looked_at_calls_are_shaped_as_recorded(phone: Telephone) -> None:
    """The same fields of the same kinds, at each stage."""
    made = await phone.api("POST", "call", json=as_recorded(open_to_all(ASSISTANT)))
    assert made.status_code == 201
    wanted = recorded("vapi/call-create-201")
    assert shape(made.json()) == shape(wanted | {"assistant": open_to_all(ASSISTANT)})
    call_id = made.json()["id"]
    await phone.steer("advance", callId=call_id, to="in-progress")
    seen = (await phone.api("GET", f"call/{call_id}")).json()
    assert shape(seen) == shape(recorded("vapi/call-get-200-in-progress") | {"assistant": open_to_all(ASSISTANT)})
    await phone.settle()
    gone = (await phone.api("DELETE", f"call/{call_id}")).json()
    assert shape(gone) == shape(recorded("vapi/call-delete-200") | {"assistant": open_to_all(ASSISTANT)})


async def test_a_call_nobody_took_is_shaped_as_recorded(phone: Telephone) -> None:
    """With empty words and no analysis."""
    await phone.steer("people", answers="no_answer")
    made = await phone.api("POST", "call", json=as_recorded(open_to_all(ASSISTANT)))
    await phone.settle()
    seen = (await phone.api("GET", f"call/{made.json()['id']}")).json()
    wanted = recorded("vapi/call-get-200-ended-not-answered")
    assert wanted.keys() <= seen.keys()
    assert {name: seen[name] for name in ("status", "endedReason", "analysis", "cost")} == {
        name: wanted[name] for name in ("status", "endedReason", "analysis", "cost")
    }
    assert (seen["artifact"]["messages"], seen["artifact"]["transcript"]) == ([], "")


@pytest.mark.parametrize(
    ("change", "fixture"),
    [
        ({"customer": {"number": "5550123"}}, "error-400-e164"),
        ({"assistant": ASSISTANT | {"foo": 1}}, "error-400-unknown-property"),
    ],
)
async def test_what_vapi_would_refuse_is_refused_in_its_words(
    phone: Telephone, change: dict[str, Any], fixture: str
) -> None:
    """400, and no call is placed."""
    answer = await phone.api("POST", "call", json=as_recorded(ASSISTANT) | change)
    assert (answer.status_code, answer.json()) == (400, recorded(f"vapi/{fixture}"))
    assert await phone.look("calls") == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"metadata": {}}, "property metadata should not exist"),
        ({"phoneNumberId": "another"}, "Phone Number"),
        ({"phoneNumberId": None}, "phoneNumberId"),
        ({"assistant": None}, "assistant"),
        ({"customer": None}, "customer"),
        ({"name": "x" * 41}, "name must be shorter"),
        ({"assistant": ASSISTANT | {"name": "x" * 41}}, "assistant.name must be shorter"),
        ({"assistant": ASSISTANT | {"silenceTimeoutSeconds": 30}}, "assistant.property silenceTimeoutSeconds"),
        ({"assistant": ASSISTANT | {"endCallFunctionEnabled": True}}, "assistant.property endCallFunctionEnabled"),
        ({"assistant": ASSISTANT | {"maxDurationSeconds": 5}}, "maxDurationSeconds"),
        ({"assistant": ASSISTANT | {"serverMessages": ["status"]}}, "serverMessages"),
        ({"assistant": ASSISTANT | {"server": SERVER | {"secret": "x"}}}, "assistant.server.property secret"),
        ({"assistant": ASSISTANT | {"server": SERVER | {"url": "not an address"}}}, "server.url"),
        (
            {"assistant": ASSISTANT | {"server": SERVER | {"backoffPlan": {"type": "fixed", "maxRetries": 11}}}},
            "maxRetries",
        ),
        ({"assistant": ASSISTANT | {"analysisPlan": {"summary": "x"}}}, "assistant.analysisPlan.property summary"),
        ({"schedulePlan": {"earliestAt": "soon"}}, "earliestAt"),
    ],
)
async def test_an_order_with_something_wrong_is_refused(phone: Telephone, change: dict[str, Any], word: str) -> None:
    """With a line that names it."""
    answer = await phone.api("POST", "call", json=as_recorded(ASSISTANT) | change)
    assert answer.status_code == 400
    assert any(word in line for line in answer.json()["message"]), answer.json()
    assert (await phone.look("rings"))["rings"] == []


@pytest.mark.parametrize("first_call", [True, False])
@pytest.mark.parametrize("language", [*PHRASES, "sv", "xx"])
async def test_our_own_assistant_is_taken_and_understood(phone: Telephone, language: str, first_call: bool) -> None:
    """In every language it has no field that VAPI refuses, and only on a first call it asks for consent."""
    talk = Talk(job_id="job_1", user_id="user_1", name="Sam", language=language, local_now=NOW, first_call=first_call)
    await phone.dial(assistant_for(talk, phone.settings, ORIGIN))
    await phone.settle()
    report = phone.told[-1].report
    assert report is not None
    assert report.structured == {"consent": "granted" if first_call else "unclear", "stopCalling": False}
    assert (report.success, bool(report.summary)) == (True, True)
    assert set(phone.steps) == {"queued", "ringing", "in-progress", "ended", "end-of-call-report"}


async def test_the_client_sees_a_refused_number_for_what_it_is(phone: Telephone) -> None:
    """For good, and nothing was dialled."""
    error = await failure(phone.dial(ASSISTANT, number="12025550123"))
    assert (error.permanent, error.ambiguous, error.code) == (True, False, NUMBER_REFUSED)


@pytest.mark.parametrize(
    ("fault", "fixture", "expected"),
    [
        ({"status": 401}, "error-401", (True, False)),
        ({"status": 402}, "error-402-credits", (True, False)),
        ({"code": "over_concurrency_limit"}, "error-400-string-message", (False, False)),
        ({"status": 429, "retryAfter": 7}, None, (False, False)),
        ({"status": 500}, "error-500", (False, True)),
        ({"status": 503}, "error-503", (False, True)),
    ],
)
async def test_each_error_is_as_recorded_and_seen_for_what_it_is(
    phone: Telephone, fault: dict[str, Any], fixture: str | None, expected: tuple[bool, bool]
) -> None:
    """Permanent or not, and whether a phone may have rung."""
    await phone.steer("faults", **fault)
    if fixture is not None:
        assert (await phone.api("POST", "call", json=as_recorded(ASSISTANT))).json() == recorded(f"vapi/{fixture}")
    error = await failure(phone.dial(ASSISTANT))
    assert (error.permanent, error.ambiguous) == expected
    assert await phone.look("calls") == []


@pytest.mark.parametrize("fault", [{"drop": True}, {"hang": True}, {"answer": "garbage"}])
async def test_a_lost_answer_is_a_call_that_rings_all_the_same(phone: Telephone, fault: dict[str, Any]) -> None:
    """Ambiguous; the call is found by its job, and rang once."""
    await phone.steer("faults", times=1, **fault)
    impatient = Vapi(phone.settings, transport=phone.wire, timeout=0.05, clock=phone.clock)
    error = await failure(impatient.call(number=SAM, assistant=ASSISTANT | {"metadata": {"jobId": "j"}}, job_id="j"))
    await impatient.close()
    assert error.ambiguous
    found = await phone.vapi.find("j", since=NOW)
    assert found is not None
    rings = await phone.look("rings")
    assert (rings["byJob"], rings["byNumber"]) == ({"j": 1}, {SAM: 1})
    assert [ring["callId"] for ring in rings["rings"]] == [found.id]


async def test_a_wrong_key_is_refused(phone: Telephone) -> None:
    """401, as recorded."""
    answer = await phone.http.get("call")
    assert (answer.status_code, answer.json()) == (401, recorded("vapi/error-401"))


async def test_a_deleted_call_is_gone(phone: Telephone) -> None:
    """A webhook reports it; deleting it twice finds none."""
    call_id = await phone.dial(ASSISTANT)
    await phone.vapi.delete(call_id)
    assert await phone.vapi.get(call_id) is None
    assert await phone.vapi.find("job_1", since=NOW) is None
    await phone.settle()
    assert phone.steps == ["queued", "call.deleted"]
    assert (await phone.api("DELETE", f"call/{call_id}")).status_code == 404


async def test_calls_are_listed_by_what_is_asked(phone: Telephone) -> None:
    """Newest first, cut to the limit, within the times."""
    made = []
    for place in range(3):
        made.append(await phone.dial(ASSISTANT, job=f"job_{place}"))
        phone.clock.forward(timedelta(minutes=1))

    async def listed(**query: str) -> list[str]:
        return [call["id"] for call in (await phone.api("GET", "call", params=query)).json()]

    second = "2026-11-20T08:01:00.000Z"
    assert await listed() == made[::-1]
    assert await listed(limit="1") == made[2:]
    assert await listed(createdAtGe=second) == [made[2], made[1]]
    assert await listed(createdAtGt=second) == [made[2]]
    assert await listed(createdAtLt=second) == [made[0]]
    assert await listed(createdAtLe=second, id=made[1]) == [made[1]]
    assert await listed(phoneNumberId="another") == []
    assert (await phone.api("GET", "call", params={"limit": "1001"})).status_code == 400


async def test_a_call_may_be_for_later(phone: Telephone) -> None:
    """It is scheduled, holds no line, and begins when its time has come."""
    plan = {"schedulePlan": {"earliestAt": "2026-11-20T09:00:00.000Z"}}
    made = (await phone.api("POST", "call", json=as_recorded(open_to_all(ASSISTANT)) | plan)).json()
    wanted = recorded("vapi/call-get-200-scheduled") | {"assistant": open_to_all(ASSISTANT)}
    seen = (await phone.api("GET", f"call/{made['id']}")).json()
    assert shape(seen) == shape(wanted | {"schedulePlan": plan["schedulePlan"]})
    assert (made["status"], (await phone.look("limits"))["inFlight"]) == ("scheduled", 0)
    await phone.settle()
    assert phone.steps == ["scheduled"]
    phone.clock.forward(timedelta(hours=1))
    await phone.settle()
    assert phone.steps[1:] == ["queued", "ringing", "in-progress", "ended", "end-of-call-report"]


async def test_in_development_a_call_lives_by_itself(tmp_path: Path) -> None:
    """Within seconds its webhooks are sent."""
    live = Telephone(tmp_path, NOW, live=True)
    try:
        await live.dial(ASSISTANT)
        async with asyncio.timeout(10):
            while "end-of-call-report" not in live.steps:
                await asyncio.sleep(0.01)
        assert sorted(live.steps) == sorted(["queued", "ringing", "in-progress", "ended", "end-of-call-report"])
    finally:
        await live.close()


async def test_the_lines_secrets_are_shown_to_whoever_is_told(phone: Telephone) -> None:
    """As VAPI does: so it can be tried out that none is kept."""
    await phone.dial(ASSISTANT)
    await phone.settle()
    assert all(AUTH_TOKEN.encode() in body for body in phone.bodies)
