"""Which time zone data calls are planned with, how old it is, and what follows when it is another."""

from __future__ import annotations

import importlib.resources
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import structlog

from daysong.features.phone_calls.schedule import replanning, zones
from daysong.features.phone_calls.schedule.calendar import next_run, timezones
from daysong.features.phone_calls.schedule.zones import ZoneData
from daysong.kernel.functions.context import SYSTEM
from rehearsal.calls.phones import wants_calls
from rehearsal.world import World

pytestmark = pytest.mark.anyio

PACKAGE = Path(str(importlib.resources.files("tzdata").joinpath("zoneinfo")))
PINNED = zones.of_package().version
NEW_YORK = "America/New_York"
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
EIGHT = {"after": NOW, "timezone": NEW_YORK, "local_minutes": 20 * 60, "byday_mask": 127}


def make_folder(folder: Path, version: str) -> Path:
    """Time zone data in which New York keeps Chicago's time."""
    (folder / "America").mkdir(parents=True)
    shutil.copy(PACKAGE / "UTC", folder / "UTC")
    shutil.copy(PACKAGE / "America/Chicago", folder / NEW_YORK)
    (folder / "tzdata.zi").write_text(f"# version {version}\n")
    return folder


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """Data of the next year."""
    return make_folder(tmp_path / "zones", "2099a")


@pytest.fixture(autouse=True)
def _back_to_the_package() -> Iterator[None]:
    yield
    zones.use(None)


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """The whole app in December."""
    async with World(database_url, data_dir, NOW) as whole:
        yield whole


def test_g34_the_newer_of_package_and_folder_is_used(newer: Path, tmp_path: Path) -> None:
    """Zones that the folder has not are the package's."""
    before = next_run(**EIGHT)  # type: ignore[arg-type]
    known = timezones()
    assert zones.use(newer).version == "2099a"
    assert next_run(**EIGHT) - before == timedelta(hours=1)  # type: ignore[arg-type]
    assert timezones() == known
    assert zones.use(make_folder(tmp_path / "older", "2019c")).version == PINNED
    assert next_run(**EIGHT) == before  # type: ignore[arg-type]
    (newer / "tzdata.zi").unlink()
    assert zones.use(newer) == ZoneData("unknown", None, str(newer))
    assert zones.use(None).source == "package tzdata"


def test_g34_age_is_known_of_versions_and_bounded_for_others(newer: Path) -> None:
    """Not before its year, nor before what is written in it; a release of ours knows its own data's."""
    assert PINNED in zones.RELEASED, "add the day the pinned tzdata was published to zones.RELEASED"
    assert zones.of_folder(newer).released == date(2099, 1, 1)
    (newer / "leapseconds").write_text("#updated 4083372000 (2099-05-25 10:00:00 UTC)\n")
    data = zones.of_folder(newer)
    assert data.released == date(2099, 5, 25)
    assert not data.is_old(date(2099, 9, 22))
    assert data.is_old(date(2099, 9, 23))
    assert data.description(date(2099, 5, 30)) == f"2099a, 5 days old, {newer}"
    assert ZoneData("unknown", None, "").is_old(date(2026, 1, 1))


def test_g34_the_log_names_version_and_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a warning beyond 120 days."""
    published = zones.current().released
    assert published is not None
    with structlog.testing.capture_logs() as lines:
        monkeypatch.setattr(zones, "log", structlog.get_logger())
        zones.report(published + timedelta(days=120))
        zones.report(published + timedelta(days=121))
    assert [(line["log_level"], line["days"]) for line in lines] == [("info", 120), ("warning", 121)]
    assert {line["version"] for line in lines} == {PINNED}


async def test_g34_calls_planned_with_older_data_are_planned_anew(world: World, newer: Path) -> None:
    """Once; what is not affected is not written."""
    alice, bob = await world.person("alice"), await world.person("bob")
    await wants_calls(alice, at="20:00", timezone=NEW_YORK)
    await wants_calls(bob, "+12025550124", at="20:00", timezone="Europe/Berlin")
    before = {row["id"]: row for row in await world.db.pool.fetch("select * from call_settings")}
    await world.pass_time(timedelta(hours=1))
    assert [dict(row) for row in await world.db.pool.fetch("select * from call_settings order by id")] == [
        dict(before[name]) for name in sorted(before)
    ]
    zones.use(newer)
    await world.pass_time(timedelta(hours=1))
    moved = {
        row["timezone"]: row["next_run_at"] - before[row["id"]]["next_run_at"]
        for row in await world.db.pool.fetch("select * from call_settings")
    }
    assert moved == {NEW_YORK: timedelta(hours=1), "Europe/Berlin": timedelta(0)}


async def test_g34_a_worker_of_another_release_leaves_it_to_the_right_one(
    world: World, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages one after the other, each by a worker that has the data."""
    monkeypatch.setattr(replanning, "AT_ONCE", 1)
    for number in range(3):
        person = await world.person(f"p{number}")
        await wants_calls(person, f"+1202555013{number}", at="20:00", timezone=NEW_YORK)
    planned = await world.db.pool.fetchval("select min(next_run_at) from call_settings")
    zones.use(newer)
    await world.app.call("service/vapi/executor:replanCalls", {}, caller=SYSTEM)
    zones.use(None)
    await world.settle()
    assert await world.db.pool.fetchval("select max(next_run_at) from call_settings") == planned
    zones.use(newer)
    world.clock.forward(replanning.PAUSE)
    await world.settle()
    assert await world.db.pool.fetchval("select min(next_run_at) from call_settings") == planned + timedelta(hours=1)
