"""Functions that test mode adds are no part of the product."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from daysong import app as composition
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database.migrations import migrate
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.registry import Registry
from daysong.kernel.settings import Settings
from daysong.surface import SURFACE
from daysong.transport.conftest import app_settings
from rehearsal.conformance import MODULES
from rehearsal.databases import create_database
from rehearsal.processes.server import Keys

CONFORMANCE = "rehearsal.conformance"


def settings_for(
    folder: Path, *, production: bool = False, test_mode: bool = True, package: str | None = CONFORMANCE
) -> Settings:
    """Settings of a process that would load `package`."""
    settings = app_settings(Keys(folder).jwks, folder, production=production, test_mode=test_mode)
    return replace(settings, test_functions=package)


@pytest.mark.parametrize(
    ("production", "test_mode", "package", "there"),
    [
        (False, True, CONFORMANCE, True),
        (False, True, None, False),
        (False, False, CONFORMANCE, False),
        (True, False, CONFORMANCE, False),
        (True, True, CONFORMANCE, False),
    ],
)
def test_they_are_added_in_test_mode_where_their_package_is_named(
    tmp_path: Path, production: bool, test_mode: bool, package: str | None, there: bool
) -> None:
    """Test mode alone does not add them, and production never does."""
    settings = settings_for(tmp_path, production=production, test_mode=test_mode, package=package)
    registry = composition.build(settings).runtime.registry
    # What Convex's own tools ask for is there always, for the admin key.
    names = {function.identifier for function in registry if not function.identifier.startswith("_system/")}
    product = {function.identifier for function in Registry(SURFACE)}
    added = {function.identifier for function in Registry(MODULES)}
    assert {"counter:get", "errors:convex_query", "values:echo_action", "internalFns:secret"} <= added
    assert names == (product | added if there else product)
    assert not product & added


def test_a_package_that_does_not_exist_is_named_at_start(tmp_path: Path) -> None:
    """A process that cannot be tested as wished does not start."""
    with pytest.raises(DaysongError, match=r"DAYSONG_TEST_FUNCTIONS=rehearsal\.nothing cannot be imported"):
        composition.build(settings_for(tmp_path, package="rehearsal.nothing"))


@pytest.mark.anyio
async def test_their_tables_are_created_when_an_app_opens(
    database_server: EmbeddedPostgres, tmp_path: Path, worker_id: str
) -> None:
    """The product's migrations do not have them; several processes may start at once."""
    url = await create_database(database_server, f"testing_{worker_id}", migrated=False)
    await migrate(url)
    settings = replace(settings_for(tmp_path), database_url=url)
    apps = [composition.build(settings) for _ in range(3)]
    await asyncio.gather(*(app.open() for app in apps))
    assert [await app.call("counter:increment", caller=SYSTEM) for app in apps] == [1, 2, 3]
    for app in apps:
        await app.close()
