"""The sandboxed VAPI's telephone exchange: the calls there are, how each lives, and how many phones rang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

import httpx2
import msgspec

from daysong.kernel import logs
from daysong.kernel.time.clock import Clock, to_ms
from daysong.sandbox.faults import VapiFaults
from daysong.sandbox.vapi.calls import (
    ORDER,
    UNREACHED,
    Fate,
    Person,
    Phonebook,
    PhoneCall,
    Stage,
    fate_of,
    new_id,
    unreached,
)
from daysong.sandbox.vapi.webhooks import Webhooks

CONCURRENCY = 10
LOOK_AGAIN = 0.05  # seconds between two looks at whether calls are still held

_log = logs.get_logger("sandbox")


class Pace(msgspec.Struct, frozen=True):
    """Seconds after its beginning at which a call that lives by itself reaches each stage."""

    ringing: float = 0.5
    in_progress: float = 1.5
    ended: float = 4.0
    reported: float = 4.5

    def of(self, stage: Stage) -> float:
        """When that stage is reached."""
        due = {"ringing": self.ringing, "in-progress": self.in_progress, "ended": self.ended, "reported": self.reported}
        return due.get(stage, 0.0)


class Limits(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """How many calls may be in flight, and what is done with one more."""

    concurrency: Annotated[int, msgspec.Meta(ge=0)] = CONCURRENCY
    over: Literal["blocked", "refused"] = "blocked"


class Full(Exception):
    """The concurrency limit is reached, and the order is refused."""


class Exchange:
    """Calls advance at a pace; without one, on request, and with the clock.

    held            calls stay where they are
    most_in_flight  how many there ever were at once
    rings           a phone rang, or will: one entry for each call that was placed
    """

    def __init__(
        self,
        clock: Clock,
        http: httpx2.AsyncClient,
        origin: str,
        *,
        pace: Pace | None,
        faults: Callable[[], VapiFaults],
    ) -> None:
        self.calls: dict[str, PhoneCall] = {}
        self.phonebook = Phonebook()
        self.limits = Limits()
        self.held = False
        self.most_in_flight = 0
        self.rings: list[dict[str, Any]] = []
        self.webhooks = Webhooks(clock, http, origin, live=pace is not None, faults=faults)
        self._clock = clock
        self._pace = pace
        self._faults = faults
        self._talks: dict[str | None, int] = {}
        self._living: set[asyncio.Task[None]] = set()

    async def place(self, order: dict[str, Any], begins: datetime) -> PhoneCall:
        """Place a call. Over the limit it is blocked, or Full is raised."""
        now, number = self._clock.now(), order["customer"].get("number")
        in_flight = self.in_flight()
        blocked = in_flight >= self.limits.concurrency
        if blocked and self.limits.over == "refused":
            raise Full
        call = PhoneCall(new_id(), inbound=False, created=now, number=number, asked=order)
        if blocked:
            call.fate = unreached([("queued", 0.0)], UNREACHED["blocked"][0], rings=False)
        else:
            wait = max(0.0, (begins - now).total_seconds())
            call.fate = self._fate(call, self.phonebook.picks_up(number), wait=wait)
        call.limits = {
            "concurrencyBlocked": blocked,
            "concurrencyLimit": self.limits.concurrency,
            "remainingConcurrentCalls": max(self.limits.concurrency - in_flight - (not blocked), 0),
        }
        if any(stage == "ringing" for stage, _ in call.fate.stages):
            self.rings.append({"callId": call.id, "jobId": call.job_id, "number": number, "time": to_ms(begins)})
        self._begin(call)
        if self._faults().webhooks == "early":
            self.bring(call, "reported")
            await self.webhooks.settle()
        return call

    def ringing_in(self, number: str | None) -> PhoneCall:
        """Return an inbound call, which `connect` or `turn_away` then continues."""
        customer = {} if number is None else {"number": number}
        return PhoneCall(new_id(), inbound=True, created=self._clock.now(), number=number, asked={"customer": customer})

    def connect(self, call: PhoneCall, caller: Person, answer: dict[str, Any]) -> None:
        """Connect an inbound call to the assistant in `answer`."""
        call.asked |= answer
        call.fate = self._fate(call, caller)
        self._begin(call)

    def turn_away(self, call: PhoneCall, reason: str) -> None:
        """Reject an inbound call."""
        call.fate = unreached([("ringing", 0.0)], reason, rings=False)
        self._begin(call)

    def forget(self, call_id: str) -> PhoneCall | None:
        """Delete a call at any stage; None when it does not exist."""
        call = self.calls.pop(call_id, None)
        if call is not None:
            self.webhooks.tell_deleted(call)
        return call

    def bring(self, call: PhoneCall, to: Stage) -> None:
        """Advance a call to `to`, or as far as it goes before that, sending webhooks for each stage."""
        while call.id in self.calls and call.left() and ORDER.index(call.left()[0]) <= ORDER.index(to):
            stage = call.left()[0]
            call.passed += 1
            if call.passed == 1 or stage == "queued":
                self.most_in_flight = max(self.most_in_flight, self.in_flight())
            if stage == "reported":
                self.webhooks.tell_report(call)
            else:
                self.webhooks.tell_status(call, stage)

    def catch_up(self) -> None:
        """Advance every call to the current time, so that no response shows an older state."""
        if self.held or self._pace is not None:
            return
        now = self._clock.now()
        for call in list(self.calls.values()):
            due = call.due(now)
            if due:
                self.bring(call, due[-1])

    async def settle(self) -> None:
        """Bring every call to its end, unless held, and deliver what is outstanding."""
        now = self._clock.now()
        for call in list(self.calls.values()):
            if not self.held and not call.waits(now):
                self.bring(call, "reported")
        await self.webhooks.settle()

    async def close(self) -> None:
        """End all calls without webhooks."""
        for living in list(self._living):
            living.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)
        await self.webhooks.close()

    def in_flight(self) -> int:
        """Return how many calls hold a line."""
        now = self._clock.now()
        return sum(not (call.over or call.blocked or call.waits(now)) for call in self.calls.values())

    def counted(self) -> dict[str, Any]:
        """Return how often a phone rang: by job, by number, and each time."""
        return {"byJob": _count(self.rings, "jobId"), "byNumber": _count(self.rings, "number"), "rings": self.rings}

    def _fate(self, call: PhoneCall, person: Person, *, wait: float = 0.0) -> Fate:
        before = self._talks.get(call.number, 0)
        fate = fate_of(person, call.assistant, talks_before=before, inbound=call.inbound, wait=wait)
        if fate.talk is not None and fate.talk.heard:
            self._talks[call.number] = before + 1
        return fate

    def _begin(self, call: PhoneCall) -> None:
        self.calls[call.id] = call
        self.bring(call, call.left()[0])
        if self._pace is None:
            return
        living = asyncio.create_task(self._live(call, self._pace))
        self._living.add(living)
        living.add_done_callback(self._living.discard)

    async def _live(self, call: PhoneCall, pace: Pace) -> None:
        try:
            loop, start = asyncio.get_running_loop(), call.at("queued") or call.created
            begun = loop.time() + max(0.0, (start - self._clock.now()).total_seconds())
            while call.left() and call.id in self.calls:
                stage = call.left()[0]
                await asyncio.sleep(max(0.0, begun + pace.of(stage) - loop.time()))
                while self.held:
                    await asyncio.sleep(LOOK_AGAIN)
                self.bring(call, stage)
        except Exception as error:  # noqa: BLE001 - this task is not awaited: its failure must be logged
            _log.error("sandboxed call failed", error=logs.describe(error))


def _count(rings: Iterable[dict[str, Any]], field: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for ring in rings:
        if ring[field] is not None:
            counts[ring[field]] = counts.get(ring[field], 0) + 1
    return counts
