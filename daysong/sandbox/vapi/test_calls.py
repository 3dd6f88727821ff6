"""How calls go: who picks up, and what ends the call."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, get_args

import pytest

from daysong.sandbox.conftest import failure
from daysong.sandbox.vapi.calls import Answers
from daysong.sandbox.vapi.test_api import ASKING, ASSISTANT, as_recorded
from rehearsal.calls.telephone import SAM, Telephone

pytestmark = pytest.mark.anyio

EXPECTED = {
    "talks": ("customer-ended-call", True),
    "refuses": ("assistant-ended-call", True),
    "stop": ("assistant-ended-call", True),
    "unclear": ("customer-ended-call", True),
    "silent": ("silence-timed-out", False),
    "hangs_up": ("customer-ended-call", False),
    "voicemail": ("voicemail", False),
    "busy": ("customer-busy", False),
    "no_answer": ("customer-did-not-answer", False),
    "misdialed": ("twilio-reported-customer-misdialed", False),
    "carrier": ("twilio-failed-to-connect-call", False),
    "daily_limit": ("call.start.error-vapi-number-outbound-daily-limit", False),
    "international": ("call.start.error-vapi-number-international", False),
    "credits": ("call.start.error-subscription-insufficient-credits", False),
    "provider_fault": ("call.in-progress.error-providerfault-openai-llm-failed", True),
    "vapi_fault": ("call.start.error-vapifault-database-error", False),
    "too_long": ("exceeded-max-duration", True),
    "mailbox": ("silence-timed-out", True),
    "screened": ("silence-timed-out", True),
    "screened_talks": ("customer-ended-call", True),
    "on_hold": ("silence-timed-out", True),
}


@pytest.mark.parametrize("answers", get_args(Answers))
async def test_a_call_ends_as_whoever_picks_up_would_have_it(phone: Telephone, answers: str) -> None:
    """With the reason VAPI gives, and the person's words only if there were any."""
    await phone.steer("people", number=SAM, answers=answers)
    await phone.dial(ASKING | {"voicemailDetection": {"provider": "vapi"}})
    await phone.settle()
    told = phone.told[-1].report
    assert told is not None
    assert (told.ended_reason, told.has_user_turn) == EXPECTED[answers]
    consent = {"talks": "granted", "refuses": "refused", "stop": "refused", "unclear": "unclear"}
    if answers in consent:
        assert told.structured == {"consent": consent[answers], "stopCalling": answers == "stop"}
        assert told.success is (answers == "talks")
    assert ("in-progress" in phone.steps) == (told.started_at is not None)


async def test_without_detection_a_machine_is_talked_to(phone: Telephone) -> None:
    """Its greeting passes for a person's words."""
    await phone.steer("people", answers="voicemail")
    await phone.dial(ASSISTANT)
    await phone.settle()
    told = phone.told[-1].report
    assert told is not None
    assert (told.ended_reason, told.turns[0].role) == ("silence-timed-out", "user")
    assert "after the tone" in told.turns[0].text


async def test_people_are_named_for_numbers_and_for_their_next_calls(phone: Telephone) -> None:
    """First people named for that number and few calls, in order; then permanent ones; then the default."""
    await phone.steer("people", answers="busy")
    await phone.steer("people", number=SAM, answers="silent")
    await phone.steer("people", number=SAM, answers="no_answer", times=1)
    await phone.steer("people", number=SAM, answers="talks", times=1, conversation="exam", duration=40)
    for place in range(4):
        await phone.dial(ASSISTANT, job=f"job_{place}")
    await phone.dial(ASSISTANT, number="+12025550199")
    await phone.settle()
    reports = [told.report for told in phone.told if told.report]
    ended = [report.ended_reason for report in reports]
    talked = "customer-ended-call"
    assert ended == ["customer-did-not-answer", talked, "silence-timed-out", "silence-timed-out", "customer-busy"]
    assert reports[1].seconds == 40
    assert any("driving test" in turn.text for turn in reports[1].turns)
    await phone.http.delete("people")
    await phone.dial(ASSISTANT, job="job_5")
    await phone.settle()
    assert phone.told[-1].ended_reason == "customer-ended-call"


@pytest.mark.parametrize("person", [{"answers": "sings"}, {"conversation": "opera"}, {"duration": 0}, {"whom": "Sam"}])
async def test_people_nobody_knows_are_refused(phone: Telephone, person: dict[str, Any]) -> None:
    """400, so that no misspelt person passes for one who talks."""
    answer = await phone.http.post("people", json=person)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert await phone.look("people") == []


async def test_calls_go_as_far_as_the_clock(phone: Telephone) -> None:
    """A later request sees the current state, though nothing was delivered."""
    call_id = await phone.dial(ASSISTANT)
    seen = []
    for seconds in (0, 3, 5, 600):
        phone.clock.forward(timedelta(seconds=seconds))
        call = await phone.vapi.get(call_id)
        assert call is not None
        seen.append(call.status)
    assert seen == ["queued", "ringing", "in-progress", "ended"]
    assert phone.bodies == []


async def test_held_calls_stay_where_they_are(phone: Telephone) -> None:
    """`settle` does not move them; `advance` does."""
    await phone.steer("hold", hold=True)
    await phone.dial(ASSISTANT)
    await phone.dial(ASSISTANT, job="job_2")
    await phone.settle()
    assert phone.steps == ["queued", "queued"]
    (moved,) = await phone.steer("advance", jobId="job_2", to="in-progress")
    assert (moved["jobId"], moved["status"], phone.steps[2:]) == ("job_2", "in-progress", ["ringing", "in-progress"])
    await phone.steer("hold", hold=False)
    await phone.settle()
    assert [call["status"] for call in await phone.look("calls")] == ["ended", "ended"]


async def test_over_the_limit_a_call_is_blocked(phone: Telephone) -> None:
    """As the documents say: 201, flagged; it does not connect, and a report says why."""
    await phone.steer("limits", concurrency=2)
    for place in range(3):
        made = await phone.api("POST", "call", json=as_recorded(ASSISTANT))
        limits = made.json()["subscriptionLimits"]
        assert limits == {
            "concurrencyBlocked": place == 2,
            "concurrencyLimit": 2,
            "remainingConcurrentCalls": max(1 - place, 0),
        }
    assert (await phone.look("limits"))["mostInFlight"] == 2
    assert len((await phone.look("rings"))["rings"]) == 2
    await phone.settle()
    reasons = [told.ended_reason for told in phone.told if told.report]
    assert reasons.count("call.start.error-subscription-concurrency-limit-reached") == 1
    assert (await phone.look("limits"))["inFlight"] == 0
    await phone.steer("limits", concurrency=0, over="refused")
    assert (await failure(phone.dial(ASSISTANT))).code == "lines_busy"
