"""Turns bound what one key does at the same time, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from daysong.kernel.database.turns import Turns

pytestmark = pytest.mark.anyio


async def test_one_account_has_no_more_than_its_places_while_others_go_on() -> None:
    """Of ten callers of one key two are inside at a time, and another key does not wait for them."""
    turns, inside, most, leave = Turns(2), 0, 0, asyncio.Event()

    async def work() -> None:
        nonlocal inside, most
        async with turns.of("alice"):
            inside += 1
            most = max(most, inside)
            await leave.wait()
            inside -= 1

    working = [asyncio.create_task(work()) for _ in range(10)]
    while inside < 2:
        await asyncio.sleep(0)
    async with turns.of("bob"), turns.of(None):
        assert len(turns) == 2
    leave.set()
    await asyncio.gather(*working)
    assert most == 2
    assert len(turns) == 0


async def test_a_place_is_free_again_after_a_failure_and_after_a_cancellation() -> None:
    """Neither an error inside nor a waiting caller that is canceled keeps a place."""
    turns = Turns(1)
    with pytest.raises(ValueError, match="inside"):
        async with turns.of("alice"):
            raise ValueError("inside")
    async with turns.of("alice"):
        waiting = asyncio.create_task(_enter(turns))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5), turns.of("alice"):
        pass
    assert len(turns) == 0


async def _enter(turns: Turns) -> None:
    async with turns.of("alice"):
        pass
