"""Classification of VAPI's ended reasons.

VAPI has published some 600 (vendors/vapi/fixtures/ended-reasons.txt) and adds new ones without notice, so classes are
matched by patterns; for an unknown reason, the transcript decides.
"""

from __future__ import annotations

import re
from typing import Literal

# talk        connected until one side, or the assistant's limits, ended the call
# dropped     ended by the carrier, a transfer or us; a conversation is possible
# fault       VAPI or one of its providers failed, perhaps in mid-conversation
# not-rung    no call was placed, or the carrier never connected it: no phone rang
# misdialed   the number does not exist
Ending = Literal["talk", "dropped", "fault", "no-answer", "busy", "voicemail", "not-rung", "misdialed", "unknown"]

# The first match decides.
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
# Faults of the account, the line or our request: other calls fail too until an operator fixes them.
_ALARM = re.compile(
    r"call\.start\.error-(?:subscription|fraud|enterprise|vapi-number|get-).*|call-start-error-.*"
    r"|call\.start\.(?:assistant|squad)-version-error-.*"
    r"|.*concurrency-limit.*|.*insufficient-credits.*|.*daily-limit.*|.*-error-configfault-.*"
    r"|assistant-request-.*|assistant-not-(?:found|valid|provided)"
)


def class_of(ended_reason: str | None) -> Ending:
    """Return the class of a reason; `unknown` when no pattern matches."""
    reason = _plain(ended_reason)
    return next((ending for ending, pattern in _CLASSES if pattern.fullmatch(reason)), "unknown")


def never_rang(ended_reason: str | None) -> bool:
    """Return whether no phone rang, so that the call does not count as a try."""
    return class_of(ended_reason) in {"not-rung", "misdialed"}


def found_no_line(ended_reason: str | None) -> bool:
    """Return whether VAPI dropped the call because all lines were in use: no phone rang."""
    return "concurrency-limit" in _plain(ended_reason)


def is_account_alarm(ended_reason: str | None) -> bool:
    """Return whether calls fail until an operator acts: pays, changes the line, or fixes our request."""
    return _ALARM.fullmatch(_plain(ended_reason)) is not None


def _plain(ended_reason: str | None) -> str:
    return (ended_reason or "").strip().lower()
