"""The webhooks of the sandboxed VAPI: sent where each assistant says, retried as it says, and faulty on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec

from daysong.kernel.errors import VendorError
from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import VapiFaults
from daysong.sandbox.sender import Sender
from daysong.sandbox.vapi.calls import PhoneCall, stamp
from daysong.sandbox.vapi.reports import PRESIGNED_FOR, around, presigned, report

SECRET = "the-sandbox's-telephone"  # noqa: S105 - worth nothing elsewhere
CREDENTIAL = "00000000-0000-4000-8000-0000000000b1"
PATH = "/http/vapi-webhook"
TIMEOUT = 20.0
ASSISTANT_WITHIN = 7.5
AT_MOST_RETRIES = 10
# The messages sent when an assistant names none.
USUAL_MESSAGES = frozenset({"status-update", "end-of-call-report", "conversation-update", "speech-update", "hang"})


class Message(msgspec.Struct, rename="camel"):
    """A webhook; `status` is the endpoint's last answer, None when there was none; `tries` is how often it was sent."""

    call_id: str | None
    type: str
    call_status: str | None
    message: dict[str, Any]
    server: dict[str, Any]
    status: int | None = None
    tries: int = 0


class Spoken(msgspec.Struct, frozen=True):
    """What the app answered to an assistant-request; `body` is None when that was no JSON, or nothing at all."""

    status: int | None
    body: Any = None


class Webhooks(Sender[Message]):
    """VAPI's webhooks to the server an assistant names."""

    def __init__(
        self, clock: Clock, http: httpx2.AsyncClient, origin: str, *, live: bool, faults: Callable[[], VapiFaults]
    ) -> None:
        super().__init__(http, f"{origin}{PATH}", live=live)
        self._clock = clock
        self._faults = faults
        # Messages that the fault `reordered` keeps back until the call's report has gone.
        self._kept_back: dict[str, list[Message]] = {}
        self.line_server: dict[str, Any] = {"url": self._url, "credentialId": CREDENTIAL}

    def tell_status(self, call: PhoneCall, status: str) -> None:
        """Queue a status update."""
        extra = {"endedReason": call.fate.reason} if status == "ended" else {}
        self._tell(call, "status-update", {"status": status, **extra, **around(call)}, status)

    def tell_report(self, call: PhoneCall) -> None:
        """Queue the end-of-call report."""
        self._tell(call, "end-of-call-report", report(call, self._faults()), None)

    def tell_deleted(self, call: PhoneCall) -> None:
        """Queue the message that the call's data are deleted."""
        self._tell(call, "call.deleted", around(call, "ended"), None, always=True)

    def tell_raw(self, message: dict[str, Any]) -> Message:
        """Queue any message to the line's server."""
        call = message.get("call")
        call_id = call.get("id") if isinstance(call, dict) else None
        made = Message(call_id, str(message.get("type")), message.get("status"), message, self.line_server)
        self.messages.append(made)
        self._enqueue(made)
        return made

    async def ask(self, call: PhoneCall) -> Spoken:
        """Ask the app which assistant takes an inbound call."""
        asked = {
            "type": "assistant-request",
            "timestamp": self._now(),
            "call": _ringing(call),
            **{name: value for name, value in around(call).items() if name in {"phoneNumber", "customer"}},
        }
        message = Message(call.id, "assistant-request", None, asked, self.line_server)
        self.messages.append(message)
        if self._faults().webhooks == "lost":
            return Spoken(None)
        content, headers = self._signed(message)
        try:
            async with asyncio.timeout(ASSISTANT_WITHIN):
                answer = await self._http.post(self._url, content=content, headers=headers)
        except (httpx2.RequestError, VendorError, TimeoutError):
            return Spoken(None)
        message.status = answer.status_code
        try:
            return Spoken(answer.status_code, msgspec.json.decode(answer.content))
        except msgspec.DecodeError:
            return Spoken(answer.status_code)

    async def again(self, call_id: str | None, *, times: int, at_once: bool) -> list[Message]:
        """Redeliver what was sent about a call, or everything, so many times."""
        chosen = [
            each for each in self.messages if each.type != "assistant-request" and call_id in {None, each.call_id}
        ]
        if at_once:
            await asyncio.gather(*(self._deliver(message) for message in chosen for _ in range(times)))
        else:
            for message in chosen * times:
                await self._deliver(message)
        return chosen

    def _tell(
        self, call: PhoneCall, kind: str, body: dict[str, Any], status: str | None, *, always: bool = False
    ) -> None:
        wanted = call.assistant.get("serverMessages", USUAL_MESSAGES)
        faults = self._faults()
        if not (always or kind in wanted) or faults.webhooks == "lost":
            return
        server = call.assistant.get("server") or self.line_server
        message = Message(call.id, kind, status, {"timestamp": self._now(), "type": kind, **body}, server)
        self.messages.append(message)
        if faults.webhooks == "reordered" and kind == "status-update":
            self._kept_back.setdefault(call.id, []).append(message)
            return
        self._enqueue(message)
        if kind == "end-of-call-report":
            for late in reversed(self._kept_back.pop(call.id, [])):
                self._enqueue(late)

    def _now(self) -> int:
        return int(to_ms(self._clock.now()))

    def _url_of(self, message: Message) -> str:
        return str(message.server.get("url") or self._url)

    def _tries_of(self, message: Message) -> int:
        plan = message.server.get("backoffPlan") or {}
        return 1 + min(int(plan.get("maxRetries") or 0), AT_MOST_RETRIES)

    def _deadline_of(self, message: Message) -> float:
        return float(message.server.get("timeoutSeconds") or TIMEOUT)

    def _deliveries(self, outstanding: list[Message]) -> list[Message]:
        times = 3 if self._faults().webhooks == "duplicated" else 1
        return [message for message in outstanding for _ in range(times)]

    def _is_taken(self, status: int) -> bool:
        return httpx2.codes.is_success(status)

    def _gives_up(self, message: Message) -> bool:
        plan = message.server.get("backoffPlan") or {}
        return message.status in (plan.get("excludedStatusCodes") or ())

    def _signed(self, message: Message) -> tuple[bytes, dict[str, str]]:
        message.tries += 1
        headers = {"content-type": "application/json"}
        headers |= {str(name): str(value) for name, value in (message.server.get("headers") or {}).items()}
        if message.server.get("credentialId") == CREDENTIAL:
            spoilt = self._faults().webhooks == "bad_signature"
            headers["authorization"] = "Bearer somebody-else's" if spoilt else f"Bearer {SECRET}"
        shown = message.message
        if isinstance(shown.get("artifact"), dict):
            expires = stamp(self._clock.now() + PRESIGNED_FOR)
            shown = shown | {"artifact": presigned(shown["artifact"], expires)}
        body = msgspec.json.encode({"message": shown})
        return body[: len(body) // 2] if self._faults().webhooks == "malformed" else body, headers


def _ringing(call: PhoneCall) -> dict[str, Any]:
    """Return an inbound call before it is answered."""
    return {
        name: value for name, value in call.as_asked("ringing").items() if name not in {"cost", "monitor", "transport"}
    }
