"""`daysong resume`: the operator's go after a restore."""

from __future__ import annotations

from collections.abc import Callable

from daysong.app import App
from daysong.commands.support.saying import OPERATOR
from daysong.kernel.functions.declarations import NoArgs
from daysong.workflows.recovery import resuming


async def resume(app: App, tell: Callable[[str], None]) -> None:
    """End the hold, and say what was not repeated."""
    done = await app.runtime.run_mutation(resuming.resume, NoArgs(), OPERATOR)
    if not done.was_held:
        tell("nothing was on hold")
        return
    tell(f"songs       {done.songs:.0f} refunded: it is not known whether they were ordered since the backup")
    tell(f"videos      {done.videos:.0f} refunded")
    tell(f"calls       {done.calls:.0f} missed; the next ones are planned from now on")
    tell(f"pushes      {done.notifications:.0f} not sent")
    tell("Jobs and crons run again within a minute.")
