"""The examples for app developers run as they are, each for a person of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from daysong.commands.documents import typescript
from daysong.kernel.functions.descriptions import describe
from daysong.kernel.functions.registry import Registry
from daysong.surface import SURFACE
from rehearsal.world import World, free_port
from tests.conformance.test_node import HERE, node

__all__ = ["node"]

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

EXAMPLES = HERE.parent.parent / "examples"
PACKAGES = HERE / "node_modules"
LIMIT = 60  # seconds for all of them; about 5 on a quiet machine
ENTRY = "Rain on the roof and tea with Bob"
TYPES = ["--noEmit", "--strict", "--module", "esnext", "--moduleResolution", "bundler", "--target", "es2022", "--lib",
         "es2022,dom", "--skipLibCheck", "--preserveSymlinks", "typed.ts"]  # fmt: skip


async def run(program: str, *arguments: str, folder: Path, environ: dict[str, str]) -> str:
    """Return what a program prints; AssertionError with its complaints when it fails."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, cwd=folder, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, f"{program} {arguments}: {output.decode()}{errors.decode()}"
    return output.decode()


async def test_every_example_makes_a_song(node: str, database_url: str, tmp_path: Path) -> None:
    """With curl, npm, PyPI and React; and the typed one satisfies the compiler. No example is without a test."""
    folder = tmp_path / "app"
    shutil.copytree(EXAMPLES, folder)
    shutil.copy(HERE / "react_example.mjs", folder)
    (folder / "node_modules").symlink_to(PACKAGES)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "api.d.ts").write_text(typescript.document(describe(Registry(SURFACE))))
    commands: dict[str, list[str]] = {
        "first_song.sh": ["sh", "first_song.sh", ENTRY],
        "first_song.py": [sys.executable, "first_song.py", ENTRY],
        "first_song.mjs": [node, "--experimental-websocket", "first_song.mjs", ENTRY],
        "react_app.mjs": [node, "react_example.mjs", ENTRY],
    }
    typed = [node, str(PACKAGES / "typescript/bin/tsc"), *TYPES]
    assert {path.name for path in EXAMPLES.iterdir()} == {*commands, "typed.ts"}
    async with World(database_url, tmp_path / "data", datetime.now(UTC), port=free_port()) as world:
        people = {name: await world.person(name.partition(".")[0]) for name in commands}
        tasks = [asyncio.create_task(run(*typed, folder=folder, environ={"PATH": os.environ["PATH"]}))]
        for name, command in commands.items():
            token = people[name].headers["Authorization"].removeprefix("Bearer ")
            environ: dict[str, Any] = {
                "PATH": os.environ["PATH"], "DAYSONG_URL": world.origin, "DAYSONG_TOKEN": token
            }  # fmt: skip
            tasks.append(asyncio.create_task(run(*command, folder=folder, environ=environ)))
        try:
            async with asyncio.timeout(LIMIT):
                while not all(task.done() for task in tasks):
                    await world.settle()
                    await asyncio.sleep(0.05)
        finally:
            for task in tasks:
                task.cancel()
    compiled, *printed = [task.result() for task in tasks]
    assert compiled == ""
    assert all(f"{world.origin}/" in text for text in printed), printed
