"""`daysong doctor`: a line for each thing that serving and working need, the most important first."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import httpx2
from rich.console import Console
from rich.markup import escape

from daysong.embedded import server as embedded
from daysong.features.phone_calls.schedule import zones
from daysong.features.subscriptions import purchases
from daysong.kernel import logs, settings
from daysong.kernel.database import connections, migrations, replica
from daysong.kernel.errors import DatabaseUnavailable, DaysongError, VendorError
from daysong.kernel.jobs import hold
from daysong.kernel.parts import Part
from daysong.kernel.settings import Settings
from daysong.kernel.time.clock import SystemClock
from daysong.kernel.time.clock_check import require_agreement
from daysong.vendors.clerk.client import InvalidToken, TokenVerifier
from daysong.vendors.expo.client import Expo
from daysong.vendors.kie.client import Kie
from daysong.vendors.openai.client import OpenAI
from daysong.vendors.revenuecat.client import RevenueCat
from daysong.vendors.signed_addresses import SignedAddresses
from daysong.vendors.storage import FileStore
from daysong.vendors.suno.client import Suno
from daysong.vendors.vapi.client import Vapi
from daysong.workflows.accounts import hash_keys

# obstore's threads drop their Python objects a moment after their answer; a process that ends meanwhile aborts.
LETTING_GO = 0.2  # seconds
PROBE = "doctor-probe"
PATIENCE = 20.0
MARKS = {"ok": "[green]✓[/]", "failed": "[red]✗[/]", "warning": "[yellow]![/]", "skipped": "[yellow]–[/]"}

# Checks that are for one part alone.
PART_OF: dict[str, Part] = {
    "Kie": "video", "RevenueCat": "billing", "Products": "billing", "VAPI": "phone", "Expo": "push"
}  # fmt: skip

Check = Callable[[], Awaitable[str]]


class NotUrgent(DaysongError):
    """Something works, and should be seen to all the same."""


class Finding(NamedTuple):
    """How one thing stands: `state` is ok, failed, warning or skipped."""

    name: str
    state: str
    detail: str


async def doctor(environ: Mapping[str, str], data_dir: Path, *, as_json: bool = False) -> bool:
    """Look at everything a daysong needs, report on it, and return whether `serve` and `work` would run."""
    logs.configure(readable=True, silent=True)
    found, problems = settings.read(environ, {"DAYSONG_DATA_DIR": str(data_dir)})
    console = Console(highlight=False, soft_wrap=True)
    if not as_json:
        console.print(f"Python {sys.version.split()[0]}, {found.environment}, data in {escape(str(found.data_dir))}")
    all_found = []
    async for finding in findings(found, problems, environ):
        all_found.append(finding)
        if not as_json:
            console.print(f"{MARKS[finding.state]} {finding.name}: {escape(finding.detail)}")
    well = all(finding.state != "failed" for finding in all_found)
    if as_json:
        print(json.dumps({"ok": well, "checks": [finding._asdict() for finding in all_found]}, indent=2))
    else:
        console.print("All is well." if well else "Something is missing: see the ✗ above.")
    return well


async def findings(
    found: Settings, problems: list[settings.Problem], environ: Mapping[str, str]
) -> AsyncIterator[Finding]:
    """Yield what each check finds, the most important first."""
    problems = _with_database(found, problems)
    for problem in problems:
        yield Finding(problem.name, "failed", problem.what)
    if not problems:
        yield Finding("Settings", "ok", "all there")
    for name, nearest in settings.unknown(environ):
        yield Finding(name, "warning", f"is no setting; {nearest} is")
    missing = {problem.name for problem in problems}
    checks: list[tuple[str, Check, str | None]] = [
        ("Database", lambda: _database(found), None),
        ("Replica", lambda: _replica(found), "DATABASE_URL"),
        ("Schema", lambda: _schema(found), "DATABASE_URL"),
        ("Clock", lambda: _clock(found), "DATABASE_URL"),
        ("Earlier secrets", lambda: _earlier_secrets(found), None),
        ("Hash keys", lambda: _hash_keys(found), "DATABASE_URL"),
        ("Hold", lambda: _hold(found), "DATABASE_URL"),
        ("Files", lambda: _files(found), None),
        *([("Redirects", lambda: redirects(found), "MEDIA_REDIRECT")] if found.media_redirect else []),
        ("Time zones", lambda: _zones(found), None),
        ("Clerk", lambda: _clerk(found), "CLERK_FRONTEND_API_URL"),
        ("OpenAI", lambda: _openai(found), "OPENAI_API_KEY"),
        ("Suno", lambda: _suno(found), "SUNO_API_KEY"),
        ("Kie", lambda: _kie(found), None),
        ("RevenueCat", lambda: _revenuecat(found), "REVENUECAT_API_KEY"),
        ("Products", lambda: _products(found), "DATABASE_URL"),
        ("VAPI", lambda: _vapi(found), "VAPI_API_KEY"),
        ("Expo", lambda: _expo(found), None),
    ]
    away = False
    for name in _off(found):
        yield Finding(name, "skipped", f"not asked, since the part {PART_OF[name]} is off")
    for name, check, needs in [one for one in checks if one[0] not in _off(found)]:
        if needs in missing:
            yield Finding(name, "skipped", f"not asked, since {needs} is missing")
            continue
        if away and needs == "DATABASE_URL":
            yield Finding(name, "skipped", "not asked, since the database cannot be reached")
            continue
        try:
            async with asyncio.timeout(PATIENCE):
                yield Finding(name, "ok", await check())
        except VendorError as error:
            yield Finding(name, "failed", error.detail)
        except (DaysongError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            away = away or isinstance(error, DatabaseUnavailable)
            state = "warning" if isinstance(error, NotUrgent) else "failed"
            yield Finding(name, state, " ".join(str(error).split()) or type(error).__name__)


def _with_database(found: Settings, problems: list[settings.Problem]) -> list[settings.Problem]:
    """Return the problems, and the missing database among them: `serve` and `work` need one."""
    if found.database_url is not None or any(problem.name == "DATABASE_URL" for problem in problems):
        return problems
    return [settings.Problem("DATABASE_URL", "missing: `serve` and `work` need one; `dev` has its own"), *problems]


def _off(found: Settings) -> list[str]:
    """Return the names of the checks whose part is off."""
    return [name for name, part in PART_OF.items() if part in found.off]


async def _database(found: Settings) -> str:
    if found.database_url is not None:
        return await _looked_at(found.database_url)
    server = await asyncio.to_thread(embedded.start, found.data_dir)
    try:
        return f"embedded, {await _looked_at(server.url)}"
    finally:
        await asyncio.to_thread(server.stop)


async def _looked_at(url: str) -> str:
    connection = await connections.connect(url, name="daysong doctor", statement_cache=0)
    try:
        version = str(await connection.fetchval("show server_version")).split()[0]
        read_only = await connection.fetchval(
            "select pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool"
        )
        most = await connection.fetchval("select current_setting('max_connections')")
    finally:
        await connection.close()
    if read_only:
        raise DaysongError(f"PostgreSQL {version} cannot be written: it is a standby, or read-only for now")
    return f"PostgreSQL {version}, {most} connections at most"


async def _replica(found: Settings) -> str:
    url, primary_url = found.database_replica_url, found.listen_url
    if url is None:
        return "none: everything is read from the primary"
    primary = await connections.connect(primary_url, name="daysong doctor", statement_cache=0)
    try:
        return await replica.inspect(primary, url, patience=found.database_replica_max_lag)
    except (DatabaseUnavailable, replica.NotUsable) as error:
        # Not DatabaseUnavailable: that is said of the primary.
        raise NotUrgent(f"{error}; everything is read from the primary meanwhile".replace(".;", ";")) from error
    finally:
        await primary.close()


async def _schema(found: Settings) -> str:
    if waiting := await migrations.pending(found.listen_url, migrations.FOLDER):
        raise DaysongError(f"{len(waiting)} migrations to apply: run `daysong migrate`")
    return "up to date"


async def _clock(found: Settings) -> str:
    connection = await connections.connect(found.listen_url, name="daysong doctor")
    try:
        await require_agreement(connection, SystemClock())
    finally:
        await connection.close()
    return "agrees with the database's"


async def _earlier_secrets(found: Settings) -> str:
    earlier = {
        "DAYSONG_ADMIN_KEY": found.admin_keys_old,
        "CLERK_WEBHOOK_SIGNING_SECRET": found.clerk.webhook_signing_secrets_old,
        "REVENUECAT_WEBHOOK_SECRET": found.revenuecat.webhook_secrets_old,
        "REVENUECAT_WEBHOOK_HMAC_SECRET": found.revenuecat.webhook_hmac_secrets_old,
        "VAPI_WEBHOOK_SECRET": found.vapi.webhook_secrets_old,
        "KIE_WEBHOOK_HMAC_KEY": found.kie.webhook_hmac_keys_old,
    }
    accepted = [f"{name}_OLD" for name, values in earlier.items() if values]
    if accepted:
        raise NotUrgent(f"{', '.join(accepted)}: still accepted; remove each once its new value is used everywhere")
    return "none is accepted"


async def _hash_keys(found: Settings) -> str:
    connection = await connections.connect(found.listen_url, name="daysong doctor")
    try:
        return hash_keys.report(await hash_keys.count_rows(connection), found.hash_keys)
    except asyncpg.UndefinedTableError:
        return "no rows yet"
    finally:
        await connection.close()


async def _hold(found: Settings) -> str:
    connection = await connections.connect(found.listen_url, name="daysong doctor")
    try:
        held = await hold.current(connection)
    except asyncpg.UndefinedTableError:
        held = None
    finally:
        await connection.close()
    if held is not None:
        raise NotUrgent(
            f"restored from a backup of {held.snapshot_at:%Y-%m-%d %H:%M} UTC: songs, calls, notifications and crons "
            "wait until `daysong resume`"
        )
    return "none: jobs run"


async def _products(found: Settings) -> str:
    return await purchases.check_products(found.listen_url, found, SystemClock().now())


async def _zones(found: Settings) -> str:
    today, data = SystemClock().now().date(), zones.chosen(found.tzdata_dir)
    if data.is_old(today):
        raise NotUrgent(f"{data.description(today)}: install a newer tzdata, or set TZDATA_DIR to a newer folder")
    return data.description(today)


async def _files(found: Settings) -> str:
    store = FileStore(found.storage_url)
    await store.put(PROBE, b"probe", "text/plain")
    size = await store.size(PROBE)
    await store.delete([PROBE])
    await asyncio.sleep(LETTING_GO)
    return f"written, read and deleted {size} bytes in {found.storage_url}"


async def redirects(found: Settings) -> str:
    """Fetch a part of a file as a client does that was redirected to the bucket."""
    store, addresses = FileStore(found.storage_url), SignedAddresses(found.storage_url, found.media_redirect_endpoint)
    await store.put(PROBE, b"probe", "text/plain")
    try:
        address = await addresses.address(PROBE)
        target = urlsplit(address)
        origin = f"{target.scheme}://{target.netloc}"
        # A browser that was redirected names no origin.
        headers = {"Range": "bytes=1-2", "Origin": "null"}
        async with httpx2.AsyncClient(timeout=PATIENCE / 2) as http:
            answer = await http.get(address, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DaysongError(f"the bucket cannot be fetched from at {origin}: {type(error).__name__}") from None
    finally:
        await store.delete([PROBE])
        await asyncio.sleep(LETTING_GO)
    if (answer.status_code, answer.content) != (206, b"ro"):
        raise DaysongError(
            f"{origin} answers {answer.status_code} to a signed address, and not with the part asked for"
        )
    if found.production and target.scheme != "https":
        raise DaysongError(f"{origin} is not https: set MEDIA_REDIRECT_ENDPOINT to where clients reach the bucket")
    if answer.headers.get("access-control-allow-origin") not in {"*", "null"}:
        raise NotUrgent(f"songs are fetched from {origin}, but its CORS does not let scripts of every origin read them")
    return f"songs are fetched from {origin}"


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


async def _openai(found: Settings) -> str:
    openai = OpenAI(found.openai)
    try:
        return await openai.check_model()
    finally:
        await openai.close()


async def _suno(found: Settings) -> str:
    suno = Suno(found.suno)
    try:
        return f"{await suno.credits()} credits left"
    finally:
        await suno.close()


async def _kie(found: Settings) -> str:
    if found.kie.api_key is None:
        return "no key: no videos are made"
    kie = Kie(found.kie)
    try:
        return f"{await kie.credits()} credits left"
    finally:
        await kie.close()


async def _revenuecat(found: Settings) -> str:
    if found.revenuecat.api_key is None:
        return "no key: webhooks alone are believed"
    revenuecat = RevenueCat(found.revenuecat)
    try:
        await revenuecat.customer(PROBE)
    finally:
        await revenuecat.close()
    return "answers"


async def _vapi(found: Settings) -> str:
    if found.vapi.api_key is None or found.vapi.phone_number_id is None:
        return "no key or no line: no calls are made"
    vapi = Vapi(found.vapi)
    try:
        await vapi.get(PROBE)
    finally:
        await vapi.close()
    if found.vapi.webhook_secret is None or found.vapi.credential_id is None:
        return "answers; without VAPI_WEBHOOK_SECRET and VAPI_CREDENTIAL_ID no report of a call is believed"
    return f"answers; {found.vapi.max_concurrent_calls} calls at once"


async def _expo(found: Settings) -> str:
    expo = Expo(found.expo)
    try:
        await expo.receipts([PROBE])
    finally:
        await expo.close()
    return "answers" if found.expo.access_token else "answers; without EXPO_ACCESS_TOKEN, enhanced security must be off"
