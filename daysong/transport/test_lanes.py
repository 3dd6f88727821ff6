from __future__ import annotations

from daysong.kernel.functions.declarations import Kind
from daysong.kernel.limits.lanes import SHARES, Lane, slots
from daysong.transport.schedule import TIMETABLE
from rehearsal.world import functions

# Actions that call no vendor.
QUICK_ACTIONS = {"crons:countCosts", "service/vapi/executor:executeScheduledCalls"}


def test_g72_functions_that_call_vendors_are_not_in_the_quick_lane() -> None:
    """Webhooks and crons never wait behind vendors: every other action has another lane."""
    quick = {function.identifier for function in functions() if function.lane is Lane.QUICK}
    actions = {function.identifier for function in functions() if function.kind is Kind.ACTION}
    assert quick & actions == QUICK_ACTIONS
    assert {function.identifier for function in functions() if function.kind is Kind.MUTATION} <= quick


def test_g72_crons_of_every_minute_are_quick() -> None:
    """Calls and sweeps are on time when vendors are slow."""
    lanes = {function.handler: function.lane for function in functions()}
    assert {lanes[cron.handler] for cron in TIMETABLE if cron.expression == "* * * * *"} == {Lane.QUICK}


def test_lanes_share_all_slots() -> None:
    """Every lane has a slot, and together they have no more than all slots."""
    assert set(SHARES) == set(Lane)
    assert sum(SHARES.values()) == 100
    for at_once in (20, 50, 100, 1000):
        assert all(slots(lane, at_once) for lane in Lane)
        assert sum(slots(lane, at_once) for lane in Lane) <= at_once
