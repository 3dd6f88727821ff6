"""Songs, calls and jobs: lists with filters, a page for each, and what can be done with one."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from daysong.transport.pages.console import parts
from daysong.transport.pages.console.html import (
    Html,
    badge,
    code,
    dollars,
    el,
    exactly,
    facts,
    join,
    link,
    panel,
    pre,
    table,
    when,
)
from daysong.transport.pages.console.visits import (
    Redirect,
    Screen,
    Visit,
    after,
    field,
    filters,
    heading,
    select,
)

SONG_STATUSES = ("queued", "writing", "composing", "ready", "failed", "canceled")
CALL_STATUSES = ("queued", "scheduled", "started", "completed", "failed", "canceled")
JOB_STATUSES = ("queued", "running", "done", "dead")
READ = "Shows what the person wrote or said. The audit log keeps that you looked, and why."


def _statuses(words: tuple[str, ...]) -> dict[str, str]:
    return {"": "Any status"} | {word: word.capitalize() for word in words}


async def songs(visit: Visit) -> Screen:
    """Return the newest songs."""
    status, user_id = visit.query.get("status", ""), visit.query.get("of", "")
    rows = await visit.call("support/songs:listSongs", status=status, user_id=user_id, limit=100)
    form = filters(visit, "songs", select("Status", "status", _statuses(SONG_STATUSES), status))
    return Screen("Songs", "songs", join(heading("Songs"), form, parts.songs(visit, rows, "Newest songs")))


async def song(visit: Visit, words: Any = None) -> Screen:
    """Return a song's page."""
    one: Any = await visit.call("support/songs:showSong", song_id=visit.id)
    log = await visit.call("support/audit:listEntries", target=one.song_id, limit=20)
    events = await visit.call("support/webhooks:listEvents", about=one.song_id, limit=20)
    why = None
    if one.reason is not UNSET:
        refund = ". Its charge was refunded." if one.refunded else ""
        why = el("p", el("strong", one.reason), f" {one.failure_code}{refund}", class_="why")
    content = join(
        heading("Song", badge(one.status), back=(visit.to("songs"), "Songs")),
        why,
        el(
            "div",
            el(
                "div",
                facts({
                    "Song": code(one.song_id),
                    "Person": link(visit.to("people", one.user_id), one.owner),
                    "Entry": code(one.diary_id),
                    "Task at Suno": code(one.task_id),
                    "Cost": dollars(sum(cost.amount for cost in one.costs)),
                    "Looks at Suno": f"{one.polls}" if one.polls else None,
                }),
                _words(words),
                _steps(one.steps),
                _tracks(one),
                _costs(visit, one),
                parts.jobs(visit, one.jobs, "Jobs"),
                _events(visit, events),
                parts.songs(visit, one.others, "Other songs of this entry", of_person=True),
                parts.log(visit, log, "What operators did"),
            ),
            el("aside", _song_actions(visit, one)),
            class_="sided",
        ),
    )  # fmt: skip
    return Screen("Song", "songs", content)


def _song_actions(visit: Visit, one: Any) -> Html:
    counting = el(
        "label", el("input", type_="checkbox", name="charge", value="1"), el("span", "Count it against the quota"),
        class_="check",
    )  # fmt: skip
    rerun = el("p", "Only a failed song without a newer one can be made again.", class_="empty")
    if one.rerunnable:
        about = "A new song of the same entry. The refund of this one stays; the new one counts only if you say so."
        rerun = visit.act(f"/songs/{one.song_id}/rerun", "Make it again", about, counting, reason=False)
    return panel("Actions", rerun, visit.act(f"/songs/{one.song_id}/read", "Read the words", READ))


def _steps(steps: dict[str, float]) -> Html:
    ordered = sorted(steps.items(), key=lambda step: step[1])
    return panel("Steps", el("ol", [el("li", el("span", name), exactly(at)) for name, at in ordered], class_="steps"))


def _tracks(one: Any) -> Html:
    rows = [
        (
            code(track.music_id), badge("deleted" if track.deleted else track.status),
            None if track.duration is UNSET else f"{track.duration:.0f} s",
            ", ".join(word for word in ("audio", "cover", "timed") if getattr(track, word)) or "nothing yet",
            track.reason,
        )
        for track in one.tracks
    ]  # fmt: skip
    return panel("Tracks", table("Tracks", ("Track", "Status", "#Length", "Here", "Why"), rows))


def _costs(visit: Visit, one: Any) -> Html:
    rows = [(cost.vendor, cost.function, when(cost.at, visit.now), dollars(cost.amount)) for cost in one.costs]
    return panel("Costs", table("Costs", ("Vendor", "For", "When", "#Cost"), rows, empty="It has cost nothing."))


def _events(visit: Visit, events: Any) -> Html:
    rows = [
        (link(visit.to("webhooks", event.id), f"{event.vendor} {event.type}"), badge(event.status), event.outcome,
         when(event.received_at, visit.now))
        for event in events
    ]  # fmt: skip
    return panel("Webhooks", table("Webhooks", ("Event", "Status", "Outcome", "Received"), rows, empty="None came."))


def _words(words: Any) -> Html | None:
    if words is None:
        return None
    shown = {"Entry": words.entry, "Style asked for": words.style_hint, "Title": words.title, "Lyrics": words.lyric,
             "Style": words.style}  # fmt: skip
    return panel("Words", *(join(el("h3", name), pre(text)) for name, text in shown.items() if text), id_="words")


