"""Fixtures of the tests of subscriptions."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one folder for all tests of a file, so that the sandbox's keys are generated once."""
    return tmp_path_factory.mktemp("world")
