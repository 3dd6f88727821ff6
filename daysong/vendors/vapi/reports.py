"""Parsing of VAPI's untrusted data: webhooks, and calls from its API. Pure functions, no network.

Fields besides a message's type may be missing, null or of another type, and are then treated as absent. Unknown fields
are ignored. A report's own fields are used, not those of the call inside it, which has its state at the start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from daysong.kernel.time.clock import from_ms
from daysong.vendors.text import clean
from daysong.vendors.vapi.redaction import redact
from daysong.vendors.webhooks import MalformedEvent

Direction = Literal["inbound", "outbound"]
Role = Literal["user", "assistant"]

STATUS_UPDATE = "status-update"
END_OF_CALL = "end-of-call-report"
ASSISTANT_REQUEST = "assistant-request"
ENDED = "ended"

# Fields of the analysis that our assistants request; see features/phone_calls/talk/assistant.py.
CONSENT = "consent"
STOP_CALLING = "stopCalling"

MAX_WORD = 200
MAX_TURNS = 2000
MAX_SECONDS = 86_400  # VAPI ends every call after half of this
MAX_COST = 1_000.0

# VAPI's ids are UUIDs; ids are used in URLs and keys.
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_TYPE = re.compile(r"[!-~]{1,100}")
# As networks write numbers: with or without a plus, and with spaces, hyphens and brackets.
_NUMBER = re.compile(r"(?=.*[0-9])[+0-9 ().\-/]{3,40}")
_DIRECTIONS: dict[str, Direction] = {"inboundPhoneCall": "inbound", "outboundPhoneCall": "outbound"}
_ROLES: dict[str, Role] = {
    "user": "user",
    "customer": "user",
    "bot": "assistant",
    "assistant": "assistant",
    "ai": "assistant",
}
_SPEAKER = re.compile(r"(AI|Assistant|Bot|User|Customer):\s?(.*)", re.IGNORECASE)
_SUCCESS = {"true": True, "pass": True, "passed": True, "false": False, "fail": False, "failed": False}
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class MalformedReport(MalformedEvent):
    """The body is no message of VAPI's; the error names the fault, without quoting the body."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="MalformedReport")


class Turn(msgspec.Struct, frozen=True):
    """A turn of the user or the assistant; the system's and tools' turns are left out."""

    role: Role
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a call that has ended.

    seconds     connected time; None when unknown
    summary     VAPI's summary, by our plan a diary text in the first person
    success     VAPI's evaluation; None when missing or neither yes nor no
    cost        in dollars; None when missing
    structured  the analysis: `consent` and `stopCalling`, if present
    """

    ended_reason: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    seconds: float | None = None
    turns: list[Turn] = []
    summary: str | None = None
    success: bool | None = None
    structured: dict[str, Any] = {}
    cost: float | None = None

    @property
    def has_user_turn(self) -> bool:
        """Whether the user said anything."""
        return any(turn.role == "user" and any(map(str.isalnum, turn.text)) for turn in self.turns)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook's message.

    job_id, user_id   our ids, from the assistant's metadata or the customer's external id
    customer_number   the other party's number, as sent by the network; None also when withheld
    line_number       the number of our line
    timestamp         when VAPI sent it
    report            of an end-of-call-report only
    subject           the id of what a message without a call is about
    """

    type: str
    call_id: str | None = None
    status: str | None = None
    ended_reason: str | None = None
    job_id: str | None = None
    user_id: str | None = None
    customer_number: str | None = None
    line_number: str | None = None
    direction: Direction | None = None
    timestamp: datetime | None = None
    report: Report | None = None
    subject: str | None = None

    @property
    def event_key(self) -> str:
        """The dedupe key of a message, equal for all its deliveries; VAPI sends no event id."""
        if self.call_id is not None:
            return f"{self.call_id}:{self.type}:{self.status or ''}"
        moment = "" if self.timestamp is None else self.timestamp.isoformat()
        return f"{self.subject or 'no-call'}:{self.type}:{self.status or ''}:{moment}"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call's current state at VAPI. `report` is set once it has ended; `kept` is the redacted call, as JSON."""

    id: str
    status: str | None = None
    job_id: str | None = None
    user_id: str | None = None
    customer_number: str | None = None
    line_number: str | None = None
    direction: Direction | None = None
    created_at: datetime | None = None
    report: Report | None = None
    kept: str = "{}"

    @property
    def ended(self) -> bool:
        """Whether the call has ended."""
        return self.report is not None


