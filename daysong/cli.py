"""daysong serve | work | dev | demo | migrate | doctor | call | functions | costs | jobs | webhooks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx2
from cyclopts import App as CommandLine
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from daysong import app as composition
from daysong.commands import costs as costs_command
from daysong.commands import demo as demo_command
from daysong.commands import dev as dev_command
from daysong.commands import doctor as doctor_command
from daysong.commands import functions as functions_command
from daysong.commands import jobs as jobs_command
from daysong.commands import serve as serve_command
from daysong.commands import surroundings
from daysong.commands import webhooks as webhooks_command
from daysong.kernel import logs, settings, values
from daysong.kernel.database import migrations
from daysong.kernel.database.transactions import LOST
from daysong.kernel.errors import DatabaseMisconfigured, DatabaseUnavailable, DaysongError
from daysong.kernel.functions.context import SYSTEM, Caller
from daysong.kernel.functions.registry import Registry
from daysong.kernel.settings import Settings
from daysong.sandbox.app import Sandbox
from daysong.surface import SURFACE

command_line = CommandLine(
    name="daysong", help="A diary entry becomes a song: the backend.", version=version("daysong")
)
jobs = CommandLine(name="jobs", help="Scheduled runs of functions.")
command_line.command(jobs)
webhooks = CommandLine(name="webhooks", help="What vendors have told us, and what became of it.")
command_line.command(webhooks)

DATA_DIR = Path(".daysong")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two looks for a database that is away

DataDir = Annotated[Path, Parameter(env_var="DAYSONG_DATA_DIR", help="Where database and files are kept.")]
Port = Annotated[int, Parameter(help="Where to listen; 0 for any free port.", validator=Number(gte=0, lte=65_535))]
Processes = Annotated[int, Parameter(help="How many share the port.", validator=Number(gte=1, lte=64))]
Limit = Annotated[int, Parameter(help="How many at most.", validator=Number(gte=1, lte=100_000))]
Json = Annotated[bool, Parameter(name="--json", negative=(), help="As JSON, for programs.")]


@command_line.command
def dev(*, port: Port = surroundings.DEFAULT_PORT, data_dir: DataDir = DATA_DIR, sandbox: bool = True) -> None:
    """Run everything in one process: server, worker, PostgreSQL, and the vendors' sandbox (unless --no-sandbox)."""
    asyncio.run(
        dev_command.dev(port=port or surroundings.free_port(), data_dir=data_dir.absolute(), sandbox=sandbox)
    )  # fmt: skip


@command_line.command
def demo(
    entry: str = demo_command.ENTRY,
    *,
    port: Port = surroundings.DEFAULT_PORT,
    data_dir: DataDir = DATA_DIR,
    exit_: Annotated[bool, Parameter(name="--exit", negative=(), help="Leave when the song is there.")] = False,
    call_: Annotated[bool, Parameter(name="--call", negative=(), help="Have somebody tell it on the phone.")] = False,
) -> None:
    """Make a song of a diary entry, or of a phone call, and show each stage. Needs no keys and no network."""
    port, told = port or surroundings.free_port(), None if call_ else entry
    asyncio.run(demo_command.demo(entry=told, port=port, data_dir=data_dir.absolute(), leave=exit_))


@command_line.command
def serve(*, port: Port = surroundings.DEFAULT_PORT, host: str = "127.0.0.1", processes: Processes = 1) -> None:
    """Serve HTTP. Any number of machines may, on one database; it must have been migrated."""
    asyncio.run(_check_migrated(surroundings.configured()))
    serve_command.serve(host, port, processes)


@command_line.command
def work() -> None:
    """Run jobs and crons. Any number of machines may, on one database."""
    configured = surroundings.configured()
    logs.configure(readable=not configured.production)
    asyncio.run(_work(configured))


async def _work(configured: Settings) -> None:
    stop = dev_command.until_asked_to_stop()
    app = composition.build(configured)
    if not await _opened(app, configured, stop):
        return
    app.report()
    working = asyncio.create_task(app.worker.run_forever(configured.listen_url))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await app.worker.stop()
        await working
    finally:
        stopping.cancel()
        await app.close()


