"""The module `callSettings`: a user's number and call schedule, and their form in profiles."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

import asyncpg
import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.phone_calls.dialing import dispatch
from daysong.features.phone_calls.numbers import consent, numbers, ownership
from daysong.features.phone_calls.rules import MOST_TEST_CALLS
from daysong.features.phone_calls.schedule import calendar
from daysong.features.phone_calls.schedule.calendar import Cadence, is_quiet, local_time
from daysong.features.phone_calls.talk.languages import hyphenated
from daysong.features.subscriptions import accounts
from daysong.kernel.errors import ExpectedError
from daysong.kernel.functions.context import MutationContext, QueryContext
from daysong.kernel.functions.declarations import Args, IdText, NoArgs, Result, given, mutation, query
from daysong.kernel.ids import CallJobId, CallSettingsId
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import to_ms

DEFAULT_LANGUAGE = "en"
# The grammar of BCP 47 only; `languages.py` maps unsupported languages to a default.
LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")
MOST_DUE = 500

ShortText = Annotated[str, msgspec.Meta(max_length=64)]


class InvalidLanguage(ExpectedError):
    """The language is no BCP 47 tag."""

    code = "invalid_language"
    default_message = "Invalid language. Must be a BCP 47 language tag (e.g., en or pt-BR)"


class NoCallSettings(ExpectedError):
    """The account has no call settings."""

    code = "call_settings_not_found"
    status = 404
    default_message = "Call settings not found"


class CallsSwitchedOff(ExpectedError):
    """Calls are switched off in the settings."""

    code = "calls_switched_off"
    default_message = "Calls are switched off"


class CallsPaused(ExpectedError):
    """Calls to this number are paused; `pausedReason` of the settings has the reason."""

    code = "calls_paused"
    default_message = "Calls to this number are paused"


class TooManyTestCalls(ExpectedError):
    """The day's test calls are used up."""

    code = "too_many_test_calls"
    status = 429
    default_message = f"At most {MOST_TEST_CALLS} test calls a day"


class QuietHours(ExpectedError):
    """A number without consent is not called between 21:00 and 08:00."""

    code = "quiet_hours"
    default_message = "Until this number has agreed to be called, it is called between 08:00 and 21:00 only"


class UpsertCallSettings(Args):
    """The number, schedule and language of the caller's calls.

    days_of_week  of a custom cadence: 0 Sunday to 6 Saturday
    language      a BCP 47 tag; by default the saved one, else English
    """

    phone_e164: ShortText
    timezone: ShortText
    time_of_day: ShortText
    cadence: Cadence
    active: bool
    days_of_week: Annotated[list[int], msgspec.Meta(max_length=50)] | UnsetType = UNSET
    language: Annotated[str, msgspec.Meta(max_length=35)] | UnsetType = UNSET


class SavedCallSettings(Result):
    """The id of the settings, and whether they existed before."""

    settings_id: str
    updated: bool


class SentTestCall(Result):
    """The id of the new call, as in `callJobs:getCallJobs`."""

    call_job_id: str


class OneSettings(Args):
    """The id of call settings."""

    settings_id: IdText


class CallSettings(Result):
    """Call settings as their user sees them.

    consent            whether the person on the number has agreed to be called
    paused_reason      why calls are paused: `refused`, `no_consent`, `screened`, `misdialed` or `unknown_timezone`
    next_run_at_utc    when the next call is due, in ms; absent when none is
    """

    id: str = msgspec.field(name="_id")
    phone_e164: str
    timezone: str
    time_of_day: str
    cadence: Cadence
    active: bool
    language: str
    consent: Literal["unknown", "granted", "refused"]
    days_of_week: list[int] | UnsetType = UNSET
    paused_reason: str | UnsetType = UNSET
    next_run_at_utc: float | UnsetType = msgspec.field(name="nextRunAtUTC", default=UNSET)


class WholeCallSettings(CallSettings, kw_only=True):
    """Call settings with their user's id, and with the time of day and the days (bit 0 is Sunday) as numbers."""

    creation_time: float = msgspec.field(name="_creationTime")
    user_id: str
    local_minutes: int
    byday_mask: int
    updated_at: float


# The columns of `call_settings c` that `shown` reads, for queries that join other tables.
COLUMNS = """c.id as settings_id, c.phone_e164, c.timezone, c.local_minutes, c.cadence, c.byday_mask, c.active,
           c.language, c.consent, c.paused_reason, c.next_run_at"""


