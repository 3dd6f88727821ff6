"""The shell blocks of the documents, and what proves each: a script or a test types it, or a reason why none can."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:sh|console|bash|shell)\b[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """What a reader types."""

    document: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """The document, and the first line."""
        return self.document, self.text.partition("\n")[0]


class Typed(NamedTuple):
    """`script/typed` types it, in the order of the document. With `until` it goes on until it prints that.

    `quick` blocks are typed by the test suite too: they need a server, and nothing of `.venv` or the data folder.
    """

    until: str | None = None
    exit_code: int = 0
    quick: bool = False


class ByTest(NamedTuple):
    """A test types it, or the same command with other addresses."""

    test: str


class NotHere(NamedTuple):
    """It cannot be typed without what this machine does not have."""

    reason: str


ROOT_OF_A_MACHINE = NotHere("changes the machine: packages, users, services; the rest of the page is typed by a test")

HOW: Mapping[tuple[str, str], Typed | ByTest | NotHere] = {
    ("README.md", 'script/demo "I walked home in the rain and called my sister"'): Typed(until="Still serving"),
    ("README.md", "script/test"): NotHere("runs every test, which is what CI does"),
    ("README.md", "daysong functions --typescript > api.d.ts"): Typed(),
    ("README.md", "npx convex function-spec --url https://api.example.com --admin-key KEY > spec.json"): ByTest(
        "tests/conformance/test_types.py"
    ),
    ("README.md", "daysong dev"): Typed(until="daysong ready on"),
    ("README.md", "daysong call diaries:listDiaries '{}' --as user_alice"): Typed(),
    (
        "README.md",
        'TOKEN=$(curl -s http://127.0.0.1:8000/sandbox/clerk/sign-in -d \'{"sub": "user_alice", "name": "Alice"}\' |',
    ): Typed(quick=True),
    ("README.md", "curl -s http://127.0.0.1:8000/api/query \\"): Typed(quick=True),
    ("README.md", "curl -s http://127.0.0.1:8000/sandbox/revenuecat/purchase \\"): Typed(quick=True),
    ("README.md", "DAYSONG_TEST=1 daysong dev"): Typed(until="daysong ready on"),
    (
        "README.md",
        'curl -s -X POST http://127.0.0.1:8000/test/drain -H "Authorization: Convex $(cat .daysong/admin-key)"',
    ): Typed(),
    ("README.md", "python3 -m venv /opt/daysong"): Typed(),
    ("docs/FIRST_SONG.md", 'script/demo --exit "I walked home in the rain and called my sister"'): Typed(),
    ("docs/FIRST_SONG.md", ". .venv/bin/activate"): Typed(),
    ("docs/FIRST_SONG.md", "daysong dev"): Typed(until="daysong ready on"),
    (
        "docs/FIRST_SONG.md",
        'daysong call music:startDiaryMusicGeneration \'{"content": "Tea with Bob."}\' --as user_alice',
    ): Typed(),
    ("docs/APPS.md", "daysong dev"): Typed(until="daysong ready on"),
    ("docs/APPS.md", "export DAYSONG_URL=http://127.0.0.1:8000"): Typed(),
    ("docs/APPS.md", 'sh examples/first_song.sh "I walked home in the rain"'): Typed(),
    ("docs/APPS.md", "daysong functions --typescript > api.d.ts"): Typed(),
    ("docs/EXTENDING.md", "script/setup --test"): Typed(),
    ("docs/EXTENDING.md", "mkdir -p daysong/features/moods"): Typed(),
    ("docs/EXTENDING.md", "daysong functions > docs/FUNCTIONS.md"): Typed(),
    ("docs/EXTENDING.md", "mkdir -p daysong/vendors/weather/fixtures daysong/sandbox/weather"): Typed(),
    ("docs/BACKUP.md", "daysong backup backups/today"): ByTest("tests/test_backup_document.py"),
    ("docs/BACKUP.md", "daysong restore --recovered-at 2026-11-27T08:00:00Z"): Typed(),
    ("docs/VENDORS.md", "daysong doctor"): Typed(exit_code=1),  # no key is set where it is typed
    ("docs/DEPLOY.md", "apt-get install --yes python3-venv git postgresql nginx openssl"): ROOT_OF_A_MACHINE,
    ("docs/DEPLOY.md", "install -d -m 750 /etc/daysong"): ByTest("tests/deploying/test_deploy_document.py"),
    ("docs/DEPLOY.md", "daysong migrate"): ByTest("tests/deploying/test_deploy_document.py"),
    (
        "docs/DEPLOY.md",
        "cp /opt/daysong/src/deploy/systemd/daysong-*.service /etc/systemd/system/",
    ): NotHere("needs systemd and a name with a certificate; tests/deploying/test_proxies.py runs the proxies' files"),
    ("docs/DEPLOY.md", "curl --fail --silent http://127.0.0.1:8000/readyz"): ByTest(
        "tests/deploying/test_deploy_document.py"
    ),
    ("docs/DEPLOY.md", "cp deploy/daysong.env.example deploy/daysong.env"): NotHere(
        "needs docker; script/image runs the image's steps"
    ),
    ("docs/BACKUP.md", "install -d -o daysong -m 700 /srv/backups"): ROOT_OF_A_MACHINE,
    ("docs/BACKUP.md", "install -d -o 10001 -m 700 /srv/backups"): NotHere(
        "needs docker, and the compose file running"
    ),
    ("docs/DEPLOY.md", "cd /opt/daysong/src && git fetch --tags && git checkout v0.1.0"): NotHere(
        "needs systemd and a later release; tests/deploying/test_proxies.py restarts behind a proxy"
    ),
}


def documents() -> list[str]:
    """Return the documents whose blocks are looked at."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found)


def collect(document: str) -> list[Block]:
    """Return the shell blocks of a document, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [Block(document, found) for found in BLOCK.findall(text)]
