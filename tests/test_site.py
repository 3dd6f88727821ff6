"""The site of the documents is built strictly, and needs nothing from elsewhere."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from html import unescape
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from rehearsal.documents import site

# Links that only lead elsewhere; anything else that names an address is loaded from it.
LEADING = {("a", "href")}
ADDRESSES = frozenset({"href", "src", "srcset", "data", "poster", "action"})
IN_CSS = re.compile(r"""(?:@import\s*["']?|url\(\s*["']?)(?:https?:)?//""")
# Hosts that scripts of such sites load fonts, diagrams and shims from.
IN_SCRIPTS = re.compile(r"""https?://(?:unpkg|cdn|fonts|[\w.-]*jsdelivr|[\w.-]*cloudflare)[\w./@-]*""")


class Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[tuple[str, str, str]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect them."""
        for name, value in attrs:
            if name in ADDRESSES and value:
                self.addresses.append((tag, name, unescape(value)))
            elif name in {"id", "name"} and value:
                self.anchors.add(value)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The pages of the site as it is built."""
    if find_spec("zensical") is None:
        pytest.skip("the generator of the site is not installed: script/setup --docs")
    folder = tmp_path_factory.mktemp("site") / "site"
    site.build(folder)
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}


def test_the_site_has_a_page_for_every_document(pages: dict[Path, Page]) -> None:
    """And each but the single decisions is in its navigation."""

    def listed(nav: list[dict[str, Any]]) -> Iterator[str]:
        for entry in nav:
            for value in entry.values():
                yield from listed(value) if isinstance(value, list) else (value,)

    nav = set(listed(tomllib.loads((site.ROOT / "docs/zensical.toml").read_text())["project"]["nav"]))
    documents = set(site.documents().values()) | {"examples.md", "decisions.md"}
    assert nav == {name for name in documents if not name.startswith("decisions/")}
    root = next(iter(pages)).parent
    assert {root / name.replace(".md", ".html") for name in documents} <= pages.keys()


def test_the_site_loads_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    """Neither a page, nor a style, nor a script."""
    loaded = [
        (path.name, tag, address)
        for path, page in pages.items()
        for tag, name, address in page.addresses
        if (tag, name) not in LEADING and (address.startswith("//") or "://" in address)
    ]
    assert loaded == []
    root = next(iter(pages)).parent
    assert [path for path in root.rglob("*.css") if IN_CSS.search(path.read_text(encoding="utf-8"))] == []
    scripts = [path for path in root.rglob("*.js") if not path.name.startswith("search.")]
    assert [IN_SCRIPTS.findall(path.read_text(encoding="utf-8")) for path in scripts] == [[] for _ in scripts]


def test_links_within_the_site_lead_somewhere(pages: dict[Path, Page]) -> None:
    """To a file that is there, and to a section that it has."""

    @cache
    def leads(target: Path, section: str) -> bool:
        return target.exists() and (not section or target not in pages or section in pages[target].anchors)

    broken = [
        (path.name, address)
        for path, page in pages.items()
        if path.name != "404.html"  # served at any address, so its links begin at the root
        for _, _, address in page.addresses
        if not (parts := urlsplit(address)).scheme
        and not parts.netloc
        and not leads((path.parent / unquote(parts.path)).resolve() if parts.path else path, unquote(parts.fragment))
    ]
    assert broken == []


def test_a_link_to_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before the generator is asked."""
    (tmp_path / "README.md").write_text("[gone](docs/GONE.md)")
    monkeypatch.setattr(site, "ROOT", tmp_path)
    with pytest.raises(site.BrokenLink, match="GONE"):
        site.page("README.md", {"README.md": "readme.md"})
