"""The shared client says what a failure means; the file fetcher goes nowhere it should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx2
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from daysong.kernel import logs
from daysong.kernel.errors import VendorError
from daysong.vendors import http
from daysong.vendors.conftest import Answerer
from daysong.vendors.http import FileFetcher, client, retry_after
from daysong.vendors.text import clean, fit, fit_tags, storable

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
PUBLIC = "93.184.216.34"
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(talk: Talk) -> AsyncIterator[str]:
    """A server on this machine that treats each connection with `talk`; its address."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def failure_of(base_url: str, *, method: str = "POST", timeout: float = 5.0) -> VendorError:
    async with client("acme", base_url=base_url, timeout=timeout) as vendor:
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
async def test_an_answer_lost_after_sending_is_ambiguous(method: str, ambiguous: bool) -> None:  # noqa: FBT001
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
        error = await failure_of(base_url, timeout=0.05)
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
        error = await failure_of(base_url, timeout=0.1)
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


@asynccontextmanager
async def fetching(
    answerer: Answerer, *, hosts: tuple[str, ...] = ("files.suno.example",), address: str = PUBLIC, origin: str = ""
) -> AsyncIterator[FileFetcher]:
    async def resolve(_host: str, _port: int) -> list[str]:
        return [address]

    fetcher = FileFetcher(
        hosts=hosts, allowed_origins=[origin] if origin else [], transport=answerer.transport, resolve=resolve
    )
    yield fetcher
    await fetcher.close()


async def refusal(fetcher: FileFetcher, url: str, **limits: object) -> VendorError:
    with pytest.raises(VendorError) as caught:
        await fetcher.fetch(url, **({"max_bytes": 100} | limits))  # type: ignore[arg-type]
    return caught.value


async def test_a_file_is_fetched_from_the_address_that_was_checked(answerer: Answerer) -> None:
    """The connection goes to the checked address, while the host's name stays in the Host header."""
    answerer.will_answer(200, b"song", {"content-type": "Audio/MPEG; charset=binary"})
    async with fetching(answerer) as fetcher:
        file = await fetcher.fetch("https://files.suno.example/a.mp3", max_bytes=4, content_types=["audio/"])
    assert (file.content, file.content_type) == (b"song", "audio/mpeg")
    assert answerer.asked[0].headers["host"] == "files.suno.example"


@pytest.mark.parametrize(
    "url",
    [
        "http://files.suno.example/a.mp3",
        "ftp://files.suno.example/a.mp3",
        "file:///etc/passwd",
        "https://elsewhere.example/a.mp3",
        "https://suno.example/a.mp3",
        "https://files.suno.example.evil.example/a.mp3",
        "https://user:secret@files.suno.example/a.mp3",
        "https://evil.example#files.suno.example",
        "https://127.0.0.1/a.mp3",
        "//files.suno.example/a.mp3",
        "",
        "https://",
        "https://[::1",
    ],
)
async def test_addresses_off_the_list_are_refused_for_good(answerer: Answerer, url: str) -> None:
    """Other schemes and other hosts are not even asked."""
    async with fetching(answerer) as fetcher:
        error = await refusal(fetcher, url)
    assert error.permanent
    assert error.code == "file_refused"
    assert answerer.asked == []


async def test_a_suffix_covers_the_names_below_it_alone(answerer: Answerer) -> None:
    """`*.suno.example` is any name below suno.example, and not a name that merely ends so."""
    answerer.will_answer(200, b"song")
    async with fetching(answerer, hosts=("*.suno.example",)) as fetcher:
        await fetcher.fetch("https://cdn1.suno.example/a.mp3", max_bytes=4)
        assert (await refusal(fetcher, "https://notsuno.example/a.mp3")).permanent
        assert (await refusal(fetcher, "https://suno.example/a.mp3")).permanent


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.8",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "not an address",
    ],
)
async def test_a_host_that_leads_to_a_private_address_is_refused(answerer: Answerer, address: str) -> None:
    """A name on the list may not be pointed at our own network."""
    async with fetching(answerer, address=address) as fetcher:
        error = await refusal(fetcher, "https://files.suno.example/a.mp3")
    assert error.permanent
    assert answerer.asked == []


