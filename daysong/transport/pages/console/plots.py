"""Plots as SVG, made here: bars by day, and meters. Each says in words what it shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from daysong.transport.pages.console.html import Html, el

WIDTH, HEIGHT, GAP = 300, 64, 1.5
LEAST_BAR = 1.5


def bars(
    title: str, days: Sequence[str], values: Sequence[float], shown: Callable[[float], str] = "{:,.0f}".format,
    *, marked: Sequence[float] | None = None,
) -> Html:  # fmt: skip
    """Return a bar for each day. `marked` is the part of each value that is drawn in another colour from below."""
    top = max([*values, 1])
    step = WIDTH / max(1, len(values))
    drawn = []
    for place, (day, value) in enumerate(zip(days, values, strict=True)):
        height = max(LEAST_BAR, HEIGHT * value / top) if value else 0.6
        part = 0 if marked is None or not value else HEIGHT * marked[place] / top
        left = place * step
        drawn.append(
            el(
                "g",
                el("title", f"{day}: {shown(value)}{f', {marked[place]:,.0f} failed' if part and marked else ''}"),
                el("rect", x=f"{left:.2f}", y=0, width=f"{step:.2f}", height=HEIGHT, class_="hit"),
                _bar(left, height, step, "bar" if value else "bar none"),
                _bar(left, part, step, "bar marked") if part else None,
            )
        )
    words = f"{title} by day: {shown(values[-1])} today, {shown(max(values))} at most" if values else title
    return el(
        "svg", drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=words, preserveAspectRatio="none",
        class_="plot",
    )  # fmt: skip


def _bar(left: float, height: float, step: float, kind: str) -> Html:
    return el(
        "rect", x=f"{left + GAP / 2:.2f}", y=f"{HEIGHT - height:.2f}", width=f"{max(0.5, step - GAP):.2f}",
        height=f"{height:.2f}", rx=1, class_=kind,
    )  # fmt: skip


def meter(value: float, limit: float, words: str) -> Html:
    """Return how much of a limit is used."""
    share = min(1.0, value / limit) if limit else 0.0
    kind = "full" if share >= 0.8 else None  # noqa: PLR2004 - as the alarm of budgets
    return el(
        "svg", el("rect", width=100, height=6, class_="track"),
        el("rect", width=f"{100 * share:.1f}", height=6, class_=kind or "fill"),
        viewBox="0 0 100 6", role="img", aria_label=words, preserveAspectRatio="none", class_="meter",
    )  # fmt: skip
