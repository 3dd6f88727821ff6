"""What the sandboxed VAPI tells an app, how often and in which order; and people who ring in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daysong.sandbox.conftest import NOW, recorded, shape
from daysong.sandbox.vapi.test_api import ASKING, ASSISTANT, SERVER, as_recorded, open_to_all
from daysong.vendors.vapi.reports import MalformedReport, redacted
from rehearsal.calls.telephone import SAM, Telephone

pytestmark = pytest.mark.anyio

ALL = ["queued", "ringing", "in-progress", "ended", "end-of-call-report"]


@pytest.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Telephone]:
    telephone = Telephone(tmp_path, NOW)
    yield telephone
    await telephone.close()


def message_shape(message: dict[str, Any]) -> Any:
    """The shape of a message, but for the line, which has a provider's secrets here, and one link more."""
    artifact = {name: value for name, value in message.get("artifact", {}).items() if name != "presignedLogUrl"}
    shown = {name: value for name, value in message.items() if name != "phoneNumber"}
    return shape(shown | ({"artifact": artifact} if artifact else {}))


def recorded_message(name: str) -> Any:
    """A recorded message, about a call with our assistant."""
    message = recorded(f"vapi/{name}")["message"]
    assistant = open_to_all(ASSISTANT)
    return message_shape(message | {"assistant": assistant, "call": message["call"] | {"assistant": assistant}})


@pytest.mark.parametrize(
    ("answers", "fixture"),
    [
        ("talks", "eocr-customer-ended"),
        ("voicemail", "eocr-voicemail"),
        ("silent", "eocr-silence-timed-out"),
        ("provider_fault", "eocr-customer-ended"),
        ("too_long", "eocr-exceeded-max-duration"),
        ("busy", "eocr-customer-busy"),
        ("no_answer", "eocr-customer-did-not-answer"),
        ("misdialed", "eocr-twilio-reported-customer-misdialed"),
        ("daily_limit", "eocr-call-start-error-vapi-number-outbound-daily-limit"),
        ("international", "eocr-call-start-error-vapi-number-international"),
        ("vapi_fault", "eocr-vapifault"),
    ],
)
async def test_reports_are_shaped_as_recorded(phone: Telephone, answers: str, fixture: str) -> None:
    """The same fields of the same kinds, down to each cost."""
    await phone.steer("people", answers=answers)
    detecting = open_to_all(ASSISTANT) | {"voicemailDetection": {"provider": "vapi"}}
    asked = detecting if answers == "voicemail" else open_to_all(ASSISTANT)
    await phone.api("POST", "call", json=as_recorded(asked))
    await phone.settle()
    wanted = recorded_message(fixture)
    if answers == "voicemail":
        for each in (wanted["assistant"], wanted["call"]["assistant"]):
            each["voicemailDetection"] = {"provider": "str"}
    assert message_shape(phone.raw()) == wanted
    assert phone.raw()["call"]["status"] == "queued"


async def test_structured_data_are_there_when_asked_for(phone: Telephone) -> None:
    """In the report's analysis; with structured outputs, in its artifact."""
    await phone.dial(ASKING)
    await phone.settle()
    found = phone.raw()["analysis"]
    assert found["structuredData"] == {"consent": "granted", "stopCalling": False}
    assert found.keys() == recorded("vapi/eocr-structured-data")["message"]["analysis"].keys()
    schema = ASKING["analysisPlan"]["structuredDataPlan"]["schema"]
    outputs = {"structuredOutputs": [{"name": "agreement", "schema": schema}]}
    await phone.dial(ASKING | {"artifactPlan": outputs, "analysisPlan": {"summaryPlan": {"enabled": False}}})
    await phone.settle()
    (made,) = phone.raw()["artifact"]["structuredOutputs"].values()
    assert made == {"name": "agreement", "result": {"consent": "granted", "stopCalling": False}}
    assert phone.raw()["analysis"] == {"successEvaluation": "true"}


async def test_status_updates_are_shaped_as_recorded(phone: Telephone) -> None:
    """With a reason only at the end."""
    await phone.api("POST", "call", json=as_recorded(open_to_all(ASSISTANT)))
    await phone.settle()
    updates = [msgspec.json.decode(body)["message"] for body in phone.bodies[:-1]]
    assert [message_shape(each) for each in updates[:-1]] == [recorded_message("status-update-queued")] * 3
    assert message_shape(updates[-1]) == recorded_message("status-update-ended")
    await phone.vapi.delete(updates[0]["call"]["id"])
    await phone.settle()
    assert message_shape(phone.raw("call.deleted")) == recorded_message("msg-call-deleted")


