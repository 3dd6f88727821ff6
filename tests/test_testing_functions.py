"""The functions of test mode are no part of the product."""

from __future__ import annotations

from pathlib import Path

import pytest

from daysong import app as composition
from daysong.kernel.functions.registry import Registry
from daysong.surface import SURFACE
from daysong.transport import testing_functions
from daysong.transport.conftest import app_settings
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