def parse_message(body: bytes | str) -> Message:
    """Return the message in a webhook's body. Errors: MalformedReport."""
    message = _message(body)
    kind = message["type"]
    call = _object(message, "call")
    job_id, user_id = _our_ids(message, call)
    return Message(
        type=kind,
        call_id=_id(call.get("id")),
        status=_word(message.get("status")),
        ended_reason=_word(message.get("endedReason")),
        job_id=job_id,
        user_id=user_id,
        customer_number=_number_of("customer", message, call),
        line_number=_number_of("phoneNumber", message, call),
        direction=_direction(call),
        timestamp=_moment(message.get("timestamp")),
        report=_report(message) if kind == END_OF_CALL else None,
        subject=_subject(message),
    )


def redacted(body: bytes | str) -> str:
    """Return a webhook's body as JSON without URLs, secrets and prompts. Errors: MalformedReport.

    Parsing is unaffected: `parse_message(redacted(body)) == parse_message(body)`.
    """
    return msgspec.json.encode({"message": redact(_message(body))}).decode()


def call_of(found: Any) -> Call | None:
    """Return the call in an API response; None when it is no call."""
    if not isinstance(found, dict) or (identifier := _id(found.get("id"))) is None:
        return None
    job_id, user_id = _our_ids({}, found)
    status = _word(found.get("status"))
    return Call(
        id=identifier,
        status=status,
        job_id=job_id,
        user_id=user_id,
        customer_number=_number_of("customer", found),
        line_number=_number_of("phoneNumber", found),
        direction=_direction(found),
        created_at=_moment(found.get("createdAt")),
        report=report_of(found) if status == ENDED else None,
        kept=msgspec.json.encode(redact(found)).decode(),
    )


def report_of(call: Mapping[str, Any]) -> Report:
    """Return the report of a call that has ended, equal to its end-of-call-report."""
    return _report(dict(call))


def _message(body: bytes | str) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise MalformedReport("The body is not JSON") from None
    message = found.get("message") if isinstance(found, dict) else None
    if not isinstance(message, dict):
        raise MalformedReport("`message` is missing or no object")
    kind = message.get("type")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise MalformedReport("`message.type` is missing or no name of a type")
    return message


def _report(source: dict[str, Any]) -> Report:
    artifact, analysis = _object(source, "artifact"), _object(source, "analysis")
    started_at, ended_at = _moment(source.get("startedAt")), _moment(source.get("endedAt"))
    return Report(
        ended_reason=_word(source.get("endedReason")),
        started_at=started_at,
        ended_at=ended_at,
        seconds=_seconds(source, started_at, ended_at),
        turns=_turns(source, artifact),
        summary=_text(analysis.get("summary")) or _text(source.get("summary")) or None,
        success=_success(analysis.get("successEvaluation")),
        structured=_structured(artifact, analysis),
        cost=_cost(source.get("cost")),
    )


