"""Plan calls again after an update of the time zone data.

A cron tries hourly to start a run; there is one run per day and version of the data. It reads the settings page by
page and writes only moments that have changed, so it is idempotent.
"""

from __future__ import annotations

from datetime import timedelta

from daysong.features.phone_calls.schedule import zones
from daysong.features.phone_calls.schedule.calendar import is_known, next_run
from daysong.kernel import logs
from daysong.kernel.functions.context import MutationContext
from daysong.kernel.functions.declarations import Args, NoArgs, mutation

log = logs.get_logger("calls")

AT_ONCE = 500
# During a release, a worker may have other data: the page is retried until a worker with this version runs it.
PAUSE = timedelta(minutes=5)


class ReplannedPage(Args):
    """The settings after the id `after`, to be planned with this version of the data."""

    version: str
    after: str = ""


@mutation
async def replan_calls(ctx: MutationContext, args: NoArgs) -> None:  # noqa: ARG001
    """Start a run, unless one was started today with this data. A cron."""
    version = zones.current().version
    await ctx.schedule(
        replan_page, ReplannedPage(version=version), key=f"replanning with {version} on {ctx.now.date().isoformat()}"
    )


@mutation
async def replan_page(ctx: MutationContext, args: ReplannedPage) -> None:
    """Recompute the next run of one page of settings, and save those that differ. A job."""
    if zones.current().version != args.version:
        await ctx.schedule(replan_page, args, delay=PAUSE)
        return
    # Locked settings are being changed by another transaction, which plans them with the current data.
    rows = await ctx.db.fetch(
        """select id, timezone, local_minutes, byday_mask, next_run_at from call_settings
           where next_run_at > $1 and id > $2 order by id limit $3 for update skip locked""",
        ctx.now, args.after, AT_ONCE,
    )  # fmt: skip
    due = [
        (row["id"], next_run(after=ctx.now, timezone=row["timezone"], local_minutes=row["local_minutes"],
                             byday_mask=row["byday_mask"]))
        for row in rows if is_known(row["timezone"])
    ]  # fmt: skip
    planned = {row["id"]: row["next_run_at"] for row in rows}
    changed = [(name, moment) for name, moment in due if planned[name] != moment]
    if changed:
        await ctx.db.execute(
            """update call_settings s set next_run_at = n.due, updated_at = $3
               from unnest($1::text[], $2::timestamptz[]) as n (id, due) where s.id = n.id""",
            [name for name, _ in changed], [moment for _, moment in changed], ctx.now,
        )  # fmt: skip
        log.info("calls replanned", settings=len(changed), version=args.version)
    if len(rows) == AT_ONCE:
        await ctx.schedule(replan_page, ReplannedPage(version=args.version, after=rows[-1]["id"]))
