"""What a command needs around it: settings with the sandbox's filled in, and a database that is up and migrated."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from daysong.commands import extras, signals
from daysong.commands.options import DEFAULT_PORT
from daysong.embedded import server as embedded
from daysong.kernel import logs, settings
from daysong.kernel.database import migrations
from daysong.kernel.errors import DaysongError
from daysong.kernel.settings import Settings

if TYPE_CHECKING:
    from daysong.sandbox.app import Sandbox

HOST = "127.0.0.1"
ORIGIN_FILE = "origin"

log = logs.get_logger("settings")


def configured(defaults: Mapping[str, str] | None = None) -> Settings:
    """The settings of a process that serves or works; it runs only with all of them, and on a database of its own."""
    given = settings.load(os.environ, defaults)
    for name, nearest in settings.unknown(os.environ):
        log.warning("unknown setting", name=name, nearest=nearest)
    if given.database_url is None:
        raise DaysongError("DATABASE_URL: missing. `daysong dev` runs on an embedded database; this command does not.")
    return given


def until_asked_to_stop() -> asyncio.Event:
    """An event that Ctrl-C, a polite kill and a closed terminal set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in signals.stops():
        loop.add_signal_handler(number, stop.set)
    return stop


async def check_migrated(configured: Settings) -> None:
    """DaysongError when the schema is not up to date."""
    if waiting := await migrations.pending(configured.listen_url, migrations.FOLDER):
        raise DaysongError(f"The database lacks {', '.join(waiting)}: run `daysong migrate` first.")


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def local_key(data_dir: Path, name: str) -> str:
    """A key of a development installation: made once, readable by its owner alone."""
    file = data_dir / name
    if not file.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(secrets.token_urlsafe(32))
    return file.read_text().strip()


def with_sandbox(sandbox: Sandbox, environ: Mapping[str, str]) -> dict[str, str]:
    """Settings the sandbox fills in: for each vendor whose key is not set, its own address and key."""
    openai, suno, clerk = sandbox.openai_settings(), sandbox.suno_settings(), sandbox.clerk_settings()
    filled: dict[str, str] = {}
    if not (environ.get("OPENAI_API_KEY") or environ.get("OPENAI_API_KEY_FILE")):
        filled |= {"OPENAI_API_KEY": openai.api_key, "OPENAI_BASE_URL": openai.base_url}
    if not (environ.get("SUNO_API_KEY") or environ.get("SUNO_API_KEY_FILE")):
        filled |= {"SUNO_API_KEY": suno.api_key, "SUNO_BASE_URL": suno.base_url}
    if not (environ.get("KIE_API_KEY") or environ.get("KIE_API_KEY_FILE")):
        kie = sandbox.kie_settings()
        filled |= {
            "KIE_API_KEY": kie.api_key or "",
            "KIE_BASE_URL": kie.base_url,
            "KIE_WEBHOOK_HMAC_KEY": kie.webhook_hmac_key or "",
        }
    if not environ.get("CLERK_FRONTEND_API_URL"):
        filled |= {
            "CLERK_FRONTEND_API_URL": clerk.issuer,
            "CLERK_BASE_URL": clerk.base_url,
            "CLERK_SECRET_KEY": clerk.secret_key or "",
            "CLERK_WEBHOOK_SIGNING_SECRET": clerk.webhook_signing_secret or "",
        }
    if not (environ.get("REVENUECAT_API_KEY") or environ.get("REVENUECAT_API_KEY_FILE")):
        revenuecat = sandbox.revenuecat_settings()
        filled |= {
            "REVENUECAT_API_KEY": revenuecat.api_key or "",
            "REVENUECAT_BASE_URL": revenuecat.base_url,
            "REVENUECAT_PROJECT_ID": revenuecat.project_id or "",
            "REVENUECAT_WEBHOOK_SECRET": revenuecat.webhook_secret or "",
            "REVENUECAT_WEBHOOK_HMAC_SECRET": revenuecat.webhook_hmac_secret or "",
        }
    if not (environ.get("VAPI_API_KEY") or environ.get("VAPI_API_KEY_FILE")):
        vapi = sandbox.vapi_settings()
        filled |= {
            "VAPI_API_KEY": vapi.api_key or "",
            "VAPI_BASE_URL": vapi.base_url,
            "VAPI_PHONE_NUMBER_ID": vapi.phone_number_id or "",
            "VAPI_WEBHOOK_SECRET": vapi.webhook_secret or "",
            "VAPI_CREDENTIAL_ID": vapi.credential_id or "",
        }
    # Expo needs no key; the real one is used once its address or an access token is set.
    if not any(environ.get(name) for name in ("EXPO_ACCESS_TOKEN", "EXPO_ACCESS_TOKEN_FILE", "EXPO_BASE_URL")):
        expo = sandbox.expo_settings()
        filled |= {"EXPO_ACCESS_TOKEN": expo.access_token or "", "EXPO_BASE_URL": expo.base_url}
    return {name: value for name, value in filled.items() if value}


def remember_origin(data_dir: Path, origin: str) -> None:
    """Note where this installation was served last, for commands that hand out addresses."""
    (data_dir / ORIGIN_FILE).write_text(origin)


def remembered_origin(data_dir: Path) -> str:
    """Where this installation was served last."""
    file = data_dir / ORIGIN_FILE
    return file.read_text().strip() if file.exists() else f"http://{HOST}:{DEFAULT_PORT}"


def local_defaults(data_dir: Path, origin: str) -> dict[str, str]:
    """What a development installation need not be told."""
    return {
        "SITE_URL": origin,
        "DAYSONG_ADMIN_KEY": local_key(data_dir, "admin-key"),
        "DAYSONG_HASH_KEY": local_key(data_dir, "hash-key"),
        "DAYSONG_DATA_DIR": str(data_dir),
    }


@asynccontextmanager
async def database(configured: Settings, *, migrate: bool, bare: bool = False) -> AsyncIterator[Settings]:
    """The settings with a database that is up: the configured one, or the embedded one for as long as this lasts.

    The embedded one is always migrated, unless it is wanted `bare`, since it will be replaced.
    """
    if configured.database_url is not None:
        if migrate:
            await migrations.migrate(configured.listen_url, migrations.FOLDER)
        yield configured
        return
    if not extras.is_installed():
        raise extras.ExtraMissing(f"DATABASE_URL is not set, and the embedded database needs: {extras.INSTALL}")
    starting = asyncio.create_task(asyncio.to_thread(embedded.start, configured.data_dir))
    try:
        server = await asyncio.shield(starting)
    except asyncio.CancelledError:
        # It starts all the same, and must not be left behind.
        await asyncio.to_thread((await starting).stop)
        raise
    try:
        # No other process migrates the embedded database, so this one always does.
        if not bare:
            await migrations.migrate(server.url, migrations.FOLDER)
        yield msgspec.structs.replace(configured, database_url=server.url)
    finally:
        await asyncio.to_thread(server.stop)
