"""Call settings, calls and talks.

No imported account is phoned before its person saves the settings again: calls are switched off, consent is unknown
unless Clerk has verified the number, and calls that had not ended are canceled.
"""

from __future__ import annotations

from typing import Any

import msgspec

from daysong.features.phone_calls.numbers.numbers import InvalidPhoneNumber, checked
from daysong.features.phone_calls.schedule import calendar
from daysong.kernel import values
from daysong.workflows.moving import documents as read
from daysong.workflows.moving.batches import Batch, Entry

PAUSED = "imported"
ENDED = {"completed": "completed", "failed": "failed", "canceled": "canceled", "cancelled": "canceled"}
CADENCES = ("daily", "weekdays", "weekends", "custom")
STATES = ("in-progress", "completed", "no-answer", "busy", "voicemail", "failed")
EVERY_DAY = 127
LONGEST_MESSAGE = 500
LARGEST_REPORT = 512 * 1024


async def import_call_settings(batch: Batch) -> None:
    """Import numbers and schedules, switched off."""
    entries = await batch.owned()
    proved = await batch.db.fetch(
        "select id, verified_phones from users where id = any($1) and verified_phones <> '{}'",
        [entry.user_id for entry in entries],
    )
    phones = {row["id"]: set(row["verified_phones"]) for row in proved}
    rows = []
    for entry in entries:
        row = _settings(batch, entry, phones.get(entry.user_id, set()))
        if row is not None:
            rows.append(row)
    await batch.insert(
        """insert into call_settings (id, user_id, phone_e164, timezone, local_minutes, cadence, byday_mask, language,
                                      active, consent, consent_at, paused_reason, created_at, updated_at)
           select id, user_id, phone, timezone, minutes, cadence, mask, language, false, consent, consent_at, paused,
                  at, changed
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::smallint[],
                       $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::text[])
             as s (id, user_id, phone, timezone, minutes, cadence, mask, language, consent, consent_at, at, changed,
                   paused)
           on conflict do nothing returning id""",
        rows,
    )


def _settings(batch: Batch, entry: Entry, proved: set[str]) -> tuple[Any, ...] | None:
    document = entry.document
    try:
        number = checked(read.text(document, "phoneE164", 64) or "", batch.settings.vapi.numbers_allowed)
    except InvalidPhoneNumber:
        batch.tally.skip(entry.line, "its number cannot be called")
        return None
    timezone = read.text(document, "timezone", 64) or "UTC"
    if not calendar.is_known(timezone):
        batch.tally.note(entry.line, "an unknown time zone became UTC")
        timezone = "UTC"
    minutes = read.whole(document, "localMinutes", 1439)
    if minutes is None:
        try:
            minutes = calendar.minutes_of(read.text(document, "timeOfDay", 10) or "20:00")
        except calendar.InvalidTimeOfDay:
            minutes = 20 * 60
    cadence = read.text(document, "cadence")
    mask = read.whole(document, "bydayMask", EVERY_DAY) or EVERY_DAY
    granted = number in proved
    return (
        entry.id, entry.user_id, number, timezone, minutes, cadence if cadence in CADENCES else "custom", mask,
        read.text(document, "language", 35) or "en", "granted" if granted else "unknown",
        batch.now if granted else None, read.made(document, batch.now), read.changed(document, batch.now), PAUSED,
    )  # fmt: skip


async def import_call_jobs(batch: Batch) -> None:
    """Import calls; those that had not ended are canceled."""
    entries = await batch.owned()
    known = await batch.present("call_settings", [entry.document.get("callSettingsId") for entry in entries])
    rows = []
    for entry in entries:
        document = entry.document
        settings_id = str(document.get("callSettingsId"))
        if known.get(settings_id) != entry.user_id:
            batch.tally.skip(entry.line, "its call settings are not there")
            continue
        status = ENDED.get(read.text(document, "status") or "", "canceled")
        at = read.moment(document, "scheduledForUTC", "scheduledFor", "_creationTime") or batch.now
        code = None if status == "completed" else read.text(document, "errorCode", 60) or "imported"
        ended = read.changed(document, batch.now)
        rows.append((
            entry.id, entry.user_id, settings_id, at, status, read.whole(document, "attempts", 1000) or 0,
            read.text(document, "vapiCallId", 200), code, read.text(document, "errorMessage", LONGEST_MESSAGE),
            read.made(document, batch.now), ended,
        ))  # fmt: skip
    await batch.insert(
        """insert into call_jobs (id, user_id, settings_id, scheduled_for, status, attempts, vapi_call_id, error_code,
                                  error_message, created_at, updated_at, ended_at, reported_at)
           select id, user_id, settings_id, scheduled_for, status, attempts, vapi_call_id, error_code, error_message,
                  created_at, ended, ended, ended
           from unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::smallint[], $7::text[],
                       $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])
             as j (id, user_id, settings_id, scheduled_for, status, attempts, vapi_call_id, error_code, error_message,
                   created_at, ended)
           on conflict do nothing returning id""",
        rows,
    )


async def import_call_sessions(batch: Batch) -> None:
    """Import talks with their words and VAPI's report."""
    entries = await batch.owned()
    jobs = await batch.present("call_jobs", [entry.document.get("callJobId") for entry in entries])
    rows = []
    for entry in entries:
        document = entry.document
        vapi_call_id = read.text(document, "vapiCallId", 200)
        if vapi_call_id is None:
            batch.tally.skip(entry.line, "no vapiCallId")
            continue
        job_id = read.text(document, "callJobId", 64)
        state = read.text(document, "state")
        at = read.made(document, batch.now)
        rows.append((
            entry.id, entry.user_id, job_id if jobs.get(job_id or "") == entry.user_id else None, vapi_call_id,
            "inbound" if read.text(document, "direction") == "inbound" else "outbound",
            state if state in STATES and state != "in-progress" else "completed",
            read.moment(document, "startedAt"), read.moment(document, "endedAt"),
            max(0.0, read.number(document, "durationSec") or 0.0), read.text(document, "endedReason", 200),
            _json(batch, entry, "transcript"), _json(batch, entry, "endOfCallReport"),
            _json(batch, entry, "metadata") or "{}", at, read.changed(document, batch.now),
        ))  # fmt: skip
    await batch.insert(
        """insert into call_sessions (id, user_id, call_job_id, vapi_call_id, direction, state, started_at, ended_at,
                                      duration_sec, ended_reason, transcript, end_of_call_report, metadata, created_at,
                                      updated_at, reported_at)
           select id, user_id, job_id, vapi_call_id, direction, state, started_at, ended_at, duration, reason,
                  transcript::jsonb, report::jsonb, metadata::jsonb, at, changed, changed
           from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                       $8::timestamptz[], $9::double precision[], $10::text[], $11::text[], $12::text[], $13::text[],
                       $14::timestamptz[], $15::timestamptz[])
             as s (id, user_id, job_id, vapi_call_id, direction, state, started_at, ended_at, duration, reason,
                   transcript, report, metadata, at, changed)
           on conflict do nothing returning id""",
        rows,
    )


def _json(batch: Batch, entry: Entry, name: str) -> str | None:
    """Return a field as JSON, if it is an object, a list or a text and not too large."""
    value = entry.document.get(name)
    if not isinstance(value, dict | list | str):
        return None
    encoded = msgspec.json.encode(values.plain(value)).decode()
    if len(encoded) > LARGEST_REPORT:
        batch.tally.note(entry.line, f"{name} is too large and is left out")
        return None
    return encoded
