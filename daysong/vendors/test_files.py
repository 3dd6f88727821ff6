"""The file fetcher goes to the hosts it knows, at public addresses, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from daysong.kernel.errors import VendorError
from daysong.vendors.conftest import Answerer, listening
from daysong.vendors.files import FileFetcher, FileHosts

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"


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
        file = await fetcher.fetch("https://files.suno.example/a.mp3", max_bytes=4)
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
        "https://files.suno.example:8443/a.mp3",
        "https://files.suno.example:22/a.mp3",
        "",
        "https://",
        "https://[::1",
    ],
)
async def test_g79_addresses_off_the_list_are_refused_for_good(answerer: Answerer, url: str) -> None:
    """Other schemes, other hosts and other ports of known hosts are not even asked, and `allows` says so."""
    async with fetching(answerer) as fetcher:
        error = await refusal(fetcher, url)
    assert error.permanent
    assert error.code == "file_refused"
    assert answerer.asked == []
    assert not FileHosts(["files.suno.example"]).allows(url)


@pytest.mark.parametrize(
    ("status", "headers", "size"),
    [
        (206, {"content-range": "bytes 0-3/5000000"}, 5_000_000),
        (206, {"content-range": "bytes 0-3/*"}, None),
        (200, {"content-length": "8"}, 8),
    ],
)
async def test_g11_the_beginning_of_a_file_comes_with_its_whole_size(
    answerer: Answerer, status: int, headers: dict[str, str], size: int | None
) -> None:
    """Whether the server sends only the part asked for, or all of it."""
    answerer.will_answer(status, b"song" if status == httpx2.codes.PARTIAL_CONTENT else b"songsong", headers)
    async with fetching(answerer) as fetcher:
        found = await fetcher.beginning("https://files.suno.example/a.mp3", 4)
    assert (found.content, found.size) == (b"song", size)
    assert answerer.asked[0].headers["range"] == "bytes=0-3"


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
        "0.0.0.0",  # noqa: S104 - to be refused
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
        "192.0.0.8",
        "192.88.99.1",
        "fec0::1",
        "2001:db8::1",
        "2001:2::1",
        "3fff::1",
        "4000::1",
        "::7f00:1",
        "64:ff9b:1::7f00:1",
        "not an address",
    ],
)
async def test_g79_a_host_that_leads_to_a_private_address_is_refused(answerer: Answerer, address: str) -> None:
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
        for url in (
            "http://127.0.0.1:9000/a",
            "https://127.0.0.1:8000/a",
            "http://127.0.0.1/a",
            "http://localhost:8000/a",
        ):
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
        (200, {"content-type": "audio/mpeg", "content-encoding": "gzip"}, True),
        (441, {}, True),
        (410, {}, True),
        (404, {}, False),
        (429, {"retry-after": "7"}, False),
        (503, {"retry-after": "7"}, False),
        (416, {}, False),
        (302, {}, True),
    ],
)
async def test_answers_without_the_file_say_whether_to_come_back(
    answerer: Answerer,
    status: int,
    headers: dict[str, str],
    permanent: bool,
) -> None:
    """HTTP 441 is Suno's word for a link that has expired."""
    answerer.will_answer(status, b"something", headers)
    async with fetching(answerer) as fetcher:
        error = await refusal(fetcher, "https://files.suno.example/a.mp3")
    assert error.permanent is permanent
    assert (error.code == "file_missing") == (status in {404, 410, 416, 441})
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
        file = await fetcher.fetch(f"{origin}/a.png", max_bytes=len(content))
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
    await fetcher.fetch("https://files.suno.example:443/a.mp3?x=1", max_bytes=4)
    await fetcher.close()
    assert str(seen[0].url) == "https://[2606:2800:220:1::1]/a.mp3?x=1"
    assert seen[0].extensions["sni_hostname"] == "files.suno.example"
    assert seen[0].headers["host"] == "files.suno.example"
