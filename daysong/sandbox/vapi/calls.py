"""The sandboxed VAPI's calls: who picks up and how, the stages a call passes, and what it looks like from outside."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from daysong.sandbox.vapi.conversations import DAYS
from daysong.sandbox.vapi.talks import Manner, Talk, day_for, talk

Stage = Literal["scheduled", "queued", "ringing", "in-progress", "ended", "reported"]
ORDER: tuple[Stage, ...] = ("scheduled", "queued", "ringing", "in-progress", "ended", "reported")

Answers = Literal[
    "talks",
    "refuses",
    "stop",
    "unclear",
    "silent",
    "hangs_up",
    "voicemail",
    "busy",
    "no_answer",
    "misdialed",
    "carrier",
    "daily_limit",
    "international",
    "credits",
    "provider_fault",
    "vapi_fault",
    "too_long",
    "mailbox",
    "screened",
    "screened_talks",
    "on_hold",
]
# Calls that reach no person: why such a call ended, and whether a phone rang.
UNREACHED: dict[str, tuple[str, bool]] = {
    "busy": ("customer-busy", True),
    "no_answer": ("customer-did-not-answer", True),
    "misdialed": ("twilio-reported-customer-misdialed", False),
    "carrier": ("twilio-failed-to-connect-call", False),
    "daily_limit": ("call.start.error-vapi-number-outbound-daily-limit", False),
    "international": ("call.start.error-vapi-number-international", False),
    "credits": ("call.start.error-subscription-insufficient-credits", False),
    "vapi_fault": ("call.start.error-vapifault-database-error", False),
    "blocked": ("call.start.error-subscription-concurrency-limit-reached", False),
}
TALKED: dict[str, tuple[str, Manner]] = {
    "talks": ("customer-ended-call", "talks"),
    "refuses": ("assistant-ended-call", "refuses"),
    "stop": ("assistant-ended-call", "stop"),
    "unclear": ("customer-ended-call", "unclear"),
    "silent": ("silence-timed-out", "silent"),
    "hangs_up": ("customer-ended-call", "hangs_up"),
    "provider_fault": ("call.in-progress.error-providerfault-openai-llm-failed", "talks"),
    "too_long": ("exceeded-max-duration", "talks"),
    # Machines that VAPI does not find out.
    "mailbox": ("silence-timed-out", "machine"),
    "screened": ("silence-timed-out", "screened"),
    "screened_talks": ("customer-ended-call", "screened_talks"),
    "on_hold": ("silence-timed-out", "on_hold"),
}
RING, PICK_UP, GIVE_UP, REPORT = 2.0, 6.0, 30.0, 4.7  # seconds
VOICEMAIL_LASTS = 9.0
HANGS_UP_AFTER = 2.0
MAX_DURATION = 600.0
ORG = "00000000-0000-4000-8000-0000000000f1"
LINE = "00000000-0000-4000-8000-0000000000d1"
LINE_NUMBER = "+12025550100"


class Person(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True, omit_defaults=True):
    """A person who answers calls.

    number        on which number; without one, the default for all others
    answers       the course of the call
    conversation  the day they tell of: a name in conversations.DAYS
    duration      seconds the call is to last
    reason        the endedReason to be told in place of the usual one
    times         only for their next so many calls; without it, for good
    """

    number: str | None = None
    answers: Answers = "talks"
    conversation: str | None = None
    duration: Annotated[float, msgspec.Meta(gt=0, le=43_200)] | None = None
    reason: str | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if self.conversation is not None and self.conversation not in DAYS:
            raise ValueError(f"no conversation {self.conversation!r}; there are {', '.join(DAYS)}")


class Fate(msgspec.Struct, frozen=True):
    """The course of a call: when it reaches each stage, in seconds after it was requested."""

    stages: tuple[tuple[Stage, float], ...]
    reason: str
    talk: Talk | None = None


class PhoneCall(msgspec.Struct):
    """One call.

    asked   the body of POST /call; of an inbound call, the customer and what the app answered
    passed  how many stages of its fate are behind it
    limits  the subscriptionLimits that were told with it
    """

    id: str
    inbound: bool
    created: datetime
    number: str | None
    asked: dict[str, Any]
    fate: Fate = Fate((), "")
    passed: int = 0
    limits: dict[str, Any] | None = None

    @property
    def assistant(self) -> dict[str, Any]:
        """Return the assistant with its overrides."""
        overrides = self.asked.get("assistantOverrides") or {}
        return {**(self.asked.get("assistant") or {}), **overrides}

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the metadata of the assistant."""
        return self.assistant.get("metadata") or {}

    @property
    def job_id(self) -> str | None:
        """Return the id of its job, from the metadata or the customer's external id."""
        found = self.metadata.get("jobId") or (self.asked.get("customer") or {}).get("externalId")
        return str(found) if found else None

    @property
    def status(self) -> Stage:
        """Return the last stage it has reached; a reported call is ended."""
        stage = self.fate.stages[max(self.passed - 1, 0)][0]
        return "ended" if stage == "reported" else stage

    @property
    def over(self) -> bool:
        """Return whether it no longer holds a line."""
        return self.status == "ended"

    def at(self, stage: Stage) -> datetime | None:
        """Return when it reaches that stage; None when it never does."""
        seconds = dict(self.fate.stages).get(stage)
        return None if seconds is None else self.created + timedelta(seconds=seconds)

    def due(self, now: datetime) -> list[Stage]:
        """Return the stages that are due by `now` and not passed yet."""
        return [
            stage
            for stage, seconds in self.fate.stages[self.passed :]
            if self.created + timedelta(seconds=seconds) <= now
        ]

    def waits(self, now: datetime) -> bool:
        """Return whether it is scheduled for later."""
        start = self.at("queued")
        return start is not None and start > now

    def left(self) -> list[Stage]:
        """Return the remaining stages."""
        return [stage for stage, _ in self.fate.stages[self.passed :]]

    def as_asked(self, status: str = "queued") -> dict[str, Any]:
        """The call as it was when it was made, which is also how webhooks go on showing it."""
        shown: dict[str, Any] = {
            "id": self.id,
            "orgId": ORG,
            "createdAt": stamp(self.created),
            "updatedAt": stamp(self.created),
            "type": "inboundPhoneCall" if self.inbound else "outboundPhoneCall",
            "cost": 0,
        }
        shown |= self._line() if status != "scheduled" else {"phoneCallProvider": "twilio"}
        shown |= {"phoneCallTransport": "pstn", "status": status}
        for name in ("assistant", "assistantId", "assistantOverrides", "name", "schedulePlan"):
            if name in self.asked:
                shown[name] = self.asked[name]
        return shown | {"phoneNumberId": LINE, "customer": self.customer}

    def _line(self) -> dict[str, Any]:
        """How it is connected, and where it can be listened to."""
        plan = self.assistant.get("monitorPlan") or {}
        links = {
            "listen": f"wss://monitor.vapi.example/{self.id}",
            "control": f"https://monitor.vapi.example/{self.id}",
        }
        monitor = {f"{what}Url": f"{link}/{what}" for what, link in links.items() if plan.get(f"{what}Enabled", True)}
        provider_id = f"CA{self.id.replace('-', '')}"
        return {
            **({"monitor": monitor} if monitor else {}),
            "transport": {"provider": "twilio", "callSid": provider_id, "sbcCallSid": f"sbc-{self.id[:8]}"},
            "phoneCallProvider": "twilio",
            "phoneCallProviderId": provider_id,
        }

    @property
    def blocked(self) -> bool:
        """Return whether it was blocked by the concurrency limit."""
        return self.limits is not None and bool(self.limits["concurrencyBlocked"])

    @property
    def customer(self) -> dict[str, Any]:
        """Return the customer; empty when an inbound caller withholds their number."""
        asked = self.asked.get("customer") or {}
        return {name: value for name, value in asked.items() if name != "numberE164CheckEnabled"}

    def as_it_is(self) -> dict[str, Any]:
        """Return the call as GET shows it, without its results."""
        shown = self.as_asked(self.status)
        reached = self.created + timedelta(seconds=self.fate.stages[max(self.passed - 1, 0)][1])
        shown["updatedAt"] = stamp(reached)
        started, ended = self.at("in-progress"), self.at("ended")
        if started is not None and ORDER.index(self.status) >= ORDER.index("in-progress"):
            shown["startedAt"] = stamp(started)
        if self.over and ended is not None:
            shown |= {"endedAt": stamp(ended), "endedReason": self.fate.reason}
        return shown


