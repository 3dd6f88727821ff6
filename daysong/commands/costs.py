"""`daysong costs`: what vendors cost, by day, by account or by vendor."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from daysong.app import App
from daysong.commands.options import CostsBy

# By the UTC day. An account is shown as its mark: a keyed hash, since costs outlive accounts.
COLUMNS: dict[CostsBy, str] = {
    "day": "to_char(at at time zone 'UTC', 'YYYY-MM-DD')",
    "account": "coalesce(account, '-')",
    "vendor": "vendor || ' ' || function",
}
SQL = """
    select {column} as what, count(*) as requests, sum(amount)::bigint as amount from vendor_costs
    where at >= $1 group by 1 order by {order} limit $2"""


async def show(app: App, say: Callable[[str], None], *, by: CostsBy, days: int, limit: int, as_json: bool) -> None:
    """Say what was paid in the last days: as lines, or as one JSON list with amounts in micro-dollars."""
    since = (app.clock.now() - timedelta(days=days - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    order = "1 desc" if by == "day" else "3 desc, 1"
    rows = await app.database.pool.fetch(SQL.format(column=COLUMNS[by], order=order), since, limit)
    if as_json:
        say(json.dumps([{by: row["what"], "requests": row["requests"], "amount": row["amount"]} for row in rows]))
        return
    for row in rows:
        say(f"{row['what']:<26} {row['requests']:>8} requests  {row['amount'] / 1e6:>12.4f} $")
    requests, amount = (sum(row[column] for row in rows) for column in ("requests", "amount"))
    say(f"{'in all':<26} {requests:>8} requests  {amount / 1e6:>12.4f} $")
