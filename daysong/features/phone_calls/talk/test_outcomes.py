"""A call's outcome follows from its end and its words, for every end VAPI has and for unknown ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daysong.features.phone_calls.endings import class_of, is_account_alarm, never_rang
from daysong.features.phone_calls.talk.outcomes import (
    LONGEST_TALK,
    consent_of,
    no_entry_reason,
    state_of,
    talk_text,
    wants_no_calls,
)
from daysong.vendors.conftest import fixture, fixtures
from daysong.vendors.vapi.reports import Report, Turn, parse_message

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
TALK = [Turn("assistant", "How was your day?"), Turn("user", "I walked by the river.")]

# Of each end: the state when the person said nothing, and when they said something.
STATES: dict[str | None, tuple[str, str]] = {
    "customer-ended-call": ("completed", "completed"),
    "customer-ended-call-during-transfer": ("completed", "completed"),
    "assistant-ended-call": ("completed", "completed"),
    "assistant-ended-call-after-message-spoken": ("completed", "completed"),
    "assistant-ended-call-with-hangup-task": ("completed", "completed"),
    "assistant-said-end-call-phrase": ("completed", "completed"),
    "exceeded-max-duration": ("completed", "completed"),
    "silence-timed-out": ("completed", "completed"),
    "customer-did-not-answer": ("no-answer", "no-answer"),
    "call.forwarding.no-answer": ("no-answer", "no-answer"),
    "customer-busy": ("busy", "busy"),
    "call.forwarding.operator-busy": ("busy", "busy"),
    "voicemail": ("voicemail", "voicemail"),
    "twilio-failed-to-connect-call": ("failed", "completed"),
    "twilio-reported-customer-misdialed": ("failed", "completed"),
    "vonage-rejected": ("failed", "completed"),
    "call.ringing.error-sip-inbound-call-failed-to-connect": ("failed", "completed"),
    "call.start.error-subscription-insufficient-credits": ("failed", "completed"),
    "call.start.error-get-customer": ("failed", "completed"),
    "manually-canceled": ("failed", "completed"),
    "scheduled-call-deleted": ("failed", "completed"),
    "assistant-request-failed": ("failed", "completed"),
    "assistant-not-found": ("failed", "completed"),
    "pipeline-error-openai-llm-failed": ("failed", "completed"),
    "call.in-progress.error-vapifault-worker-died": ("failed", "completed"),
    "call.in-progress.error-providerfault-openai-llm-failed": ("failed", "completed"),
    "call.in-progress.twilio-completed-call": ("failed", "completed"),
    "worker-shutdown": ("failed", "completed"),
    "assistant-join-timed-out": ("failed", "completed"),
    "something-nobody-has-seen": ("failed", "completed"),
    "": ("failed", "completed"),
    None: ("failed", "completed"),
}


PUBLISHED = [
    line for line in fixture("vapi/ended-reasons.txt").read_text().splitlines() if line and not line.startswith("#")
]


def test_g21_every_published_reason_has_a_class() -> None:
    """And none but those of an unreached phone takes a talk's words away."""
    assert len(PUBLISHED) == 604
    assert [reason for reason in PUBLISHED if class_of(reason) == "unknown"] == []
    unreached = [reason for reason in PUBLISHED if state_of(reason, True) != "completed"]
    assert unreached == [
        "call.forwarding.no-answer", "call.forwarding.operator-busy", "customer-busy", "customer-did-not-answer",
        "voicemail",
    ]  # fmt: skip


@pytest.mark.parametrize("reason", ["vonage-completed", "vonage-disconnected", "call.in-progress.sip-completed-call"])
def test_g21_a_carriers_word_does_not_undo_a_talk(reason: str) -> None:
    """Without words there was none."""
    assert (state_of(reason, True), state_of(reason, False)) == ("completed", "failed")
    assert not never_rang(reason)


def test_g20_what_did_not_ring_is_told_from_what_did() -> None:
    """The account's limits, VAPI's own faults before the call, a carrier that does not connect, no such number."""
    quiet = {reason for reason in PUBLISHED if never_rang(reason)}
    assert {reason for reason in PUBLISHED if reason.startswith(("call.start.", "call-start-"))} <= quiet
    assert {
        "twilio-failed-to-connect-call",
        "vonage-failed-to-connect-call",
        "sip-outbound-unallocated-number",
    } <= quiet
    assert not quiet & {
        "customer-busy",
        "customer-did-not-answer",
        "voicemail",
        "silence-timed-out",
        "vonage-completed",
    }
    assert not any(reason.startswith("pipeline-error-") for reason in quiet)


@pytest.mark.parametrize("reason", STATES)
def test_f40_the_state_follows_from_the_end_and_the_persons_words(reason: str | None) -> None:
    """Not reached stays not reached, though a mailbox talks; a fault in a talk does not undo it."""
    assert (state_of(reason, False), state_of(reason, True)) == STATES[reason]


# Of each recorded report: the state, why it is no diary entry, whether it is an alarm.
RECORDED: dict[str, tuple[str, str | None, bool]] = {
    "eocr-assistant-ended": ("completed", None, False),
    "eocr-call-start-error-vapi-number-international": ("failed", "failed", True),
    "eocr-call-start-error-vapi-number-outbound-daily-limit": ("failed", "failed", True),
    "eocr-customer-busy": ("busy", "busy", False),
    "eocr-customer-did-not-answer": ("no-answer", "no-answer", False),
    "eocr-customer-ended": ("completed", None, False),
    "eocr-documented-fields-only": ("completed", None, False),
    "eocr-exceeded-max-duration": ("completed", None, False),
    "eocr-providerfault": ("completed", None, False),
    "eocr-silence-timed-out": ("completed", "no_words", False),
    "eocr-structured-data": ("completed", None, False),
    "eocr-twilio-reported-customer-misdialed": ("failed", "failed", False),
    "eocr-unknown-reason": ("completed", None, False),
    "eocr-vapifault": ("failed", "failed", False),
    "eocr-voicemail": ("voicemail", "voicemail", False),
}