async def song_act(visit: Visit) -> Screen | Redirect:
    """Make a song again, or read its words."""
    song_id, _, action = visit.id.partition("/")
    reason = visit.form.get("reason", "")
    if action == "read":
        words = await visit.call("support/songs:readSong", song_id=song_id, reason=reason or "-")
        return await song(visit._replace(id=song_id), words)
    charge = visit.form.get("charge") == "1"
    outcome = await visit.call("support/songs:rerunSong", song_id=song_id, reason=reason, charge=charge)
    new = song_id if outcome.song_id is UNSET else outcome.song_id
    return after(f"/songs/{new}", outcome, "begun")


async def calls(visit: Visit) -> Screen:
    """Return the newest calls."""
    status = visit.query.get("status", "")
    rows = await visit.call("support/calls:listCalls", status=status, limit=100)
    form = filters(visit, "calls", select("Status", "status", _statuses(CALL_STATUSES), status))
    return Screen("Calls", "calls", join(heading("Calls"), form, parts.calls(visit, rows, "Newest calls")))


async def call(visit: Visit, words: Any = None) -> Screen:
    """Return a call's page."""
    one: Any = await visit.call("support/calls:showCall", call_id=visit.id)
    said = None if words is None else panel("What was said", pre(_turns(words)), id_="words")
    log = await visit.call("support/audit:listEntries", target=one.call_id, limit=20)
    why = None if one.reason is UNSET else el("p", el("strong", one.reason), f" {one.error_code or ''}", class_="why")
    content = join(
        heading("Call", badge(one.status), back=(visit.to("calls"), "Calls")),
        why,
        el(
            "div",
            el(
                "div",
                facts({
                    "Call": code(one.call_id),
                    "Person": link(visit.to("people", one.user_id), one.owner),
                    "Kind": one.kind,
                    "Outcome": one.outcome,
                    "Ended": one.ended_reason,
                    "Length": None if one.seconds is UNSET else f"{one.seconds:.0f} s",
                    "Counted": None if one.charged_seconds is UNSET else f"{one.charged_seconds} s",
                    "Attempts": f"{one.attempts}",
                    "Entry": code(one.diary_id),
                    "Call at VAPI": code(one.vapi_call_id),
                }),
                said,
                _steps(one.steps),
                None if one.report is UNSET else panel("Report, private values hidden", pre(one.report)),
                parts.log(visit, log, "What operators did"),
            ),
            el("aside", panel("Actions", visit.act(f"/calls/{one.call_id}/read", "Read what was said", READ)
               if one.has_words else el("p", "There are no words of this call.", class_="empty"))),
            class_="sided",
        ),
    )  # fmt: skip
    return Screen("Call", "calls", content)


def _turns(words: Any) -> Any:
    if not isinstance(words.transcript, list):
        return words.report
    return "\n".join(f"{turn.get('role', '')}: {turn.get('text', '')}" for turn in words.transcript)


async def call_act(visit: Visit) -> Screen:
    """Read what was said in a call."""
    call_id, _, _ = visit.id.partition("/")
    words = await visit.call("support/calls:readCall", call_id=call_id, reason=visit.form.get("reason") or "-")
    return await call(visit._replace(id=call_id), words)


async def jobs(visit: Visit) -> Screen:
    """Return the newest jobs."""
    status, function, about = (visit.query.get(name, "").strip() for name in ("status", "function", "about"))
    rows = await visit.call("support/jobs:listJobs", status=status, function=function, about=about, limit=100)
    form = filters(
        visit, "jobs", select("Status", "status", _statuses(JOB_STATUSES), status),
        field("Function", "function", value=function, placeholder="music:checkAudio"),
        field("About an id", "about", value=about, maxlength=64, placeholder="gen_…"),
    )  # fmt: skip
    return Screen("Jobs", "jobs", join(heading("Jobs"), form, parts.jobs(visit, rows, "Newest jobs")))


async def job(visit: Visit) -> Screen:
    """Return a job's page."""
    one: Any = await visit.call("support/jobs:showJob", job_id=visit.id)
    log = await visit.call("support/audit:listEntries", target=one.id, limit=20)
    acts = {
        "dead": visit.act(f"/jobs/{one.id}/retry", "Retry", "Queues it again, with all its attempts.", reason=False),
        "queued": visit.act(
            f"/jobs/{one.id}/cancel", "Give up",
            "The job is not run. What it was for fails as if it had no attempts left, and is refunded.",
            reason=False, danger=True,
        ),
    }  # fmt: skip
    none = el("p", "A job that runs, or is done, is left alone.", class_="empty")
    content = join(
        heading(code(one.function), badge(one.status), back=(visit.to("jobs"), "Jobs")),
        None if one.last_error is UNSET else el("p", el("strong", one.last_error), class_="why"),
        el(
            "div",
            el(
                "div",
                facts({
                    "Job": code(one.id),
                    "Due": exactly(one.due_at),
                    "Started": exactly(one.started_at),
                    "Finished": exactly(one.finished_at),
                    "Failures": f"{one.failures}",
                    "Put back": f"{one.deferrals}" if one.deferrals else None,
                    "Request": code(one.request_id),
                    "Key": code(one.unique_key),
                }),
                panel("Arguments, private values hidden", pre(one.args)),
                parts.jobs(visit, one.related, "Jobs of the same request"),
                parts.log(visit, log, "What operators did"),
            ),
            el("aside", panel("Actions", acts.get(one.status, none))),
            class_="sided",
        ),
    )  # fmt: skip
    return Screen("Job", "jobs", content)


async def job_act(visit: Visit) -> Redirect:
    """Retry a job, or give it up."""
    job_id, _, action = visit.id.partition("/")
    function, note = {"retry": ("retryJob", "retried"), "cancel": ("cancelJob", "canceled")}[action]
    outcome = await visit.call(f"support/jobs:{function}", job_id=job_id, reason=visit.form.get("reason"))
    return after(f"/jobs/{job_id}", outcome, note)
