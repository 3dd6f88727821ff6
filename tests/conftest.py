"""Server processes for tests from outside."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from daysong.embedded.server import EmbeddedPostgres
from rehearsal import databases as testing
from rehearsal.processes.server import Keys, Server, settings_for


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Return the keys that sign session tokens."""
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def outside_database(database_server: EmbeddedPostgres) -> str:
    """Return the DSN of a migrated database for server processes, which is not emptied between tests."""
    name = f"daysong_outside_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    return asyncio.run(testing.create_database(database_server, name, migrated=True))


@pytest.fixture(scope="session")
def environ(outside_database: str, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of the server processes."""
    return settings_for(outside_database, tmp_path_factory.mktemp("data"), keys)


@pytest.fixture(scope="session")
def server(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server process in test mode, for tests that do not stop it."""
    with Server(environ, tmp_path_factory.mktemp("logs")) as running:
        yield running


@pytest.fixture
def log_folder(tmp_path: Path) -> Path:
    """Return the folder for the output of a test's own servers."""
    return tmp_path
