"""`daysong doctor`: one line for each thing, and whether serve and work would run."""

from __future__ import annotations

import importlib.resources
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import NOW
from daysong.commands.doctor import doctor, redirects
from daysong.commands.environment import free_port
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel import logs
from daysong.kernel.errors import DaysongError
from daysong.kernel.settings import read, unknown
from rehearsal import databases as testing
from rehearsal.processes import bucket
from rehearsal.world import World

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging stays as the test run has it: loggers remember how they were first configured."""
    monkeypatch.setattr(logs, "configure", lambda **_: None)


async def report(environ: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What doctor reports as JSON, checks by name; `ok` is what it returns, too."""
    capsys.readouterr()
    well = await doctor(environ, folder, as_json=True)
    printed = capsys.readouterr().out
    said: dict[str, Any] = json.loads(printed[printed.index("{\n") :])
    assert said["ok"] is well
    return {"ok": well} | {check["name"]: check for check in said["checks"]}


async def test_g61_doctor_asks_everybody(
    database_url: str, data_dir: Path, capsys: pytest.CaptureFixture[str], database_server: EmbeddedPostgres
) -> None:
    """All vendors are asked, OpenAI and RevenueCat too; a refused key or a migration to apply is exit code 1."""
    async with World(database_url, data_dir, NOW, port=free_port()) as world:
        environ = world.environ()
        healthy = await report(environ, data_dir, capsys)
        names = [name for name in healthy if name != "ok"]
        assert healthy["ok"] is True
        order = ["Settings", "Database", "Schema", "Clock", "Files", "Clerk", "OpenAI", "Suno", "Kie", "RevenueCat"]
        assert [name for name in names if name in order] == order
        assert {healthy[name]["state"] for name in order} == {"ok"}

        for vendor, name in (("OPENAI", "OpenAI"), ("REVENUECAT", "RevenueCat"), ("SUNO", "Suno"), ("KIE", "Kie")):
            refused = await report(environ | {f"{vendor}_API_KEY": "wrong"}, data_dir, capsys)
            assert (refused["ok"], refused[name]["state"]) == (False, "failed")
            assert not refused[name]["detail"].lower().startswith(f"{vendor.lower()}:")

        blank = await testing.create_database(database_server, "daysong_doctor", migrated=False)
        unmigrated = await report(environ | {"DATABASE_URL": blank}, data_dir, capsys)
        assert (unmigrated["ok"], unmigrated["Schema"]["state"]) == (False, "failed")
        assert "daysong migrate" in unmigrated["Schema"]["detail"]

        away = await report(environ | {"DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:9/x"}, data_dir, capsys)
        assert [away[name]["state"] for name in ("Database", "Schema", "Clock")] == ["failed", "skipped", "skipped"]
        assert "hunter2" not in str(away)


async def test_g34_doctor_names_version_and_age_of_the_time_zones(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever else is missing; a warning when it is old, and a folder that has no zones is refused."""
    folder = tmp_path / "zones"
    folder.mkdir()
    (folder / "UTC").write_bytes(importlib.resources.files("tzdata").joinpath("zoneinfo", "UTC").read_bytes())
    environ = {"TZDATA_DIR": str(folder), "DATABASE_URL": "postgresql://127.0.0.1:9/x"}
    for version, state in (("2099a", "ok"), ("", "warning")):
        (folder / "+VERSION").write_text(version)
        found = (await report(environ, data_dir, capsys))["Time zones"]
        assert found["state"] == state
        assert found["detail"].startswith(f"{version or 'unknown'}, ")
    (folder / "UTC").unlink()
    assert (await report(environ, data_dir, capsys))["TZDATA_DIR"]["state"] == "failed"


def test_g61_each_check_is_one_line(data_dir: Path) -> None:
    """For people: a mark, a name once, and a sentence; no log lines between them."""
    environ = {"DATABASE_URL": "postgresql://127.0.0.1:9/x", "SUNO_KEY": "1", "VAPI_MAX_CONCURRENT_CALLS": "many"}
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", "from daysong.cli import main; main()", "doctor", "--data-dir", str(data_dir)],
        env=environ, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    first, *lines, last = done.stdout.strip().splitlines()
    assert first.startswith("Python")
    assert last.startswith("Something is missing")
    assert all(line[:2] in {"✓ ", "✗ ", "! ", "– "} for line in lines)
    named = [line[2:].partition(":")[0] for line in lines]
    assert len(named) == len(set(named))
    assert "! SUNO_KEY: is no setting; SUNO_API_KEY is" in lines


def test_g61_misspelt_settings_are_named_with_the_nearest_known_one() -> None:
    """Variables of other programs are left alone."""
    environ = dict.fromkeys(
        ["DATABAS_URL", "SUNO_KEY", "DAYSONG_ADMINKEY", "VAPI_SECRET", "DATABASE_POOL", "SUNO_API_KEY_FILE", "PATH"],
        "1",
    )
    assert unknown(environ) == [
        ("DATABAS_URL", "DATABASE_URL"),
        ("DAYSONG_ADMINKEY", "DAYSONG_ADMIN_KEY"),
        ("SUNO_KEY", "SUNO_API_KEY"),
        ("VAPI_SECRET", "VAPI_WEBHOOK_SECRET"),
    ]
    assert unknown({"OPENAI_ORGANIZATION": "1", "CALLBACK": "1", "SITE_PACKAGES": "1", "DATABASE": "1"}) == []


async def test_doctor_fetches_from_the_bucket_by_a_signed_address(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From where clients reach it; the address is not shown, and nothing is left."""
    with bucket.running(tmp_path / "bucket") as stored:
        for name, value in stored.settings.items():
            monkeypatch.setenv(name, value)

        async def looked(environ: dict[str, str]) -> str:
            found, _ = read({"DAYSONG_DATA_DIR": str(data_dir)} | stored.settings | {"MEDIA_REDIRECT": "1"} | environ)
            try:
                return await redirects(found)
            except DaysongError as error:
                return f"{type(error).__name__}: {error}"

        endpoint = stored.settings["AWS_ENDPOINT"]
        assert await looked({}) == f"songs are fetched from {endpoint}"
        away = f"http://127.0.0.1:{free_port()}"
        said = f"DaysongError: the bucket cannot be fetched from at {away}: ConnectError"
        assert await looked({"MEDIA_REDIRECT_ENDPOINT": away}) == said
        assert "set MEDIA_REDIRECT_ENDPOINT" in await looked({"DAYSONG_ENV": "production"})
        assert stored.objects() == set()
