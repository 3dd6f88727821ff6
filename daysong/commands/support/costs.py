"""`daysong costs`: what vendors cost, by day, by account or by vendor."""

from __future__ import annotations

from daysong.app import App
from daysong.commands.options import CostsBy
from daysong.commands.support.saying import Say, call, say_json


async def show(app: App, say: Say, *, by: CostsBy, days: int, limit: int, as_json: bool) -> None:
    """Say what was paid in the last days: as lines, or as one JSON list with amounts in micro-dollars."""
    rows = await call(app, "support/overview:listCosts", by=by, days=days, limit=limit)
    if as_json:
        say_json(say, [{by: row["what"], "requests": row["requests"], "amount": row["amount"]} for row in rows])
        return
    for row in rows:
        say(f"{row['what']:<26} {row['requests']:>8.0f} requests  {row['amount'] / 1e6:>12.4f} $")
    requests, amount = (sum(row[column] for row in rows) for column in ("requests", "amount"))
    say(f"{'in all':<26} {requests:>8.0f} requests  {amount / 1e6:>12.4f} $")
