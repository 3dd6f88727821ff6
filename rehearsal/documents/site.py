"""Builds the site of the documents: `script/docs`.

The generator wants one folder of pages, so the documents are copied into one, README and its neighbours too. Links
between them are rewritten; a link to an example or a file of `deploy/` leads to a copy of it, one to code becomes text.
A link to what does not exist is an error, here or, for sections, in the generator.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST_SONG = "docs/FIRST_SONG.md"
DECISIONS = "docs/decisions"
ABOVE = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
# What the site has copies of, beside its pages.
COPIED = ("docs/screens/", "examples/", "deploy/")

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
MERMAID = re.compile(r"^```mermaid\n.*?^```$", re.MULTILINE | re.DOTALL)
DIAGRAM = "![How a call, a job and a webhook go through daysong](screens/architecture.svg)"

# How the examples are called on their page, in this order.
EXAMPLES = {
    "first_song.mjs": ("npm", "js"),
    "react_app.mjs": ("React, Expo", "js"),
    "first_song.py": ("Python", "python"),
    "first_song.sh": ("curl", "sh"),
    "typed.ts": ("TypeScript, checked", "ts"),
}
# The generator's pages load this from elsewhere, so that search works without a server; `docs/site.js` does it here.
SHIM = "https://unpkg.com/iframe-worker/shim"
# And its script loads these where a page has a diagram, a gallery or an editor. None has.
ELSEWHERE = re.compile(r"https://(?:unpkg\.com|cdn\.jsdelivr\.net)/[\w@./-]*")


class BrokenLink(Exception):
    """A document links to what does not exist."""


def documents() -> dict[str, str]:
    """Return the page of every document, by its path in the repository."""
    found = {name: name.lower() for name in ABOVE}
    for path in sorted((ROOT / "docs").rglob("*.md")):
        name = path.relative_to(ROOT).as_posix()
        found[name] = "index.md" if name == FIRST_SONG else name.removeprefix("docs/").lower()
    return found


def page(name: str, pages: dict[str, str]) -> str:
    """Return the Markdown of a document's page, with the links of the site. Errors: BrokenLink."""
    text = MERMAID.sub(DIAGRAM, (ROOT / name).read_text(encoding="utf-8"))
    here = posixpath.dirname(pages[name])

    def link(found: re.Match[str]) -> str:
        image, label, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:", "screens/architecture.svg")):
            return found[0]
        path, mark, section = target.partition("#")
        full = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        if not (ROOT / full).exists():
            raise BrokenLink(f"{name}: {target}")
        if full == DECISIONS:
            there = "decisions.md"
        elif full == "examples":
            there = "examples.md"
        elif full in pages:
            there = pages[full]
        elif full.startswith(COPIED) and (ROOT / full).is_file():
            there = full.removeprefix("docs/")
        else:
            return label
        return f"{image}[{label}]({posixpath.relpath(there, here or '.')}{mark}{section})"

    return _outside_of_code(text, lambda prose: LINK.sub(link, prose))


def _outside_of_code(text: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def examples() -> str:
    """Return the page with the text of each example."""
    head = "# Examples\n\nThe first song of an entry, with each client. [Write an app](apps.md) explains them.\n"
    shown = [
        f"\n## {title}\n\n[`examples/{name}`](examples/{name})\n\n```{language}\n"
        f"{(ROOT / 'examples' / name).read_text(encoding='utf-8')}```\n"
        for name, (title, language) in EXAMPLES.items()
    ]
    return "".join([head, *shown])


def decisions() -> str:
    """Return the page that lists the decisions."""
    lines = []
    for path in sorted((ROOT / DECISIONS).glob("*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}](decisions/{path.name.lower()})\n")
    return "# Decisions\n\nThose that are hard to undo, with their reasons.\n\n" + "".join(lines)


def prepare(folder: Path) -> None:
    """Write what the generator takes into an empty folder. Errors: BrokenLink."""
    target, pages = folder / "pages", documents()
    shutil.copy(ROOT / "docs/zensical.toml", folder)
    for name, place in pages.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        (target / place).write_text(page(name, pages), encoding="utf-8")
    (target / "examples.md").write_text(examples(), encoding="utf-8")
    (target / "decisions.md").write_text(decisions(), encoding="utf-8")
    for name in ("site.css", "site.js"):
        shutil.copy(ROOT / "docs" / name, target)
    for copied in COPIED:
        shutil.copytree(ROOT / copied, target / copied.removeprefix("docs/"))


def build(folder: Path) -> str:
    """Build the site, in place of an earlier one; return the generator's output. Errors: BrokenLink, RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="daysong-site-") as temporary:
        prepare(Path(temporary))
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
        done = subprocess.run(  # noqa: S603
            command, cwd=temporary, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(done.stdout)
        built = Path(temporary) / "site"
        for made in built.rglob("*.html"):
            own = posixpath.relpath("site.js", made.parent.relative_to(built).as_posix())
            made.write_text(made.read_text(encoding="utf-8").replace(SHIM, own), encoding="utf-8")
        for made in built.rglob("bundle.*.js"):
            made.write_text(ELSEWHERE.sub("", made.read_text(encoding="utf-8")), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(built, folder)
        return done.stdout


def main() -> None:
    """Build the site in the folder that is named."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "site").absolute()
    if folder.exists() and not (folder / "404.html").exists():
        sys.exit(f"docs: {folder} is there and is no site: it is left alone.")
    try:
        build(folder)
    except (BrokenLink, RuntimeError) as error:
        sys.exit(f"docs: {error}")
    print(f"docs: {folder}/index.html")


if __name__ == "__main__":
    main()
