"""daysong serve | work | dev | demo | migrate | doctor | call | functions | settings | errors | metrics | jobs | …"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App as CommandLine
from cyclopts import Parameter

from daysong.commands import extras, running, signals
from daysong.commands.admin import command_line as admin
from daysong.commands.options import (
    DATA_DIR,
    DEFAULT_PORT,
    ENTRY,
    LOOPBACK,
    CostsBy,
    DataDir,
    Drain,
    Host,
    Json,
    MetricsPort,
    Port,
    Processes,
    SandboxUrl,
    WithSandbox,
)
from daysong.commands.support import command_line as support
from daysong.kernel import garbage
from daysong.kernel.errors import DaysongError

if TYPE_CHECKING:
    from daysong.app import App

NEEDS_EXTRA = 2  # exit code

command_line = CommandLine(
    name="daysong", help="A diary entry becomes a song: the backend.", version=version("daysong")
)
for group in support.GROUPS:
    command_line.command(group)
command_line.command(support.audit)
command_line.command(admin.flags)
command_line.command(admin.invites)
command_line.command(admin.blog)
imports = CommandLine(name="import", help="Accounts of another backend.")
command_line.command(imports)


@command_line.command
def dev(
    *,
    host: Host = LOOPBACK,
    port: Port = DEFAULT_PORT,
    data_dir: DataDir = DATA_DIR,
    sandbox: bool = True,
    reload: Annotated[bool, Parameter(negative=(), help="Restart after each change of daysong's code.")] = False,
) -> None:
    """Run everything in one process: server, worker, PostgreSQL, and the vendors' sandbox (unless --no-sandbox)."""
    extras.require("dev")
    from daysong.commands.environment import free_port

    chosen, folder = port or free_port(), data_dir.absolute()
    if reload:
        from daysong.commands import reloading
        from daysong.kernel import logs

        logs.configure(readable=True)
        running.run(reloading.dev(host=host, port=chosen, data_dir=folder, sandbox=sandbox))
        return
    from daysong.commands import dev as command

    running.run(command.dev(host=host, port=chosen, data_dir=folder, sandbox=sandbox))


@command_line.command
def demo(
    entry: str = ENTRY,
    *,
    port: Port = DEFAULT_PORT,
    data_dir: DataDir = DATA_DIR,
    exit_: Annotated[bool, Parameter(name="--exit", negative=(), help="Exit when the song is ready.")] = False,
    call_: Annotated[bool, Parameter(name="--call", negative=(), help="Use a phone call instead of an entry.")] = False,
    photo: Annotated[Path | None, Parameter(help="Attach this photo to the entry, and make a video too.")] = None,
) -> None:
    """Make a song of a diary entry, or of a phone call, and show each stage. Needs no keys and no network."""
    extras.require("demo")
    from daysong.commands.demo import demo as command
    from daysong.commands.environment import free_port

    text = None if call_ else entry
    running.run(
        command.demo(
            entry=text,
            photo=None if call_ else photo,
            port=port or free_port(),
            data_dir=data_dir.absolute(),
            leave=exit_,
        )
    )


@command_line.command
def serve(
    *,
    port: Port = DEFAULT_PORT,
    host: Host = LOOPBACK,
    processes: Processes = 1,
    drain: Drain = 0,
    with_sandbox: WithSandbox = False,
    sandbox_url: SandboxUrl | None = None,
) -> None:
    """Serve HTTP. Any number of machines may serve one database, which must have been migrated."""
    garbage.pause()
    from daysong.commands import environment, starting
    from daysong.commands import serve as command

    played_at = (sandbox_url or f"http://{LOOPBACK}:{port}") if with_sandbox else None
    configured = starting.configured_for("serve", played_at)
    running.run(environment.check_migrated(configured))
    command.serve(host, port, processes, configured, drain=drain, played_at=played_at)


@command_line.command
def work(
    *,
    metrics_port: MetricsPort | None = None,
    metrics_host: Host = LOOPBACK,
    with_sandbox: WithSandbox = False,
    sandbox_url: SandboxUrl = f"http://{LOOPBACK}:{DEFAULT_PORT}",
) -> None:
    """Run jobs and crons. Any number of machines may work on one database."""
    garbage.pause()
    from daysong.commands import starting
    from daysong.commands import work as command

    configured = starting.configured_for("work", sandbox_url if with_sandbox else None)
    command.run(configured, metrics_host=metrics_host, metrics_port=metrics_port)


@command_line.command
def migrate(*, data_dir: DataDir = DATA_DIR) -> None:
    """Bring the database's schema up to date."""
    from daysong.commands import local_app

    running.say(running.run(local_app.migrate(data_dir)))


@command_line.command
def doctor(*, json_: Json = False, data_dir: DataDir = DATA_DIR) -> None:
    """Check the installation; exit code 1 when `serve` or `work` would refuse to run."""
    from daysong.commands import doctor as command

    if not running.run(command.doctor(os.environ, data_dir.absolute(), as_json=json_)):
        sys.exit(1)


