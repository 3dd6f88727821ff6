"""The functions of test mode are no part of the product."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from daysong import app as composition
from daysong.embedded.server import EmbeddedPostgres
from daysong.kernel.database.migrations import migrate
from daysong.kernel.functions.context import SYSTEM
from daysong.kernel.functions.registry import Registry
from daysong.surface import SURFACE
from daysong.transport import testing_functions
from daysong.transport.conftest import app_settings
from rehearsal.databases import create_database
from rehearsal.processes.server import Keys


@pytest.mark.parametrize(
    ("production", "test_mode", "there"),
    [(False, True, True), (False, False, False), (True, False, False), (True, True, False)],
)
def test_they_are_published_in_test_mode_alone(tmp_path: Path, production: bool, test_mode: bool, there: bool) -> None:
    """Even where production was somehow started in test mode, they are not."""
    settings = app_settings(Keys(tmp_path).jwks, tmp_path, production=production, test_mode=test_mode)
    names = {function.identifier for function in composition.build(settings).runtime.registry}
    product = {function.identifier for function in Registry(SURFACE)}
    testing = {function.identifier for function in Registry(testing_functions.MODULES)}
    assert {"counter:get", "errors:convex_query", "values:echo_action", "internalFns:secret"} <= testing
    assert names == (product | testing if there else product)
    assert not product & testing


@pytest.mark.anyio
async def test_their_tables_are_created_when_an_app_in_test_mode_opens(
    database_server: EmbeddedPostgres, tmp_path: Path, worker_id: str
) -> None:
    """The product's migrations do not have them; several processes may start at once."""
    url = await create_database(database_server, f"testing_{worker_id}", migrated=False)
    await migrate(url)
    settings = replace(app_settings(Keys(tmp_path).jwks, tmp_path, production=False, test_mode=True), database_url=url)
    apps = [composition.build(settings) for _ in range(3)]
    await asyncio.gather(*(app.open() for app in apps))
    assert [await app.call("counter:increment", caller=SYSTEM) for app in apps] == [1, 2, 3]
    for app in apps:
        await app.close()
