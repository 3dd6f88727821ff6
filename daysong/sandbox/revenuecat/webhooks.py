"""The webhooks of the sandboxed RevenueCat: authorized and signed as agreed, retried, and spoilt on demand."""

from __future__ import annotations

import hmac
import random
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec

from daysong.kernel.time.clock import Clock
from daysong.sandbox.faults import RevenueCatFaults
from daysong.sandbox.sender import Sender

SECRET = "Bearer the-sandbox's-webhooks"  # noqa: S105 - worth nothing elsewhere
HMAC_SECRET = "whsec_the-sandbox's"  # noqa: S105
PATH = "/http/revenuecat-webhook"


class Message(msgspec.Struct, rename="camel"):
    """A webhook; `status` is the endpoint's last answer, None when there was none."""

    event: dict[str, Any]
    status: int | None = None


class Webhooks(Sender[Message]):
    """RevenueCat's webhooks to the app."""

    tries = 6  # the delivery and five retries
    deadline = 60.0

    def __init__(
        self, clock: Clock, http: httpx2.AsyncClient, origin: str, *, live: bool, faults: Callable[[], RevenueCatFaults]
    ) -> None:
        super().__init__(http, f"{origin}{PATH}", live=live)
        self._clock = clock
        self._faults = faults

    def tell(self, event: dict[str, Any]) -> None:
        """Queue an event."""
        message = Message(event)
        self.messages.append(message)
        if self._faults().webhooks != "lost":
            self._enqueue(message)

    def _deliveries(self, outstanding: list[Message]) -> list[Message]:
        match self._faults().webhooks:
            case "duplicated":
                return [message for message in outstanding for _ in range(2)]
            case "shuffled":
                return random.sample(outstanding * 2, len(outstanding) * 2)
        return outstanding

    async def again(self) -> list[Message]:
        """Redeliver every message, in any order."""
        messages = random.sample(self.messages, len(self.messages))
        for message in messages:
            await self._deliver(message)
        return messages

    def _is_taken(self, status: int) -> bool:
        return status == httpx2.codes.OK

    def _signed(self, message: Message) -> tuple[bytes, dict[str, str]]:
        body = msgspec.json.encode({"api_version": "1.0", "event": message.event})
        spoilt = self._faults().webhooks == "bad_signature"
        moment = int(self._clock.now().timestamp())
        key = b"somebody else's" if spoilt else HMAC_SECRET.encode()
        signature = hmac.digest(key, f"{moment}.".encode() + body, "sha256").hex()
        return body, {
            "authorization": SECRET,
            "content-type": "application/json",
            "x-revenuecat-webhook-signature": f"t={moment},v1={signature}",
        }