def _fields(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "id": row["settings_id"],
        "phone_e164": row["phone_e164"],
        "timezone": row["timezone"],
        "time_of_day": calendar.time_of(row["local_minutes"]),
        "cadence": row["cadence"],
        "active": row["active"],
        "language": row["language"],
        "consent": row["consent"],
        "days_of_week": calendar.days_of(row["byday_mask"]) if row["cadence"] == "custom" else UNSET,
        "paused_reason": given(row["paused_reason"]),
        "next_run_at_utc": UNSET if row["next_run_at"] is None else to_ms(row["next_run_at"]),
    }


def shown(row: asyncpg.Record) -> CallSettings | None:
    """Return the settings of a row with COLUMNS; None where a left join found none."""
    return None if row["settings_id"] is None else CallSettings(**_fields(row))


def checked_language(tag: str) -> str:
    """Return a language tag with hyphens; InvalidLanguage."""
    tag = hyphenated(tag)
    if LANGUAGE.fullmatch(tag) is None:
        raise InvalidLanguage
    return tag


class Chosen(NamedTuple):
    """The settings that determine when and on which number a user is called."""

    phone_e164: str
    timezone: str
    local_minutes: int
    byday_mask: int


def _checked(args: UpsertCallSettings, settings: Settings) -> Chosen:
    if args.language is not UNSET:
        checked_language(args.language)
    return Chosen(
        numbers.checked(args.phone_e164, settings.vapi.numbers_allowed),
        calendar.checked_timezone(args.timezone),
        calendar.minutes_of(args.time_of_day),
        calendar.mask_of(args.cadence, args.days_of_week or ()),
    )


class ConsentState(NamedTuple):
    """The consent columns of call settings."""

    consent: str
    consent_at: datetime | None
    consent_session_id: str | None
    paused_reason: str | None


def _consent_state(ctx: MutationContext, known: asyncpg.Record | None, claim: ownership.Claim) -> ConsentState:
    """Return the consent after a change; `known` are the previous settings, when they have the same number."""
    agreed, at, session = ("unknown", None, None)
    if known is not None:
        agreed, at, session = known["consent"], known["consent_at"], known["consent_session_id"]
    if claim.proved and agreed != "granted":
        agreed, at, session = "granted", ctx.now, None
    paused = "refused" if agreed == "refused" else "no_consent" if agreed == "unknown" and claim.exhausted else None
    return ConsentState(agreed, at, session, paused)


def _due(ctx: MutationContext, chosen: Chosen, known: asyncpg.Record | None) -> datetime:
    """Return when the next call is due. A due call stays due when the schedule and number are unchanged."""
    if (
        known is not None
        and known["next_run_at"] is not None
        and chosen == tuple(known[field] for field in Chosen._fields)
    ):
        due: datetime = known["next_run_at"]
        return due
    return calendar.next_run(
        after=ctx.now,
        timezone=chosen.timezone,
        local_minutes=chosen.local_minutes,
        byday_mask=chosen.byday_mask,
    )


