"""VAPI, running here: it places calls, plays the talk, and sends webhooks.

Calls move on by themselves in `daysong dev`; else when all is settled, by hand, and as far as the clock has gone when
they are asked about. Besides VAPI's own API:

    POST   /sandbox/vapi/people     {number?, answers?, conversation?, duration?, reason?, times?}: who picks up on a
                                    number, or on any; see `Person` in vapi_calls.py. `answers`: talks (grants consent
                                    when asked), refuses, stop, unclear, silent, hangs_up, voicemail, busy, no_answer,
                                    misdialed, carrier, daily_limit, international, credits, provider_fault,
                                    vapi_fault, too_long; machines that VAPI does not find out: mailbox, screened,
                                    on_hold; screened_talks (an assistant asks who calls, then they talk)
    GET, DELETE /sandbox/vapi/people     who there is; forgets them all: everybody talks again
    POST   /sandbox/vapi/hold       {hold}: whether calls stay where they are, whatever is settled
    POST   /sandbox/vapi/advance    {callId?, jobId?, number?, to?} → the calls: brings them as far as `to` (ringing,
                                    in-progress, ended, reported; reported), and sends its webhooks
    GET    /sandbox/vapi/calls      every call: {id, jobId, number, inbound, status, endedReason, words, consent}
    GET    /sandbox/vapi/rings      {byJob, byNumber, rings: [{callId, jobId, number, time}]}: how often a phone rang
    GET, POST /sandbox/vapi/limits  {concurrency?, over?} → {concurrency, over, inFlight, mostInFlight}: with `over`
                                    blocked (as the documents say: 201, and it does not connect) or refused (400)
    POST   /sandbox/vapi/ring-in    {number?, answers?, conversation?, duration?, reason?} → {callId, error?,
                                    endedReason?}: an inbound call, without a number when they withhold it
    GET    /sandbox/vapi/webhooks   every webhook there was, and how it was answered
    POST   /sandbox/vapi/redeliver  {callId?, times?, atOnce?}: sends them again, one after another or all at once
    POST   /sandbox/vapi/send       {message}: tells the line's server of anything
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, cast

import httpx2
import msgspec

from daysong.kernel.time.clock import Clock
from daysong.sandbox.faults import Faults, VapiFaults
from daysong.sandbox.vapi import orders as vapi_orders
from daysong.sandbox.vapi.calls import LINE, Person, PhoneCall, stamp
from daysong.sandbox.vapi.exchange import Exchange, Full, Limits, Pace
from daysong.sandbox.vapi.reports import LINE_SHOWN, PRESIGNED_FOR, analysis_of, artifact_of, costs_of, presigned
from daysong.sandbox.vapi.webhooks import Spoken
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

API_KEY = "sandbox-vapi-key"
PAGE, LONGEST_PAGE = 100, 1000

NAMES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    404: "Not Found",
    429: "Too Many Requests",
    503: "Service Unavailable",
}
MESSAGES = {
    401: "Invalid Key. Hot tip, you may be using the private key instead of the public key, or vice versa.",
    402: "Wallet Balance is too low.",
    404: "Not Found",
    429: "Too many requests. Please try again later.",
    500: "Internal server error",
}
OVER_LIMIT = "Over Concurrency Limit. Wait For Ongoing Calls To End Or Contact Support."
CODES = {"over_concurrency_limit": (400, OVER_LIMIT), "wallet": (402, MESSAGES[402])}


class Hold(msgspec.Struct, forbid_unknown_fields=True):
    """Whether calls stay where they are."""

    hold: bool


class Advance(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which calls to advance, and how far."""

    call_id: str | None = None
    job_id: str | None = None
    number: str | None = None
    to: Literal["ringing", "in-progress", "ended", "reported"] = "reported"


