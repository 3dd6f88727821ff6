"""The webhooks of the sandboxed Clerk: signed as Svix signs them, delivered and retried, and spoilt on demand."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
from standardwebhooks import Webhook

from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import ClerkFaults
from daysong.sandbox.sender import Sender
from daysong.sandbox.vendor import Answer, Call, reply

SIGNING_SECRET = "whsec_" + base64.b64encode(b"the sandbox's, worth nothing elsewhere").decode()
SOMEBODY_ELSES = "whsec_" + base64.b64encode(b"not the sandbox's").decode()
PATH = "/http/clerk-webhook"


class Message(msgspec.Struct, rename="camel"):
    """A webhook; `status` is the endpoint's last answer, None when there was none."""

    svix_id: str
    type: str
    body: str
    status: int | None = None


class Automatic(msgspec.Struct, forbid_unknown_fields=True):
    """Whether webhooks are sent by themselves."""

    automatic: bool


class Send(msgspec.Struct, forbid_unknown_fields=True):
    """A webhook."""

    type: str
    data: dict[str, Any]


class Redeliver(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Which webhook; all without."""

    svix_id: str | None = None


class Webhooks(Sender[Message]):
    """Clerk's webhooks to the app.

    automatic  whether events at Clerk send webhooks; otherwise only those sent by hand
    """

    tries = 3
    deadline = 15.0

    def __init__(
        self, clock: Clock, http: httpx2.AsyncClient, origin: str, *, live: bool, faults: Callable[[], ClerkFaults]
    ) -> None:
        super().__init__(http, f"{origin}{PATH}", live=live)
        self._clock = clock
        self._faults = faults
        self.automatic = live

    async def control(self, call: Call) -> Answer | None:
        """Serve the endpoints that control webhooks; None for any other call."""
        match call.method, call.path:
            case "GET", "/webhooks":
                return reply(self.messages)
            case "POST", "/webhooks":
                self.automatic = msgspec.json.decode(call.body, type=Automatic).automatic
                return reply({"automatic": self.automatic})
            case "POST", "/send":
                sent = msgspec.json.decode(call.body, type=Send)
                return reply(await self.send(sent.type, sent.data))
            case "POST", "/redeliver":
                return reply(await self.again(msgspec.json.decode(call.body or b"{}", type=Redeliver).svix_id))
        return None

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Queue a webhook for an event at Clerk."""
        if not self.automatic or self._faults().webhooks == "lost":
            return
        self._enqueue(self._message(kind, data))

    async def send(self, kind: str, data: dict[str, Any]) -> Message:
        """Send a webhook now, whether the event happened or not."""
        message = self._message(kind, data)
        await self._deliver(message)
        return message

    async def again(self, svix_id: str | None) -> list[Message]:
        """Redeliver one message, or all: same id, new signature."""
        chosen = [message for message in self.messages if svix_id in {None, message.svix_id}]
        for message in chosen:
            await self._deliver(message)
        return chosen

    def _deliveries(self, outstanding: list[Message]) -> list[Message]:
        match self._faults().webhooks:
            case "reordered":
                return outstanding[::-1]
            case "duplicated":
                return [message for message in outstanding for _ in range(2)]
        return outstanding

    def _message(self, kind: str, data: dict[str, Any]) -> Message:
        envelope = {
            "data": data,
            "event_attributes": {"http_request": {"client_ip": "203.0.113.10", "user_agent": "sandbox"}},
            "instance_id": "ins_sandbox",
            "object": "event",
            "timestamp": int(to_ms(self._clock.now())),
            "type": kind,
        }
        message = Message(f"msg_{secrets.token_hex(12)}", kind, msgspec.json.encode(envelope).decode())
        self.messages.append(message)
        return message

    def _is_taken(self, status: int) -> bool:
        return status < httpx2.codes.MULTIPLE_CHOICES

    def _signed(self, message: Message) -> tuple[bytes, dict[str, str]]:
        now = self._clock.now()
        secret = SOMEBODY_ELSES if self._faults().webhooks == "bad_signature" else SIGNING_SECRET
        return message.body.encode(), {
            "content-type": "application/json",
            "svix-id": message.svix_id,
            "svix-timestamp": str(int(now.timestamp())),
            "svix-signature": Webhook(secret).sign(message.svix_id, now, message.body),
        }
