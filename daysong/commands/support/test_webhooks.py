"""`daysong webhooks`, as it is typed: list, show, replay."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from daysong.commands.support import webhooks
from daysong.kernel import inbox
from daysong.kernel.inbox import Event
from daysong.workflows.support.webhooks import EventNotFound
from daysong.workflows.vendor_events import handle_clerk_event
from rehearsal.world import World

pytestmark = pytest.mark.anyio

BODY = '{"type":"user.created","data":{"id":"user_1"},"timestamp":1795161600000}'


async def daysong(world: World, *words: str) -> tuple[int, str]:
    """Run a command in a process of its own: its exit code, and all it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from daysong.cli import main; main()", *words, env=world.environ(),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode()


async def test_a_dead_letter_can_be_found_looked_at_and_replayed(world: World) -> None:
    """All of it from the command line."""
    event = Event(vendor="clerk", event_id="msg_1", type="user.created", body=BODY, subject="user_1")
    await inbox.receive(world.app.runtime, event, handle_clerk_event)
    await world.db.pool.execute(
        "update jobs set status = 'dead', finished_at = due_at, failures = 8, last_error = 'OSError in hear'"
    )
    event_id = await world.db.pool.fetchval("select id from webhook_events")

    code, said = await daysong(world, "webhooks", "list", "--status", "dead")
    assert (code, event_id in said, "clerk user.created" in said, "8 failures" in said) == (0, True, True, True), said
    with pytest.raises(EventNotFound, match="There is no such event in the inbox"):
        await webhooks.replay_event(world.app, print, "event_x")

    told: list[str] = []
    await webhooks.show_event(world.app, told.append, event_id, as_json=True)
    shown = json.loads(told.pop())
    assert (shown["status"], shown["body"]["data"]) == ("dead", {"id": "(hidden)"})
    await webhooks.show_event(world.app, told.append, event_id, reason="a user asked", as_json=True)
    assert json.loads(told.pop())["body"] == json.loads(BODY)
    assert await world.db.pool.fetchval("select who from audit_log") == "command line"
    await webhooks.replay_event(world.app, told.append, event_id)
    await webhooks.replay_event(world.app, told.append, event_id)
    assert told == ["queued again", "a job is at it already"]
    await world.app.worker.drain(until=None, clock=world.clock)
    await webhooks.list_events(world.app, told.append, limit=5)
    assert "handled" in told[-1]
    assert told[-1].endswith("(created)")
    await webhooks.list_events(world.app, told.append, vendor="suno", limit=5)
    assert told[-1] == "none"
