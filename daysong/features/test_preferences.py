"""The settings of a user."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rehearsal.world import FunctionError, Person

pytestmark = pytest.mark.anyio

DEFAULTS = {"timezone": "UTC", "language": "en", "showNameOnShares": True}


async def test_g45_settings_have_defaults_and_are_changed_one_by_one(
    alice: Person, bob: Person, anonymous: Person
) -> None:
    """Settings that are left out are kept, and other users' settings are not changed."""
    assert await alice.query("users:getSettings") == DEFAULTS
    changed = await alice.mutation("users:updateSettings", timezone="America/New_York", showNameOnShares=False)
    assert changed == {"timezone": "America/New_York", "language": "en", "showNameOnShares": False}
    changed = await alice.mutation("users:updateSettings", language="pt-BR")
    assert changed == {"timezone": "America/New_York", "language": "pt-BR", "showNameOnShares": False}
    assert await alice.mutation("users:updateSettings") == await alice.query("users:getSettings") == changed
    assert await bob.query("users:getSettings") == DEFAULTS
    assert await anonymous.query("users:getSettings") is None
    with pytest.raises(FunctionError, match="Unauthorized"):
        await anonymous.mutation("users:updateSettings", language="de")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ({"timezone": "EST"}, "invalid_timezone", "Invalid timezone. Must be a valid IANA timezone"),
        ({"timezone": ""}, "invalid_timezone", "Invalid timezone"),
        ({"language": "english please"}, "invalid_language", "Invalid language"),
        ({"language": ""}, "invalid_language", "Invalid language"),
    ],
)
async def test_g45_an_invalid_zone_or_language_changes_nothing(
    alice: Person, args: dict[str, Any], code: str, message: str
) -> None:
    """An invalid value is refused, and the values sent with it are not stored."""
    with pytest.raises(FunctionError, match=message) as refused:
        await alice.mutation("users:updateSettings", **{"showNameOnShares": False} | args)
    assert refused.value.code == code
    assert await alice.query("users:getSettings") == DEFAULTS


async def test_g45_changes_at_once_are_all_kept(alice: Person) -> None:
    changes: list[dict[str, Any]] = [{"timezone": "Europe/Paris"}, {"language": "fr"}, {"showNameOnShares": False}]
    await asyncio.gather(*(alice.mutation("users:updateSettings", **change) for change in changes))
    assert await alice.query("users:getSettings") == changes[0] | changes[1] | changes[2]
