"""What operators type: people, songs, calls, jobs and the audit log."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable
from typing import Any

import pytest

from daysong.commands.support import audit, command_line, jobs, people, songs
from daysong.kernel.errors import DaysongError
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


async def said(command: Awaitable[None], lines: list[str]) -> Any:
    """Return what a command said as JSON."""
    await command
    return json.loads(lines.pop())


async def test_an_operator_finds_a_failed_song_and_makes_it_again(world: World, alice: Person) -> None:
    """By address; the log has the steps with the command line as who."""
    app, lines = world.app, list[str]()
    await world.fault("suno", callbackCode=413)
    await alice.action("music:startDiaryMusicGeneration", content="It rained.")
    await world.settle()
    await world.fault("suno")
    [found] = await said(people.find(app, lines.append, "alice@example.test", as_json=True), lines)
    every: dict[str, Any] = {"limit": 5, "as_json": True}
    failed_only = songs.list_songs(app, lines.append, status="failed", person=found["userId"], **every)
    [failed] = await said(failed_only, lines)
    rerun = songs.rerun(app, lines.append, failed["songId"], reason="ticket 1", charge=False, as_json=True)
    begun = await said(rerun, lines)
    await world.settle()
    shown = await said(songs.show_song(app, lines.append, begun["songId"], reason=None, as_json=True), lines)
    assert (shown["status"], "words" in shown) == ("ready", False)
    read = await said(songs.show_song(app, lines.append, begun["songId"], reason="ticket 1", as_json=True), lines)
    assert read["words"]["entry"] == "It rained."
    rows = await said(audit.list_entries(app, lines.append, person="user_alice", target=None, **every), lines)
    assert [(row["who"], row["action"]) for row in rows] == [
        ("command line", "songs read"), ("command line", "songs rerun"),
    ]  # fmt: skip
    await songs.rerun(app, lines.append, failed["songId"], reason=None, charge=False, as_json=False)
    assert lines.pop() == "nothing done: made already"


async def test_an_account_is_named_on_standard_input(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-` reads a line of it, wherever an account is named; an empty one names none."""
    app, lines = world.app, list[str]()
    await alice.mutation("users:ensureCurrentUser")
    monkeypatch.setattr("sys.stdin", io.StringIO("Alice@example.test\nuser_alice\n"))
    [found] = await said(people.find(app, lines.append, "-", as_json=True), lines)
    assert found["clerkId"] == "user_alice"
    assert await said(songs.list_songs(app, lines.append, status=None, person="-", limit=5, as_json=True), lines) == []
    with pytest.raises(DaysongError, match="Standard input has no text"):
        await people.find(app, lines.append, "-", as_json=True)


async def test_an_account_is_changed_and_shown_in_lines(world: World, alice: Person) -> None:
    """Granted, limited, blocked and erased; a name without an account changes none."""
    app, lines = world.app, list[str]()
    await alice.song()
    plain: dict[str, Any] = {"as_json": False, "reason": "ticket 2"}
    await people.change(app, lines.append, "grantSongs", "user_alice", "granted", songs=2, **plain)
    await people.set_limit(app, lines.append, "user_alice", 9, **plain)
    await people.set_limit(app, lines.append, "user_alice", None, **plain)
    await people.change(app, lines.append, "blockPerson", "user_alice", "blocked", **plain)
    await people.change(app, lines.append, "blockPerson", "user_alice", "blocked", **plain)
    assert lines == ["granted", "set", "set", "blocked", "nothing done: unchanged"]
    await people.show(app, lines.append, "alice@example.test", as_json=False)
    text = "\n".join(lines)
    assert "state          blocked" in text
    assert "grant   2" in text
    with pytest.raises(DaysongError, match="There is no such account"):
        await people.show(app, lines.append, "bob@example.test", as_json=False)
    lines.clear()
    await songs.list_songs(app, lines.append, status=None, person=None, limit=5, as_json=False)
    await songs.list_calls(app, lines.append, status=None, person=None, limit=5, as_json=False)
    assert lines[0].startswith("gen_")
    assert lines[-1] == "none"
    await jobs.list_jobs(app, lines.append, as_json=False, function="musicActions:requestSunoGeneration")
    await jobs.show_job(app, lines.append, lines[-1].split()[0], as_json=False)
    assert any(line.startswith("function ") for line in lines)
    with pytest.raises(DaysongError, match="no queued job"):
        await jobs.cancel_job(app, lines.append, "job_none", reason=None)
    await people.change(app, lines.append, "erasePerson", "user_alice", "closed", **plain)
    assert lines.pop() == "closed"


@pytest.mark.parametrize("name", ["find", "show", "grant-songs", "set-limit", "block", "unblock", "erase"])
def test_a_hyphen_is_taken_for_an_account(name: str) -> None:
    """On the command line too, before and after the options."""
    needed = [] if name in {"find", "show"} else ["--reason", "x"]
    needed += {"grant-songs": ["--songs", "3"], "set-limit": ["--limit", "3"]}.get(name, [])
    for words in ([name, "-", "--json", *needed], [name, "--json", *needed, "-"]):
        _, bound, unused = command_line.people.parse_args(words, exit_on_error=False, print_error=False)
        assert (bound.args[0], bound.kwargs["json_"], unused) == ("-", True, {})
    _, bound, _ = command_line.songs.parse_args(["list", "--of", "-"], exit_on_error=False, print_error=False)
    assert bound.arguments["which"].of == "-"
