"""The code of docs/EXTENDING.md: files to write and lines to add, applied in order to a copy of the repository."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

DOCUMENT = "docs/EXTENDING.md"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
CHANGED = re.compile(r"^--- a/(\S+)", re.MULTILINE)


class Step(NamedTuple):
    """A file to write (`path`), lines to add (`diff`), or a command (`sh`)."""

    kind: str
    path: str
    text: str


class DoesNotApply(Exception):
    """The code around the lines to add is another by now: write that part of the document anew."""


def steps(document: Path) -> Iterator[Step]:
    """Yield the steps of the document."""
    for language, path, text in FENCE.findall(document.read_text(encoding="utf-8")):
        yield Step("file" if path else language, path, text)


def apply(step: Step, folder: Path) -> None:
    """Write a file, or add lines. Errors: DoesNotApply."""
    if step.kind == "file":
        (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / step.path).write_text(step.text, encoding="utf-8")
    elif step.kind == "diff":
        for part in re.split(r"^(?=--- a/)", step.text, flags=re.MULTILINE)[1:]:
            name, hunks = CHANGED.findall(part)[0], re.split(r"^@@ -(\d+).*\n", part, flags=re.MULTILINE)[1:]
            lines = (folder / name).read_text(encoding="utf-8").splitlines()
            for number, hunk in zip(hunks[::2], hunks[1::2], strict=True):
                lines = _added(lines, hunk.splitlines(), int(number), name)
            (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _added(lines: list[str], hunk: list[str], number: int, name: str) -> list[str]:
    """Return the lines with a hunk applied, near its number. One of the lines around it may be another by now."""
    hunk = [line or " " for line in hunk]
    for without in (hunk, hunk[1:] if hunk[0][0] == " " else hunk, hunk[:-1] if hunk[-1][0] == " " else hunk):
        before = [line[1:] for line in without if line[0] != "+"]
        found = [at for at in range(len(lines)) if before and lines[at : at + len(before)] == before]
        if found:
            at = min(found, key=lambda one: abs(one - number))
            return [*lines[:at], *(line[1:] for line in without if line[0] != "-"), *lines[at + len(before) :]]
    shown = "\n".join(hunk)
    raise DoesNotApply(f"{DOCUMENT}: {name} has changed where these lines belong:\n{shown}")


def changed(document: Path) -> set[str]:
    """Return the files of the repository that the document adds lines to."""
    written = {step.path for step in steps(document)}
    named = {path for step in steps(document) if step.kind == "diff" for path in CHANGED.findall(step.text)}
    return named - written
