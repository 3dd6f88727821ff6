"""The sandbox's VAPI in a test: the real client that dials, and an app that receives the webhooks."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from daysong.kernel.time.clock import MovableClock
from daysong.sandbox.app import Pace, Sandbox
from daysong.sandbox.vapi.exchange import Pace as CallPace
from daysong.sandbox.vendor import Message, Receive, Scope, Send
from daysong.vendors.vapi.client import Vapi
from daysong.vendors.vapi.reports import Message as Told
from daysong.vendors.vapi.reports import parse_message

ORIGIN = "http://127.0.0.1:8000"
SAM = "+12025550123"
FAST = CallPace(ringing=0.01, in_progress=0.02, ended=0.03, reported=0.04)


class Telephone:
    """The sandbox, the real client, and an app that receives webhooks.

    answers_with     the statuses the app returns for webhooks; the last one repeats
    says             its answer to an assistant-request
    headers, bodies  the requests it received
    """

    def __init__(self, data_dir: Path, now: datetime, *, live: bool = False) -> None:
        self.clock = MovableClock(now)
        self.answers_with = [200]
        self.says: Any = None
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self._webhooks = httpx2.AsyncClient(transport=httpx2.ASGITransport(self._take))
        pace = Pace() if live else None
        self.sandbox = Sandbox(ORIGIN, data_dir=data_dir, pace=pace, calls=FAST, http=self._webhooks, clock=self.clock)
        self.wire = httpx2.ASGITransport(self.sandbox.asgi)
        self.settings = self.sandbox.vapi_settings()
        self.vapi = Vapi(self.settings, transport=self.wire, timeout=1.0, clock=self.clock)
        self.http = httpx2.AsyncClient(transport=self.wire, base_url=f"{ORIGIN}/sandbox/vapi/")

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"] == "/http/vapi-webhook"
        body = b""
        message: Message = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        self.bodies.append(body)
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        status = self.answers_with.pop(0) if len(self.answers_with) > 1 else self.answers_with[0]
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"" if self.says is None else msgspec.json.encode(self.says)})

    @property
    def told(self) -> list[Told]:
        """The webhooks as the real reader parses them."""
        return [parse_message(body) for body in self.bodies]

    @property
    def steps(self) -> list[str]:
        """The same in short: a status, or the type of any other message."""
        return [each.status if each.type == "status-update" and each.status else each.type for each in self.told]

    def raw(self, kind: str = "end-of-call-report") -> dict[str, Any]:
        """Return the last message of a type, unparsed."""
        messages = [msgspec.json.decode(body)["message"] for body in self.bodies]
        found: dict[str, Any] = [each for each in messages if each["type"] == kind][-1]
        return found

    async def steer(self, what: str, **how: Any) -> Any:
        """POST to a control endpoint of the sandbox."""
        return (await self.http.post(what, json=how)).raise_for_status().json()

    async def look(self, what: str) -> Any:
        """GET a control endpoint of the sandbox."""
        return (await self.http.get(what)).raise_for_status().json()

    async def dial(self, assistant: dict[str, Any], *, number: str = SAM, job: str = "job_1") -> str:
        """Place a call with the real client; return its id."""
        asked = assistant | {"metadata": {"jobId": job, "userId": "user_1"}}
        return await self.vapi.call(number=number, assistant=asked, job_id=job)

    async def api(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Send a request to VAPI's API directly, with the key."""
        headers = {"Authorization": f"Bearer {self.settings.api_key}"}
        return await self.http.request(method, path, headers=headers, **request)

    async def settle(self) -> None:
        """End every call and deliver its webhooks."""
        await self.sandbox.settle()

    async def close(self) -> None:
        """Close all clients."""
        await self.sandbox.close()
        await self.vapi.close()
        await self.http.aclose()
        await self._webhooks.aclose()
