"""Every message VAPI is known to send is read, and nothing it might send breaks the reading."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.vendors.conftest import fixture, fixtures
from daysong.vendors.vapi.reports import (
    Call,
    MalformedReport,
    Message,
    Report,
    Turn,
    call_of,
    parse_message,
    redacted,
    report_of,
)

CALL = "00000000-0000-4000-8000-0000000000c1"
STARTED = datetime(2026, 11, 20, 8, 0, 30, tzinfo=UTC)
TALK = [
    Turn("assistant", "Hi Sample, how was your day?"),
    Turn("user", "Good. I walked by the river after lunch."),
    Turn("assistant", "That sounds calm. What did you notice there?"),
    Turn("user", "Two herons. I have to go now, goodbye."),
    Turn("assistant", "Good night."),
]
SUMMARY = "Sample walked by the river after lunch and saw two herons."
# Fixtures that are no webhooks: requests, answers and calls.
OTHERS = ("call-", "error-", "assistant-request-response-", "msg-tool-calls-response")
MESSAGES = [name for name in fixtures("vapi", "*") if not name.startswith(OTHERS)]
REPORTS = fixtures("vapi", "eocr-*")
# Words that no stored message may hold: capabilities, secrets and the prompt.
NEVER_KEPT = ("monitor.vapi", "storage.vapi", "sig=made-up", "Ask one question at a time", "credentialIds", "s3cret")

# Of each recorded report: how long, how many turns of the person, the evaluation.
OUTCOMES: dict[str, tuple[float | None, int, bool | None]] = {
    "eocr-assistant-ended": (20.995, 2, True),
    "eocr-call-start-error-vapi-number-international": (0.0, 0, None),
    "eocr-call-start-error-vapi-number-outbound-daily-limit": (0.0, 0, None),
    "eocr-customer-busy": (0.0, 0, None),
    "eocr-customer-did-not-answer": (0.0, 0, None),
    "eocr-customer-ended": (20.995, 2, True),
    "eocr-documented-fields-only": (20.995, 2, True),
    "eocr-exceeded-max-duration": (600.0, 2, True),
    "eocr-providerfault": (20.995, 1, None),
    "eocr-silence-timed-out": (20.995, 0, None),
    "eocr-structured-data": (20.995, 2, True),
    "eocr-twilio-reported-customer-misdialed": (0.0, 0, None),
    "eocr-unknown-reason": (20.995, 2, True),
    "eocr-vapifault": (0.0, 0, None),
    "eocr-voicemail": (9.0, 0, False),
}


def read(name: str) -> Message:
    return parse_message(fixture(f"vapi/{name}.json").read_bytes())


def recorded(name: str = "eocr-customer-ended") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(fixture(f"vapi/{name}.json").read_bytes())
    return found


def reported(change: dict[str, Any], name: str = "eocr-customer-ended") -> Report:
    """The report of a recorded message with other fields; a field that is `...` is left out."""
    message = recorded(name)["message"] | change
    body = json.dumps({"message": {key: value for key, value in message.items() if value is not ...}})
    found = parse_message(body).report
    assert found is not None
    return found


def test_every_recorded_report_has_its_outcome_here() -> None:
    """A new recording without an expectation is noticed."""
    assert set(REPORTS) == set(OUTCOMES)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_recorded_message_is_read(name: str) -> None:
    """Type, call and time are found in each; a message without a call has none."""
    message = read(name)
    with_call = "call" in recorded(name)["message"]
    assert message.call_id == (CALL if with_call else None)
    assert message.timestamp is not None
    assert message.type == recorded(name)["message"]["type"]
    assert (message.report is not None) is (name in REPORTS)
    if with_call and "hidden" not in name:
        assert message.customer_number == "+12025550123"
        assert message.direction == ("inbound" if name.startswith("assistant-request") else "outbound")


@pytest.mark.parametrize("name", fixtures("vapi", "*"))
def test_every_recorded_file_is_read_or_refused_with_a_word(name: str) -> None:
    """What is no webhook says what is wrong with it."""
    if name in MESSAGES:
        assert read(name).type
        return
    with pytest.raises(MalformedReport) as caught:
        read(name)
    assert caught.value.message.startswith("`message`")


@pytest.mark.parametrize("name", REPORTS)
def test_each_report_tells_how_long_it_was_and_what_was_said(name: str) -> None:
    """By the report's own times, and by the turns of the person."""
    report = read(name).report
    assert report is not None
    seconds, turns, success = OUTCOMES[name]
    assert (report.seconds, sum(turn.role == "user" for turn in report.turns), report.success) == (
        seconds,
        turns,
        success,
    )
    assert report.has_user_turn is (turns > 0)
    assert report.ended_reason == recorded(name)["message"]["endedReason"]


