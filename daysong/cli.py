"""daysong serve | work | dev | demo | migrate | doctor | call | functions | costs | jobs | webhooks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import httpx2
from cyclopts import App as CommandLine
from cyclopts import Parameter
from rich.console import Console

from daysong import app as composition
from daysong.commands import costs as costs_command
from daysong.commands import demo as demo_command
from daysong.commands import dev as dev_command
from daysong.commands import doctor as doctor_command
from daysong.commands import functions as functions_command
from daysong.commands import serve as serve_command
from daysong.commands import surroundings
from daysong.commands import webhooks as webhooks_command
from daysong.kernel import logs, migrations, settings, values
from daysong.kernel.context import SYSTEM, Caller
from daysong.kernel.errors import DaysongError
from daysong.kernel.registry import Registry
from daysong.kernel.settings import Settings
from daysong.sandbox.app import Sandbox

command_line = CommandLine(name="daysong", help="A diary entry becomes a song: the backend.", version_flags=[])
jobs = CommandLine(name="jobs", help="Scheduled runs of functions.")
command_line.command(jobs)
webhooks = CommandLine(name="webhooks", help="What vendors have told us, and what became of it.")
command_line.command(webhooks)

DATA_DIR = Path(".daysong")

DataDir = Annotated[Path, Parameter(env_var="DAYSONG_DATA_DIR", help="Where database and files are kept.")]
Port = Annotated[int, Parameter(help="Where to listen; 0 for any free port.")]


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
def serve(*, port: Port = surroundings.DEFAULT_PORT, host: str = "127.0.0.1", processes: int = 1) -> None:
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
    await _check_migrated(configured)
    stop = dev_command.until_asked_to_stop()
    app = composition.build(configured)
    await app.open()
    working = asyncio.create_task(app.worker.run_forever(configured.listen_url))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await app.worker.stop()
        await working
    finally:
        stopping.cancel()
        await app.close()


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
def doctor(*, data_dir: DataDir = DATA_DIR) -> None:
    """Say what is missing and what works."""
    if not asyncio.run(doctor_command.doctor(os.environ, data_dir.absolute())):
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

    async def run(app: composition.App) -> None:
        caller = SYSTEM if acting_as is None else Caller(subject=acting_as, is_admin=True)
        result = await app.call(name, values.decode(json.loads(arguments)), caller=caller)
        _say(json.dumps(values.encode(result, "json"), indent=2, ensure_ascii=False))

    _with_app(data_dir, run)


@command_line.command
def functions() -> None:
    """Describe every function, as docs/FUNCTIONS.md does: daysong functions > docs/FUNCTIONS.md."""
    sys.stdout.write(functions_command.document(Registry(composition.ROOMS)))


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
def list_jobs(*, status: str | None = None, limit: int = 50, data_dir: DataDir = DATA_DIR) -> None:
    """The newest jobs; --status dead shows those that were given up."""

    async def run(app: composition.App) -> None:
        for row in await app.runtime.queue.list(status, limit):
            due = row["due_at"].isoformat(timespec="seconds")
            _say(f"{row['id']}  {row['status']:7}  due {due}  failures {row['failures']}  {row['function']}")
            if row["last_error"]:
                _say(f"    {row['last_error']}")

    _with_app(data_dir, run)


@jobs.command
def retry(job_id: str, *, data_dir: DataDir = DATA_DIR) -> None:
    """Give a dead job another life."""

    async def run(app: composition.App) -> None:
        if not await app.runtime.queue.retry(job_id, app.clock.now()):
            raise DaysongError("there is no dead job of that id")
        _say("queued again")

    _with_app(data_dir, run)


@webhooks.command(name="list")
def list_webhooks(
    *,
    status: Annotated[str | None, Parameter(help="waiting, handled, dead or stranded.")] = None,
    vendor: str | None = None,
    limit: int = 50,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """The newest events; --status dead shows those whose handling was given up."""
    _with_app(
        data_dir,
        lambda app: webhooks_command.list_events(app, _say, vendor=vendor, status=status, limit=limit),
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
    try:
        command_line()
    except DaysongError as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has seen enough (`| head`); nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
