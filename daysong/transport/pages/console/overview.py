"""The first page: what happened by day, what waits, and how the vendors stand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from daysong.kernel.limits.breakers import CLOSED
from daysong.kernel.limits.limits import Limits
from daysong.kernel.limits.prices import ALL
from daysong.transport.pages.console.html import (
    Html,
    age,
    badge,
    code,
    dollars,
    el,
    exactly,
    facts,
    join,
    link,
    panel,
    table,
)
from daysong.transport.pages.console.plots import bars, meter
from daysong.transport.pages.console.visits import Screen, Visit, heading
from daysong.vendors import latency
from daysong.vendors.latency import Latency

DAYS = 30
LATE = 60.0  # seconds
# The share of failed requests that is marked.
MANY = 0.1
# Micro-dollars from which cents do not matter.
WHOLE_DOLLARS = 100_000_000


async def index(visit: Visit) -> Screen:
    """Return the overview."""
    days: list[Any] = await visit.call("support/overview:countDays", days=DAYS)
    state: Any = await visit.call("support/overview:showState")
    content = join(
        heading("Overview", el("p", f"The last {DAYS} days, UTC", class_="soft")),
        _hold(state),
        el("div", _figures(days), class_="figures"),
        el("div", _queue(visit, state), _under_way(visit, state), class_="columns"),
        el("div", _vendors(state, visit.runtime.services[Limits]), _webhooks(visit, state), class_="columns"),
        _numbers(days),
    )
    return Screen("Overview", "", content)


def _hold(state: Any) -> Html | None:
    if state.backup_of is UNSET:
        return None
    backup = el("strong", "Restored from a backup of ", exactly(state.backup_of), " UTC.")
    return el("p", backup, " Songs, calls, notifications and crons wait until ", code("daysong resume"), class_="why")


def _figures(days: Sequence[Any]) -> list[Html]:
    names = [day.day for day in days]
    failed = [day.failed_songs for day in days]
    return [
        _figure("Songs", names, [day.songs for day in days], f"{failed[-1]} failed today", marked=failed),
        _figure("Calls", names, [day.calls for day in days]),
        _figure("Sign-ups", names, [day.sign_ups for day in days]),
        _figure("Revenue events", names, [day.purchases for day in days]),
        _figure("Spent at vendors", names, [day.spent for day in days], money=True),
    ]


def _figure(
    title: str, days: Sequence[str], values: Sequence[int], note: str = "", *, money: bool = False,
    marked: Sequence[int] | None = None,
) -> Html:  # fmt: skip
    def shown(value: float) -> str:
        if money:
            return f"${value / 1e6:,.0f}" if value >= WHOLE_DOLLARS else dollars(value)
        return f"{value:,.0f}"

    return el(
        "section",
        el("h2", title),
        el("p", el("strong", shown(sum(values))), el("span", f"{shown(values[-1])} today"), class_="sum"),
        bars(title, days, values, shown, marked=marked),
        el("p", el("span", days[0][5:]), _noted(note), el("span", "today"), class_="axis"),
        class_="figure",
    )


def _noted(note: str) -> Html:
    """Return what stands between the ends of an axis: a note, which small screens show too, or a space."""
    return el("span", note, class_="said") if note else el("span", "\u00a0")


def _queue(visit: Visit, state: Any) -> Html:
    queue = state.queue
    oldest = age(queue.oldest_due) if queue.due else "none is late"
    waiting = table(
        "Functions that wait",
        ("Function", "#Jobs", "#Oldest"),
        [(code(row.function), f"{row.jobs:,}", age(row.oldest)) for row in state.waiting],
        empty="No job is due.",
    )
    return panel(
        "Queue",
        facts({
            "Due now": f"{queue.due:,}",
            "Oldest due": el("span", oldest, class_="bad-text" if queue.oldest_due > LATE else None),
            "Running": f"{queue.running:,}",
            "Scheduled": f"{queue.queued - queue.due:,}",
            "Given up": link(visit.to("jobs?status=dead"), f"{queue.dead:,}"),
        }, close=True),
        waiting,
        note=link(visit.to("jobs"), "All jobs"),
    )  # fmt: skip


def _under_way(visit: Visit, state: Any) -> Html:
    def oldest(row: Any) -> Any:
        if row.kind == "video":
            return code(row.oldest_id)
        return link(visit.to(f"{row.kind}s", row.oldest_id), age(row.oldest))

    return panel(
        "Under way",
        table(
            "Songs, videos and calls that are not over",
            ("What", "Status", "#Count", "#Oldest"),
            [(row.kind.capitalize(), badge(row.status), f"{row.count:,}", oldest(row)) for row in state.stuck],
            empty="Nothing is under way.",
        ),
        note=link(visit.to("songs?status=failed"), "Failed songs"),
    )


def _vendors(state: Any, limits: Limits) -> Html:
    now = time.perf_counter()
    rows = []
    for vendor in state.vendors:
        money: Any = None
        if vendor.cap is not UNSET:
            words = f"{dollars(vendor.spent)} of {dollars(vendor.cap)}"
            money = el("span", meter(vendor.spent, vendor.cap, words), words, class_="metered")
        line: Any = "at once"
        breaker = limits.breakers.get(vendor.vendor)
        if breaker is not None and breaker.state != CLOSED:
            line = join(badge("down"), f" again in {age(breaker.wait() or 0)}")
        elif vendor.paused is not UNSET:
            line = join(badge("paused"), " until ", exactly(vendor.paused))
        elif vendor.line >= 1:
            line = f"{age(vendor.line)} to wait"
        name = "In all" if vendor.vendor == ALL else vendor.vendor
        rows.append((
            name, line if vendor.vendor != ALL else "", *_latency(latency.of_vendor(vendor.vendor, now)),
            money or "no limit",
        ))  # fmt: skip
    heads = ("Vendor", "Requests", "#Median", "#p95", "#Failed", "Today's money")
    about = "Breakers, times and failures of the last hour are of this process alone; metrics have those of all."
    return panel("Vendors", table("Vendors", heads, rows), el("p", about, class_="soft"))


def _latency(found: Latency | None) -> tuple[Any, ...]:
    """Return the cells of a vendor's times, and the share of its requests that failed."""
    if found is None:
        return ("", "", "")
    failed = f"{found.failed:.0%} of {found.requests:,}"
    if found.failed > MANY:
        return (_time(found.median), _time(found.p95), el("span", failed, class_="bad-text"))
    return (_time(found.median), _time(found.p95), failed)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _webhooks(visit: Visit, state: Any) -> Html:
    return panel(
        "Webhooks of the last day",
        table(
            "Webhooks by vendor and status",
            ("Vendor", "Status", "#Events"),
            [
                (
                    row.vendor,
                    badge(row.status),
                    link(visit.to(f"webhooks?vendor={row.vendor}&status={row.status}"), f"{row.count:,}"),
                )
                for row in state.webhooks
            ],
            empty="None came.",
        ),
        note=link(visit.to("webhooks"), "All events"),
    )


def _numbers(days: Sequence[Any]) -> Html:
    rows = [
        (
            day.day, f"{day.songs:,}", f"{day.failed_songs:,}", f"{day.calls:,}", f"{day.sign_ups:,}",
            f"{day.purchases:,}", dollars(day.spent),
        )
        for day in reversed(days)
    ]  # fmt: skip
    heads = ("Day", "#Songs", "#Failed", "#Calls", "#Sign-ups", "#Revenue events", "#Spent")
    return el("details", el("summary", "The same as numbers"), table("Counts by day", heads, rows), class_="numbers")
