from __future__ import annotations

import pytest

from daysong.commands.options import CostsBy
from daysong.commands.support import costs as costs_command
from rehearsal.world import Person, World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("by", ["day", "account", "vendor"])
async def test_g03_costs_are_listed(world: World, alice: Person, by: CostsBy) -> None:
    """By day, by account, by vendor; for people and for programs."""
    await alice.song()
    lines: list[str] = []
    await costs_command.show(world.app, lines.append, by=by, days=1, limit=10, as_json=False)
    await costs_command.show(world.app, lines.append, by=by, days=1, limit=10, as_json=True)
    assert "2 requests" in lines[-2]
    assert f'"{by}": ' in lines[-1]
