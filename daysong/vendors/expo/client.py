"""Expo's push service: messages to devices by their tokens, and receipts of what became of them.

There is no idempotency key: a message that is sent twice is shown twice, unless the device replaces the first one by
its collapse id. A response with `errors` is about the whole request, none of whose messages was taken then.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.kernel.limits.breakers import Breaker
from daysong.kernel.limits.errors import Deferred
from daysong.kernel.limits.lines import Line
from daysong.kernel.settings import ExpoSettings
from daysong.kernel.time.clock import Clock, SystemClock
from daysong.vendors.alarms import alarm
from daysong.vendors.expo.answers import Receipt, Ticket, parse_receipts, parse_tickets
from daysong.vendors.http import client, retry_after, slug

MOST_MESSAGES = 100
MOST_RECEIPTS = 300
# Of one message, as JSON.
MOST_BYTES = 4096
MOST_CONNECTIONS = 6
COMPRESSED_FROM = 1024
SHORTEST_PAUSE = 1.0

# Error codes of our own.
LOST = "answer_lost"
NOT_TAKEN = "not_taken"

_SEND = "/--/api/v2/push/send"
_RECEIPTS = "/--/api/v2/push/getReceipts"
_FIRST_SERVER_ERROR = 500
_MIXED = "PUSH_TOO_MANY_EXPERIENCE_IDS"
_OPERATOR = frozenset({"UNAUTHORIZED", "FORBIDDEN", "VALIDATION_ERROR", "PUSH_TOO_MANY_NOTIFICATIONS"})
_TOKEN = re.compile(
    r"Expo(?:nent)?PushToken\[[A-Za-z0-9_-]{8,100}\]"
    r"|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
)

_log = logs.get_logger("expo")


def is_token(text: str) -> bool:
    """Return whether this is an Expo push token by its form."""
    return _TOKEN.fullmatch(text) is not None


class PushMessage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A notification for one device. `collapse_id` (iOS) and `tag` (Android) replace an earlier one of the same."""

    to: str
    title: str
    body: str
    data: dict[str, str] = {}
    sound: str | None = None
    ttl: int | None = None
    priority: str | None = None
    channel_id: str | None = None
    collapse_id: str | None = None
    tag: str | None = None


class Notifier(Protocol):
    """Sends notifications."""

    async def send(self, messages: Sequence[PushMessage]) -> list[Ticket]: ...

    async def receipts(self, ids: Sequence[str]) -> dict[str, Receipt]: ...


class MixedProjects(VendorError):
    """The tokens of a request belong to several projects; no message was taken. `projects` has the tokens of each."""

    def __init__(self, projects: list[frozenset[str]]) -> None:
        super().__init__("expo", "tokens of several projects", permanent=True, code=_MIXED)
        self.projects = projects


