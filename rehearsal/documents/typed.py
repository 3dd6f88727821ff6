"""Types the commands of the documents into a shell, as they are printed, in an empty folder: `script/typed`.

The folder gets a copy of the repository's files, and its own `.venv` by the first command that needs one. Only places
are replaced: port 8000 by another, `/opt/daysong` by a folder. A command that serves is stopped when the next begins to
serve, or the document ends. Of docs/EXTENDING.md, files are written and lines added as well, between the commands.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from rehearsal.documents import recipes
from rehearsal.documents.blocks import HOW, ROOT, Block, Typed, collect, documents

FIRST_PORT = 21300
PATIENCE = 600  # seconds for a block; the first one installs the packages
# The shell keeps its variables and its folder from block to block.
KEEP = 'set -a; trap \'export -p > "$TYPED_STATE"\' EXIT; [ ! -e "$TYPED_STATE" ] || . "$TYPED_STATE"\n'
# First a song: it makes `.venv`.
ORDER = ("docs/FIRST_SONG.md", "README.md")


class Failed(Exception):
    """A command did not do what its document says."""


class Shell:
    """A shell in a copy of the repository."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._state = folder.parent / "variables"
        self._serving: subprocess.Popen[str] | None = None
        self._environ = {
            name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "PATH", "PIP_CONFIG_FILE"}
        } | {"TYPED_STATE": str(self._state), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        self._environ |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_"))}
        self._environ["PATH"] = f"{folder / '.venv/bin'}:{os.environ['PATH']}"

    def type(self, block: Block, how: Typed) -> str:
        """Type a block; return what it printed. Errors: Failed."""
        text = block.text.replace("8000", str(self._port)).replace("/opt/daysong", str(self._folder.parent / "opt"))
        if how.until is not None:
            self.stop()
            text = re.sub(r"\bdaysong dev\b", f"daysong dev --port {self._port}", text)
            text = re.sub(r"^script/demo\b", f"script/demo --port {self._port}", text, flags=re.MULTILINE)
            return self._serve(text, how.until)
        done = subprocess.run(  # noqa: S603 - our own documents
            ["/bin/bash", "-euo", "pipefail", "-c", KEEP + text],
            cwd=self._folder, env=self._environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        if done.returncode != how.exit_code:
            raise Failed(f"ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def _serve(self, text: str, until: str) -> str:
        self._serving = subprocess.Popen(  # noqa: S603 - our own documents
            ["/bin/bash", "-euo", "pipefail", "-c", KEEP + text],
            cwd=self._folder, env=self._environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        printed: list[str] = []
        found = threading.Event()

        def read(output: object) -> None:
            for line in output:  # type: ignore[attr-defined]
                printed.append(line)
                if until in line:
                    found.set()
            found.set()

        threading.Thread(target=read, args=(self._serving.stdout,), daemon=True).start()
        found.wait(PATIENCE)
        if not any(until in line for line in printed):
            raise Failed(f"{until!r} was not printed:\n{''.join(printed)}")
        return "".join(printed)

    def stop(self) -> None:
        """End what serves."""
        if self._serving is not None:
            if self._serving.poll() is None:
                os.killpg(self._serving.pid, signal.SIGTERM)
            self._serving.wait(60)
            self._serving = None

    def new_document(self) -> None:
        """Forget variables and what serves."""
        self.stop()
        self._state.unlink(missing_ok=True)


def copy_of_the_repository(folder: Path) -> None:
    """Copy what git has or would add, as it is now, so that a fresh clone is what is tried."""
    listed = subprocess.run(
        ["/usr/bin/git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def steps_of(document: str, folder: Path) -> Iterator[Block]:
    """Yield the blocks of a document; of recipes, what stands before each has been applied by then."""
    if document != recipes.DOCUMENT:
        yield from collect(document)
        return
    for step in recipes.steps(ROOT / document):
        if step.kind == "sh":
            yield Block(document, step.text)
        recipes.apply(step, folder)


def main() -> None:
    """Type the blocks of the documents that are named, or of all."""
    named = sys.argv[1:] or [*ORDER, *(name for name in documents() if name not in ORDER)]
    failed = 0
    with tempfile.TemporaryDirectory(prefix="daysong-typed-", ignore_cleanup_errors=True) as temporary:
        Path(temporary).chmod(0o755)  # as root, the embedded database's account has to walk through
        folder = Path(temporary) / "daysong"
        folder.mkdir()
        copy_of_the_repository(folder)
        shell = Shell(folder, FIRST_PORT)
        if named[0] != ORDER[0]:
            subprocess.run(["script/setup"], cwd=folder, check=True)  # noqa: S607
        for document in named:
            for block in steps_of(document, folder):
                how = HOW[block.key]
                if not isinstance(how, Typed):
                    continue
                began = time.monotonic()
                try:
                    shell.type(block, how)
                    said = "ok  "
                except (Failed, subprocess.TimeoutExpired) as error:
                    said, failed = "FAIL", failed + 1
                    print(error)
                print(f"typed: {said} {time.monotonic() - began:5.1f} s  {document}: {block.key[1]}", flush=True)
            shell.new_document()
    sys.exit(f"typed: {failed} blocks failed" if failed else None)


if __name__ == "__main__":
    main()