def test_f40_a_reports_times_are_its_own_and_not_those_of_the_call_inside() -> None:
    """The call inside is as old as its beginning: queued, and without an end."""
    report = read("eocr-customer-ended").report
    assert report is not None
    assert (report.started_at, report.seconds) == (STARTED, 20.995)
    lying = recorded()["message"]["call"] | {"startedAt": "2026-01-01T00:00:00Z", "endedAt": "2026-01-01T00:00:01Z"}
    assert reported({"call": lying}) == report
    assert reported({"call": lying, "startedAt": ..., "durationSeconds": ...}).started_at is None
    assert report_of(lying | {"endedReason": "x"}).seconds == 1.0


TURNED = [{"role": "bot" if turn.role == "assistant" else "user", "message": turn.text} for turn in TALK]
SYSTEM = {"role": "system", "message": "You are a kind diary companion."}


@pytest.mark.parametrize(
    "written",
    [
        {"artifact": {"messages": [SYSTEM, *TURNED]}},
        {"artifact": {"messages": [{"role": turn["role"], "content": turn["message"]} for turn in TURNED]}},
        {
            "artifact": {
                "messagesOpenAIFormatted": [
                    {"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in TALK
                ]
            }
        },
        {"artifact": {"messagesOpenAIFormatted": [{"role": turn.role, "content": [turn.text]} for turn in TALK]}},
        {"artifact": None, "messages": [SYSTEM, *TURNED, {"role": "tool_calls", "message": "{}"}, None, 5]},
        {"artifact": {"messages": None, "transcript": recorded()["message"]["transcript"]}},
        {"artifact": {"messages": [SYSTEM, TURNED[0]], "messagesOpenAIFormatted": TURNED}},
        {"artifact": "none", "transcript": recorded()["message"]["transcript"].replace("\n", "\r\n")},
    ],
)
def test_f39_the_turns_are_read_in_every_shape_they_come_in(written: dict[str, Any]) -> None:
    """Role bot or assistant, field message or content, text or a list of parts, or one transcript of it all."""
    assert reported({"messages": ..., "transcript": ...} | written).turns == TALK


def test_a_turn_of_a_transcript_may_go_on_over_lines() -> None:
    """A line without a speaker continues the previous turn."""
    written = "AI: Hi.\nUser: Rain\nall day.\n\nUSER:\nAI:   Bye."
    report = reported({"artifact": {}, "messages": ..., "transcript": written})
    assert report.turns == [Turn("assistant", "Hi."), Turn("user", "Rain all day."), Turn("assistant", "Bye.")]


@pytest.mark.parametrize("said", ["", " \n", "…", "?!", None])
def test_silence_is_no_word_of_the_person(said: str | None) -> None:
    """A transcriber writes marks for noises."""
    heard = {"artifact": {"messages": [{"role": "user", "message": said}]}, "messages": ..., "transcript": ...}
    assert not reported(heard).has_user_turn


@pytest.mark.parametrize(
    ("told", "success"),
    [
        ("true", True),
        ("TRUE ", True),
        (True, True),
        ("pass", True),
        ("false", False),
        ("Fail", False),
        (False, False),
        ("Excellent", None),
        ("7", None),
        (7, None),
        ("", None),
        (None, None),
        ({"passed": True}, None),
    ],
)
def test_an_evaluation_is_yes_or_no_or_none(told: object, success: bool | None) -> None:
    """VAPI writes it as text; a rubric's own words are neither yes nor no."""
    assert reported({"analysis": {"successEvaluation": told}}).success is success


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ({"analysis": {"structuredData": {"consent": "granted", "stopCalling": False, "mood": 2}}}, True),
        ({"artifact": {"structuredOutputs": {"a": {"name": "x", "result": {"mood": 2}}, "b": {
            "result": {"consent": "granted", "stopCalling": False}}}}}, True),
        ({"artifact": {"structuredOutputs": {"a": {"consent": "granted", "stopCalling": False}}}}, True),
        ({"analysis": {"structuredData": ["granted"]}}, False),
        ({"analysis": {"structuredData": {"consent": ["granted"], "stopCalling": 0}}}, False),
        ({"artifact": {"structuredOutputs": [{"consent": "granted"}]}}, False),
        ({"analysis": None}, False),
    ],
)  # fmt: skip
def test_what_vapi_found_out_for_us_is_read_wherever_it_stands(written: dict[str, Any], found: bool) -> None:
    """In the analysis, or among the structured outputs; what is of another kind is as if it were not there."""
    expected = {"consent": "granted", "stopCalling": False} if found else {}
    assert reported(written).structured == expected


