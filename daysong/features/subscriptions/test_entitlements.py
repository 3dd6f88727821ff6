"""Until when what an account is entitled to holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from conftest import NOW
from daysong.features.subscriptions.entitlements import Entitlement, holds_until, quota_of_row, status_of
from daysong.features.subscriptions.rules import Tier

DAYS = st.floats(-60, 60)


@st.composite
def entitlements(draw: st.DrawFn) -> dict[str, Any]:
    """The column `lines` of an account with up to three purchases."""
    found = {}
    for number in range(draw(st.integers(0, 3))):
        tier: Tier = draw(st.sampled_from(["weekly", "monthly", "yearly"]))
        expires = NOW + timedelta(days=draw(DAYS))
        grace = expires + timedelta(days=draw(st.floats(-1, 16))) if draw(st.booleans()) else None
        product = f"product {number}"
        found[f"production/app_store/{product}"] = Entitlement(
            period_start=0,
            product=product,
            tier=tier,
            expires_at=expires,
            grace_until=grace,
            renews=draw(st.booleans()),
        )
    return cast("dict[str, Any]", msgspec.to_builtins(found, builtin_types=()))


@given(lines=entitlements(), reset=DAYS, charges=st.lists(DAYS, max_size=4), share=st.floats(0, 0.999_999))
def test_until_then_status_and_quota_do_not_change(
    lines: dict[str, Any], reset: float, charges: list[float], share: float
) -> None:
    """At any moment before, both are as they are now; so a subscribed result need not be computed again."""
    row: Any = {
        "subscription_id": "sub", "subscription_lines": msgspec.json.encode(lines).decode(), "custom_music_limit": None,
        "last_reset_at": NOW - timedelta(days=abs(reset)), "counted_at": None, "shared": 0,
        "charges": [NOW - timedelta(days=abs(days)) for days in charges], "granted_at": [], "granted": [],
    }  # fmt: skip
    until = holds_until(row, NOW)
    assert until > NOW
    moment = NOW + (until - NOW) * share
    assert status_of(row, moment) == status_of(row, NOW)
    assert quota_of_row(row, moment) == quota_of_row(row, NOW)
