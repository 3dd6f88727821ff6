"""Every command of the documents is typed by a script or a test, or the table says why it cannot be."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daysong.cli import command_line
from rehearsal.documents import recipes
from rehearsal.documents.blocks import HOW, ROOT, ByTest, NotHere, Typed, collect, documents
from rehearsal.world import World, free_port

QUICK = ("README.md",)
# What it prints is in backticks as well.
COMMAND = re.compile(r"`daysong ((?!ready on)[a-z][^`]*)`")


def test_every_block_is_typed_or_says_why_not() -> None:
    """A new block needs a line in `HOW`, and a line whose block is gone is removed."""
    blocks = [block.key for document in documents() for block in collect(document)]
    assert sorted(set(blocks) - HOW.keys()) == [], "add to HOW in rehearsal/documents/blocks.py"
    assert sorted(HOW.keys() - set(blocks)) == []


def test_tests_that_type_blocks_exist() -> None:
    """Each names its document or the command; reasons are sentences."""
    for (document, first), how in HOW.items():
        if isinstance(how, ByTest):
            text = (ROOT / how.test).read_text()
            assert Path(document).name in text or first.split()[2] in text, first
        elif isinstance(how, NotHere):
            assert len(how.reason) > 20, first


def test_commands_in_sentences_exist() -> None:
    """Each `daysong …` in a sentence or a table is a command, and has the options that it is shown with."""
    wrong = []
    for document in documents():
        for span in COMMAND.findall((ROOT / document).read_text(encoding="utf-8")):
            chain, apps, rest = command_line.parse_commands(span.partition(">")[0].split())
            command = apps[-1]
            options = {"--help", "--version"}
            if command.default_command is not None:
                options |= {name for argument in command.assemble_argument_collection() for name in argument.names}
            shown = {word.partition("=")[0] for word in rest if word.startswith("--")}
            if not chain or (command.default_command is None and rest) or not shown <= options:
                wrong.append((document, span))
    assert wrong == []


def test_the_recipes_fit_the_code(tmp_path: Path) -> None:
    """The lines of docs/EXTENDING.md can be added to the files as they are now; `script/typed` runs them."""
    document = ROOT / recipes.DOCUMENT
    for name in recipes.changed(document):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for step in recipes.steps(document):
        recipes.apply(step, tmp_path)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "ruff", "check", "--select=F", "--no-cache", "--isolated", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout  # no name is undefined


@pytest.mark.anyio
@pytest.mark.slow
@pytest.mark.parametrize("document", QUICK)
async def test_commands_for_a_server_can_be_typed(document: str, database_url: str, tmp_path: Path) -> None:
    """As they are printed, in the order of the document, in one shell; those of `script/typed` need more."""
    typed = [block for block in collect(document) if isinstance(how := HOW[block.key], Typed) and how.quick]
    async with World(database_url, tmp_path / "data", datetime.now(UTC), port=(port := free_port())) as world:
        text = "\n".join(block.text for block in typed).replace("8000", str(port))
        process = await asyncio.create_subprocess_exec(
            "/bin/bash", "-euo", "pipefail", "-c", text,
            cwd=tmp_path, env={"PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        assert process.returncode == 0, printed.decode()
        assert b'"status":"error"' not in printed
        assert await world.asked("clerk", "/") is not None
