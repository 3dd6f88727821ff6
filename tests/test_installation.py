"""daysong as it is installed: what is in its wheel, and what works without the extra `dev`."""

from __future__ import annotations

import email.parser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import httpx2
import pytest

from daysong.commands import extras
from rehearsal.processes.server import Keys, Server, settings_for

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=env, check=False, capture_output=True, text=True, timeout=60)  # noqa: S603 - ourselves


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with what is installed here from a copy of the sources, since a build leaves files there."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(REPOSITORY / "daysong", source / "daysong", ignore=shutil.ignore_patterns("__pycache__"))
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, source / name)
    built = run(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder, source)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("daysong-*.whl"))


@pytest.fixture(scope="module")
def lean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a virtual environment with the wheel and what requirements.txt names, and no more."""
    folder = tmp_path_factory.mktemp("lean")
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for name in re.findall(
        r"^([\w.-]+)==", (REPOSITORY / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE
    ):
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or another Python
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))
    python = folder / "bin" / "python"
    installed = run(*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel)
    assert installed.returncode == 0, installed.stderr
    return folder / "bin"


def test_g69_the_wheel_holds_the_package_and_none_of_its_tests(wheel: Path) -> None:
    """Every file that a running daysong reads is there, with the licence and who wrote it."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = email.parser.Parser().parsestr(
            archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        )
        licence = archive.read(next(name for name in names if name.endswith("/licenses/LICENSE"))).decode()
    assert [name for name in names if re.search(r"(^|/)(test_|conftest|fixtures/|tests/|rehearsal/)", name)] == []
    read = [*(REPOSITORY / "daysong").glob("migrations/*.sql"), *(REPOSITORY / "daysong").rglob("pages/**/*")]
    needed = {str(path.relative_to(REPOSITORY)) for path in read if path.is_file() and "__pycache__" not in path.parts}
    assert {name for name in needed if "/test_" not in name} <= set(names)
    assert {"daysong/py.typed", "daysong/sandbox/suno/clip.mp4"} <= set(names)
    assert (about["License-Expression"], about["Author"]) == ("Apache-2.0", "The daysong authors")
    assert "Version 2.0, January 2004" in licence
    assert licence == (REPOSITORY / "LICENSE").read_text(encoding="utf-8")


def test_g69_the_extra_is_what_commands_look_for() -> None:
    """pyproject.toml and `extras.MODULES` name the same packages."""
    extra = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    packages = (re.split("[><=]", one)[0].replace("-", "_") for one in extra)
    assert sorted(packages) == sorted(extras.MODULES)


def test_g69_a_lean_installation_serves(lean: Path, database_url: str, tmp_path: Path) -> None:
    """Without numpy, soundfile, the embedded PostgreSQL and the test tools."""
    absent = [*extras.MODULES, "pytest", "hypothesis"]
    looked = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    assert run(lean / "python", "-c", looked, "litestar", *absent).stdout.strip() == "['litestar']"

    environ = settings_for(database_url, tmp_path, Keys(tmp_path / "keys"))
    assert run(lean / "daysong", "jobs", "list", env=environ).stdout == "none\n"
    with (
        Server(environ, tmp_path, program=[str(lean / "daysong")]) as server,
        httpx2.Client(base_url=server.origin, timeout=60, trust_env=False) as http,
    ):
        assert [http.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    assert (server.process.returncode, server.complaints()) == (0, [])


def test_g69_a_command_that_needs_the_extra_says_so_in_a_line(lean: Path, tmp_path: Path) -> None:
    """With exit code 2; doctor goes on to what else there is to say."""
    environ = {"PATH": os.environ["PATH"], "DAYSONG_DATA_DIR": str(tmp_path)}
    for words in (["dev"], ["demo"], ["migrate"], ["jobs", "list"]):
        done = run(lean / "daysong", *words, env=environ)
        assert (done.returncode, done.stdout) == (2, "")
        who = (
            f"daysong {words[0]}"
            if words[0] in {"dev", "demo"}
            else "DATABASE_URL is not set, and the embedded database"
        )
        assert done.stderr == f"{who} needs: pip install 'daysong[dev]'\n"
    report = run(lean / "daysong", "doctor", env=environ)
    assert (report.returncode, report.stderr) == (1, "")
    assert "Something is missing" in report.stdout