async def test_an_app_is_told_only_of_what_its_assistant_wants(phone: Telephone) -> None:
    """As serverMessages say."""
    await phone.dial(ASSISTANT | {"serverMessages": ["end-of-call-report"]})
    await phone.settle()
    assert phone.steps == ["end-of-call-report"]


async def test_f44_a_secret_is_sent_only_for_its_credential(phone: Telephone) -> None:
    """As a bearer token; an assistant that names no credential, or another, gets none."""
    others = [{name: value for name, value in SERVER.items() if name != "credentialId"}, SERVER | {"credentialId": "x"}]
    for server in (SERVER, *others):
        await phone.dial(ASSISTANT | {"server": server})
        await phone.settle()
    proofs = [headers.get("authorization") for headers in phone.headers]
    assert proofs == [f"Bearer {phone.settings.webhook_secret}"] * 5 + [None] * 10


@pytest.mark.parametrize(
    ("plan", "answers", "tries"),
    [
        (SERVER["backoffPlan"], [500, 500, 200], 3),
        (SERVER["backoffPlan"], [500], 6),
        (SERVER["backoffPlan"], [401], 1),
        (None, [500], 1),
    ],
)
async def test_a_webhook_is_tried_again_as_its_plan_says(
    phone: Telephone, plan: dict[str, Any] | None, answers: list[int], tries: int
) -> None:
    """Without a plan it is not; nor for a status the plan leaves out. The body is never the same twice."""
    phone.answers_with = answers
    server = {name: value for name, value in SERVER.items() if name != "backoffPlan"}
    planned = server if plan is None else server | {"backoffPlan": plan}
    await phone.dial(ASSISTANT | {"server": planned, "serverMessages": ["end-of-call-report"]})
    await phone.settle()
    assert len(phone.bodies) == tries
    assert len(set(phone.bodies)) == tries
    (sent,) = await phone.look("webhooks")
    assert (sent["tries"], sent["status"]) == (tries, answers[-1])


@pytest.mark.parametrize(
    ("fault", "steps"),
    [
        ("lost", []),
        ("duplicated", [each for each in ALL for _ in range(3)]),
        ("reordered", ["end-of-call-report", "ended", "in-progress", "ringing", "queued"]),
        ("bad_signature", ALL),
    ],
)
async def test_webhooks_can_be_spoilt(phone: Telephone, fault: str, steps: list[str]) -> None:
    """GET /call is not affected."""
    await phone.steer("faults", webhooks=fault)
    call_id = await phone.dial(ASSISTANT)
    await phone.settle()
    assert phone.steps == steps
    right = f"Bearer {phone.settings.webhook_secret}"
    assert all((headers["authorization"] == right) == (fault != "bad_signature") for headers in phone.headers)
    seen = await phone.vapi.get(call_id)
    assert seen is not None
    assert seen.report is not None
    assert seen.report.has_user_turn


async def test_a_malformed_webhook_is_no_json(phone: Telephone) -> None:
    """Each of them."""
    await phone.steer("faults", webhooks="malformed")
    await phone.dial(ASSISTANT)
    await phone.settle()
    assert len(phone.bodies) == len(ALL)
    with pytest.raises(MalformedReport):
        assert phone.told


async def test_an_early_report_comes_before_the_order_is_answered(phone: Telephone) -> None:
    """The call is over before its id is known."""
    await phone.steer("faults", webhooks="early")
    call_id = await phone.dial(ASSISTANT)
    assert phone.steps == ALL
    assert {told.call_id for told in phone.told} == {call_id}


@pytest.mark.parametrize(
    ("fault", "report", "truth"),
    [
        ("missing", set(), set()),
        ("late", set(), {"summary", "successEvaluation"}),
        ("no_summary", {"successEvaluation"}, {"summary", "successEvaluation"}),
        ("no_evaluation", {"summary"}, {"summary", "successEvaluation"}),
        ("negative", {"summary", "successEvaluation"}, {"summary", "successEvaluation"}),
    ],
)
async def test_the_analysis_can_be_spoilt(phone: Telephone, fault: str, report: set[str], truth: set[str]) -> None:
    """In the report; the call itself has it still, unless there is none."""
    await phone.steer("faults", analysis=fault)
    call_id = await phone.dial(ASSISTANT)
    await phone.settle()
    assert phone.raw()["analysis"].keys() == report
    assert ("summary" in phone.raw()) == ("summary" in report)
    assert (await phone.api("GET", f"call/{call_id}")).json()["analysis"].keys() == truth
    told = phone.told[-1].report
    assert told is not None
    assert told.success is {"negative": False, "no_summary": True}.get(fault)


