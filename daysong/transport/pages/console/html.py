"""HTML by functions: every text that is not `Html` is escaped, so that no page forgets it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from msgspec import UNSET

from daysong.kernel.time.clock import from_ms

VOID = frozenset({"input", "br", "hr", "img", "meta", "link"})
MINUTE, HOUR, DAY = 60, 3600, 86_400
# How the words of a status look: quiet, good, busy, or bad.
TONES = {
    "good": ("done", "ready", "handled", "completed", "active", "granted", "published", "ok", "on"),
    "busy": (
        "queued", "running", "waiting", "writing", "composing", "rendering", "scheduled", "started", "in-progress",
        "draft", "warning", "in_grace",
    ),
    "bad": (
        "dead", "down", "failed", "stranded", "blocked", "banned", "locked", "deleted", "refused", "expired",
        "no-answer", "busy",
    ),
}  # fmt: skip
_TONE = {word: tone for tone, words in TONES.items() for word in words}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(tag: str, *children: Any, **attributes: Any) -> Html:
    """Return an element. Children are texts, elements, lists of them, or None; `class_` is the attribute `class`.

    An attribute that is None, False or unset is left out, and one that is True has no value.
    """
    written = []
    for name, value in attributes.items():
        if value is None or value is False or value is UNSET:
            continue
        name = name.rstrip("_").replace("_", "-")  # noqa: PLW2901
        written.append(f" {name}" if value is True else f' {name}="{escape(str(value))}"')
    opened = f"<{tag}{''.join(written)}>"
    return Html(opened if tag in VOID else f"{opened}{join(*children)}</{tag}>")


def join(*children: Any) -> Html:
    """Return the children one after the other."""
    return Html("".join(_one(child) for child in children))


def _one(child: Any) -> str:
    if child is None or child is UNSET or child is False:
        return ""
    if isinstance(child, Html):
        return child
    if isinstance(child, list | tuple):
        return join(*child)
    return escape(str(child))


def badge(word: str) -> Html:
    """Return a status: its word, with a dot of its tone."""
    return el("span", word.replace("_", " "), class_=f"badge {_TONE.get(word, 'quiet')}")


def code(text: Any) -> Html | None:
    """Return an id or a name of the code; None without one."""
    return None if text is UNSET or not text else el("code", text)


def link(address: str, *children: Any, **attributes: Any) -> Html:
    """Return a link."""
    return el("a", *children, href=address, **attributes)


def when(milliseconds: Any, now: datetime) -> Html | None:
    """Return how long ago a moment (ms) was, with the moment itself; None without one."""
    if milliseconds is UNSET or milliseconds is None:
        return None
    moment = from_ms(milliseconds)
    full = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    seconds = (now - moment).total_seconds()
    shown = f"in {age(-seconds)}" if seconds < -1 else f"{age(seconds)} ago" if seconds >= 1 else "now"
    if abs(seconds) > 30 * DAY:
        shown = moment.strftime("%d %b %Y")
    return el("time", shown, datetime=moment.isoformat(), title=full)


def exactly(milliseconds: Any) -> Html | None:
    """Return a moment (ms) to the second; None without one."""
    if milliseconds is UNSET or milliseconds is None:
        return None
    moment = from_ms(milliseconds)
    return el("time", moment.strftime("%Y-%m-%d %H:%M:%S"), datetime=moment.isoformat())


def age(seconds: float) -> str:
    """Return a duration in its largest unit."""
    seconds = max(0.0, seconds)
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"


def dollars(micro: Any) -> str:
    """Return micro-dollars as dollars; two digits, or four of small amounts."""
    amount = (micro or 0) / 1e6
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.4f}"


def facts(rows: Mapping[str, Any] | Iterable[tuple[str, Any]], *, close: bool = False) -> Html:
    """Return names with values; those without a value are left out."""
    pairs = rows.items() if isinstance(rows, Mapping) else rows
    kept = [(name, value) for name, value in pairs if value is not None and value is not UNSET and value != ""]
    return el(
        "dl",
        [el("div", el("dt", name), el("dd", value)) for name, value in kept],
        class_="facts close" if close else "facts",
    )


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "Nothing here.") -> Html:
    """Return a table, or the sentence `empty`. Cells under heads that begin with `#` are numbers."""
    body = [el("tr", [_cell(head, cell) for head, cell in zip(heads, row, strict=True)]) for row in rows]
    if not body:
        return el("p", empty, class_="empty")
    top = [
        el("th", el("span", head.lstrip("#")), scope="col", class_="number" if head.startswith("#") else None)
        if head
        else el("td")
        for head in heads
    ]
    whole = el("table", el("caption", caption, class_="unseen"), el("thead", el("tr", top)), el("tbody", body))
    return el("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _cell(head: str, cell: Any) -> Html:
    kind = "number" if head.startswith("#") else None
    if cell is None or cell is UNSET or cell == "":
        return el("td", class_="none")
    return el("td", el("div", cell), class_=kind, data_label=head.lstrip("#") or None)


def panel(title: str, *children: Any, note: Any = None, id_: str | None = None) -> Html:
    """Return a part of a page with its heading."""
    return el("section", el("header", el("h2", title), note), *children, class_="panel", id_=id_)


def pre(value: Any) -> Html:
    """Return JSON, or a text, as it is."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return el("pre", text, dir="auto", tabindex="0")
