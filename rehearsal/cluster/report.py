"""What a run of the cluster has shown: what clients observed, compared with what the database has."""

from __future__ import annotations

import asyncio
import json
import math
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any, Self

import asyncpg

from rehearsal.cluster.cluster import Cluster
from rehearsal.cluster.configs import Node
from rehearsal.cluster.journeys import Observations
from rehearsal.cluster.sharing import SharedReads

BACK_WITHIN = 10.0  # seconds
WINDOW = 30.0  # seconds after a kill whose failures are its
AROUND = 1.0


@dataclass
class Kill:
    """One kill: of what, when, and the seconds until another node led, and until there were two standbys again."""

    what: str
    node: Node
    at: float
    primary: float = math.nan
    whole: float = math.nan


@dataclass
class Figures:
    """The figures of a run, as rows of a table; `checks` says what holds."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)

    def add(self, what: str, figure: object) -> None:
        """Add a row."""
        self.rows.append((what, str(figure)))

    def add_reads(self, reads: SharedReads, places: dict[str, int]) -> None:
        """Add what strangers saw of the shared song, and where they read it."""
        told = f"{reads.right + reads.stale} after {reads.changes} changes, {reads.stale} stale, {reads.failed} failed"
        self.add("reads of a shared song", told)
        self.add("of these on a standby, on the primary", f"{places['replica']}, {places['primary']}")
        self.checks["no read shows what was before a change"] = reads.stale == 0
        self.checks["a standby answers"] = places["replica"] > 0

    def with_end(self, ready: float, doctor: dict[str, Any]) -> Self:
        """Add what is known at the very end."""
        self.add("last song ready after the last call", f"{ready:.0f} s")
        wrong = [one["name"] for one in doctor["checks"] if one["state"] == "failed"]
        self.add("daysong doctor --json", "ok" if doctor["ok"] else f"failed: {', '.join(wrong)}")
        self.checks["daysong doctor is green"] = bool(doctor["ok"])
        return self

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(self.checks.values())

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        return {"ok": self.holds, "figures": dict(self.rows), "checks": self.checks}

    def __str__(self) -> str:
        table = ["| | |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in self.rows), ""]
        return "\n".join([*table, *(f"{'ok  ' if holds else 'FAIL'} {what}" for what, holds in self.checks.items())])


async def in_progress(cluster: Cluster) -> int:
    """Return how many songs are in progress, or have files that are not ours yet."""
    connection = await asyncpg.connect(cluster.url())
    try:
        return int(
            await connection.fetchval(
                """select (select count(*) from generations where status in ('queued', 'writing', 'composing'))
                        + (select count(*) from jobs where status = 'running')"""
            )
        )
    finally:
        await connection.close()


async def counted(cluster: Cluster, observed: Observations, kills: list[Kill], used: float) -> Figures:
    """Return the figures of a run that took `used` seconds."""
    figures = Figures()
    calls = len(observed.sent)
    figures.add("people, each with a live socket", len(observed.pushes))
    figures.add("writes sent (entries over HTTP and sockets, songs)", f"{calls} in {used:.0f} s")
    waits = [wait for began, wait in observed.waits if not any(-AROUND < began - kill.at < WINDOW for kill in kills)]
    if len(waits) > 1:
        figures.add(
            "HTTP writes when nothing was killed", f"p50 {_ms(median(waits))}, p95 {_ms(quantiles(waits, n=20)[-1])}"
        )
    for number, kill in enumerate(kills, 1):
        end = min([kill.at + WINDOW, *(other.at for other in kills if other.at > kill.at)])
        _add_kill(figures, observed, kill, end, f"kill {number} ({kill.what})")
    connection = await asyncpg.connect(cluster.url())
    try:
        await _add_entries(figures, observed, connection)
        await _add_songs(figures, observed, connection, cluster)
    finally:
        await connection.close()
    return figures


def _add_kill(figures: Figures, observed: Observations, kill: Kill, end: float, name: str) -> None:
    figures.add(f"{name}: another node led after", f"{kill.primary:.1f} s")
    first = min((at for content, at in observed.acked.items() if observed.sent[content] > kill.at), default=math.nan)
    figures.add(f"{name}: first write acknowledged after", f"{first - kill.at:.1f} s")
    back = []
    for pushes in observed.pushes.values():
        shown = [at - kill.at for at, sent in pushes if sent > kill.at]
        back.append(min(shown, default=math.inf))
    figures.add(f"{name}: sockets showed a new entry after", f"{median(back):.1f} s (median), {max(back):.1f} s (last)")
    closed = sum(kill.at <= at < end for at, _ in observed.closed)
    figures.add(f"{name}: sockets closed and opened again", closed)
    failures = observed.failures(kill.at - AROUND, end)
    sent = sum(kill.at - AROUND <= at < end for at in observed.sent.values())
    told = ", ".join(f"{count} × {what}" for what, count in failures.most_common(8)) or "none"
    figures.add(f"{name}: failed calls of {sent} in {end - kill.at:.0f} s", f"{failures.total()} ({told})")
    figures.add(f"{name}: back as a standby after", f"{kill.whole:.1f} s")
    figures.checks[f"{name}: every socket back within {BACK_WITHIN:.0f} s"] = max(back) < BACK_WITHIN


async def _add_entries(figures: Figures, observed: Observations, connection: Any) -> None:
    rows = await connection.fetch("select content, count(*) as times from diaries group by content")
    found = {row["content"]: row["times"] for row in rows}
    lost = [content for content in observed.acked if not found.get(content)]
    twice = [content for content in observed.sent if found.get(content, 0) > 1]
    done = [content for content in observed.refused if content in found]
    unknown = [
        content for content in observed.sent if content not in observed.acked and content not in observed.refused
    ]
    figures.add("acknowledged writes", f"{len(observed.acked)}, {len(lost)} lost, {len(twice)} there twice")
    figures.add("writes answered with 503", f"{len(observed.refused)}, {len(done)} done all the same")
    figures.add("writes without a clear answer", f"{len(unknown)}, {sum(one in found for one in unknown)} done")
    figures.checks["no acknowledged write is lost"] = not lost
    figures.checks["no write is there twice"] = not twice
    figures.checks["nothing was done that was answered with 503"] = not done


async def _add_songs(figures: Figures, observed: Observations, connection: Any, cluster: Cluster) -> None:
    rows = await connection.fetch(
        """select g.id, g.status, d.content,
                  (select count(*) from usage_refunds r where r.charge_id = g.charge_id) as refunds
           from generations g join diaries d on d.id = g.diary_id"""
    )
    charges = await connection.fetchval("select count(*) from usage_charges")
    songs = Counter(row["content"] for row in rows)
    orders = await asyncio.to_thread(_orders, cluster)
    asked = {row["id"]: sum(n for url, n in orders.items() if f"/{row['id']}/" in url) for row in rows}
    ready = sum(row["status"] == "ready" for row in rows)
    refunds = sum(row["refunds"] for row in rows)
    once = charges == len(rows) and all(count == 1 for count in songs.values()) and not set(observed.songs) - set(songs)
    figures.add(
        "songs, and the shared one",
        f"{len(observed.songs)} acknowledged, {len(rows)} begun, {ready} ready, {refunds} refunded",
    )
    figures.add("charges, orders at Suno", f"{charges}, {sum(asked.values())}")
    figures.checks["every song is charged once"] = once
    figures.checks["no song is ordered twice"] = all(count <= 1 for count in asked.values())
    figures.checks["every song is ready, or refunded"] = all(
        (row["status"] == "ready") != (row["refunds"] == 1) for row in rows
    )
    dead = await connection.fetchval("select count(*) from jobs where status = 'dead'")
    figures.add("jobs given up", dead)
    figures.checks["no job was given up"] = dead == 0


def _orders(cluster: Cluster) -> dict[str, int]:
    """Return how often Suno was asked for each callback address."""
    with urllib.request.urlopen(f"{cluster.vendors}/orders", timeout=10) as answer:  # noqa: S310 - ours
        found: dict[str, int] = json.load(answer)
    return found


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
