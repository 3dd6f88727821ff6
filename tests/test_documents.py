"""Paths, scripts, links and settings named in documents and docstrings exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from daysong.kernel.settings import loading
from daysong.kernel.settings.environment import Environment

ROOT = Path(__file__).parent.parent
FOLDERS = ("daysong", "docs", "rehearsal", "tests", "bench")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "daysong/migrations").glob("*.md")])
FILE_NAMES = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")} | {
    path.name for path in ROOT.iterdir()
}
# Variables of the compose file, of examples, and those that tests read.
NOT_READ = loading.OTHERWISE_KNOWN | {"SITE_ADDRESS", "DAYSONG_URL", "DAYSONG_TOKEN"}

TEXTS = {".py", ".md", ".sql", ".toml", ".html", ".css", ".mjs"}
CODE = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"[\w./-]+\.(?:py|md|sql|mjs|toml|txt)")
SCRIPT = re.compile(r"script/[\w-]+")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def _named(text: str) -> Iterator[str]:
    """Yield the paths and scripts in backticks. Those with placeholders (`<vendor>`, `*`, NNNN) are patterns."""
    for span in CODE.findall(text):
        if re.search(r"[<>*{]|NNNN|0002_titles", span):
            continue
        yield from (word for word in span.split() if PATH.fullmatch(word))
        yield from SCRIPT.findall(span)


def _exists(name: str) -> bool:
    """Return whether a path exists below the root or `daysong/`. A name without a folder may be in any of them."""
    if "/" in name:
        return any((base / name).exists() for base in (ROOT, ROOT / "daysong"))
    return name in FILE_NAMES


def test_paths_in_docstrings_and_comments_exist() -> None:
    """Each Python or SQL file that code names in backticks exists, seen from one of the folders around that code."""
    missing = [
        (source.relative_to(ROOT), name)
        for folder in FOLDERS
        for source in (ROOT / folder).rglob("*.py")
        for name in _named(source.read_text())
        if name.endswith((".py", ".sql"))
        and not (_exists(name) or any((parent / name).exists() for parent in source.parents))
    ]
    assert missing == []


def test_no_file_has_the_marks_of_a_merge_conflict() -> None:
    """In a docstring or a document no other check would see them."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in TEXTS]
    files += [path for path in ROOT.iterdir() if path.suffix in TEXTS]
    assert [path for path in files if re.search(r"^(<{7}|>{7}) ", path.read_text(), re.MULTILINE)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_in_documents_exist(document: Path) -> None:
    """Each file and script that a document names in backticks exists, and each relative link leads to one."""
    text = document.read_text()
    assert [name for name in _named(text) if not _exists(name)] == []
    links = [link.partition("#")[0] for link in LINK.findall(text) if "://" not in link]
    assert [link for link in links if link and not (document.parent / link).exists()] == []


def test_anchors_in_documents_exist() -> None:
    """A link to `#section` leads to a heading of that document."""
    for document in DOCUMENTS:
        text = document.read_text()
        headings = {
            re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-")
            for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        }
        anchors = {link[1:] for link in LINK.findall(text) if link.startswith("#")}
        anchors -= set(re.findall(r'<a id="([^"]+)"', text))
        assert anchors <= headings, document


def test_settings_named_in_documents_exist() -> None:
    """README.md, and the pages for operators, name no setting that is not read."""
    variables = Environment({}, {})
    loading._read(variables)
    known = variables.known | {f"{name}_FILE" for name in variables.known}
    beginnings = tuple({f"{name.partition('_')[0]}_" for name in variables.known})
    for document in DOCUMENTS:
        named = set(re.findall(r"`([A-Z]+_[A-Z_]+[A-Z])`", document.read_text()))
        assert {name for name in named if name.startswith(beginnings)} <= known | NOT_READ, document