class Phonebook:
    """The people who answer. One named for a few calls takes precedence over a permanent one, in order."""

    def __init__(self) -> None:
        self.people: list[Person] = []

    def add(self, person: Person) -> None:
        """Add a person; a permanent one replaces the previous one."""
        if person.times is None:
            self.people = [each for each in self.people if each.number != person.number or each.times is not None]
        self.people.append(person)

    def picks_up(self, number: str | None) -> Person:
        """Return who answers this call, counted as answered."""
        for wanted in dict.fromkeys((number, None)):
            found = sorted((each for each in self.people if each.number == wanted), key=lambda each: each.times is None)
            if not found:
                continue
            person = found[0]
            if person.times is not None:
                person.times -= 1
                if not person.times:
                    self.people.remove(person)
            return person
        return Person()


def new_id() -> str:
    """Return an id as VAPI has them."""
    return str(uuid.uuid4())


def stamp(moment: datetime) -> str:
    """Return a time as VAPI writes it: UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fate_of(person: Person, assistant: dict[str, Any], *, talks_before: int, inbound: bool, wait: float = 0.0) -> Fate:
    """Return the course of a call to `person`, who has had so many talks before; it begins after `wait` seconds."""
    begin: list[tuple[Stage, float]] = [("scheduled", 0.0)] if wait else []
    begin.append(("ringing", 0.0) if inbound else ("queued", wait))
    if person.answers in UNREACHED:
        reason, rings = UNREACHED[person.answers]
        return unreached(begin, person.reason or reason, rings=rings and not inbound)
    reason, had = _had(person, assistant, talks_before)
    if not inbound:
        begin.append(("ringing", wait + RING))
    ended = wait + PICK_UP + had.seconds
    stages = (*begin, ("in-progress", wait + PICK_UP), ("ended", ended), ("reported", ended + REPORT))
    return Fate(stages, person.reason or reason, had)


def _had(person: Person, assistant: dict[str, Any], talks_before: int) -> tuple[str, Talk]:
    """Why the talk with `person` ends, and what is said in it."""
    limit = float(assistant.get("maxDurationSeconds") or MAX_DURATION)
    day = DAYS[person.conversation or day_for(assistant, talks_before)]
    reason, manner = TALKED.get(person.answers, ("customer-ended-call", "talks"))
    lasts = person.duration
    match person.answers:
        case "voicemail" if assistant.get("voicemailDetection") in (None, "off"):
            # Without voicemail detection the assistant talks to the machine.
            reason, manner = "silence-timed-out", "machine"
        case "voicemail":
            reason, manner, lasts = "voicemail", "silent", lasts or VOICEMAIL_LASTS
        case "hangs_up":
            lasts = lasts or HANGS_UP_AFTER
        case "too_long":
            lasts = limit
        case "provider_fault" if lasts is None:
            lasts = talk(assistant, manner, day, lasts=None, limit=limit).seconds / 2
    had = talk(assistant, manner, day, lasts=lasts, limit=limit)
    return ("exceeded-max-duration" if had.seconds >= limit else reason), had


def unreached(begin: list[tuple[Stage, float]], reason: str, *, rings: bool) -> Fate:
    """Return the course of a call that reaches no person."""
    start = begin[-1][1]
    ringing: list[tuple[Stage, float]] = [("ringing", start + RING)] if rings else []
    ended = start + (GIVE_UP if rings else 1.0)
    return Fate((*begin, *ringing, ("ended", ended), ("reported", ended + REPORT)), reason)