def test_the_summary_is_the_analysis_own_or_the_messages() -> None:
    """And none is None, not an empty text."""
    assert reported({"summary": ...}).summary == SUMMARY
    assert reported({"analysis": {}, "summary": "Herons.\x00"}).summary == "Herons."
    assert reported({"analysis": {"summary": " "}, "summary": None}).summary is None


OURS = {"jobId": "call_job_1", "userId": "user_1"}


@pytest.mark.parametrize(
    ("place", "ids"),
    [
        ({"assistant": {"metadata": OURS}}, ("call_job_1", "user_1")),
        ({"assistantOverrides": {"metadata": OURS}}, ("call_job_1", "user_1")),
        ({"call": {"assistant": {"metadata": OURS}}}, ("call_job_1", "user_1")),
        ({"call": {"assistantOverrides": {"metadata": OURS}}}, ("call_job_1", "user_1")),
        ({"call": {"metadata": OURS}}, ("call_job_1", "user_1")),
        ({"customer": {"externalId": "call_job_1"}}, ("call_job_1", None)),
        ({"call": {"customer": {"externalId": "call_job_1"}}}, ("call_job_1", None)),
        ({"assistant": {"metadata": {"jobId": "x" * 201, "userId": 5}}}, (None, None)),
        ({"assistant": {"metadata": ["jobId"]}, "customer": "call_job_1"}, (None, None)),
    ],
)
def test_f36_our_own_ids_are_found_wherever_vapi_echoes_them(place: dict[str, Any], ids: tuple[str, str]) -> None:
    """A report about a call whose id we do not know yet is matched by them."""
    message = parse_message(json.dumps({"message": {"type": "end-of-call-report", **place}}))
    assert (message.job_id, message.user_id) == ids


def test_f17_an_unknown_type_and_unknown_fields_are_no_matter() -> None:
    """They appear without notice."""
    assert read("msg-unknown-type").type == "something.new"
    final = parse_message('{"message": {"type": "transcript[transcriptType=\\"final\\"]"}}')
    assert final.call_id is None
    changed = recorded()
    changed["message"]["brandNew"] = {"call": [1], "endedAt": 5}
    assert parse_message(json.dumps(changed)) == read("eocr-customer-ended")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b"[]", b"null", b'"x"', b"{}", b'{"message": []}', b'{"message": {}}',
     b'{"message": {"type": ""}}', b'{"message": {"type": 5}}', b'{"message": {"type": "a b"}}',
     b'{"message": {"type": "' + b"x" * 101 + b'"}}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_message_is_refused(body: bytes) -> None:
    """With a sentence that repeats nothing of it."""
    for reading in (parse_message, redacted):
        with pytest.raises(MalformedReport) as caught:
            reading(body)
        assert "xxx" not in caught.value.message


def test_one_event_has_one_key_however_often_it_comes() -> None:
    """Bodies differ from delivery to delivery; call, type and status do not. Another status is another event."""
    first, again = recorded(), recorded()
    again["message"]["artifact"]["presignedMonoUrl"] = "https://storage.vapi.example/again"
    keys = [parse_message(json.dumps(body)).event_key for body in (first, again)]
    assert keys == [f"{CALL}:end-of-call-report:"] * 2
    statuses = fixtures("vapi", "status-update-*")
    assert {read(name).event_key for name in statuses} == {
        f"{CALL}:status-update:{recorded(name)['message']['status']}" for name in statuses
    }
    assert "00000000-0000-4000-8000-000000000661:chat.created:" in read("msg-chat-created").event_key
    without = {name: read(name).event_key for name in MESSAGES if read(name).call_id is None}
    assert len(set(without.values())) == len(without)


