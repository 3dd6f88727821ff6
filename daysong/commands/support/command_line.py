"""The options of `daysong people`, `songs`, `calls`, `jobs`, `webhooks` and `audit`. Light to import, as cli.py is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App as CommandLine
from cyclopts import Parameter
from cyclopts.validators import Number

from daysong.commands import running
from daysong.commands.options import DATA_DIR, DataDir, JobStatus, Json

people = CommandLine(
    name="people",
    help=(
        "Accounts. One is named by an e-mail address, a Clerk id, a user id, a phone number, or a share link; "
        "`-` reads that from standard input, so that it is in no process list."
    ),
)
songs = CommandLine(name="songs", help="Songs that were begun, and why they failed.")
calls = CommandLine(name="calls", help="Phone calls, and how they ended.")
jobs = CommandLine(name="jobs", help="Scheduled runs of functions.")
webhooks = CommandLine(name="webhooks", help="The events received from vendors, and their status.")
GROUPS = (people, songs, calls, jobs, webhooks)

# `-` is a value of these, as the help says.
Person = Annotated[str, Parameter(allow_leading_hyphen=True)]
Reason = Annotated[str, Parameter(help="Why, for the audit log.")]
Why = Annotated[str | None, Parameter(help="Why, for the audit log.")]
ReadWhy = Annotated[str | None, Parameter(help="Why private texts are read: shows them, and is recorded.")]
Newest = Annotated[int, Parameter(help="How many at most.", validator=Number(gte=1, lte=500))]
SongStatus = Literal["queued", "writing", "composing", "ready", "failed", "canceled"]
CallStatus = Literal["queued", "scheduled", "started", "completed", "failed", "canceled"]
EventStatus = Literal["waiting", "handled", "dead", "stranded"]
Vendor = Literal["clerk", "revenuecat", "suno", "kie", "vapi"]


@Parameter(name="*")
@dataclass(frozen=True)
class Which:
    """The options of what is listed newest first, of all accounts or of one."""

    of: Annotated[
        str | None,
        Parameter(name="--of", allow_leading_hyphen=True, help="Of this account alone; `-` reads it from stdin."),
    ] = None
    limit: Newest = 50
    json_: Json = False
    data_dir: DataDir = DATA_DIR


NEWEST = Which()


@people.command(name="find")
def find_people(text: Person, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Find accounts by what a person says of themselves, or by an id from a log."""
    from daysong.commands.support import people as command

    running.with_app(data_dir, lambda app: command.find(app, running.say, text, as_json=json_))


