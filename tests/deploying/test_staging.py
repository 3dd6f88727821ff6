"""`daysong serve --with-sandbox` in production mode, and `daysong dev --reload`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import httpx2
import pytest

from daysong.commands import dev, reloading, serve
from daysong.kernel.errors import DaysongError
from daysong.kernel.settings import Settings
from rehearsal.processes.server import Keys, Server, settings_for

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

UNSET = ("DAYSONG_TEST", "DAYSONG_TEST_FUNCTIONS", "OPENAI_API_KEY", "SUNO_API_KEY", "CLERK_FRONTEND_API_URL")


async def test_g65_staging_plays_vendors_in_production_mode_loudly(
    outside_database: str, keys: Keys, tmp_path: Path
) -> None:
    """It signs people in and answers their calls, and each start warns of it. It refuses several processes."""
    environ = {name: text for name, text in settings_for(outside_database, tmp_path, keys).items() if name not in UNSET}
    environ |= {"DAYSONG_ENV": "production", "SITE_URL": "https://staging.example.test"}
    environ.pop("CLERK_JWKS_FILE")
    with Server(environ, tmp_path, arguments=["--with-sandbox"]) as server:
        async with httpx2.AsyncClient(base_url=server.origin, trust_env=False) as http:
            signed = await http.post("/sandbox/clerk/sign-in", json={"sub": "user_staging", "name": "Dana"})
            call = {"path": "users:ensureCurrentUser", "args": {}}
            signed_in = {"Authorization": f"Bearer {signed.json()['jwt']}"}
            assert (await http.post("/api/mutation", json=call, headers=signed_in)).json()["status"] == "success"
        told = server.log.read_text()
    assert "no real user may use this server" in told
    assert "anyone who reaches this server can sign in as any user" in told
    with pytest.raises(DaysongError, match="without --processes"):
        serve.serve("127.0.0.1", 0, 2, cast("Settings", None), played_at=server.origin)


async def test_g67_reload_runs_again_after_a_change_of_the_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run that has ended by itself, too; files that are no code change nothing."""
    running = asyncio.create_task(reloading.run(["--version"], tmp_path, poll=0.02))

    async def printed(times: int) -> None:
        out = ""
        async with asyncio.timeout(30):
            while out.count("0.1.0") < times:
                await asyncio.sleep(0.02)
                out += capfd.readouterr().out

    await printed(1)
    (tmp_path / "notes.txt").write_text("no code")
    (tmp_path / "rules.py").write_text("x = 1")
    await printed(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_g67_dev_listens_where_it_is_told_to() -> None:
    """Its own address is one that works on this machine."""
    assert dev.origin_of("0.0.0.0", 8000) == "http://127.0.0.1:8000"  # noqa: S104 - not bound
    assert dev.origin_of("192.168.1.5", 9000) == "http://192.168.1.5:9000"
    assert dev.origin_of("::1", 9000) == "http://[::1]:9000"
