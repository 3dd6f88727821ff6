"""The timetable of all scheduled jobs. Times are UTC; each tick runs once, with any number of workers.

Crons with a `part` begin its work, and do not run while it is off. Those without one also bring to its end what a part
has begun: an open call is closed, an unfinished video is refunded.
"""

from __future__ import annotations

from collections.abc import Collection

from daysong.features.phone_calls.schedule.planner import execute_scheduled_calls
from daysong.features.phone_calls.schedule.replanning import replan_calls
from daysong.features.subscriptions.reconciliation import reconcile_stale_subscriptions
from daysong.kernel.functions.declarations import Handler
from daysong.kernel.jobs.queue import Cron
from daysong.kernel.parts import Part
from daysong.workflows.accounts.account_deletion import erase_account, resume_erasures
from daysong.workflows.calls.call_reaper import reap_calls
from daysong.workflows.recovery.journal import write_journal
from daysong.workflows.retention import retention
from daysong.workflows.songs.song_budget import count_costs
from daysong.workflows.songs.song_delivery import sweep_generations
from daysong.workflows.videos.video_delivery import sweep_videos

TIMETABLE = (
    Cron("call-executor", "* * * * *", execute_scheduled_calls, part="phone"),
    Cron("call-reaper", "*/5 * * * *", reap_calls),
    Cron("call-replanner", "5 * * * *", replan_calls, part="phone"),
    Cron("cost-counter", "*/5 * * * *", count_costs),
    Cron("generation-sweeper", "* * * * *", sweep_generations),
    Cron("video-sweeper", "* * * * *", sweep_videos),
    Cron("erasure-sweeper", "15 * * * *", resume_erasures),
    Cron("revenuecat-reconciliation", "0 0 * * *", reconcile_stale_subscriptions, part="billing"),
    Cron("retention", "30 3 * * *", retention),
)


# What runs while a restored database is on hold: nothing that rings a phone or is paid for.
RUNS_ON_HOLD: tuple[Handler, ...] = (erase_account, resume_erasures)
# What each worker does every minute, as often as there are workers, and without a job.
EACH_MINUTE: tuple[Handler, ...] = (write_journal,)


def timetable(off: Collection[Part] = ()) -> tuple[Cron, ...]:
    """Return the crons that run while these parts are off."""
    return tuple(cron for cron in TIMETABLE if cron.part not in off)
