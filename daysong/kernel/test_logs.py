from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys

import pytest
import structlog

from daysong.kernel import logs
from daysong.kernel.errors import VendorError

WORDS = "Today I told nobody about"


def fail(words: str) -> None:
    raise ValueError(words)


def caught(words: str) -> Exception:
    try:
        fail(words)
    except ValueError as error:
        return error
    raise AssertionError


def test_an_error_is_described_by_what_and_where() -> None:
    """Its type and the last few places, the innermost first."""
    assert logs.describe(caught(WORDS)).startswith("ValueError in fail (test_logs.py:")
    assert "caught (test_logs.py:" in logs.describe(caught(WORDS))


def test_a_description_has_none_of_the_errors_text() -> None:
    """The text may quote private data: neither its own nor that of chained errors is logged."""
    behind = caught(WORDS)
    in_front = RuntimeError(WORDS)
    in_front.__cause__ = behind
    for error in (behind, in_front, ExceptionGroup(WORDS, [in_front, behind])):
        assert WORDS not in logs.describe(error)


def test_an_error_that_was_never_raised_has_only_a_type() -> None:
    """No place to name."""
    assert logs.describe(ValueError(WORDS)) == "ValueError"


def test_a_request_id_is_16_hexadecimal_digits() -> None:
    """As clients look for it in messages, and never twice the same."""
    made = {logs.new_request_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(each) == 16 and int(each, 16) >= 0 for each in made)


@pytest.fixture
def lines() -> list[structlog.typing.EventDict]:
    """What the next logger writes, with what was bound around it."""
    return []


def logger_into(lines: list[structlog.typing.EventDict]) -> structlog.typing.FilteringBoundLogger:
    def keep(_: object, __: str, line: structlog.typing.EventDict) -> str:
        lines.append(dict(line))
        return ""

    return structlog.wrap_logger(  # type: ignore[no-any-return]
        structlog.ReturnLogger(),
        processors=[logs.with_request_id, keep],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )


def test_the_request_id_is_on_every_line_inside_its_scope(lines: list[structlog.typing.EventDict]) -> None:
    """Nested scopes take over and give back; outside of any there is none."""
    log = logger_into(lines)
    log.info("before")
    with logs.request_scope("a" * 16):
        log.info("outer")
        with logs.request_scope("b" * 16):
            assert logs.request_id() == "b" * 16
            log.info("inner")
        log.info("outer again")
    log.info("after")
    assert [line.get("request_id", "")[:1] for line in lines] == ["", "a", "b", "a", ""]
    assert logs.request_id() == ""


@pytest.mark.anyio
async def test_two_requests_at_once_keep_their_ids_apart(lines: list[structlog.typing.EventDict]) -> None:
    """Each task logs under its own, and what it starts does too."""
    log = logger_into(lines)
    together = asyncio.Barrier(2)

    async def request(identifier: str) -> None:
        with logs.request_scope(identifier):
            await together.wait()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(part(identifier))

    async def part(identifier: str) -> None:
        await together.wait()
        log.info("said", by=identifier)

    await asyncio.gather(request("a" * 16), request("b" * 16))
    assert len(lines) == 2
    assert all(line["request_id"] == line["by"] for line in lines)


PROCESS = """
import logging, sys
from daysong.kernel import logs
log = logs.get_logger("early")  # as a module does while it is imported
logs.configure(readable=sys.argv[1] == "readable", quiet=sys.argv[2] == "quiet")
with logs.request_scope("0123456789abcdef"):
    log.info("job done", job="job_1")
    try:
        raise ValueError("Today I told nobody about")
    except ValueError:
        log.exception("failed")
        logging.getLogger("library").exception("library failed")
"""


def written(*options: str) -> subprocess.CompletedProcess[str]:
    """What a process with that configuration writes."""
    return subprocess.run([sys.executable, "-c", PROCESS, *options], capture_output=True, text=True, check=True)  # noqa: S603 - our own words


def test_a_process_writes_json_lines_without_anyones_words() -> None:
    """Loggers made at import follow the configuration; an exception, ours or a library's, is described."""
    process = written("json", "all")
    done, failed = map(json.loads, process.stdout.splitlines())
    assert (done["event"], done["part"], done["job"], done["level"]) == ("job done", "early", "job_1", "info")
    assert done["request_id"] == failed["request_id"] == "0123456789abcdef"
    assert failed["exception"].startswith("ValueError in <module>")
    assert json.loads(process.stderr)["event"] == "library failed"
    assert WORDS not in process.stdout + process.stderr


def test_a_quiet_process_tells_only_what_went_wrong() -> None:
    """And a readable one in lines for people."""
    process = written("readable", "quiet")
    assert "job done" not in process.stdout
    assert "failed" in process.stdout
    assert "request_id=0123456789abcdef" in process.stdout
    assert WORDS not in process.stdout + process.stderr


def test_g55_a_closed_output_costs_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of the log is gone: lines are dropped, and no request fails."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as nobody_reads:
        monkeypatch.setattr(sys, "stdout", nobody_reads)
        lines = logs._stdout_logger()
        for _ in range(3):
            lines.info("request")
        monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            nobody_reads.close()


PRODUCTION = """
import logging, warnings
from daysong.kernel import logs
logs.configure(readable=False)
logs.get_logger("http").info("request", ms=1)
logging.getLogger("asyncpg.pool").warning("pool is closing\\nslowly")
try:
    raise ValueError("{words}")
except ValueError:
    logging.getLogger("asyncio").exception("task failed")
warnings.warn("an old name", DeprecationWarning)
warnings.warn("a resource", ResourceWarning)
raise RuntimeError("{words}")
"""


def test_g63_all_lines_of_production_are_json() -> None:
    """Our own, libraries', warnings, and what ends the process: an object a line, none with an error's text."""
    program = PRODUCTION.replace("{words}", WORDS)
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-W", "always", "-c", program], check=False, capture_output=True, text=True
    )
    lines = (done.stdout + done.stderr).strip().splitlines()
    told = [json.loads(line) for line in lines]
    assert {line["level"] for line in told} == {"info", "warning", "error", "critical"}
    assert len(told) >= 5
    assert WORDS not in done.stdout + done.stderr
    assert any("RuntimeError" in line.get("error", "") for line in told)


def test_g63_a_vendors_failure_is_told_with_the_vendors_code() -> None:
    """What it was, in our own words with the vendor's code for it; never the vendor's text."""
    error = VendorError("suno", "code 430", permanent=False, code="suno_430")
    assert "[suno: code 430; suno_430]" in logs.describe(error)