def _cost(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MAX_COST else None


def _seconds(source: dict[str, Any], started_at: datetime | None, ended_at: datetime | None) -> float | None:
    if started_at is not None and ended_at is not None:
        return max(0.0, (ended_at - started_at).total_seconds())
    duration = source.get("durationSeconds")
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        return None
    return float(duration) if 0 <= duration <= MAX_SECONDS else None


def _turns(source: dict[str, Any], artifact: dict[str, Any]) -> list[Turn]:
    """Return the transcript: of the fields that may have it, the first with a turn of the user."""
    lists = (artifact.get("messages"), artifact.get("messagesOpenAIFormatted"), source.get("messages"))
    transcripts = (artifact.get("transcript"), source.get("transcript"))
    candidates = [_message_turns(messages) for messages in lists if isinstance(messages, list)]
    candidates += [_transcript_turns(transcript) for transcript in transcripts if isinstance(transcript, str)]
    with_user = (turns for turns in candidates if any(turn.role == "user" for turn in turns))
    return next(with_user, next(filter(None, candidates), []))[:MAX_TURNS]


def _message_turns(messages: Iterable[Any]) -> list[Turn]:
    turns = []
    for entry in messages:
        role = _ROLES.get(str(entry.get("role")).lower()) if isinstance(entry, dict) else None
        if role is not None and (text := _turn_text(entry.get("message")) or _turn_text(entry.get("content"))):
            turns.append(Turn(role, text))
    return turns


def _turn_text(content: Any) -> str:
    """Return the text of a turn: a string, or a list of strings and of parts with a text."""
    if isinstance(content, list):
        parts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return " ".join(filter(None, map(_text, parts)))
    return _text(content)


def _transcript_turns(transcript: str) -> list[Turn]:
    """Return the turns of a text transcript, each beginning with its speaker: `AI: …`, `User: …`."""
    turns: list[Turn] = []
    for line in clean(transcript).split("\n"):
        if match := _SPEAKER.match(line):
            turns.append(Turn(_ROLES[match[1].lower()], match[2].strip()))
        elif turns and line.strip():
            turns[-1] = Turn(turns[-1].role, f"{turns[-1].text} {line.strip()}".strip())
    return [turn for turn in turns if turn.text]


def _success(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return _SUCCESS.get(value.strip().lower()) if isinstance(value, str) else None


def _structured(artifact: dict[str, Any], analysis: dict[str, Any]) -> dict[str, Any]:
    """Return our two fields, from the analysis or from the structured outputs, which are keyed by id."""
    candidates = [analysis.get("structuredData")]
    for output in _object(artifact, "structuredOutputs").values():
        candidates += [output.get("result"), output] if isinstance(output, dict) else []
    for found in candidates:
        if isinstance(found, dict) and (CONSENT in found or STOP_CALLING in found):
            values = {key: _analysis_value(found.get(key)) for key in (CONSENT, STOP_CALLING)}
            return {key: value for key, value in values.items() if value is not None}
    return {}


def _analysis_value(value: Any) -> bool | str | None:
    return value if isinstance(value, bool) else _word(value)


def _our_ids(message: dict[str, Any], call: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return our ids of the job and the user, as sent with the call."""
    job_id = user_id = None
    for holder in (message, call):
        for name in ("assistant", "assistantOverrides"):
            metadata = _object(_object(holder, name), "metadata")
            job_id, user_id = job_id or _id(metadata.get("jobId")), user_id or _id(metadata.get("userId"))
    metadata = _object(call, "metadata")
    job_id, user_id = job_id or _id(metadata.get("jobId")), user_id or _id(metadata.get("userId"))
    for holder in (message, call):
        job_id = job_id or _id(_object(holder, "customer").get("externalId"))
    return job_id, user_id


def _number_of(name: str, *holders: dict[str, Any]) -> str | None:
    for holder in holders:
        number = _object(holder, name).get("number")
        if isinstance(number, str) and _NUMBER.fullmatch(number):
            return number
    return None


def _direction(call: dict[str, Any]) -> Direction | None:
    kind = call.get("type")
    return _DIRECTIONS.get(kind) if isinstance(kind, str) else None


def _subject(message: dict[str, Any]) -> str | None:
    """Return the id of what a message without a call is about."""
    found = (_id(_object(message, name).get("id")) for name in ("chat", "session", "campaign"))
    return next(filter(None, found), None) or _id(message.get("campaignId"))


def _object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else {}


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _word(value: Any) -> str | None:
    text = _text(value)
    return text if text and len(text) <= MAX_WORD else None


def _text(value: Any) -> str:
    return clean(value) if isinstance(value, str) else ""


def _moment(value: Any) -> datetime | None:
    """Return a time given in ISO format or milliseconds; None for anything else, or a time out of range."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found = from_ms(value)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return found if _EARLIEST <= found < _LATEST else None
