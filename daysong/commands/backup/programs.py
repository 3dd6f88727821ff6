"""pg_dump and pg_restore: those of PATH, or of the embedded PostgreSQL, that are new enough for the server."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from daysong.embedded import home
from daysong.kernel.errors import DaysongError

# Settings of a database URL that libpq reads from the environment.
VARIABLES = {
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "dbname": "PGDATABASE",
    "database": "PGDATABASE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslpassword": "PGSSLPASSWORD",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "passfile": "PGPASSFILE",
}
ERROR_CHARACTERS = 2000


class ProgramFailed(DaysongError):
    """pg_dump or pg_restore is missing, too old, or failed; the message says which and why."""


def libpq_environment(url: str) -> dict[str, str]:
    """Return a database URL as libpq's variables, so that no password is on a command line."""
    # By hand: newer Pythons refuse to split an address with several hosts of which one is in brackets.
    address, _, query = url.partition("://")[2].partition("?")
    netloc, _, database = address.partition("/")
    account, _, hosts = netloc.rpartition("@")
    user, _, password = account.partition(":")
    found = {"user": unquote(user), "password": unquote(password), "dbname": unquote(database)}
    named = [re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d+))?", host) for host in hosts.split(",") if host]
    found["host"] = ",".join(unquote(one[1].strip("[]")) for one in named if one)
    found["port"] = ",".join(one[2] or "5432" for one in named if one)
    found |= dict(parse_qsl(query))
    return {VARIABLES[name]: value for name, value in found.items() if value and name in VARIABLES}


async def program(name: str, server_version: int) -> Path:
    """Return pg_dump or pg_restore of the server's major version or newer. Errors: ProgramFailed."""
    found: list[str] = []
    for path in _candidates(name):
        output = await _output(path, "--version", environ={})
        match = re.search(r"\(PostgreSQL\)\s+(\d+)", output)
        if match and int(match[1]) >= server_version:
            return path
        found.append(f"{path} is of version {match[1] if match else 'unknown'}")
    if not found:
        raise ProgramFailed(f"{name} is not installed: install PostgreSQL {server_version}'s client programs.")
    raise ProgramFailed(
        f"The server is PostgreSQL {server_version}, and {'; '.join(found)}: install {name} {server_version}, "
        f"and have PATH find it first."
    )


def _candidates(name: str) -> list[Path]:
    found = []
    if path := shutil.which(name):
        found.append(Path(path))
    with suppress(DaysongError):
        found.append(home.programs() / name)
    return [path for path in found if path.exists()]


async def run(path: Path, *arguments: str, url: str) -> None:
    """Run a program on a database. Errors: ProgramFailed, with what it said."""
    await _output(path, *arguments, environ=libpq_environment(url))


async def _output(path: Path, *arguments: str, environ: Mapping[str, str]) -> str:
    # What the URL lacks, asyncpg reads from these variables too. Others, such as PGSERVICE, would win over them.
    shared = VARIABLES.values()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PG") or name in shared}
    process = await asyncio.create_subprocess_exec(
        path, *arguments, env=plain | dict(environ), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    if process.returncode:
        said = errors.decode(errors="replace").strip()[-ERROR_CHARACTERS:]
        raise ProgramFailed(f"{path.name} failed: {said}")
    return output.decode(errors="replace")
