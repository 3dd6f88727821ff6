"""Convex's system functions: for the admin key alone, and in the shape that its tools expect."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, Result, query
from daysong.kernel.functions.descriptions import describe
from daysong.kernel.functions.registry import Registry, module
from daysong.transport.system.validators import api_spec
from rehearsal.world import FunctionError, Person, World, functions

SPEC = "_system/cli/modules:apiSpec"


class Look(Args):
    """What to look at."""

    kind: str
    at: list[int] = []  # noqa: RUF012 - as declarations have it
    raw: bytes | msgspec.UnsetType = msgspec.UNSET


class Bed(Result):
    """A bed."""

    beside: Bed | None
    plants: dict[str, bool]


@query
async def look(ctx: QueryContext, args: Look) -> Bed | None:
    """Look."""
    return None


def test_a_function_has_validators() -> None:
    """A type within itself is of any type."""
    [spec] = api_spec(describe(Registry([module("garden/old", public=(look,))])))

    def field(kind: Any, *, optional: bool = False) -> Any:
        return {"fieldType": kind, "optional": optional}

    record = {"type": "record", "keys": {"type": "string"}, "values": field({"type": "boolean"})}
    beside = {"type": "union", "value": [{"type": "any"}, {"type": "null"}]}
    bed = {"type": "object", "value": {"beside": field(beside), "plants": field(record)}}
    assert spec == {
        "identifier": "garden/old.js:look",
        "functionType": "Query",
        "visibility": {"kind": "public"},
        "args": {
            "type": "object",
            "value": {
                "kind": field({"type": "string"}),
                "at": field({"type": "array", "value": {"type": "number"}}, optional=True),
                "raw": field({"type": "bytes"}, optional=True),
            },
        },
        "returns": {"type": "union", "value": [bed, {"type": "null"}]},
    }


@pytest.mark.anyio
async def test_the_functions_are_told_to_the_admin_key_alone(
    world: World, alice: Person, anonymous: Person, admin: Person
) -> None:
    """For all other callers these functions do not exist."""
    spec = await admin.query(SPEC)
    assert [one["identifier"].replace(".js", "") for one in spec if one["visibility"]["kind"] == "public"] == sorted(
        (one.identifier for one in functions() if one.public), key=lambda name: (name.rpartition(":")[0], name)
    )
    assert len(spec) == len(functions())
    assert await admin.query("_system/cli/convexUrl:cloudUrl") == world.settings.site_url
    assert await admin.query("_system/frontend/components:list") == []
    for person in (alice, anonymous):
        for path in (SPEC, "_system/cli/convexUrl:cloudUrl", "_system/frontend/components:list"):
            with pytest.raises(FunctionError, match="Could not find public function"):
                await person.query(path)