async def test_one_private_address_among_several_spoils_all(answerer: Answerer) -> None:
    """A host is trusted only when every address it has is public."""

    async def resolve(_host: str, _port: int) -> list[str]:
        return [PUBLIC, "10.0.0.8"]

    fetcher = FileFetcher(hosts=["files.suno.example"], transport=answerer.transport, resolve=resolve)
    assert (await refusal(fetcher, "https://files.suno.example/a.mp3")).permanent
    await fetcher.close()


@pytest.mark.parametrize("address", ["2606:2800:220:1::1", "8.8.8.8", "64:ff9b::808:808"])
async def test_public_addresses_of_both_kinds_are_used(answerer: Answerer, address: str) -> None:
    """IPv6 works, also through NAT64."""
    answerer.will_answer(200, b"song")
    async with fetching(answerer, address=address) as fetcher:
        assert (await fetcher.fetch("https://files.suno.example/a.mp3", max_bytes=4)).content == b"song"


async def test_a_name_that_cannot_be_resolved_is_tried_again() -> None:
    """DNS comes back."""

    async def resolve(_host: str, _port: int) -> list[str]:
        raise OSError("no such host")

    fetcher = FileFetcher(hosts=["files.suno.example"], resolve=resolve)
    error = await refusal(fetcher, "https://files.suno.example/a.mp3")
    assert (error.permanent, error.ambiguous) == (False, False)
    await fetcher.close()


async def test_redirects_are_followed_with_the_same_checks(answerer: Answerer) -> None:
    """Another listed host is fine; a private origin behind a redirect is not."""
    answerer.will_answer(302, b"", {"location": "https://cdn1.suno.example/b.mp3"})
    answerer.will_answer(200, b"song")
    async with fetching(answerer, hosts=("files.suno.example", "cdn1.suno.example")) as fetcher:
        assert (await fetcher.fetch("https://files.suno.example/a.mp3", max_bytes=4)).content == b"song"
    for place in ("http://169.254.169.254/latest", "http://cdn1.suno.example/b.mp3", "https://elsewhere.example/"):
        answerer.answers = [(307, b"", {"location": place})]
        answerer.asked.clear()
        async with fetching(answerer) as fetcher:
            assert (await refusal(fetcher, "https://files.suno.example/a.mp3")).permanent
        assert len(answerer.asked) == 1


async def test_redirects_end_after_three(answerer: Answerer) -> None:
    """A circle is not walked for ever."""
    answerer.will_answer(302, b"", {"location": "/again"})
    async with fetching(answerer) as fetcher:
        assert (await refusal(fetcher, "https://files.suno.example/a.mp3")).permanent
    assert len(answerer.asked) == 4


async def test_an_allowed_origin_needs_no_https_and_no_public_address(answerer: Answerer) -> None:
    """The sandbox on this machine is reached by exactly its own scheme, host and port."""
    answerer.will_answer(200, b"song")
    async with fetching(answerer, origin="http://127.0.0.1:8000") as fetcher:
        assert (await fetcher.fetch("http://127.0.0.1:8000/sandbox/a.mp3", max_bytes=4)).content == b"song"
        for url in ("http://127.0.0.1:9000/a", "https://127.0.0.1:8000/a", "http://127.0.0.1/a", "http://localhost:8000/a"):
            assert (await refusal(fetcher, url)).permanent


async def test_a_file_larger_than_allowed_is_dropped_on_the_way(answerer: Answerer) -> None:
    """The size is counted while reading, whatever Content-Length says."""
    answerer.will_answer(200, b"x" * 101)
    async with fetching(answerer) as fetcher:
        error = await refusal(fetcher, "https://files.suno.example/a.mp3", max_bytes=100)
    assert (error.permanent, error.code) == (True, "file_too_large")


