"""The share page in a real browser, Debian's Chromium."""

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

# The browser sends no requests of its own, and may play sound without a user gesture.
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
# One promise, since the page's policy forbids evaluating text, which `wait_for_function` needs.
PLAY_TO_THE_END = """() => new Promise((resolve, reject) => {
    const audio = document.querySelector('audio');
    audio.onended = resolve;
    audio.play().catch(reject);
})"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A headless browser."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        await running.close()


async def test_a_share_link_opens_and_plays(database_url: str, tmp_path: Path, browser: Browser) -> None:
    """An anonymous visitor opens the link on a phone and plays the song to its end."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        alice = await world.person("alice")
        song = await alice.song()
        shared = await alice.mutation("sharing:createShareLink", musicId=song["_id"])

        phone = await browser.new_context(viewport={"width": 375, "height": 667})
        page = await phone.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("requestfailed", lambda request: failures.append(f"{request.failure} {request.url}"))
        page.on("response", lambda answer: failures.extend([answer.url] if answer.status >= 400 else []))
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
        assert failures == []
        await phone.close()


async def test_an_unknown_link_is_a_404_page(database_url: str, tmp_path: Path, browser: Browser) -> None:
    """An unknown link is a 404 page without a player."""
    async with World(database_url, tmp_path, datetime.now(UTC), port=free_port()) as world:
        page = await browser.new_page()
        answer = await page.goto(f"{world.origin}/share/2345678923")
        assert answer is not None
        assert answer.status == 404
        assert await page.locator("audio").count() == 0
        assert await page.get_by_role("heading").first.is_visible()
