"""What a person with a browser sees: Debian's Chromium, driven for real, on a server on this machine."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from rehearsal.world import World, free_port

CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium, which .ci/run installs"),
]

# Nothing of the browser's own leaves this machine; sound may start without anybody touching the page.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
# As one promise: the page's own policy forbids what would wait for a condition by evaluating text.
PLAY_TO_THE_END = """() => new Promise((heard, failed) => {
    const audio = document.querySelector('audio');
    audio.onended = heard;
    audio.play().catch(failed);
})"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A browser without a window."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        await running.close()


async def test_a_share_link_opens_and_plays(database_url: str, tmp_path: Path, browser: Browser) -> None:
    """A stranger opens the link on a phone, presses play, and hears the song to its end."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        alice = await world.person("alice")
        song = await alice.song()
        shared = await alice.mutation("sharing:createShareLink", musicId=song["_id"])

        phone = await browser.new_context(viewport={"width": 375, "height": 667})
        page = await phone.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"{request.failure} {request.url}"))
        page.on("response", lambda answer: complaints.extend([answer.url] if answer.status >= 400 else []))
        await page.goto(shared["shareUrl"])
        assert song["title"] in await page.title()
        assert await page.get_by_role("heading", name=song["title"]).is_visible()
        await page.evaluate(PLAY_TO_THE_END)
        assert await page.evaluate("document.querySelector('audio').duration") == pytest.approx(
            song["duration"], abs=0.3
        )
        assert await page.evaluate("document.querySelector('img').naturalWidth") > 0
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 375, "the page is wider than the phone"
        assert complaints == []
        await phone.close()


async def test_a_link_to_nothing_says_so(database_url: str, tmp_path: Path, browser: Browser) -> None:
    """An unknown link is a page of its own, not an error."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        page = await browser.new_page()
        answer = await page.goto(f"{world.origin}/share/2345678923")
        assert answer is not None
        assert answer.status == 404
        assert await page.locator("audio").count() == 0
        assert await page.get_by_role("heading").first.is_visible()
