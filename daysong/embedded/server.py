"""PostgreSQL 18 from a wheel: a server for one data folder, so that nothing has to be installed first.

Where things lie, the "home" being `<data_dir>/postgres`:

    data/             the cluster; its log is data/server.log
    socket -> run-…/  the socket, in a folder only the server's account may enter (and root, where root starts it)
    pg_hba.conf       only the account that starts the server may connect (peer), and only through the socket

Several processes may use one data folder: the first starts the server, the others join, the last to leave stops it.
Each user of it holds a lock that the kernel drops when a process dies, so nothing needs cleaning up after a SIGKILL.

PostgreSQL refuses to run as root, so as root it runs as the account `pgserver`, which must be able to traverse the path
to the home. No folder's mode is changed for that: where the account cannot reach the data folder, the home is kept
under /var/lib/daysong instead, and `postgres-location.txt` in the data folder names it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from daysong.embedded.home import (
    POINTER,
    VERSION,
    EmbeddedPostgresError,
    alone,
    exclusive,
    give_to_server,
    home_of,
    is_root,
    open_to_all,
    pointed_home,
    programs,
    server_account,
)

PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"
LONGEST_SOCKET_PATH = 99  # bytes; the kernel's limit is 107 on Linux, 103 on macOS
STATUS_LINE = 8  # of postmaster.pid
NO_SUCH_PID = 2**31 - 1

SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "jit": "off",
    "max_connections": "200",
}
FAST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "300",
}


class EmbeddedPostgres:
    """One process's use of a running server. `url` goes to asyncpg as it is; call `stop` when done with it."""

    def __init__(self, data_dir: Path, home: Path, users: int) -> None:
        self.data_dir = data_dir
        self.home = home
        self.url = database_url(home)
        self._users: int | None = users

    def stop(self) -> bool:
        """Leave; the last process to leave stops the server. Returns whether this one did. Idempotent."""
        if self._users is None:
            return False
        users, self._users = self._users, None
        try:
            fcntl.flock(users, fcntl.LOCK_UN)
            if not self.data_dir.exists():  # deleted meanwhile: no other process can be joining
                return False
            with exclusive(self.data_dir / "postgres.lock"):
                if not alone(users):
                    return False
                _halt(self.home)
                return True
        finally:
            os.close(users)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(data_dir: Path, *, fast: bool = False) -> EmbeddedPostgres:
    """Join the server of `data_dir`, starting it (and creating its cluster) if necessary.

    `fast` disables durability and is for tests; a running server is joined as it is.
    """
    data_dir = data_dir.expanduser().resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(data_dir / "postgres.lock"):
        home = home_of(data_dir, _halt)
        users = _users(data_dir)
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _running(home):
                _launch(home, fast=fast)
        except BaseException:
            os.close(users)
            raise
    return EmbeddedPostgres(data_dir, home, users)


def remove(data_dir: Path) -> bool:
    """Stop the server of `data_dir` and delete its cluster. False, and nothing done, while a process uses it."""
    data_dir = data_dir.expanduser().resolve()
    if not data_dir.exists():
        return True
    with exclusive(data_dir / "postgres.lock"):
        users = _users(data_dir)
        try:
            if not alone(users):
                return False
            home = pointed_home(data_dir) or data_dir / "postgres"
            _halt(home)
            shutil.rmtree(home, ignore_errors=True)
            (data_dir / POINTER).unlink(missing_ok=True)
        finally:
            os.close(users)
    return True


def database_url(home: Path, database: str = "postgres") -> str:
    """Return the DSN of one database of the server in `home`, complete, so that PGPORT and the like have no effect."""
    socket_folder = home / "socket" if _holds_socket(home) else _socket_folder(home)
    return f"postgresql://postgres@/{quote(database)}?host={quote(str(socket_folder))}&port={PORT}"


def _users(data_dir: Path) -> int:
    return os.open(data_dir / "postgres.users", os.O_RDWR | os.O_CREAT, 0o600)


def _run(home: Path, program: str, *arguments: str, patience: float = 150) -> None:
    """Run one of PostgreSQL's programs in `home` as the server's account; EmbeddedPostgresError with its output."""
    account = server_account()
    # A file for the output, not a pipe: the server would inherit the pipe and keep it open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(  # noqa: S603 - our own program and arguments
            [programs() / program, *arguments],
            check=False,
            cwd=home,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},  # no PG* settings, and no secrets
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            umask=0o077,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not reach the server, which stops in order
            timeout=patience,
        )
        if done.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise EmbeddedPostgresError(f"PostgreSQL's {program} failed in {home}: {said}")


