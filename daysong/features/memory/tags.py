"""Tags of events."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from daysong.features.pages import LONGEST_LIST
from daysong.features.users.callers import CALLERS_ID
from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import NoArgs, Result, query
from daysong.kernel.time.clock import to_ms


class Tag(Result):
    """A tag: `name` is trimmed and case-folded, `display_name` as first written; counts and times of its events."""

    id: str = msgspec.field(name="_id")
    name: str
    display_name: str
    event_count: int
    last_used_at: float | UnsetType = UNSET


LIST_SQL = f"""
    select t.id, t.name, t.display_name, coalesce(counted.events, 0) as events, counted.last_at
    from tags t left join (
        select tag_id, count(*) as events, max(happened_at) as last_at
        from event_tags where user_id = {CALLERS_ID} group by tag_id) counted on counted.tag_id = t.id
    where t.user_id = {CALLERS_ID}
    order by 4 desc, t.name limit {LONGEST_LIST}"""  # noqa: S608 - constants


@query(reads=("users", "tags", "event_tags"))
async def list_tags(ctx: QueryContext, args: NoArgs) -> list[Tag]:  # noqa: ARG001
    """Return the caller's tags, most used first, at most 500; [] to an anonymous caller."""
    if ctx.caller.subject is None:
        return []
    return [
        Tag(
            id=row["id"],
            name=row["name"],
            display_name=row["display_name"],
            event_count=row["events"],
            last_used_at=UNSET if row["last_at"] is None else to_ms(row["last_at"]),
        )
        for row in await ctx.db.fetch(LIST_SQL, ctx.caller.subject)
    ]