@pytest.mark.parametrize("name", MESSAGES)
def test_what_is_kept_of_a_message_reads_the_same_and_gives_nothing_away(name: str) -> None:
    """No address to listen in, no recording, no secret, no prompt; all that is read of it is still there."""
    body = recorded(name)
    for holder in (body["message"], body["message"].get("call", {})):
        holder.setdefault("phoneNumber", {})["twilioAuthToken"] = "s3cret"
        holder["transport"] = {"provider": "twilio", "authToken": "s3cret", "streamAddress": "wss://storage.vapi/x"}
        if "server" in holder.get("assistant", {}):
            holder["assistant"]["server"]["headers"] = {"x-vapi-secret": "s3cret"}
    kept = redacted(json.dumps(body))
    assert [word for word in NEVER_KEPT if word in kept] == []
    assert "promptTokens" in kept if "promptTokens" in json.dumps(body) else True
    assert parse_message(kept) == read(name)


def test_a_call_that_is_over_is_read_like_its_report() -> None:
    """A lost report is made up for by asking for the call."""
    found = call_of(recorded("call-get-200-ended-not-answered"))
    assert found is not None
    assert found.ended
    assert found.report == Report(
        ended_reason="customer-did-not-answer", ended_at=datetime(2026, 11, 20, 8, 0, 30, tzinfo=UTC), cost=0.0
    )
    message = recorded()["message"]
    answer = message["call"] | {"status": "ended"} | {
        name: message[name] for name in ("startedAt", "endedAt", "endedReason", "artifact", "analysis", "cost")
    }  # fmt: skip
    whole = call_of(answer)
    assert whole is not None
    assert whole.report == read("eocr-customer-ended").report
    assert [word for word in NEVER_KEPT if word in whole.kept] == []
    assert call_of(json.loads(whole.kept)) == whole


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("call-create-201", "queued"),
        ("call-create-201-scheduled", "scheduled"),
        ("call-get-200-in-progress", "in-progress"),
        ("call-get-200-scheduled", "scheduled"),
        ("call-delete-200", None),
    ],
)
def test_a_call_that_goes_on_has_no_report(name: str, status: str | None) -> None:
    """Not even when it has times."""
    found = call_of(recorded(name))
    assert found is not None
    assert (found.id, found.direction, found.customer_number) == (CALL, "outbound", "+12025550123")
    if status is not None:
        assert (found.status, found.ended, found.report) == (status, False, None)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    ["type", "call", "id", "status", "endedReason", "startedAt", "endedAt", "durationSeconds", "timestamp", "artifact",
     "analysis", "messages", "messagesOpenAIFormatted", "transcript", "summary", "successEvaluation", "structuredData",
     "structuredOutputs", "result", "consent", "stopCalling", "role", "message", "content", "text", "assistant",
     "assistantOverrides", "metadata", "jobId", "userId", "customer", "externalId", "number", "phoneNumber", "monitor",
     "listenUrl", "chat", "campaignId"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["user", "bot", "ended", "end-of-call-report", "2026-11-20T08:00:30Z", "User: x", "9" * 400, "\0"]
)
NASTY = st.recursive(
    ANYTHING | WORDS | st.integers(-(10**400), 10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=8),
    max_leaves=30,
)


@given(NASTY, st.sampled_from(["end-of-call-report", "status-update", "assistant-request", "x"]))
def test_nothing_in_a_message_breaks_the_reading(content: Any, kind: str) -> None:
    """Whatever stands where, it is read or left out; what is kept is JSON without NUL."""
    message = content | {"type": kind} if isinstance(content, dict) else {"type": kind, "artifact": content}
    body = json.dumps({"message": message})
    found = parse_message(body)
    assert (found.type, found.report is not None) == (kind, kind == "end-of-call-report")
    assert found.event_key == parse_message(body).event_key
    kept = redacted(body)
    assert "\\u0000" not in kept
    assert parse_message(kept).call_id == found.call_id


@given(ANYTHING | st.binary())
def test_any_body_is_a_message_or_malformed(content: Any) -> None:
    """No third thing: no other error ever leaves the reading."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with contextlib.suppress(MalformedReport):
        assert parse_message(body).type


@given(NASTY)
def test_any_answer_is_a_call_or_none(content: Any) -> None:
    """Even an unusable one."""
    found = call_of(content)
    assert found is None or isinstance(found, Call)
