"""Lists that several pages have: songs, calls, jobs, rows of the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from daysong.transport.pages.console.html import Html, badge, code, el, join, link, panel, table, when
from daysong.transport.pages.console.visits import Visit

LONGEST_WHOLE = 9
# Pages of the things that actions are named after.
TARGETS = frozenset({"songs", "calls", "jobs", "webhooks"})


def songs(visit: Visit, rows: Sequence[Any], title: str, *, of_person: bool = False) -> Html:
    """Return songs with why they failed."""
    shown = [
        (
            link(visit.to("songs", song.song_id), _short(song.song_id)),
            badge(song.status),
            _why(song),
            when(song.created_at, visit.now),
            *(() if of_person else (link(visit.to("people", song.user_id), _short(song.user_id)),)),
        )
        for song in rows
    ]
    heads = ("Song", "Status", "Why", "Begun", *(() if of_person else ("Person",)))
    return panel(title, table(title, heads, shown, empty="No songs."))


def _why(song: Any) -> Any:
    if song.failure_code is UNSET:
        return None
    return join(song.reason, el("small", song.failure_code, ", refunded" if song.refunded else ""))


def calls(visit: Visit, rows: Sequence[Any], title: str, *, of_person: bool = False) -> Html:
    """Return calls with how they ended."""
    shown = [
        (
            link(visit.to("calls", call.call_id), _short(call.call_id)),
            call.kind,
            badge(call.status),
            call.outcome or call.reason or "",
            None if call.seconds is UNSET else f"{call.seconds:.0f} s",
            when(call.at, visit.now),
            *(() if of_person else (link(visit.to("people", call.user_id), _short(call.user_id)),)),
        )
        for call in rows
    ]
    heads = ("Call", "Kind", "Status", "Outcome", "#Length", "When", *(() if of_person else ("Person",)))
    return panel(title, table(title, heads, shown, empty="No calls."))


def jobs(visit: Visit, rows: Sequence[Any], title: str) -> Html:
    """Return jobs with their last error."""
    shown = [
        (
            link(visit.to("jobs", job.id), _short(job.id)),
            code(job.function),
            badge(job.status),
            job.last_error if job.status != "done" else None,
            f"{job.failures}",
            when(job.due_at, visit.now),
        )
        for job in rows
    ]
    return panel(
        title, table(title, ("Job", "Function", "Status", "Last error", "#Failures", "Due"), shown, empty="None.")
    )


def log(visit: Visit, rows: Sequence[Any], title: str) -> Html:
    """Return rows of the audit log."""
    shown = [
        (
            when(row.at, visit.now),
            row.who,
            join(row.action, el("small", details(row))) if row.details else row.action,
            "" if row.outcome == "done" else row.outcome,
            row.reason,
            target(visit, row),
        )
        for row in rows
    ]
    heads = ("When", "Who", "Did", "Outcome", "Why", "To what")
    return panel(title, table(title, heads, shown, empty="Nothing yet."))


def details(row: Any) -> str:
    """Return the numbers that an action was given."""
    return ", ".join(f"{name} {'none' if value is None else value}" for name, value in row.details.items())


def target(visit: Visit, row: Any) -> Any:
    """Return what an action was done to, with a link."""
    if row.target is not UNSET:
        page = row.action.partition(" ")[0]
        return link(visit.to(page, row.target), _short(row.target)) if page in TARGETS else code(row.target)
    return None if row.account is UNSET else code(row.account)


def _short(identifier: str) -> Html:
    """Return an id by its kind and last characters; all of it as title."""
    kind, _, tail = identifier.rpartition("_")
    return el("code", f"{kind}_…{tail[-6:]}" if len(tail) > 12 else identifier, title=identifier)  # noqa: PLR2004


def number(text: str) -> int | str | None:
    """Return a whole number that was typed; None for an empty field, and any other text for the function to refuse."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= LONGEST_WHOLE else text or None