@pytest.mark.parametrize(
    ("status", "headers", "permanent"),
    [
        (200, {"content-type": "text/html"}, True),
        (200, {"content-type": "audio/mpeg", "content-encoding": "gzip"}, True),
        (441, {}, True),
        (410, {}, True),
        (404, {}, False),
        (429, {"retry-after": "7"}, False),
        (503, {"retry-after": "7"}, False),
        (302, {}, True),
    ],
)
async def test_answers_without_the_file_say_whether_to_come_back(
    answerer: Answerer, status: int, headers: dict[str, str], permanent: bool  # noqa: FBT001
) -> None:
    """HTTP 441 is Suno's word for a link that has expired."""
    answerer.will_answer(status, b"something", headers)
    async with fetching(answerer) as fetcher:
        error = await refusal(fetcher, "https://files.suno.example/a.mp3", content_types=["audio/", "image/jpeg"])
    assert error.permanent is permanent
    assert error.retry_after == (7.0 if "retry-after" in headers else None)


async def test_an_empty_file_is_tried_again(answerer: Answerer) -> None:
    """No audio is not a song."""
    answerer.will_answer(200, b"")
    async with fetching(answerer) as fetcher:
        assert not (await refusal(fetcher, "https://files.suno.example/a.mp3")).permanent


async def test_a_download_that_breaks_is_tried_again() -> None:
    """Half a file is no file."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    async with listening(half) as origin:
        fetcher = FileFetcher(hosts=[], allowed_origins=[origin])
        error = await refusal(fetcher, f"{origin}/a.mp3")
        await fetcher.close()
    assert (error.permanent, error.ambiguous) == (False, False)


async def test_a_real_loopback_file_arrives_whole() -> None:
    """The fetcher's own transport works, in many chunks."""
    content = bytes(range(256)) * 2000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(content))
        writer.write(content)
        await writer.drain()
        writer.close()

    async with listening(serve) as origin:
        fetcher = FileFetcher(hosts=[], allowed_origins=[origin])
        file = await fetcher.fetch(f"{origin}/a.png", max_bytes=len(content), content_types=["image/png"])
        await fetcher.close()
    assert file.content == content


async def test_the_checked_host_name_is_what_tls_is_asked_for(answerer: Answerer) -> None:
    """The certificate must be the host's, not the address's."""
    seen: list[httpx2.Request] = []

    class Peeking(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            seen.append(request)
            return httpx2.Response(200, stream=httpx2.ByteStream(b"song"))

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["2606:2800:220:1::1"]

    fetcher = FileFetcher(hosts=["files.suno.example"], transport=Peeking(), resolve=resolve)
    await fetcher.fetch("https://files.suno.example:8443/a.mp3?x=1", max_bytes=4)
    await fetcher.close()
    assert str(seen[0].url) == "https://[2606:2800:220:1::1]:8443/a.mp3?x=1"
    assert seen[0].extensions["sni_hostname"] == "files.suno.example"
    assert seen[0].headers["host"] == "files.suno.example:8443"


@given(st.text(), st.integers(min_value=1, max_value=60))
def test_fitted_text_is_a_beginning_within_the_limit(text: str, limit: int) -> None:
    """Text that fits is untouched; cut text is shorter than the limit and a beginning of what it was."""
    fitted = fit(text, limit)
    assert len(fitted) <= limit
    assert text.startswith(fitted)
    assert len(text) > limit or fitted == text


@given(st.lists(st.text("abcdefg", min_size=1, max_size=9), min_size=1), st.integers(min_value=20, max_value=60))
def test_fitted_text_ends_with_a_whole_word(words: list[str], limit: int) -> None:
    """A cut falls between words when there are any, and after a line when there is one near."""
    fitted = fit(" ".join(words), limit)
    assert words[: len(fitted.split())] == fitted.split()
    assert fit("one two\nthree four\nfive six", 20) == "one two\nthree four"


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1), st.integers(min_value=10, max_value=60))
def test_fitted_tags_are_whole_tags(tags: list[str], limit: int) -> None:
    """Of a style, whole tags are dropped from the end."""
    fitted = fit_tags(", ".join(tags), limit)
    assert len(fitted) <= limit
    assert fitted.split(", ") == tags[: len(fitted.split(", "))]


def test_vendor_text_is_cleaned_for_the_database() -> None:
    """Control characters go, line ends become plain, and no NUL is left anywhere in a JSON value."""
    assert clean(" a\r\nb\rc\x00\x07 ") == "a\nb\nc"
    assert storable({"a\x00": ["\x00b", {"c": 1, "d": None}]}) == {"a": ["b", {"c": 1, "d": None}]}
