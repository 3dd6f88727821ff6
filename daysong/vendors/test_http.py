"""The shared client says what a failure means, and writes down no secret."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.vendors import http
from daysong.vendors.conftest import Answerer, listening
from daysong.vendors.http import client, retry_after, slug

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


async def failure_of(base_url: str, *, method: str = "POST", patience: float = 5.0) -> VendorError:
    async with client("acme", base_url=base_url, timeout=patience) as vendor:
        with pytest.raises(VendorError) as caught:
            await vendor.request(method, "/thing", content=b"{}")
    return caught.value


async def test_a_vendor_that_cannot_be_reached_has_done_nothing() -> None:
    """A refused connection is worth another try and never ambiguous."""

    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        raise AssertionError

    async with listening(never) as base_url:
        pass
    error = await failure_of(base_url)
    assert (error.permanent, error.ambiguous, error.code) == (False, False, "unreachable")


@pytest.mark.parametrize(("method", "ambiguous"), [("POST", True), ("DELETE", True), ("GET", False)])
async def test_an_answer_lost_after_sending_is_ambiguous(method: str, ambiguous: bool) -> None:
    """A connection broken after the request leaves open what was done, unless the call only reads."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with listening(hang_up) as base_url:
        error = await failure_of(base_url, method=method)
    assert (error.permanent, error.ambiguous) == (False, ambiguous)


async def test_an_answer_that_does_not_come_in_time_is_ambiguous() -> None:
    """The time limit holds for a silent vendor."""

    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with listening(stay_silent) as base_url:
        error = await failure_of(base_url, patience=0.05)
    assert (error.permanent, error.ambiguous) == (False, True)


async def test_the_time_limit_holds_for_an_answer_that_trickles() -> None:
    """A vendor that sends a byte now and then does not keep a job for ever."""

    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with listening(trickle) as base_url:
        error = await failure_of(base_url, patience=0.1)
    assert error.ambiguous


async def test_calls_carry_the_request_id(answerer: Answerer) -> None:
    """A vendor's log can be matched with ours."""
    answerer.will_answer(200, {})
    async with client("acme", base_url="http://acme.test", transport=answerer.transport) as vendor:
        with logs.request_scope("00aa11bb22cc33dd"):
            await vendor.get("/thing")
        await vendor.get("/thing")
    assert [asked.headers.get("x-request-id") for asked in answerer.asked] == ["00aa11bb22cc33dd", None]


async def test_the_log_line_of_a_call_tells_no_secret(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vendor, method, path, status and time are written; queries, headers and bodies are not."""
    answerer.will_answer(200, {"answer": "private-answer"})
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(http, "_log", structlog.get_logger())
        async with client(
            "acme", base_url="http://acme.test", headers={"Authorization": "Bearer s3"}, transport=answerer.transport
        ) as vendor:
            await vendor.post("/thing", params={"token": "s1"}, json={"diary": "s2"})
    (line,) = lines
    assert {name: line[name] for name in ("vendor", "method", "path", "status")} == {
        "vendor": "acme",
        "method": "POST",
        "path": "/thing",
        "status": 200,
    }
    assert line["ms"] >= 0
    assert not any(secret in str(line) for secret in ("s1", "s2", "s3", "private-answer"))


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/v1/users/user_2abc", "/v1/users/*"),
        (
            "/v2/projects/proj1/customers/user_2abc/active_entitlements",
            "/v2/projects/proj1/customers/*/active_entitlements",
        ),
        ("/v2/projects/proj1/customers/%24RCAnonymousID%3A1", "/v2/projects/proj1/customers/*"),
        ("/call/1f0e", "/call/1f0e"),
    ],
)
async def test_g79_the_log_line_of_a_call_has_no_clerk_id(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch, path: str, written: str
) -> None:
    answerer.will_answer(200, {})
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(http, "_log", structlog.get_logger())
        async with client("acme", base_url="http://acme.test", transport=answerer.transport) as vendor:
            await vendor.get(path)
    assert lines[0]["path"] == written


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("2", 2.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Fri, 20 Nov 2026 08:01:30 GMT", 90.0),
        ("Fri, 20 Nov 2026 07:00:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
async def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    """Seconds, or a date measured against the moment that is handed in."""
    assert retry_after({"retry-after": header}, NOW) == seconds


@given(st.text())
def test_no_retry_after_header_can_break_the_reader(header: str) -> None:
    """Whatever a header says, it is a number of seconds or nothing."""
    seconds = retry_after({"retry-after": header}, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


def test_g63_a_vendors_code_is_a_word_and_never_a_sentence() -> None:
    """What may be logged of an answer that says no: its text may quote a person."""
    for code in ("insufficient_quota", "messages[1].content", 7117):
        assert slug(code) == str(code)
    for text in ("Your diary says I walked home", "", "a" * 61, None, True, ["code"]):
        assert slug(text) is None
