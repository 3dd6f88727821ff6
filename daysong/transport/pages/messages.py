"""Pages that say one thing: welcome, not found, not available."""

from __future__ import annotations

from daysong.transport.pages.assets import Assets


def message(assets: Assets, heading: str, *paragraphs: str, head: str = "") -> tuple[str, dict[str, str]]:
    """Return a page with a heading and paragraphs, which are HTML, and its headers."""
    mark = f'<img class="mark" src="{assets.address("icon.svg")}" alt="" width="72" height="72">'
    shown = "\n".join(text if text.startswith("<p") else f"<p>{text}</p>" for text in paragraphs)
    content = f"<main>\n{mark}\n<h1>{heading}</h1>\n{shown}\n</main>"
    return assets.page(title=heading, content=content, kind="notice", head=head)
