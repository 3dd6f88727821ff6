"""`daysong doctor`: what is missing and what works, in words."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import asyncpg
from rich.console import Console

from daysong.features.subscriptions import unmapped
from daysong.kernel import embedded, logs, migrations, settings
from daysong.kernel.clock import SystemClock
from daysong.kernel.errors import DaysongError
from daysong.kernel.settings import Settings
from daysong.vendors.clerk import InvalidToken, TokenVerifier
from daysong.vendors.storage import FileStore
from daysong.vendors.suno import Suno
from daysong.vendors.vapi import Vapi

PROBE = "doctor-probe"
PATIENCE = 20.0


async def doctor(environ: Mapping[str, str], data_dir: Path) -> bool:
    """Look at everything a daysong needs, say how it stands, and return whether all is well."""
    logs.configure(readable=True, quiet=True)
    console = Console(highlight=False, soft_wrap=True)
    found, problems = settings.read(environ, {"DAYSONG_DATA_DIR": str(data_dir)})
    well = not problems
    console.print(f"Python {sys.version.split()[0]}, {found.environment}, data in {found.data_dir}")
    console.print("\n[bold]Settings[/]")
    if problems:
        for problem in problems:
            console.print(f"  [red]✗[/] {problem.name}: {problem.what}")
        console.print("  Each may also come from a file: NAME_FILE=/path. `daysong dev` needs none of them.")
    else:
        console.print("  [green]✓[/] all there")
    missing = {problem.name for problem in problems}
    console.print("\n[bold]Parts[/]")
    checks: list[tuple[str, Callable[[], Awaitable[str]], str | None]] = [
        ("Database", lambda: _database(found), None),
        ("Products", lambda: _products(found), None),
        ("Files", lambda: _files(found), None),
        ("Clerk", lambda: _clerk(found), "CLERK_FRONTEND_API_URL"),
        ("Suno", lambda: _suno(found), "SUNO_API_KEY"),
        ("VAPI", lambda: _vapi(found), "VAPI_API_KEY"),
        # Asking OpenAI costs money or needs rights that a writing key may lack.
        ("OpenAI", lambda: _told(f"the key is set; model {found.openai.model}"), "OPENAI_API_KEY"),
    ]
    for name, check, needs in checks:
        if needs in missing:
            console.print(f"  [yellow]–[/] {name}: not asked, since {needs} is missing")
            continue
        try:
            async with asyncio.timeout(PATIENCE):
                console.print(f"  [green]✓[/] {name}: {await check()}")
        except (DaysongError, OSError, TimeoutError, asyncpg.PostgresError) as error:
            well = False
            console.print(f"  [red]✗[/] {name}: {error or type(error).__name__}")
    console.print("\nAll is well." if well else "\nSomething is missing: see the ✗ above.")
    return well


async def _told(text: str) -> str:
    return text


async def _database(found: Settings) -> str:
    if found.database_url is not None:
        return await _looked_at(found.database_url)
    server = await asyncio.to_thread(embedded.start, found.data_dir)
    try:
        return f"embedded, {await _looked_at(server.url)}"
    finally:
        await asyncio.to_thread(server.stop)


async def _products(found: Settings) -> str:
    if found.database_url is not None:
        return await unmapped.check(found.database_url, found, SystemClock().now())
    server = await asyncio.to_thread(embedded.start, found.data_dir)
    try:
        return await unmapped.check(server.url, found, SystemClock().now())
    finally:
        await asyncio.to_thread(server.stop)


async def _looked_at(url: str) -> str:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        version = str(await connection.fetchval("show server_version")).split()[0]
    finally:
        await connection.close()
    waiting = await migrations.pending(url, migrations.FOLDER)
    return f"PostgreSQL {version}, " + (f"{len(waiting)} migrations to apply" if waiting else "schema up to date")


async def _files(found: Settings) -> str:
    store = FileStore(found.storage_url)
    await store.put(PROBE, b"probe", "text/plain")
    size = await store.size(PROBE)
    await store.delete([PROBE])
    return f"written, read and deleted {size} bytes in {found.storage_url}"


async def _clerk(found: Settings) -> str:
    verifier = TokenVerifier(found.clerk)
    try:
        # A token of an unknown key makes it fetch the keys.
        await verifier.verify("eyJhbGciOiJSUzI1NiIsImtpZCI6ImRvY3RvciJ9.e30.e30", SystemClock().now())
    except InvalidToken:
        return f"keys of {found.clerk.issuer} can be read"
    finally:
        await verifier.close()
    return "answers"


async def _suno(found: Settings) -> str:
    suno = Suno(found.suno)
    try:
        return f"{await suno.credits()} credits left"
    finally:
        await suno.close()


async def _vapi(found: Settings) -> str:
    if found.vapi.api_key is None or found.vapi.phone_number_id is None:
        return "no key or no line: nobody is called"
    vapi = Vapi(found.vapi)
    try:
        await vapi.get(PROBE)
    finally:
        await vapi.close()
    if found.vapi.webhook_secret is None or found.vapi.credential_id is None:
        return "answers; without VAPI_WEBHOOK_SECRET and VAPI_CREDENTIAL_ID no report of a call is believed"
    return f"answers; {found.vapi.max_concurrent_calls} calls at once"
