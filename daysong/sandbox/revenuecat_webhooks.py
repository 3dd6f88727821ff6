"""The webhooks of the sandboxed RevenueCat: authorized and signed as agreed, retried, and spoilt on demand."""

from __future__ import annotations

import asyncio
import hmac
import random
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec

from daysong.kernel.clock import Clock
from daysong.kernel.errors import VendorError
from daysong.sandbox.faults import RevenueCatFaults

SECRET = "Bearer the-sandbox's-webhooks"  # noqa: S105 - worth nothing elsewhere
HMAC_SECRET = "whsec_the-sandbox's"  # noqa: S105
PATH = "/http/revenuecat-webhook"
TRIES = 6  # the delivery and five retries
DEADLINE = 60.0
RETRY_PAUSE = 0.5


class Message(msgspec.Struct, rename="camel"):
    """A webhook; `status` is the endpoint's last answer, None when there was none."""

    event: dict[str, Any]
    status: int | None = None


class Webhooks:
    """Sends events to the app: as they come up when `live`, else when `settle` is called."""

    def __init__(
        self, clock: Clock, http: httpx2.AsyncClient, origin: str, *, live: bool, faults: Callable[[], RevenueCatFaults]
    ) -> None:
        self._clock = clock
        self._http = http
        self._url = f"{origin}{PATH}"
        self._live = live
        self._faults = faults
        self.messages: list[Message] = []
        self._outstanding: list[Message] = []
        self._sending: set[asyncio.Task[None]] = set()

    def tell(self, event: dict[str, Any]) -> None:
        """Something happened."""
        message = Message(event)
        self.messages.append(message)
        if self._faults().webhooks == "lost":
            return
        if not self._live:
            self._outstanding.append(message)
            return
        sending = asyncio.create_task(self._deliver(message))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def settle(self) -> None:
        """Deliver what is outstanding."""
        outstanding, self._outstanding = self._outstanding, []
        fault = self._faults().webhooks
        if fault == "duplicated":
            outstanding = [message for message in outstanding for _ in range(2)]
        elif fault == "shuffled":
            outstanding *= 2
            random.shuffle(outstanding)
        for message in outstanding:
            await self._deliver(message)
        await asyncio.gather(*self._sending)

    async def again(self) -> list[Message]:
        """Deliver every message there ever was once more, in any order."""
        messages = random.sample(self.messages, len(self.messages))
        for message in messages:
            await self._deliver(message)
        return messages

    async def close(self) -> None:
        """Stop sending."""
        for sending in list(self._sending):
            sending.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _deliver(self, message: Message) -> None:
        body = msgspec.json.encode({"api_version": "1.0", "event": message.event})
        for attempt in range(TRIES):
            if attempt and self._live:
                await asyncio.sleep(RETRY_PAUSE)
            try:
                async with asyncio.timeout(DEADLINE):
                    answer = await self._http.post(self._url, content=body, headers=self._headers(body))
                message.status = answer.status_code
            except (httpx2.RequestError, httpx2.InvalidURL, VendorError, TimeoutError):
                message.status = None
            if message.status == httpx2.codes.OK:
                return

    def _headers(self, body: bytes) -> dict[str, str]:
        spoilt = self._faults().webhooks == "bad_signature"
        moment = int(self._clock.now().timestamp())
        key = b"somebody else's" if spoilt else HMAC_SECRET.encode()
        signature = hmac.digest(key, f"{moment}.".encode() + body, "sha256").hex()
        return {
            "authorization": SECRET,
            "content-type": "application/json",
            "x-revenuecat-webhook-signature": f"t={moment},v1={signature}",
        }