class Redeliver(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which webhooks, and how."""

    call_id: str | None = None
    times: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    at_once: bool = False


class Raw(msgspec.Struct, forbid_unknown_fields=True):
    """A message to send."""

    message: dict[str, Any]


class SandboxVapi(Vendor):
    """Places calls."""

    name: ClassVar[str] = "vapi"
    fault_type: ClassVar[type[Faults]] = VapiFaults
    api: ClassVar[str] = "/call"

    def __init__(self, clock: Clock, origin: str, *, http: httpx2.AsyncClient, pace: Pace | None) -> None:
        super().__init__(clock)
        self.base_url = f"{origin}/sandbox/vapi"
        self.exchange = Exchange(clock, http, origin, pace=pace, faults=lambda: self._mischief)
        self._steering: dict[tuple[str, str], Callable[[bytes], Awaitable[Any]]] = {
            ("GET", "/people"): self._people,
            ("POST", "/people"): self._meet,
            ("DELETE", "/people"): self._forget_people,
            ("POST", "/hold"): self._hold,
            ("POST", "/advance"): self._advance,
            ("GET", "/calls"): self._calls,
            ("GET", "/rings"): self._rings,
            ("GET", "/limits"): self._limits,
            ("POST", "/limits"): self._set_limits,
            ("POST", "/ring-in"): self._ring_in,
            ("GET", "/webhooks"): self._webhooks,
            ("POST", "/redeliver"): self._redeliver,
            ("POST", "/send"): self._send,
        }

    @property
    def _mischief(self) -> VapiFaults:
        return cast("VapiFaults", self.faults)

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """Return an error as NestJS formats it; a code that is none of CODES is the message."""
        known, message = CODES.get(str(code), (400, None if code is None else str(code)))
        status = status or known
        return status, _error_body(status, message or MESSAGES.get(status, NAMES.get(status, "The sandbox says no.")))

    async def control(self, call: Call) -> Answer | None:
        """Serve the sandbox's own endpoints."""
        steer = self._steering.get((call.method, call.path))
        if steer is None:
            return None
        try:
            return reply(await steer(call.body or b"{}"))
        except msgspec.DecodeError as error:
            return reply({"error": str(error)}, 400)

    async def serve(self, call: Call, faults: Faults) -> Answer:  # noqa: ARG002 - a fault of its kind spoils webhooks
        """Serve the creation, listing and deletion of calls."""
        if call.bearer != API_KEY:
            return _refusal(401)
        self.exchange.catch_up()
        match call.method, call.path.split("/")[1:]:
            case "POST", ["call"]:
                return await self._make(call.json())
            case "GET", ["call"]:
                return self._list(call.query)
            case "GET", ["call", call_id]:
                found = self.exchange.calls.get(call_id)
                return reply(self._shown(found)) if found else _refusal(404)
            case "GET", ["phone-number", line]:
                return reply(LINE_SHOWN) if line == LINE else _refusal(404)
            case "DELETE", ["call", call_id]:
                gone = self.exchange.forget(call_id)
                return reply(gone.as_asked("ended") | {"endedReason": "call-deleted"}) if gone else _refusal(404)
        return _refusal(404, f"Cannot {call.method} {call.path}")

    async def _make(self, asked: Any) -> Answer:
        if not isinstance(asked, dict):
            return _refusal(400, "Unexpected end of JSON input")
        wrong = vapi_orders.complaints(asked)
        if wrong:
            return _refusal(400, wrong)
        now = self.clock.now()
        begins = vapi_orders.begins_at(asked) or now
        try:
            made = await self.exchange.place(asked, begins)
        except Full:
            return _refusal(400, OVER_LIMIT)
        shown = made.as_asked("scheduled" if begins > now else "queued")
        return reply(shown | {"subscriptionLimits": made.limits}, 201)

    def _shown(self, call: PhoneCall) -> dict[str, Any]:
        shown = call.as_it_is()
        if call.over:
            expires = stamp(self.clock.now() + PRESIGNED_FOR)
            truth = VapiFaults(analysis="missing") if self._mischief.analysis == "missing" else VapiFaults()
            shown |= {
                **costs_of(call),
                "artifact": presigned(artifact_of(call), expires),
                "analysis": analysis_of(call, truth),
            }
        return shown

    def _list(self, query: dict[str, list[str]]) -> Answer:
        try:
            limit = int(query.get("limit", [str(PAGE)])[0])
            bounds = {
                (field, name): datetime.fromisoformat(query[f"{field}{name}"][0])
                for field in ("createdAt", "updatedAt")
                for name in ("Gt", "Lt", "Ge", "Le")
                if f"{field}{name}" in query
            }
        except ValueError as error:
            return _refusal(400, str(error))
        if not 0 <= limit <= LONGEST_PAGE:
            return _refusal(400, f"limit must not be greater than {LONGEST_PAGE}")
        found = []
        for call in sorted(self.exchange.calls.values(), key=lambda each: each.created, reverse=True):
            shown = self._shown(call)
            fields = ("id", "assistantId", "phoneNumberId")
            if all(shown.get(name) == query[name][0] for name in fields if name in query) and all(
                _within(datetime.fromisoformat(shown[field]), name, bound) for (field, name), bound in bounds.items()
            ):
                found.append(shown)
        return reply(found[:limit])

    async def _people(self, _: bytes) -> Any:
        return self.exchange.phonebook.people

    async def _meet(self, body: bytes) -> Any:
        self.exchange.phonebook.add(msgspec.json.decode(body, type=Person))
        return self.exchange.phonebook.people

    async def _forget_people(self, _: bytes) -> Any:
        self.exchange.phonebook.people.clear()
        return []

    async def _hold(self, body: bytes) -> Any:
        self.exchange.held = msgspec.json.decode(body, type=Hold).hold
        return {"hold": self.exchange.held}

    async def _advance(self, body: bytes) -> Any:
        wanted = msgspec.json.decode(body, type=Advance)
        chosen = [
            call
            for call in self.exchange.calls.values()
            if wanted.call_id in {None, call.id}
            and wanted.job_id in {None, call.job_id}
            and wanted.number in {None, call.number}
        ]
        for call in chosen:
            self.exchange.bring(call, wanted.to)
        await self.exchange.webhooks.settle()
        return [_in_short(call) for call in chosen]

    async def _calls(self, _: bytes) -> Any:
        self.exchange.catch_up()
        return [_in_short(call) for call in self.exchange.calls.values()]

    async def _rings(self, _: bytes) -> Any:
        return self.exchange.counted()

    async def _limits(self, _: bytes) -> Any:
        self.exchange.catch_up()
        counts = {"inFlight": self.exchange.in_flight(), "mostInFlight": self.exchange.most_in_flight}
        return {"concurrency": self.exchange.limits.concurrency, "over": self.exchange.limits.over, **counts}

    async def _set_limits(self, body: bytes) -> Any:
        self.exchange.limits = msgspec.json.decode(body, type=Limits)
        return await self._limits(b"")

    async def _ring_in(self, body: bytes) -> Any:
        caller = msgspec.json.decode(body, type=Person)
        call = self.exchange.ringing_in(caller.number)
        answer, said, reason = _understood(await self.exchange.webhooks.ask(call))
        if answer is not None:
            self.exchange.connect(call, caller, answer)
            return {"callId": call.id}
        self.exchange.turn_away(call, reason)
        return {"callId": call.id, "error": said, "endedReason": reason}

    async def _webhooks(self, _: bytes) -> Any:
        return self.exchange.webhooks.messages

    async def _redeliver(self, body: bytes) -> Any:
        asked = msgspec.json.decode(body, type=Redeliver)
        return await self.exchange.webhooks.again(asked.call_id, times=asked.times, at_once=asked.at_once)

    async def _send(self, body: bytes) -> Any:
        return self.exchange.webhooks.tell_raw(msgspec.json.decode(body, type=Raw).message)


def _refusal(status: int, message: str | list[str] | None = None) -> Answer:
    return reply(_error_body(status, message or MESSAGES[status]), status)


def _error_body(status: int, message: str | list[str]) -> dict[str, Any]:
    name = {"error": NAMES[status]} if status in NAMES else {}
    return {"message": message, **name, "statusCode": status}


def _within(moment: datetime, name: str, bound: datetime) -> bool:
    match name:
        case "Gt":
            return moment > bound
        case "Lt":
            return moment < bound
        case "Ge":
            return moment >= bound
    return moment <= bound


def _in_short(call: PhoneCall) -> dict[str, Any]:
    talk = call.fate.talk
    return {
        "id": call.id,
        "jobId": call.job_id,
        "number": call.number,
        "inbound": call.inbound,
        "status": call.status,
        "endedReason": call.fate.reason if call.over else None,
        "words": None if talk is None else len(talk.turns),
        "consent": None if talk is None else talk.consent,
    }


def _understood(spoken: Spoken) -> tuple[dict[str, Any] | None, str | None, str]:
    """Return the assistant for a caller, or what they hear instead, and why the call ended then."""
    body = spoken.body
    if spoken.status is None or not httpx2.codes.is_success(spoken.status) or not isinstance(body, dict):
        return None, None, "assistant-request-failed"
    wrapped = body.get("messageResponse")
    said = wrapped if isinstance(wrapped, dict) else body
    if isinstance(said.get("error"), str):
        return None, said["error"], "assistant-request-returned-error"
    assistant = said.get("assistant")
    if isinstance(assistant, dict):
        wrong = vapi_orders.unknown_in_assistant(assistant) + vapi_orders.about_assistant(assistant)
        if wrong:
            return None, "; ".join(wrong), "assistant-request-returned-invalid-assistant"
        return {name: said[name] for name in ("assistant", "assistantOverrides") if name in said}, None, ""
    if isinstance(said.get("assistantId"), str):
        return {name: said[name] for name in ("assistantId", "assistantOverrides") if name in said}, None, ""
    return None, None, "assistant-request-returned-no-assistant"