async def _opened(app: composition.App, configured: Settings, stop: asyncio.Event) -> bool:
    """Wait for the database, which may come up later than we do; False when asked to stop meanwhile."""
    pause = FIRST_PAUSE
    while not stop.is_set():
        try:
            await _check_migrated(configured)
            await app.open()
        except DatabaseMisconfigured:
            raise
        except (DatabaseUnavailable, *LOST, OSError, asyncpg.TooManyConnectionsError) as error:
            dev_command.log.warning("waiting for the database", error=logs.describe(error), pause=pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        else:
            return True
    return False


@command_line.command
def migrate(*, data_dir: DataDir = DATA_DIR) -> None:
    """Bring the database's schema up to date."""

    async def run() -> None:
        configured, _ = settings.read(os.environ)
        if configured.database_url:
            applied = await migrations.migrate(configured.listen_url, migrations.FOLDER)
            _say("\n".join(f"applied {name}" for name in applied) or "nothing to apply")
            return
        async with surroundings.database(_local(data_dir), migrate=True):
            _say("the embedded database is up to date")

    asyncio.run(run())


@command_line.command
def doctor(*, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Say what is missing and what works; exit code 1 when `serve` or `work` would refuse to run."""
    if not asyncio.run(doctor_command.doctor(os.environ, data_dir.absolute(), as_json=json_)):
        sys.exit(1)


@command_line.command
def call(
    name: str,
    arguments: str = "{}",
    *,
    acting_as: Annotated[str | None, Parameter(name="--as", help="A Clerk user id to act as.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Call any function, internal ones too: daysong call users:ensureCurrentUser '{}' --as user_2abc."""

    try:
        given = values.decode(json.loads(arguments))
    except (ValueError, RecursionError) as error:
        raise DaysongError(f"The arguments are no JSON: {error}") from None
    if not isinstance(given, dict):
        raise DaysongError('The arguments must be a JSON object, such as \'{"content": "Rain."}\'.')

    async def run(app: composition.App) -> None:
        caller = SYSTEM if acting_as is None else Caller(subject=acting_as, is_admin=True)
        result = await app.call(name, given, caller=caller)
        _say(json.dumps(values.encode(result, "json"), indent=2, ensure_ascii=False))

    _with_app(data_dir, run)


@command_line.command
def functions(*, json_: Json = False) -> None:
    """Describe every function, as docs/FUNCTIONS.md does: daysong functions > docs/FUNCTIONS.md."""
    registry = Registry(SURFACE)
    if json_:
        kinds = [{"name": one.identifier, "kind": one.kind.value.lower(), "public": one.public} for one in registry]
        _say(json.dumps(kinds, indent=2))
        return
    sys.stdout.write(functions_command.document(registry))


@command_line.command
def costs(
    *,
    by: costs_command.By = "day",
    days: Annotated[int, Parameter(help="How many days to look back, today among them.")] = 30,
    limit: int = 1000,
    json_: Annotated[bool, Parameter(name="--json", negative=(), help="Micro-dollars, as JSON.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """What vendors cost, by day, by account (as a keyed hash) or by vendor."""
    _with_app(
        data_dir,
        lambda app: costs_command.show(app, _say, by=by, days=max(1, days), limit=limit, as_json=json_),
    )


@jobs.command(name="list")
def list_jobs(
    *, status: jobs_command.Status | None = None, limit: Limit = 50, json_: Json = False, data_dir: DataDir = DATA_DIR
) -> None:
    """The newest jobs; --status dead shows those that were given up."""
    _with_app(data_dir, lambda app: jobs_command.list_jobs(app, _say, status=status, limit=limit, as_json=json_))


@jobs.command
def retry(job_id: str, *, data_dir: DataDir = DATA_DIR) -> None:
    """Give a dead job another life."""
    _with_app(data_dir, lambda app: jobs_command.retry_job(app, _say, job_id))


@webhooks.command(name="list")
def list_webhooks(
    *,
    status: Annotated[str | None, Parameter(help="waiting, handled, dead or stranded.")] = None,
    vendor: str | None = None,
    limit: Limit = 50,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """The newest events; --status dead shows those whose handling was given up."""
    _with_app(
        data_dir,
        lambda app: webhooks_command.list_events(app, _say, vendor=vendor, status=status, limit=limit, as_json=json_),
    )


@webhooks.command
def show(event_id: str, *, data_dir: DataDir = DATA_DIR) -> None:
    """All of one event. What the vendor sent may be private."""
    _with_app(data_dir, lambda app: webhooks_command.show_event(app, _say, event_id))


@webhooks.command
def replay(event_id: str, *, data_dir: DataDir = DATA_DIR) -> None:
    """Have an event handled anew, by a worker."""
    _with_app(data_dir, lambda app: webhooks_command.replay_event(app, _say, event_id))


def _with_app(data_dir: Path, use: Any) -> None:
    async def run() -> None:
        logs.configure(readable=True, quiet=True)
        async with surroundings.database(_local(data_dir), migrate=False) as configured:
            app = composition.build(configured)
            await app.open()
            try:
                await use(app)
            finally:
                await app.close()

    asyncio.run(run())


def _local(data_dir: Path) -> Settings:
    """The settings of a command on this machine: those of a development installation where none are given."""
    data_dir = data_dir.absolute()
    defaults = surroundings.local_defaults(data_dir, surroundings.remembered_origin(data_dir))
    vendors = Sandbox(defaults["SITE_URL"], data_dir=data_dir, http=httpx2.AsyncClient())
    return settings.load(os.environ, defaults | surroundings.with_sandbox(vendors, os.environ))


async def _check_migrated(configured: Settings) -> None:
    if waiting := await migrations.pending(configured.listen_url, migrations.FOLDER):
        raise DaysongError(f"The database lacks {', '.join(waiting)}: run `daysong migrate` first.")


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Run the command line; an expected error is told in words, without a traceback."""
    surroundings.end_as_by_ctrl_c()
    try:
        command_line(sys.argv[1:])
    except (DaysongError, asyncpg.PostgresError) as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`); nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
