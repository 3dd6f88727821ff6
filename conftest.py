"""Fixtures for every test of the package."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings

from daysong.embedded.server import EmbeddedPostgres
from rehearsal import databases as testing
from rehearsal import memories
from rehearsal.billing import admin_of
from rehearsal.world import Person, World

# How long one example takes says more of the machine, and of a library's first import, than of the rule.
settings.register_profile("daysong", deadline=None)
settings.load_profile("daysong")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "database: needs PostgreSQL; tests that ask for a database have it by themselves"
    )
    config.addinivalue_line("markers", "slow(seconds=5): script/test runs it, the longest first; script/check does not")
    if not hasattr(config, "workerinput"):
        testing.begin_run()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        testing.end_run()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "database_server" in getattr(item, "fixturenames", ()):
            item.add_marker("database")
    # A long one that begins last would run alone at the end. Those that wait for other processes come early, too (they
    # are in tests/, which `testpaths` names first): beside the others, which compute, they fill both processors.
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> float:
    slow = item.get_closest_marker("slow")
    return float(slow.args[0] if slow.args else 5) if slow else 0.0


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session")
def database_server() -> Iterator[EmbeddedPostgres]:
    """The run's PostgreSQL, shared by all workers."""
    with testing.server() as server:
        yield server


@pytest.fixture(scope="session")
def own_database(database_server: EmbeddedPostgres) -> Iterator[testing.OwnDatabase]:
    """This worker's database, migrated."""
    with testing.own_database(database_server) as database:
        yield database


@pytest.fixture
def database_url(own_database: testing.OwnDatabase) -> str:
    """Return the DSN of a migrated database without rows. Committed rows stay until the next test asks for it."""
    own_database.empty()
    return own_database.url


NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return the folder for a world's files and its sandbox's keys; a folder's own conftest may make it last longer."""
    return tmp_path


@pytest.fixture
async def world(database_url: str, data_dir: Path) -> AsyncIterator[World]:
    """The whole app with its sandbox, at noon."""
    async with World(database_url, data_dir, NOW) as whole:
        yield whole


@pytest.fixture
async def unread_entries(world: World) -> None:
    """Events are not read from entries in this test, which counts jobs, costs or requests of something else."""
    await memories.unread(world)


@pytest.fixture
async def alice(world: World) -> Person:
    """Alice, who owns things."""
    return await world.person("alice")


@pytest.fixture
async def bob(world: World) -> Person:
    """Bob, who has his own account."""
    return await world.person("bob")


@pytest.fixture
async def charlie(world: World) -> Person:
    """Charlie, a stranger."""
    return await world.person("charlie")


@pytest.fixture
def anonymous(world: World) -> Person:
    """A caller who is not signed in."""
    return Person(world, {})


@pytest.fixture
def admin(world: World) -> Person:
    """A caller who holds the admin key."""
    return admin_of(world)