@people.command(name="show")
def show_person(person: Person, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Show an account with its plan, ledger, songs, calls, devices, flags and costs, without private texts."""
    from daysong.commands.support import people as command

    running.with_app(data_dir, lambda app: command.show(app, running.say, person, as_json=json_))


@people.command(name="grant-songs")
def grant_songs(
    person: Person,
    songs: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))],
    *,
    reason: Reason,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Give an account songs in its current period."""
    _change("grantSongs", person, "granted", json_, data_dir, songs=songs, reason=reason)


@people.command(name="set-limit")
def set_limit(
    person: Person,
    limit: Annotated[str, Parameter(help="A number, or `none` for that of the plan.")],
    *,
    reason: Reason,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Set the songs of each period, whatever the plan."""
    from daysong.commands.support import people as command
    from daysong.kernel.errors import DaysongError

    if limit != "none" and not limit.isdigit():
        raise DaysongError("The limit must be a number, or `none`.")
    songs = None if limit == "none" else int(limit)
    running.with_app(
        data_dir, lambda app: command.set_limit(app, running.say, person, songs, reason=reason, as_json=json_)
    )


@people.command(name="block")
def block(person: Person, *, reason: Reason, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Sign a person out, and make no songs and calls for them."""
    _change("blockPerson", person, "blocked", json_, data_dir, reason=reason)


@people.command(name="unblock")
def unblock(person: Person, *, reason: Reason, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """End a block; a ban or lock at Clerk stays."""
    _change("unblockPerson", person, "unblocked", json_, data_dir, reason=reason)


@people.command(name="erase")
def erase(
    person: Person,
    *,
    reason: Reason,
    yes: Annotated[bool, Parameter(negative=(), help="It cannot be undone: this must be given.")] = False,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Close an account at once and erase all that is in it. This cannot be undone."""
    from daysong.kernel.errors import DaysongError

    if not yes:
        raise DaysongError("Erasing an account cannot be undone: give --yes to do it.")
    _change("erasePerson", person, "the account is closed, and is being erased", json_, data_dir, reason=reason)


@songs.command(name="list")
def list_songs(*, status: SongStatus | None = None, which: Which = NEWEST) -> None:
    """List the newest songs; --status failed shows those that could not be made, and why."""
    from daysong.commands.support import songs as command

    _list(command.list_songs, which, status=status)


@songs.command(name="show")
def show_song(song: str, *, reason: ReadWhy = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Show a song, by its id or that of a track: steps, costs, jobs."""
    from daysong.commands.support import songs as command

    running.with_app(data_dir, lambda app: command.show_song(app, running.say, song, reason=reason, as_json=json_))


@songs.command(name="rerun")
def rerun_song(
    song: str,
    *,
    reason: Why = None,
    charge: Annotated[bool, Parameter(negative=(), help="Count it against the quota of its owner.")] = False,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Make a failed song again. The refund of the failed one stays; the new one counts only with --charge."""
    from daysong.commands.support import songs as command

    running.with_app(
        data_dir, lambda app: command.rerun(app, running.say, song, reason=reason, charge=charge, as_json=json_)
    )


@calls.command(name="list")
def list_calls(*, status: CallStatus | None = None, which: Which = NEWEST) -> None:
    """List the newest calls, incoming ones among them."""
    from daysong.commands.support import songs as command

    _list(command.list_calls, which, status=status)


@calls.command(name="show")
def show_call(call: str, *, reason: ReadWhy = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Show a call, by its id or that of its session: steps, minutes, outcome."""
    from daysong.commands.support import songs as command

    running.with_app(data_dir, lambda app: command.show_call(app, running.say, call, reason=reason, as_json=json_))


@jobs.command(name="list")
def list_jobs(
    *,
    status: JobStatus | None = None,
    function: Annotated[str | None, Parameter(help="Of this function alone.")] = None,
    about: Annotated[str | None, Parameter(help="That mention this id.")] = None,
    limit: Newest = 50,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List the newest jobs; --status dead shows those that ran out of retries."""
    from daysong.commands.support import jobs as command

    which = {"status": status, "function": function, "about": about, "limit": limit}
    running.with_app(data_dir, lambda app: command.list_jobs(app, running.say, as_json=json_, **which))


@jobs.command(name="show")
def show_job(job: str, *, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Show a job with its arguments, and the other jobs of its request."""
    from daysong.commands.support import jobs as command

    running.with_app(data_dir, lambda app: command.show_job(app, running.say, job, as_json=json_))


@jobs.command(name="retry")
def retry_job(job: str, *, reason: Why = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Schedule a dead job again."""
    from daysong.commands.support import jobs as command

    running.with_app(data_dir, lambda app: command.retry_job(app, running.say, job, reason=reason, as_json=json_))


@jobs.command(name="cancel")
def cancel_job(job: str, *, reason: Why = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Give up a queued job: what it was for fails, and is refunded."""
    from daysong.commands.support import jobs as command

    running.with_app(data_dir, lambda app: command.cancel_job(app, running.say, job, reason=reason, as_json=json_))


@webhooks.command(name="list")
def list_webhooks(
    *,
    status: EventStatus | None = None,
    vendor: Vendor | None = None,
    type_: Annotated[str | None, Parameter(name="--type", help="Such as user.created.")] = None,
    about: Annotated[str | None, Parameter(help="That mention this id, ours or the vendor's.")] = None,
    limit: Newest = 50,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """List the newest events; --status dead shows those whose handling ran out of retries."""
    from daysong.commands.support import webhooks as command

    which = {"status": status, "vendor": vendor, "type": type_, "about": about, "limit": limit}
    running.with_app(data_dir, lambda app: command.list_events(app, running.say, as_json=json_, **which))


@webhooks.command(name="show")
def show_event(event: str, *, reason: ReadWhy = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Show an event and what it led to. Private values are hidden unless a reason is given."""
    from daysong.commands.support import webhooks as command

    running.with_app(data_dir, lambda app: command.show_event(app, running.say, event, reason=reason, as_json=json_))


@webhooks.command(name="replay")
def replay_event(event: str, *, reason: Why = None, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Schedule an event to be handled again by a worker."""
    from daysong.commands.support import webhooks as command

    running.with_app(data_dir, lambda app: command.replay_event(app, running.say, event, reason=reason, as_json=json_))


def audit(
    *,
    target: Annotated[str | None, Parameter(help="Of this song, call, job, event, flag or post.")] = None,
    which: Which = NEWEST,
) -> None:
    """What operators did, newest first."""
    from daysong.commands.support import audit as command

    _list(command.list_entries, which, target=target)


def _change(
    function: str, person: str, done: str, as_json: bool, data_dir: Path, **arguments: str | int
) -> None:  # fmt: skip
    from daysong.commands.support import people as command

    running.with_app(
        data_dir, lambda app: command.change(app, running.say, function, person, done, as_json=as_json, **arguments)
    )


def _list(list_rows: Callable[..., Awaitable[None]], which: Which, **filters: str | None) -> None:
    running.with_app(
        which.data_dir,
        lambda app: list_rows(app, running.say, person=which.of, limit=which.limit, as_json=which.json_, **filters),
    )