@pytest.mark.parametrize("shape_of_it", ["messages_only", "content_arrays", "openai_only", "text_only"])
async def test_f39_transcripts_come_in_all_shapes(phone: Telephone, shape_of_it: str) -> None:
    """The real reader finds the same words in each."""
    await phone.steer("people", conversation="garden")
    await phone.dial(ASSISTANT)
    await phone.settle()
    await phone.steer("faults", transcript=shape_of_it)
    await phone.dial(ASSISTANT)
    await phone.settle()
    usual, spoilt = (told.report for told in phone.told if told.report)
    assert spoilt.turns == usual.turns
    assert (spoilt.summary, bool(usual.summary)) == (None, True)
    kept = {"messages", "messagesOpenAIFormatted", "transcript"} & phone.raw()["artifact"].keys()
    assert len(kept) == 1


async def test_webhooks_can_be_sent_again_and_made_up(phone: Telephone) -> None:
    """One after another, all at once, and any message at all."""
    call_id = await phone.dial(ASSISTANT)
    await phone.settle()
    await phone.steer("redeliver", callId=call_id, times=2)
    assert phone.steps == ALL * 3
    await phone.steer("redeliver", times=3, atOnce=True)
    assert sorted(phone.steps) == sorted(ALL * 6)
    await phone.steer("send", message={"type": "hang", "call": {"id": call_id}})
    await phone.settle()
    assert (phone.steps[-1], phone.told[-1].call_id) == ("hang", call_id)


@pytest.mark.parametrize(("number", "fixture"), [(SAM, ""), (None, "-hidden-number")])
async def test_who_rings_in_is_asked_about(phone: Telephone, number: str | None, fixture: str) -> None:
    """As recorded; with the number, unless it is withheld."""
    phone.says = {"error": "Who are you?"}
    rung = await phone.steer("ring-in", **({} if number is None else {"number": number}))
    assert (rung["error"], rung["endedReason"]) == ("Who are you?", "assistant-request-returned-error")
    asked = phone.raw("assistant-request")
    assert message_shape(asked) == message_shape(recorded(f"vapi/assistant-request{fixture}")["message"])
    assert (phone.told[0].customer_number, phone.told[0].direction) == (number, "inbound")
    assert (await phone.look("rings"))["rings"] == []


@pytest.mark.parametrize("wrapped", [False, True])
async def test_an_assistant_takes_an_inbound_call(phone: Telephone, wrapped: bool) -> None:
    """Given at the top or wrapped; then the call lives as any other."""
    answer = {"assistant": ASSISTANT}
    phone.says = {"messageResponse": answer} if wrapped else answer
    rung = await phone.steer("ring-in", number=SAM, conversation="snow", duration=60)
    await phone.settle()
    assert phone.steps == ["assistant-request", "ringing", "in-progress", "ended", "end-of-call-report"]
    told = phone.told[-1]
    assert (told.call_id, told.direction, told.customer_number) == (rung["callId"], "inbound", SAM)
    assert told.report is not None
    assert (told.report.turns[0].text, told.report.seconds) == (ASSISTANT["firstMessage"], 60)


@pytest.mark.parametrize(
    ("says", "status", "reason"),
    [
        ({"messageResponse": {"assistantId": "00000000-0000-4000-8000-0000000000e1"}}, 200, None),
        ({}, 200, "assistant-request-returned-no-assistant"),
        ({"assistant": {"foo": 1}}, 200, "assistant-request-returned-invalid-assistant"),
        ({"assistant": ASSISTANT}, 404, "assistant-request-failed"),
        (None, 200, "assistant-request-failed"),
    ],
)
async def test_an_answer_for_who_rings_in_decides_whether_there_is_a_call(
    phone: Telephone, says: Any, status: int, reason: str | None
) -> None:
    """Only 2xx with an assistant of a shape that VAPI takes."""
    phone.says, phone.answers_with = says, [status, 200]
    rung = await phone.steer("ring-in", number=SAM)
    assert rung.get("endedReason") == reason
    await phone.settle()
    assert ("in-progress" in phone.steps) == (reason is None)
    assert phone.told[-1].call_id == rung["callId"]


async def test_a_report_holds_what_must_not_be_kept(phone: Telephone) -> None:
    """And what is kept of it by the inbox does not."""
    await phone.dial(open_to_all(ASSISTANT))
    await phone.settle()
    secrets = (b"twilioAuthToken", b"monitor.vapi.example", b"?sig=")
    assert all(secret in phone.bodies[-1] for secret in secrets)
    assert not any(secret in redacted(phone.bodies[-1]).encode() for secret in secrets)