def _running(home: Path) -> bool:
    """Return whether a server runs in `home`; waits for one that is starting."""
    began = time.monotonic()
    while True:
        try:
            lines = (home / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        if len(lines) > 1 and not (_alive(lines[0]) and Path(lines[1]) == home / "data"):
            return False  # dead, or the file was copied with the folder
        answers = _answers(_socket_folder(home) / SOCKET)
        if answers and len(lines) >= STATUS_LINE and lines[STATUS_LINE - 1].strip() == "ready":
            return True
        waited = time.monotonic() - began
        if not answers and waited > 1:  # second; the pid now belongs to another process
            return False
        if waited > 120:  # noqa: PLR2004 - seconds of recovery
            raise EmbeddedPostgresError(f"The server in {home} does not become ready; see {home}/data/server.log.")
        time.sleep(0.02)


def _alive(pid: str) -> bool:
    try:
        os.kill(abs(int(pid)), 0)
    except (ProcessLookupError, PermissionError, ValueError, OverflowError):
        return False  # without permission it is another user's process, so not this server
    return True


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _launch(home: Path, *, fast: bool) -> None:
    data = home / "data"
    own_name = _own_name()
    if not data.exists():
        _create_cluster(home, fast=fast)
    made_by = (data / "PG_VERSION").read_text(encoding="utf-8").strip()
    if made_by != VERSION:
        raise EmbeddedPostgresError(
            f"The database in {home} was made by PostgreSQL {made_by}; this is {VERSION}. "
            f"Dump it with the older release and load it into a new data folder, or begin with an empty one."
        )
    _forget_pid(data)
    socket_folder = _fresh_socket_folder(home)
    _write(home / "pg_hba.conf", "local all all peer map=daysong\n")
    _write(home / "pg_ident.conf", f'daysong "{own_name}" postgres\n')
    settings = SETTINGS | (FAST_SETTINGS if fast else {})
    settings |= {
        "unix_socket_directories": str(socket_folder),
        "hba_file": str(home / "pg_hba.conf"),
        "ident_file": str(home / "pg_ident.conf"),
    }
    options = shlex.join(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
    command = ("--pgdata=data", "--log=data/server.log", f"--options={options}", "--silent", "--wait", "--timeout=120")
    log, began = data / "server.log", time.monotonic()
    while True:
        seen = log.stat().st_size if log.exists() else 0
        try:
            _run(home, "pg_ctl", "start", *command)
        except EmbeddedPostgresError as error:
            said = log.read_bytes()[seen:].decode(errors="replace") if log.exists() else ""
            # After a SIGKILL of the server its children take a moment to notice, and hold its memory until then.
            if "shared memory block" in said and time.monotonic() - began < 30:  # noqa: PLR2004 - seconds
                time.sleep(0.2)
                continue
            raise EmbeddedPostgresError(f"{error}\n{said}".strip()) from None
        return


def _create_cluster(home: Path, *, fast: bool) -> None:
    """Create data/ by renaming it when complete: a half-made one is never taken for a cluster."""
    fresh = home / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    give_to_server(fresh)
    # The builtin locale sorts the same on every machine and needs neither ICU nor the system's locales.
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    sync = ("--no-sync",) if fast else ()
    _run(home, "initdb", "--pgdata=data.new", "--username=postgres", "--auth=peer", "--no-instructions", *locale, *sync)
    fresh.rename(home / "data")


def _forget_pid(data: Path) -> None:
    """Remove a dead server's pid from postmaster.pid.

    PostgreSQL does not start while any process has that pid. The rest of the file stays, because PostgreSQL looks there
    for memory still held by the dead server's children.
    """
    try:
        descriptor = os.open(data / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        _, *rest = file.read().splitlines() or [""]
        file.seek(0)
        file.truncate()
        file.write("\n".join([str(NO_SUCH_PID), *rest, ""]))
    if not rest:  # it died before writing anything
        (data / "postmaster.pid").unlink()


def _fresh_socket_folder(home: Path) -> Path:
    """Create a new folder for each start, so that a dying predecessor cannot delete the new socket."""
    for left in home.glob("run-*"):
        shutil.rmtree(left, ignore_errors=True)
    (home / "socket").unlink(missing_ok=True)
    if _holds_socket(home):
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=home))
    else:
        temporary = Path(tempfile.gettempdir()).resolve()
        too_long = len(os.fsencode(str(temporary / "daysong-xxxxxxxx" / SOCKET))) > LONGEST_SOCKET_PATH
        if too_long or (is_root() and not open_to_all(temporary)):
            temporary = Path("/tmp").resolve()  # noqa: S108 - mkdtemp makes a folder only we may enter
        folder = Path(tempfile.mkdtemp(prefix="daysong-", dir=temporary))
    give_to_server(folder)
    (home / "socket").symlink_to(folder)
    return folder


def _holds_socket(home: Path) -> bool:
    """Whether a socket below `home` has a path short enough, and plain enough for a list of folders and a DSN."""
    path = str(home / "run-xxxxxxxx" / SOCKET)
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and re.fullmatch(r"[\w /.+@~-]+", path) is not None


def _socket_folder(home: Path) -> Path:
    return Path(os.path.realpath(home / "socket"))


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f"User {os.geteuid()} has no name here, and PostgreSQL needs one. Set DATABASE_URL, or add the user."
        ) from None


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(path)


def _halt(home: Path) -> None:
    """Stop the server that runs in `home`, if any; connections are closed, committed data stay."""
    if not _running(home):
        return
    socket_folder = _socket_folder(home)
    stop = ("stop", "--pgdata=data", "--silent", "--wait", "--timeout=30")
    try:
        _run(home, "pg_ctl", *stop, "--mode=fast")
    except EmbeddedPostgresError:
        _run(home, "pg_ctl", *stop, "--mode=immediate")
    shutil.rmtree(socket_folder, ignore_errors=True)
    (home / "socket").unlink(missing_ok=True)
