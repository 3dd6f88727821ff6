"""A telephone for tests of the sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daysong.sandbox.conftest import NOW
from rehearsal.calls.telephone import Telephone


@pytest.fixture
async def phone(tmp_path: Path) -> AsyncIterator[Telephone]:
    """Yield a telephone from which no call was made yet."""
    telephone = Telephone(tmp_path, NOW)
    yield telephone
    await telephone.close()
