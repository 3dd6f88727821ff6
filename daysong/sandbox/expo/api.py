"""Expo's push service, running here: tickets, receipts, and the notifications that phones would show.

A token decides what comes of its messages when its text contains the name of an error:

    ExponentPushToken[DeviceNotRegistered-1]           the ticket is that error
    ExponentPushToken[receipt-DeviceNotRegistered-1]   the ticket is fine, the receipt is that error
    ExponentPushToken[other-project-1]                 a token of another project than the rest

Besides Expo's own API:

    GET    /sandbox/expo/notifications   what phones show: {to, title, body, data, …, ticket, time}, oldest first; one
                                         that replaces another by `collapseId` or `tag` on the same phone is counted
                                         in `replaced`
    DELETE /sandbox/expo/notifications   forget them
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import Any, ClassVar, get_args

from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import ExpoError, ExpoFaults, Faults
from daysong.sandbox.vendor import Answer, Call, Vendor, reply

ACCESS_TOKEN = "expo_sandbox_access_token"  # noqa: S105 - of the sandbox
MOST_MESSAGES = 100
MOST_RECEIPTS = 1000
MOST_BYTES = 4096
# Kept in memory; older ones are forgotten.
MOST_KEPT = 1000
DAY_MS = 86_400_000
OTHER_PROJECT = "other-project"
ERRORS: tuple[str, ...] = get_args(ExpoError)


class SandboxExpo(Vendor):
    """Takes messages and remembers what was shown."""

    name: ClassVar[str] = "expo"
    fault_type: ClassVar[type[Faults]] = ExpoFaults
    api: ClassVar[str] = "/--/api/"

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.shown: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._receipts: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()

    async def serve(self, call: Call, faults: Faults) -> Answer:
        """Answer Expo's two endpoints."""
        if call.bearer != ACCESS_TOKEN:
            return _refused(401, "UNAUTHORIZED", "Insufficient permissions to send push notifications to this project.")
        match call.method, call.path:
            case "POST", "/--/api/v2/push/send":
                return self._send(call.json(), short=faults.answer == "short")
            case "POST", "/--/api/v2/push/getReceipts":
                return self._get_receipts(call.json())
        return _refused(404, "NOT_FOUND", "Not found")

    async def control(self, call: Call) -> Answer | None:
        """Tell what phones show."""
        match call.method, call.path:
            case "GET", "/notifications":
                return reply(list(self.shown.values()))
            case "DELETE", "/notifications":
                self.shown.clear()
                return reply([])
        return None

    def error(self, status: int | None, code: int | str | None) -> tuple[int, Any]:
        """Return an error about a whole request."""
        codes = {401: "UNAUTHORIZED", 429: "TOO_MANY_REQUESTS", 400: "VALIDATION_ERROR"}
        statuses = {name: number for number, name in codes.items()}
        code = str(code or codes.get(status or 0, "INTERNAL_SERVER_ERROR"))
        found = {"code": code, "message": "The sandbox was told to fail."}
        return status or statuses.get(code, 500), {"errors": [found]}

    @property
    def _told_to(self) -> ExpoFaults:
        assert isinstance(self.faults, ExpoFaults)  # noqa: S101
        return self.faults

    def _send(self, content: Any, *, short: bool) -> Answer:
        messages = content if isinstance(content, list) else [content]
        if len(messages) > MOST_MESSAGES:
            many = "You are trying to send more than 100 push notifications in one request."
            return _refused(400, "PUSH_TOO_MANY_NOTIFICATIONS", many)
        if not messages or not all(isinstance(each, dict) and isinstance(each.get("to"), str) for each in messages):
            return _refused(400, "VALIDATION_ERROR", '"to" is required.')
        projects: dict[str, list[str]] = {}
        for message in messages:
            name = "@sandbox/other" if OTHER_PROJECT in message["to"] else "@sandbox/daysong"
            projects.setdefault(name, []).append(message["to"])
        if len(projects) > 1:
            mixed = "All push notification messages in the same request must be for the same project."
            return _refused(400, "PUSH_TOO_MANY_EXPERIENCE_IDS", mixed, projects)
        tickets = [self._ticket(message) for message in messages]
        if short:
            tickets.pop()
        return reply({"data": tickets if isinstance(content, list) else tickets[0]})

    def _ticket(self, message: dict[str, Any]) -> dict[str, Any]:
        named = next((error for error in ERRORS if error in message["to"]), None)
        at_receipt = "receipt-" in message["to"]
        failure = self._told_to.ticket or (None if at_receipt else named)
        if failure is None and len(reply(message).body) > MOST_BYTES:
            failure = "MessageTooBig"
        if failure is not None:
            return _failed(failure)
        ticket, now = str(uuid.uuid4()), to_ms(self.clock.now())
        later = self._told_to.receipt or (named if at_receipt else None)
        if later is None:
            self._show(message, ticket, now)
        self._receipts[ticket] = (now, _failed(later) if later else {"status": "ok"})
        while len(self._receipts) > MOST_KEPT:
            self._receipts.popitem(last=False)
        return {"status": "ok", "id": ticket}

    def _show(self, message: dict[str, Any], ticket: str, now: float) -> None:
        collapse = message.get("collapseId") or message.get("tag")
        key = f"{message['to']} {collapse}" if collapse else ticket
        earlier = self.shown.pop(key, None)
        replaced = 0 if earlier is None else earlier["replaced"] + 1
        self.shown[key] = {**message, "ticket": ticket, "time": now, "replaced": replaced}
        while len(self.shown) > MOST_KEPT:
            self.shown.popitem(last=False)

    def _get_receipts(self, content: Any) -> Answer:
        ids = content.get("ids") if isinstance(content, dict) else None
        if not isinstance(ids, list) or len(ids) > MOST_RECEIPTS:
            return _refused(400, "VALIDATION_ERROR", '"ids" is required.')
        found = {}
        oldest = to_ms(self.clock.now()) - DAY_MS
        for name in ids if self._told_to.receipts != "missing" else []:
            made, receipt = self._receipts.get(str(name), (0.0, None))
            if receipt is not None and made >= oldest:
                found[name] = receipt
        return reply({"data": found})


def _failed(error: str) -> dict[str, Any]:
    return {"status": "error", "message": "The sandbox was told to fail.", "details": {"error": error}}


def _refused(status: int, code: str, message: str, details: dict[str, Any] | None = None) -> Answer:
    found = {"code": code, "message": message} | ({} if details is None else {"details": details})
    return reply({"errors": [found]}, status)
