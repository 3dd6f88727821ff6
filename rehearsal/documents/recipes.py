"""The code of docs/EXTENDING.md: files to write and lines to add, applied in order to a copy of the repository."""

from __future__ import annotations

import re
import subprocess
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
        done = subprocess.run(
            ["/usr/bin/git", "apply", "-C1", "-"],
            cwd=folder, input=step.text, text=True, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise DoesNotApply(f"{DOCUMENT}: {done.stderr}")


def changed(document: Path) -> set[str]:
    """Return the files of the repository that the document adds lines to."""
    written = {step.path for step in steps(document)}
    named = {path for step in steps(document) if step.kind == "diff" for path in CHANGED.findall(step.text)}
    return named - written
