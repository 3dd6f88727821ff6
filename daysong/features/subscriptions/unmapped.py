"""Which products customers have paid for that are in no map of plans: for `daysong doctor`."""

from __future__ import annotations

from datetime import datetime

from daysong.features.subscriptions.revenuecat_billing import policy_of
from daysong.features.subscriptions.rules import tier_of
from daysong.kernel.database import connections
from daysong.kernel.errors import DaysongError
from daysong.kernel.settings import Settings

MOST_NAMED = 20

UNMAPPED_SQL = """
    select line.value ->> 'product' as product, count(distinct s.user_id) as customers
    from subscriptions s, jsonb_each(s.lines) as line
    where s.lines <> '{}' and line.value ->> 'tier' is null and line.value ->> 'product' <> ''
      and (line.value ->> 'expires_at' is null
           or greatest((line.value ->> 'expires_at')::timestamptz, (line.value ->> 'grace_until')::timestamptz) > $1)
    group by 1 order by 2 desc, 1"""


class UnmappedProducts(DaysongError):
    """Customers have paid for products that grant them nothing; the text names them."""


async def check(url: str, settings: Settings, now: datetime) -> str:
    """Raise UnmappedProducts where customers have paid for products that are in no map of plans."""
    products = policy_of(settings).products
    connection = await connections.connect(url, name="daysong doctor")
    try:
        if await connection.fetchval("select to_regclass('subscriptions') is null"):
            return "no schema yet"
        rows = await connection.fetch(UNMAPPED_SQL, now)
    finally:
        await connection.close()
    unmapped = [row for row in rows if tier_of(row["product"], products) is None]
    if unmapped:
        named = ", ".join(f"{row['product']} ({row['customers']} customers)" for row in unmapped[:MOST_NAMED])
        raise UnmappedProducts(f"paid for and in no map, so that they grant nothing: {named}. See REVENUECAT_PRODUCTS")
    return f"{len(products)} known; all that was paid for is among them"
