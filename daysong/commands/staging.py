"""`--with-sandbox`: `serve` and `work` with the vendors played by the sandbox, for staging in production mode.

`serve` plays the vendors whose keys are not set, at `/sandbox`; `work` needs to know where. Without Clerk's settings
any client that reaches the server can sign in as any user, so each start says what is played.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec

from daysong.commands import environment, extras
from daysong.kernel import logs, settings
from daysong.kernel.settings import Settings
from daysong.sandbox.app import Pace, Sandbox

# What each vendor that may be played sets, by which it is known to be.
_PLAYED = {
    "OPENAI_API_KEY": "openai",
    "SUNO_API_KEY": "suno",
    "KIE_API_KEY": "kie",
    "CLERK_FRONTEND_API_URL": "clerk",
    "REVENUECAT_API_KEY": "revenuecat",
    "VAPI_API_KEY": "vapi",
    "EXPO_BASE_URL": "expo",
}

# Seconds until a text is written, a first track, and all of a song: as Suno would, only sooner.
PACE = Pace(text=0.5, first=1.5, complete=2.5)

log = logs.get_logger("sandbox")


def configured(origin: str, *, command: str) -> Settings:
    """Return the settings of a process whose vendors are played at `origin`, and log a warning that names them.

    Errors: ExtraMissing, SettingsError.
    """
    extras.require(f"{command} --with-sandbox")
    data_dir = settings.read(os.environ)[0].data_dir
    filled = environment.with_sandbox(Sandbox(origin, data_dir=data_dir, http=httpx2.AsyncClient()), os.environ)
    found = msgspec.structs.replace(environment.configured(filled), sandboxed=True)
    played = [vendor for name, vendor in _PLAYED.items() if name in filled]
    log.warning("SANDBOX: vendors are played here, no real user may use this server", vendors=played, at=origin)
    if "clerk" in played:
        log.warning("SANDBOX: anyone who reaches this server can sign in as any user")
    return found


@asynccontextmanager
async def playing(origin: str, data_dir: Path) -> AsyncIterator[Sandbox]:
    """The sandbox of a server at `origin`, for as long as this lasts."""
    async with httpx2.AsyncClient(timeout=15, trust_env=False) as callbacks:
        vendors = Sandbox(origin, data_dir=data_dir, pace=PACE, http=callbacks)
        try:
            yield vendors
        finally:
            await vendors.close()
