"""What the tests of this room share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for a file's tests, so that the sandbox's keys, which take their time, are made once."""
    return tmp_path_factory.mktemp("world")