@mutation
async def upsert_call_settings(ctx: MutationContext, args: UpsertCallSettings) -> SavedCallSettings:
    """Save the caller's number and call schedule. A new number needs the consent of the person on it.

    InvalidPhoneNumber, PremiumPhoneNumber, TollFreePhoneNumber, UnsuitablePhoneNumber, PhoneNumberNotInService;
    InvalidTimezone, InvalidTimeOfDay, InvalidCadence, InvalidLanguage; NumberRefused when the person on the number
    refused calls. The result is the same whether or not another account has the number.
    """
    owner = await accounts.of_caller(ctx)
    chosen = _checked(args, ctx.settings)
    claim = await ownership.claim(ctx, owner, chosen.phone_e164)
    before = await ctx.db.fetchrow("select * from call_settings where user_id = $1 for update", owner)
    is_same = before is not None and before["phone_e164"] == chosen.phone_e164 and before["lost_at"] is None
    known = before if is_same else None
    state = _consent_state(ctx, known, claim)
    due = _due(ctx, chosen, known) if args.active and state.paused_reason is None else None
    language = (
        checked_language(args.language)
        if args.language is not UNSET
        else (DEFAULT_LANGUAGE if before is None else before["language"])
    )
    settings_id: str = await ctx.db.fetchval(
        """insert into call_settings
             (id, user_id, phone_e164, timezone, local_minutes, byday_mask, cadence, language, active,
              consent, consent_at, consent_session_id, paused_reason, next_run_at, created_at, updated_at)
           values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
           on conflict (user_id) do update set
             phone_e164 = excluded.phone_e164, timezone = excluded.timezone,
             local_minutes = excluded.local_minutes, byday_mask = excluded.byday_mask, cadence = excluded.cadence,
             language = excluded.language, active = excluded.active, consent = excluded.consent,
             consent_at = excluded.consent_at, consent_session_id = excluded.consent_session_id,
             paused_reason = excluded.paused_reason, lost_at = null, next_run_at = excluded.next_run_at,
             updated_at = excluded.updated_at
           returning id""",
        CallSettingsId.new(ctx.now), owner, *chosen, args.cadence, language, args.active, *state, due, ctx.now,
    )  # fmt: skip
    if before is not None and (due is None or not is_same):
        await consent.cancel_calls(ctx, settings_id, state.paused_reason or "switched_off")
    return SavedCallSettings(settings_id=settings_id, updated=before is not None)


@mutation
async def send_test_call(ctx: MutationContext, args: NoArgs) -> SentTestCall:  # noqa: ARG001
    """Call the caller's own number now, as soon as a line is free.

    NoCallSettings, CallsSwitchedOff, CallsPaused; TooManyTestCalls per day (UTC); QuietHours at the number's local
    time, until the number has consented.
    """
    owner = await accounts.of_caller(ctx)
    row = await ctx.db.fetchrow("select * from call_settings where user_id = $1", owner)
    if row is None:
        raise NoCallSettings
    if row["paused_reason"] is not None or row["consent"] == "refused" or row["lost_at"] is not None:
        raise CallsPaused
    if not row["active"]:
        raise CallsSwitchedOff
    today = ctx.now.replace(hour=0, minute=0, second=0, microsecond=0)
    made = await ctx.db.fetchval(
        """select count(*) from call_jobs
           where user_id = $1 and kind = 'test' and scheduled_for >= $2 and scheduled_for < $3""",
        owner, today, today + timedelta(days=1),
    )  # fmt: skip
    if made >= MOST_TEST_CALLS:
        raise TooManyTestCalls
    if row["consent"] != "granted" and is_quiet(local_time(ctx.now, row["timezone"]).minutes):
        raise QuietHours
    job_id: str = await ctx.db.fetchval(
        """insert into call_jobs (id, user_id, settings_id, kind, scheduled_for, created_at, updated_at)
           values ($1, $2, $3, 'test', $4, $4, $4)
           on conflict (settings_id, scheduled_for, kind) do update set kind = excluded.kind returning id""",
        CallJobId.new(ctx.now), owner, row["id"], ctx.now,
    )  # fmt: skip
    await dispatch(ctx)
    return SentTestCall(call_job_id=job_id)


WHOLE_SQL = f"select {COLUMNS}, c.user_id, c.created_at, c.updated_at from call_settings c"  # noqa: S608 - a constant


def _whole(row: asyncpg.Record) -> WholeCallSettings:
    return WholeCallSettings(
        **_fields(row),
        creation_time=to_ms(row["created_at"]),
        user_id=row["user_id"],
        local_minutes=row["local_minutes"],
        byday_mask=row["byday_mask"],
        updated_at=to_ms(row["updated_at"]),
    )


@mutation
async def get_active_call_settings_for_executor(ctx: MutationContext, args: NoArgs) -> list[WholeCallSettings]:  # noqa: ARG001
    """Return the settings with a due call, at most 500, longest due first. Changes and claims nothing."""
    rows = await ctx.db.fetch(
        f"{WHOLE_SQL} where c.next_run_at <= $1 order by c.next_run_at, c.id limit $2", ctx.now, MOST_DUE
    )
    return [_whole(row) for row in rows]


@query(reads=("call_settings",))
async def get_call_settings_by_id(ctx: QueryContext, args: OneSettings) -> WholeCallSettings | None:
    """Return call settings by id; None when unknown."""
    row = await ctx.db.fetchrow(f"{WHOLE_SQL} where c.id = $1", args.settings_id)
    return None if row is None else _whole(row)