class Expo:
    """Expo, or its sandbox."""

    def __init__(
        self,
        settings: ExpoSettings,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout: float = 30.0,
        clock: Clock | None = None,
        line: Line | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._line = line
        self._connections = asyncio.Semaphore(MOST_CONNECTIONS)
        self._http = client(
            "expo",
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {settings.access_token}"} if settings.access_token else None,
            timeout=timeout,
            transport=transport,
            line=line,
            breaker=breaker,
        )

    async def close(self) -> None:
        """Release the connections."""
        await self._http.aclose()

    async def send(self, messages: Sequence[PushMessage]) -> list[Ticket]:
        """Send up to 100 messages; return their tickets in the same order.

        A VendorError is about all of them: when it is ambiguous they may have been taken, else none was. Messages to
        several projects are sent by project; of those a failed request is told by tickets.
        """
        try:
            return await self._sent(messages)
        except MixedProjects as mixed:
            return await self._sent_by_project(messages, mixed.projects)

    async def receipts(self, ids: Sequence[str]) -> dict[str, Receipt]:
        """Return the receipts of up to 300 tickets. Expo has them after some minutes, for a day; others are missing."""
        if len(ids) > MOST_RECEIPTS:
            raise ValueError("too many ids")
        try:
            receipts = parse_receipts(await self._asked(_RECEIPTS, {"ids": list(ids)}))
        except VendorError as error:
            # Asking changes nothing.
            error.ambiguous = False
            raise
        if receipts is None:
            raise _unreadable(ambiguous=False)
        _raise_alarms(receipts.values())
        return receipts

    async def _sent(self, messages: Sequence[PushMessage]) -> list[Ticket]:
        if len(messages) > MOST_MESSAGES:
            raise ValueError("too many messages")
        if self._line is not None and len(messages) > 1:
            # The published rate counts messages; the request itself waits for one more turn.
            await asyncio.gather(*(self._line.wait() for _ in messages[1:]))
        tickets = parse_tickets(await self._asked(_SEND, list(messages)), len(messages))
        if tickets is None:
            raise _unreadable(ambiguous=True)
        _raise_alarms(tickets)
        return tickets

    async def _sent_by_project(self, messages: Sequence[PushMessage], projects: list[frozenset[str]]) -> list[Ticket]:
        known = frozenset[str]().union(*projects)
        groups = [[message for message in messages if message.to in project] for project in projects]
        # A token that Expo named no project for is sent alone.
        groups += [[message] for message in messages if message.to not in known]
        tickets: dict[str, Ticket] = {}
        for group in groups:
            if not group:
                continue
            try:
                found = await self._sent(group)
            except VendorError as error:
                lost = Ticket(None, LOST, "unknown") if error.ambiguous else Ticket(None, NOT_TAKEN, "passing")
                found = [lost] * len(group)
            tickets |= {message.to: ticket for message, ticket in zip(group, found, strict=True)}
        return [tickets[message.to] for message in messages]

    async def _asked(self, path: str, content: Any) -> Any:
        """Return the `data` of a successful response. Errors: VendorError; Deferred when Expo asks for a pause."""
        body = msgspec.json.encode(content)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if len(body) > COMPRESSED_FROM:
            body = gzip.compress(body, 6, mtime=0)
            headers["Content-Encoding"] = "gzip"
        async with self._connections:
            answer = await self._http.post(path, content=body, headers=headers)
        try:
            found = msgspec.json.decode(answer.content)
        except (msgspec.DecodeError, RecursionError):
            found = None
        errors = found.get("errors") if isinstance(found, dict) else None
        if answer.is_success and isinstance(found, dict) and not errors and "data" in found:
            return found["data"]
        raise await self._refused(answer, errors if isinstance(errors, list) else [])

    async def _refused(self, answer: httpx2.Response, errors: list[Any]) -> VendorError:
        status = answer.status_code
        told = next((each for each in errors if isinstance(each, dict)), None)
        code = slug(told.get("code")) if told is not None else None
        wait = retry_after(answer.headers, self._clock.now())
        if status == httpx2.codes.TOO_MANY_REQUESTS or code == "TOO_MANY_REQUESTS":
            pause = max(wait or 0.0, SHORTEST_PAUSE)
            await self._http.hold(pause)
            # Waiting is no failure.
            return Deferred("expo", pause, "too many requests", code="TOO_MANY_REQUESTS")
        if told is not None and code == _MIXED and (projects := _projects(told.get("details"))):
            return MixedProjects(projects)
        if answer.is_success and told is None:
            return _unreadable(ambiguous=True)
        if code in _OPERATOR or status in {401, 403, 404}:
            alarm(_log, "expo", code or f"http_{status}")
        failed = answer.is_success or status >= _FIRST_SERVER_ERROR or status == httpx2.codes.REQUEST_TIMEOUT
        passing = failed and code not in _OPERATOR
        return VendorError(
            "expo",
            f"answered {status}, code {code}",
            permanent=not passing,
            retry_after=max(wait or 0.0, SHORTEST_PAUSE) if passing else None,
            # Expo's own word is that the request failed; a gateway's is not, unless it had nobody to pass it to.
            ambiguous=passing and told is None and status != httpx2.codes.SERVICE_UNAVAILABLE,
            code=code or f"http_{status}",
        )


def _raise_alarms(answers: Iterable[Ticket | Receipt]) -> None:
    """Raise an alarm for each error of our own: credentials, the sender, or a message that is too big."""
    for code in {answer.error for answer in answers if answer.failure in {"configuration", "too_big"}}:
        alarm(_log, "expo", code or "")


def _projects(details: Any) -> list[frozenset[str]]:
    """Return the tokens of each project of a request, as the error about several projects names them."""
    if not isinstance(details, dict):
        return []
    groups = [
        frozenset(each for each in tokens if isinstance(each, str))
        for tokens in details.values()
        if isinstance(tokens, list)
    ]
    return groups if len(groups) > 1 else []


def _unreadable(*, ambiguous: bool) -> VendorError:
    return VendorError("expo", "unreadable answer", permanent=False, ambiguous=ambiguous, code="unreadable_answer")
