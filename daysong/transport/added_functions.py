"""Loads the functions that test mode adds, from the Python package that DAYSONG_TEST_FUNCTIONS names."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from daysong.kernel.database.transactions import Database
from daysong.kernel.errors import DaysongError
from daysong.kernel.functions.registry import Module
from daysong.kernel.settings import Settings


class AddedFunctions(Protocol):
    """The interface of such a package."""

    MODULES: tuple[Module, ...]

    async def create_tables(self, database: Database) -> None:
        """Create the tables of the functions if they do not exist."""


def load(settings: Settings) -> AddedFunctions | None:
    """Import the package that DAYSONG_TEST_FUNCTIONS names; None outside of test mode, and always in production.

    Errors: DaysongError when it cannot be imported.
    """
    if settings.test_functions is None or not settings.test_mode or settings.production:
        return None
    try:
        return cast("AddedFunctions", importlib.import_module(settings.test_functions))
    except ImportError as error:
        raise DaysongError(f"DAYSONG_TEST_FUNCTIONS={settings.test_functions} cannot be imported: {error}") from error
