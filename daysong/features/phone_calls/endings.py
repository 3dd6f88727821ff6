"""What VAPI's reasons for a call's end mean: a class for each that it publishes.

It has published some 600 (vendors/vapi/fixtures/ended-reasons.txt) and adds new ones without notice, so classes go by
patterns, and a reason of no class goes by the words that were said.
"""

from __future__ import annotations

import re
from typing import Literal

# talk        the line was open until one side, or the assistant's limits, ended the call
# dropped     the carrier, a transfer or we ended it; whether anybody spoke is not said
# fault       VAPI or a provider of its broke down, perhaps in the middle of a talk
# not-rung    there was no call, or the carrier never connected it: no phone has rung
# misdialed   there is no such number
Ending = Literal["talk", "dropped", "fault", "no-answer", "busy", "voicemail", "not-rung", "misdialed", "unknown"]

# The first that fits counts.
_CLASSES: tuple[tuple[Ending, re.Pattern[str]], ...] = (
    ("voicemail", re.compile(r"voicemail.*")),
    ("no-answer", re.compile(r"customer-did-not-answer|call\.forwarding\.no-answer|.*[.-]did-not-answer")),
    ("busy", re.compile(r"customer-busy|call\.forwarding\.operator-busy")),
    ("misdialed", re.compile(r"twilio-reported-customer-misdialed|sip-outbound-unallocated-number")),
    (
        "not-rung",
        re.compile(
            r"call[.-]start[.-].*|call\.ringing\..*|(?:twilio|vonage)-failed-to-connect-call|vonage-rejected"
            r"|call\.in-progress\.error-sip-(?:in|out)bound-call-failed-to-connect|scheduled-call-deleted"
            r"|assistant-request-.*|assistant-not-(?:found|valid|provided)"
            r"|phone-call-provider-bypass-enabled-but-no-call-received"
        ),
    ),
    (
        "talk",
        re.compile(
            r"customer-ended-call.*|assistant-ended-call.*|assistant-said-end-call-phrase|exceeded-max-duration"
            r"|silence-timed-out|assistant-forwarded-call"
        ),
    ),
    ("fault", re.compile(r"pipeline-.*|call\.in-progress\.error-.*|worker-shutdown|assistant-join-timed-out")),
    (
        "dropped",
        re.compile(
            r"call\.in-progress\..*|call\.ending\..*|vonage-.*|twilio-.*|sip-.*|phone-call-provider-.*"
            r"|manually-canceled|call-deleted|customer-did-not-give-microphone-permission"
        ),
    ),
)
# The account, the line, or what we ask for: until it is mended, other calls fail in the same way.
_ALARM = re.compile(
    r"call\.start\.error-(?:subscription|fraud|enterprise|vapi-number|get-).*|call-start-error-.*"
    r"|call\.start\.(?:assistant|squad)-version-error-.*"
    r"|.*concurrency-limit.*|.*insufficient-credits.*|.*daily-limit.*|.*-error-configfault-.*"
    r"|assistant-request-.*|assistant-not-(?:found|valid|provided)"
)


def class_of(ended_reason: str | None) -> Ending:
    """The class of a reason; `unknown` for one that is in no list, and for none."""
    reason = _plain(ended_reason)
    return next((ending for ending, pattern in _CLASSES if pattern.fullmatch(reason)), "unknown")


def never_rang(ended_reason: str | None) -> bool:
    """Whether no phone has rung: the call is no try at its number."""
    return class_of(ended_reason) in {"not-rung", "misdialed"}


def found_no_line(ended_reason: str | None) -> bool:
    """Whether VAPI dropped the call because all lines of the account were taken: no phone has rung."""
    return "concurrency-limit" in _plain(ended_reason)


def is_account_alarm(ended_reason: str | None) -> bool:
    """Whether an operator has to do something before calls succeed again: pay, change the line, mend what we ask."""
    return _ALARM.fullmatch(_plain(ended_reason)) is not None


def _plain(ended_reason: str | None) -> str:
    return (ended_reason or "").strip().lower()
