"""How the only video of a test stands."""

from __future__ import annotations

from typing import Any

from rehearsal.world import Person, World


async def state(world: World) -> dict[str, Any]:
    """Return the row of the only video, and how often its charge was refunded."""
    row = await world.db.pool.fetchrow(
        """select v.*, (select count(*) from usage_refunds r where r.charge_id = v.charge_id) as refunds
           from music_videos v"""
    )
    assert row is not None
    return dict(row)


async def assert_refunded(world: World, code: str) -> None:
    """Assert that the only video failed with that code and a reason, and was refunded once."""
    found = await state(world)
    assert (found["status"], found["failure_code"], found["refunds"]) == ("failed", code, 1)
    assert found["failure_reason"].endswith(".")


async def remaining(person: Person) -> float:
    """Return how many songs a person has left."""
    found: float = (await person.query("usage:getCurrentUserUsage"))["remainingQuota"]
    return found
