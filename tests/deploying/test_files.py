"""`deploy/`: units, compose file, Dockerfile and the template of settings say what daysong has."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec.yaml
import pytest

from daysong.cli import command_line
from daysong.kernel.settings import SettingsError, load, loading
from daysong.kernel.settings.environment import Environment

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
# What the template of settings leaves to be filled in.
SECRETS = re.compile(r"^([A-Z_]+)=$", re.MULTILINE)


def template() -> dict[str, str]:
    """Return the settings of deploy/daysong.env.example."""
    lines = (DEPLOY / "daysong.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose() -> dict[str, Any]:
    """Return the compose file."""
    found: dict[str, Any] = msgspec.yaml.decode((DEPLOY / "compose.yaml").read_bytes())
    return found


def options_of(words: list[str]) -> None:
    """Parse a command line of daysong, without running it. It must be one that daysong takes."""
    command_line.parse_args(words, exit_on_error=False, print_error=False)


def test_the_template_of_settings_is_complete() -> None:
    """Every name is a setting; with a value for each that is empty, production starts; without, each is named."""
    variables = Environment({}, {})
    loading._read(variables)
    given = template()
    assert given.keys() <= variables.known
    with pytest.raises(SettingsError) as refused:
        load(given)
    assert {problem.name for problem in refused.value.problems} == {
        name for name, value in given.items() if not value and name != "KIE_API_KEY"
    }
    filled = {name: value or "whsec_c2VjcmV0LXNlY3JldA==" for name, value in given.items()}
    assert load(filled).production


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units_and_daysong_their_commands(unit: Path, tmp_path: Path) -> None:
    """By systemd's own tool; each is shut off from what it does not need."""
    text = unit.read_text().replace("%i", "8000")
    [words] = re.findall(r"^ExecStart=/opt/daysong/bin/daysong (.*)$", text, re.MULTILINE)
    options_of(words.split())
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    copy = tmp_path / unit.name.replace("@", "@8000")
    copy.write_text(text.replace("/opt/daysong/bin/daysong", str(Path(sys.executable).parent / "daysong")))
    checked = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True, check=False)  # noqa: S603
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if copy.name in line]) == (0, [])
    exposed = subprocess.run(  # noqa: S603
        [analyze, "security", "--offline=true", "--threshold=25", copy], capture_output=True, text=True, check=False
    )
    assert exposed.returncode == 0, exposed.stdout.splitlines()[-1:]


def test_the_compose_file_runs_what_there_is() -> None:
    """Each command is one that daysong takes, each secret is asked for, each path exists, nothing runs as root."""
    services = compose()["services"]
    assert services.keys() == {"postgres", "migrate", "serve", "work", "proxy"}
    for name in ("migrate", "serve", "work"):
        options_of(services[name]["command"])
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["read_only"] is True
    assert services["postgres"]["image"] == "postgres:18"
    assert services["serve"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert (DEPLOY / services["serve"]["build"]["context"] / services["serve"]["build"]["dockerfile"]).is_file()
    mounted = [one.split(":")[0] for one in services["proxy"]["volumes"] if one.startswith("./")]
    assert all((DEPLOY / path).is_file() for path in mounted)
    variables = Environment({}, {})
    loading._read(variables)
    for name in ("migrate", "serve", "work"):
        assert services[name]["environment"].keys() - {"HEALTH_PORT"} <= variables.known


def test_the_image_copies_what_there_is_and_does_not_run_as_root() -> None:
    """Its two stages; no tests among what is sent to the builder."""
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [path for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for path in line.split()]
    assert all((ROOT / path).exists() for path in copied)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
    [command] = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    options_of(msgspec.json.decode(command))


def test_the_root_of_the_image_has_what_links_lead_to_and_what_programs_load(tmp_path: Path) -> None:
    """A link and its target at the same places, relative or not; libraries with those that have no name in any file."""
    names = runpy.run_path(str(DEPLOY / "image_root.py"))
    real = tmp_path / "lib/libsong.so.1.2"
    real.parent.mkdir()
    real.write_text("song")
    (real.parent / "libsong.so.1").symlink_to("libsong.so.1.2")
    (tmp_path / "libsong.so").symlink_to(real.parent / "libsong.so.1")
    names["copy"](tmp_path / "libsong.so", tmp_path / "root")
    copied = tmp_path / "root" / real.relative_to("/")
    assert copied.read_text() == "song"
    assert (copied.parent / "libsong.so.1").readlink() == Path("libsong.so.1.2")
    if shutil.which("ldd") is None:
        pytest.skip("there is no ldd here")
    libraries = {path.name for path in names["needed"]([Path(sys.executable).resolve()])}
    assert {"libc.so.6", "libgcc_s.so.1"} <= libraries