@pytest.mark.parametrize("name", fixtures("vapi", "eocr-*"))
def test_each_recorded_call_is_a_diary_entry_or_not(name: str) -> None:
    """By its end, its words and its evaluation."""
    report = parse_message(fixture(f"vapi/{name}.json").read_bytes()).report
    assert report is not None
    state = state_of(report.ended_reason, report.has_user_turn)
    assert (state, no_entry_reason(report, state), is_account_alarm(report.ended_reason)) == RECORDED[name]


@pytest.mark.parametrize(
    "reason",
    [
        "call.start.error-subscription-frozen",
        "call.start.error-subscription-insufficient-credits",
        "call.start.error-subscription-concurrency-limit-reached",
        "call.start.error-subscription-wallet-does-not-exist",
        "call.start.error-fraud-check-failed",
        "call.start.error-vapi-number-outbound-daily-limit",
        "call.start.error-get-phone-number",
        "call-start-error-neither-assistant-nor-server-set",
        "assistant-request-returned-invalid-assistant",
        "assistant-not-valid",
    ],
)
def test_what_no_other_call_does_better_in_is_an_alarm(reason: str) -> None:
    """An operator has to pay, or to correct our requests."""
    assert is_account_alarm(reason)


@pytest.mark.parametrize(
    "reason", ["customer-busy", "pipeline-error-x", "call.start.error-vapifault-get-org", "", None]
)
def test_bad_luck_is_no_alarm(reason: str | None) -> None:
    """It passes by itself."""
    assert not is_account_alarm(reason)


def test_f38_without_an_evaluation_what_was_said_decides() -> None:
    """A talk of ten minutes without an analysis is kept."""
    long = Report(turns=TALK, seconds=600.0)
    assert no_entry_reason(long, "completed") is None
    assert no_entry_reason(Report(turns=TALK, seconds=600.0, success=True), "completed") is None
    assert no_entry_reason(Report(turns=TALK, seconds=600.0, success=False), "completed") == "not_successful"
    assert no_entry_reason(Report(turns=TALK[:1], seconds=600.0, success=True), "completed") == "no_words"
    assert no_entry_reason(Report(turns=TALK), "completed") is None


@pytest.mark.parametrize(("seconds", "reason"), [(0.0, "too_short"), (14.999, "too_short"), (15.0, None)])
def test_fifteen_seconds_are_a_talk(seconds: float, reason: str | None) -> None:
    """Less is none."""
    ended_at = NOW + timedelta(seconds=seconds)
    report = Report(started_at=NOW, ended_at=ended_at, seconds=seconds, turns=TALK)
    assert no_entry_reason(report, "completed") == reason


@pytest.mark.parametrize(
    ("structured", "consent", "stop"),
    [
        ({"consent": "granted", "stopCalling": False}, "granted", False),
        ({"consent": " Granted"}, "granted", False),
        ({"consent": "refused"}, "refused", False),
        ({"consent": "unclear"}, "unclear", False),
        ({"consent": "granted", "stopCalling": True}, "refused", True),
        ({"consent": "granted", "stopCalling": "true"}, "refused", True),
        ({"consent": "unclear", "stopCalling": True}, "refused", True),
        ({"stopCalling": "no"}, "unclear", False),
        ({"consent": True, "stopCalling": 1}, "unclear", False),
        ({"consent": "not granted"}, "unclear", False),
        ({"consent": None, "stopCalling": None}, "unclear", False),
        ({}, "unclear", False),
    ],
)
def test_f32_only_a_plain_yes_is_consent(structured: dict[str, Any], consent: str, stop: bool) -> None:
    """Anything else is not, and who wants no more calls refuses."""
    assert (consent_of(structured), wants_no_calls(structured)) == (consent, stop)


def test_a_talk_is_written_line_by_line() -> None:
    """Who said it stands before it."""
    assert talk_text(TALK) == "Companion: How was your day?\nMe: I walked by the river."
    assert talk_text([Turn("user", "Rain\n all day.")]) == "Me: Rain all day."
    assert talk_text([]) == ""


def test_f39_a_long_talk_keeps_the_persons_words_and_shortens_the_companions() -> None:
    """12,000 characters; the companion is cut first, then left out, then the person's last words are."""
    mine = [Turn("user", f"My moment number {number}.") for number in range(100)]
    theirs = [Turn("assistant", "word " * 400)] * 100
    talk = talk_text([turn for pair in zip(theirs, mine, strict=True) for turn in pair])
    assert len(talk) <= LONGEST_TALK
    assert all(turn.text in talk for turn in mine)
    assert "Companion: word" in talk
    only_mine = talk_text([*theirs, *[Turn("user", "I walked on. " * 300)] * 10])
    assert len(only_mine) <= LONGEST_TALK
    assert only_mine.startswith("Me: I walked on.")
    assert "Companion" not in only_mine


TURNS = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), st.text(max_size=300)), max_size=30)


@given(TURNS, st.integers(20, 2000))
def test_a_talk_is_never_longer_than_asked_for(turns: list[Turn], limit: int) -> None:
    """And is whole when it fits."""
    talk = talk_text(turns, limit)
    whole = talk_text(turns, 10**6)
    assert len(talk) <= limit
    if len(whole) <= limit:
        assert talk == whole