@command_line.command
def backup(
    folder: Path,
    *,
    files: Annotated[bool, Parameter(help="Copy stored files too; those of a bucket are never copied.")] = True,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Back up database, stored files and the journal of removals into a new folder. Works while daysong serves."""
    from daysong.commands.backup import backup as command

    target = folder.absolute()

    async def run(app: App) -> None:
        await command.backup(app, running.say, target, with_files=files)

    running.with_app(data_dir, run)


@command_line.command
def restore(
    folder: Path | None = None,
    *,
    replace: Annotated[bool, Parameter(negative=(), help="Delete what the database has.")] = False,
    recovered_at: Annotated[datetime | None, Parameter(help="PostgreSQL itself has recovered this moment.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Restore a backup into an empty database, on hold until `daysong resume`.

    With --recovered-at, a database that PostgreSQL has recovered to a moment is put on hold instead.
    """
    from daysong.commands import environment, local_app
    from daysong.commands.backup import restore as command
    from daysong.kernel import logs

    if (folder is None) == (recovered_at is None):
        raise DaysongError("Give the folder of a backup, or --recovered-at.")
    source = folder.absolute() if folder else None

    async def run() -> None:
        logs.configure(readable=True, quiet=True)
        async with environment.database(local_app.local_settings(data_dir), migrate=False, bare=True) as configured:
            if source is not None:
                await command.restore(configured, running.say, source, replace=replace)
            elif recovered_at is not None:
                await command.hold_recovered(
                    configured, running.say, recovered_at if recovered_at.tzinfo else recovered_at.replace(tzinfo=UTC)
                )

    running.run(run())


@command_line.command
def resume(*, data_dir: DataDir = DATA_DIR) -> None:
    """After a restore: let jobs and crons run again. What has been due meanwhile is not done a second time."""
    from daysong.commands.backup import resume as command

    running.with_app(data_dir, lambda app: command.resume(app, running.say))


@command_line.command
def call(
    name: str,
    arguments: str = "{}",
    *,
    acting_as: Annotated[str | None, Parameter(name="--as", help="A Clerk user id to act as.")] = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Call any function, internal ones too: daysong call users:ensureCurrentUser '{}' --as user_2abc."""
    from daysong.commands import call as command

    given = command.arguments_from(arguments)
    running.with_app(data_dir, lambda app: command.call(app, running.say, name, given, acting_as=acting_as))


@command_line.command
def functions(
    *,
    json_: Json = False,
    typescript: Annotated[bool, Parameter(negative=(), help="As types for the npm client's anyApi.")] = False,
) -> None:
    """Describe every function: daysong functions > docs/FUNCTIONS.md.

    With --json as one object of modules, types and errors, and with each handler's line. With --typescript as a
    declaration file: daysong functions --typescript > api.d.ts.
    """
    from daysong.commands.documents import functions as command
    from daysong.commands.documents import typescript as types
    from daysong.kernel.functions.descriptions import describe
    from daysong.kernel.functions.registry import Registry
    from daysong.surface import SURFACE

    description = describe(Registry(SURFACE))
    if typescript:
        sys.stdout.write(types.document(description))
    else:
        sys.stdout.write(command.as_json(description) + "\n" if json_ else command.document(description))


@command_line.command
def schema() -> None:
    """Describe every table: daysong schema > docs/SCHEMA.md."""
    extras.require("schema")
    from daysong.commands.documents import schema as command

    async def run() -> None:
        sys.stdout.write(await command.of_migrations())

    running.run(run())


@command_line.command
def settings() -> None:
    """Describe every setting: daysong settings > docs/SETTINGS.md."""
    from daysong.commands.documents import settings as command

    sys.stdout.write(command.document())


@command_line.command
def errors() -> None:
    """Describe every error code, and what a client should do: daysong errors > docs/ERRORS.md."""
    from daysong.commands.documents import errors as command
    from daysong.kernel.functions.descriptions import describe
    from daysong.kernel.functions.registry import Registry
    from daysong.surface import SURFACE

    sys.stdout.write(command.document(describe(Registry(SURFACE))))


@command_line.command
def metrics() -> None:
    """Describe every series of /metrics: daysong metrics > docs/METRICS.md."""
    from daysong.commands.documents import metrics as command

    sys.stdout.write(command.document())


@command_line.command
def costs(
    *,
    by: CostsBy = "day",
    days: Annotated[int, Parameter(help="How many days to look back, today among them.")] = 30,
    limit: int = 1000,
    json_: Annotated[bool, Parameter(name="--json", negative=(), help="Micro-dollars, as JSON.")] = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """What vendors cost, by day, by account (as a keyed hash) or by vendor."""
    from daysong.commands.support import costs as command

    running.with_app(
        data_dir,
        lambda app: command.show(app, running.say, by=by, days=max(1, days), limit=limit, as_json=json_),
    )


@imports.command(name="convex")
def import_convex(
    snapshot: Path,
    *,
    apply: Annotated[bool, Parameter(negative=(), help="Write; else say what would be written.")] = False,
    only_users: Annotated[Path | None, Parameter(help="A file of user ids or Clerk ids: import no others.")] = None,
    json_: Json = False,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Import a Convex snapshot export, a ZIP archive or a folder: daysong import convex snapshot.zip --apply."""
    from daysong.commands import imports as command
    from daysong.workflows.moving.archive import Archive

    archive, only = Archive(snapshot), command.chosen_users(only_users)
    running.with_app(
        data_dir,
        lambda app: command.import_convex(app, running.say, archive, apply=apply, only=only, as_json=json_),
    )


def _expected_errors() -> tuple[type[Exception], ...]:
    import asyncpg

    return (DaysongError, asyncpg.PostgresError)


def main() -> None:
    """Run the command line; an expected error is printed without a traceback."""
    signals.end_as_by_ctrl_c()
    try:
        command_line(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader closed the pipe (`| head`); nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(error, file=sys.stderr)
        sys.exit(NEEDS_EXTRA if isinstance(error, extras.ExtraMissing) else 1)


if __name__ == "__main__":
    main()
