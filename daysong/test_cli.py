"""The command line: what is refused is refused in a line, and listings are JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from daysong import cli
from daysong.app import App
from daysong.commands import running, signals
from daysong.commands.support import people
from daysong.kernel import logs
from rehearsal.world import Person, World

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Run a command on a database: its exit code, and what it printed to the standard output and error."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DAYSONG_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    monkeypatch.setattr(logs, "configure", lambda **_: None)  # loggers remember how they were first configured
    monkeypatch.setattr(signals, "end_as_by_ctrl_c", lambda: None)  # the test run has signals of its own

    def running(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["daysong", *words])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return running


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("jobs list --status bogus", "dead"),
        ("jobs list --limit -1", ">= 1"),
        ("jobs retry job_nothing", "no dead job"),
        ("webhooks list --vendor bogus", "revenuecat"),
        ("webhooks list --status bogus", "stranded"),
        ("call billing:getPlans {bad", "no JSON"),
        ("call billing:getPlans [1]", "JSON object"),
        ("call billing:getPlans {\"a\":1}", "extra field"),
        ("call billing:nothing", "Could not find"),
        ("serve --port 99999", "65535"),
        ("serve --processes 0", ">= 1"),
    ],
)  # fmt: skip
def test_g62_a_mistake_is_told_of_without_a_traceback(run: Run, words: str, says: str) -> None:
    """With exit code 1 or 2, and a text that names what would have been right."""
    code, out, err = run(*words.split(" "))
    assert code in {1, 2}
    assert says in " ".join((out + err).split())
    assert "Traceback" not in out + err


def test_g62_listings_are_json_for_programs(run: Run) -> None:
    """An array each, empty when there is nothing; functions by module."""
    for words in (("jobs", "list"), ("webhooks", "list")):
        code, out, _ = run(*words, "--json")
        assert (code, json.loads(out)) == (0, [])
    _, out, _ = run("functions", "--json")
    billing = json.loads(out)["modules"][0]["functions"]
    assert ("billing:getPlans", "query", True) in [(one["identifier"], one["kind"], one["public"]) for one in billing]


def test_g62_the_version_is_told(run: Run) -> None:
    """A number, and nothing else."""
    code, out, _ = run("--version")
    assert code == 0
    assert out.strip()[0].isdigit()


def test_g55_a_wrong_password_or_name_is_told_of_in_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the password, and without a traceback."""
    for url in ("postgresql://u:hunter2@127.0.0.1:9/x", "postgresql://u:hunter2@nowhere.invalid/x", "hunter2"):
        monkeypatch.setenv("DATABASE_URL", url)
        code, out, err = run("migrate")
        assert code == 1
        assert len((out + err).strip().splitlines()) == 1
        assert "hunter2" not in out + err


@pytest.mark.anyio
async def test_lists_share_the_options_that_are_typed(
    world: World, alice: Person, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`songs list`, `calls list` and `audit`: of which account, how many, and as JSON."""
    works: list[Callable[[App], Awaitable[None]]] = []
    monkeypatch.setattr(running, "with_app", lambda _data_dir, work: works.append(work))
    await alice.song()
    await people.change(world.app, print, "blockPerson", "user_alice", "blocked", reason="ticket 1", as_json=False)

    async def typed(line: str) -> Any:
        command, bound, _ = cli.command_line.parse_args(line, exit_on_error=False)
        command(*bound.args, **bound.kwargs)
        capsys.readouterr()
        await works.pop()(world.app)
        return json.loads(capsys.readouterr().out)

    assert len(await typed("songs list --of user_alice --status ready --limit 1 --json")) == 1
    assert await typed("songs list --of user_alice --status failed --json") == []
    assert await typed("calls list --of user_alice --json") == []
    assert [row["action"] for row in await typed("audit --of user_alice --json")] == ["people block"]
