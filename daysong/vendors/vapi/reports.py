"""What VAPI sends, read without trust: webhooks, and calls as they are asked for. Pure functions, no network.

Anything but a message's type may be missing, null or of another kind, and then counts as absent. Unknown fields are
ignored. A report's own fields are read, never those of the call inside it, which is as old as the
call's beginning.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from daysong.kernel.time.clock import from_ms
from daysong.vendors.text import clean
from daysong.vendors.vapi.redaction import harmless
from daysong.vendors.webhooks import MalformedEvent

Direction = Literal["inbound", "outbound"]
Role = Literal["user", "assistant"]

STATUS_UPDATE = "status-update"
END_OF_CALL = "end-of-call-report"
ASSISTANT_REQUEST = "assistant-request"
ENDED = "ended"

# What our own assistants ask VAPI to find out; see features/phone_calls/talk/assistant.py.
CONSENT = "consent"
STOP_CALLING = "stopCalling"

MAX_WORD = 200
MAX_TURNS = 2000
MAX_SECONDS = 86_400  # VAPI ends every call after half of that
MAX_COST = 1_000.0

# Its own ids are UUIDs; an id takes part in addresses and keys.
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
_SPOKEN = re.compile(r"(AI|Assistant|Bot|User|Customer):\s?(.*)", re.IGNORECASE)
_SUCCESS = {"true": True, "pass": True, "passed": True, "false": False, "fail": False, "failed": False}
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)


class MalformedReport(MalformedEvent):
    """The body is no message of VAPI's; `message` says what is wrong with it and repeats nothing."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="MalformedReport")


class Turn(msgspec.Struct, frozen=True):
    """What one side said at a time; the system's and tools' turns are none."""

    role: Role
    text: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How a call went, once it is over.

    seconds     how long it was connected; None when that is not known
    summary     VAPI's summary, as our assistant's plan asks for it: a diary text in the first person
    success     VAPI's evaluation; None without any, or with one that is neither yes nor no
    cost        in dollars; None when VAPI does not say
    structured  what VAPI found out for us: `consent` and `stopCalling`, if anything
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
        """Whether the person on the phone said a word."""
        return any(turn.role == "user" and any(map(str.isalnum, turn.text)) for turn in self.turns)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook's content.

    job_id, user_id   our own ids, from the metadata our assistant was given or the customer's external id
    customer_number   the number of the person on the phone, as the network writes it; None also when it is withheld
    line_number       the number of our line
    timestamp         when VAPI wrote it
    report            of an end-of-call-report only
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
    # What it is about when it is about no call.
    subject: str | None = None

    @property
    def event_key(self) -> str:
        """The same for every delivery of one message, and for no other that matters: VAPI gives no event id."""
        if self.call_id is not None:
            return f"{self.call_id}:{self.type}:{self.status or ''}"
        moment = "" if self.timestamp is None else self.timestamp.isoformat()
        return f"{self.subject or 'no-call'}:{self.type}:{self.status or ''}:{moment}"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call as VAPI knows it now. `report` is there once it is over, `kept` is what may be stored of it, as JSON."""

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
        """Whether it is over."""
        return self.report is not None


def parse_message(body: bytes | str) -> Message:
    """What a webhook says; MalformedReport when it is none of VAPI's."""
    message = _message(body)
    kind = message["type"]
    call = _object(message, "call")
    job_id, user_id = _ours(message, call)
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
    """What may be stored of a webhook's body, as JSON: no capability, no secret, no prompt. MalformedReport.

    It reads as the whole would: `parse_message(redacted(body)) == parse_message(body)`.
    """
    return msgspec.json.encode({"message": harmless(_message(body))}).decode()


def call_of(found: Any) -> Call | None:
    """A call out of an answer of VAPI's; None when it is no call."""
    if not isinstance(found, dict) or (identifier := _id(found.get("id"))) is None:
        return None
    job_id, user_id = _ours({}, found)
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
        kept=msgspec.json.encode(harmless(found)).decode(),
    )


def report_of(call: Mapping[str, Any]) -> Report:
    """The report on a call that is over, as its end-of-call-report would have told it."""
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


def _cost(told: Any) -> float | None:
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    return float(told) if 0 <= told <= MAX_COST else None


def _seconds(source: dict[str, Any], started_at: datetime | None, ended_at: datetime | None) -> float | None:
    if started_at is not None and ended_at is not None:
        return max(0.0, (ended_at - started_at).total_seconds())
    told = source.get("durationSeconds")
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    return float(told) if 0 <= told <= MAX_SECONDS else None


def _turns(source: dict[str, Any], artifact: dict[str, Any]) -> list[Turn]:
    """What was said: of the places where it may be written, the first that has words of the person on the phone."""
    lists = (artifact.get("messages"), artifact.get("messagesOpenAIFormatted"), source.get("messages"))
    transcripts = (artifact.get("transcript"), source.get("transcript"))
    heard = [_listed(messages) for messages in lists if isinstance(messages, list)]
    heard += [_spoken(transcript) for transcript in transcripts if isinstance(transcript, str)]
    with_person = (turns for turns in heard if any(turn.role == "user" for turn in turns))
    return next(with_person, next(filter(None, heard), []))[:MAX_TURNS]


def _listed(messages: Iterable[Any]) -> list[Turn]:
    turns = []
    for entry in messages:
        role = _ROLES.get(str(entry.get("role")).lower()) if isinstance(entry, dict) else None
        if role is not None and (text := _said(entry.get("message")) or _said(entry.get("content"))):
            turns.append(Turn(role, text))
    return turns


def _said(content: Any) -> str:
    """The words of a turn: plain text, or a list of texts and of parts with a text each."""
    if isinstance(content, list):
        parts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return " ".join(filter(None, map(_text, parts)))
    return _text(content)


def _spoken(transcript: str) -> list[Turn]:
    """The turns of a transcript, where each begins with who speaks: `AI: …`, `User: …`."""
    turns: list[Turn] = []
    for line in clean(transcript).split("\n"):
        if begins := _SPOKEN.match(line):
            turns.append(Turn(_ROLES[begins[1].lower()], begins[2].strip()))
        elif turns and line.strip():
            turns[-1] = Turn(turns[-1].role, f"{turns[-1].text} {line.strip()}".strip())
    return [turn for turn in turns if turn.text]


def _success(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return _SUCCESS.get(value.strip().lower()) if isinstance(value, str) else None


def _structured(artifact: dict[str, Any], analysis: dict[str, Any]) -> dict[str, Any]:
    """Our two findings, wherever they stand: in the analysis, or among the structured outputs, which have ids."""
    candidates = [analysis.get("structuredData")]
    for output in _object(artifact, "structuredOutputs").values():
        candidates += [output.get("result"), output] if isinstance(output, dict) else []
    for found in candidates:
        if isinstance(found, dict) and (CONSENT in found or STOP_CALLING in found):
            findings = {key: _finding(found.get(key)) for key in (CONSENT, STOP_CALLING)}
            return {key: value for key, value in findings.items() if value is not None}
    return {}


def _finding(value: Any) -> bool | str | None:
    return value if isinstance(value, bool) else _word(value)


def _ours(message: dict[str, Any], call: dict[str, Any]) -> tuple[str | None, str | None]:
    """Our own ids, job and user, that VAPI was given with the call."""
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
    """The id of what a message without a call is about."""
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
    """A time written as ISO text or as milliseconds; None when it is neither, or in no time of ours."""
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
