"""`daysong flags`."""

from __future__ import annotations

import json

import pytest

from daysong.commands.admin import flags as command
from rehearsal.world import Person, World


@pytest.mark.anyio
async def test_the_command_line_lists_sets_and_removes(world: World, alice: Person) -> None:
    """Each change is in the audit log."""
    said: list[str] = []
    await command.set_flag(world.app, said.append, "beta", percent=5, allow=["user_alice"], deny=[], unlist=[])
    await command.list_flags(world.app, said.append, as_json=True)
    beta, extraction = json.loads(said[-1])
    assert (beta["key"], beta["percent"], beta["allowed"]) == ("beta", 5, 1)
    assert (extraction["key"], extraction["percent"], extraction["isDefault"]) == ("event-extraction", 100, True)
    await command.list_flags(world.app, said.append, as_json=False)
    assert any(line.startswith("    allow user_") for line in said)
    await command.remove_flag(world.app, said.append, "beta")
    assert said[0] == "set"
    assert said[-1] == "removed"
    rows = await world.db.pool.fetch("select who, action, details from audit_log order by id")
    assert [tuple(row) for row in rows] == [
        ("command line", "flags set", {"percent": 5, "allow": 1}), ("command line", "flags remove", {}),
    ]  # fmt: skip
