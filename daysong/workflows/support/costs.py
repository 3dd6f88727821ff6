"""What vendors cost, by day, by account or by vendor."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

import msgspec

from daysong.kernel.functions.context import QueryContext
from daysong.kernel.functions.declarations import Args, Result, query

CostsBy = Literal["day", "account", "vendor"]
# By the UTC day. An account is shown as its mark: a keyed hash, since costs outlive accounts.
COLUMNS: dict[CostsBy, str] = {
    "day": "to_char(at at time zone 'UTC', 'YYYY-MM-DD')",
    "account": "coalesce(account, '-')",
    "vendor": "vendor || ' ' || function",
}
SQL = """
    select {column} as what, count(*) as requests, sum(amount)::bigint as amount from vendor_costs
    where at >= $1 group by 1 order by {order} limit $2"""


class ListCosts(Args):
    """How to sum up, and the days to look back, today (UTC) among them."""

    by: CostsBy = "day"
    days: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 30
    limit: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000


class Cost(Result):
    """Requests and micro-dollars of a day, an account (its keyed hash) or a vendor."""

    what: str
    requests: int
    amount: int


@query(reads=("vendor_costs",), replica="lagging")
async def list_costs(ctx: QueryContext, args: ListCosts) -> list[Cost]:
    """Return what vendors cost: days newest first, accounts and vendors by amount."""
    since = (ctx.now - timedelta(days=args.days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    order = "1 desc" if args.by == "day" else "3 desc, 1"
    rows = await ctx.db.fetch(SQL.format(column=COLUMNS[args.by], order=order), since, args.limit)
    return [Cost(**dict(row)) for row in rows]
