"""docs/SETTINGS.md, docs/ERRORS.md and docs/METRICS.md are what the code says, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from daysong.commands.documents import error_advice, errors, metrics, settings
from daysong.commands.documents.setting_texts import DEFAULTS, REQUIRED, ROWS, SETTINGS
from daysong.kernel.functions.descriptions import describe
from daysong.kernel.functions.raised import ANYWHERE
from daysong.kernel.functions.registry import Registry
from daysong.kernel.settings.groups import RETENTION_DAYS
from daysong.surface import SURFACE
from daysong.transport import refusals

ROOT = Path(__file__).parents[3]
CLOSES = re.compile(r'(?:Close|close)\((\d{4}), "(\w+)"\)')


@pytest.mark.parametrize("name", ["settings", "errors", "metrics"])
def test_the_pages_are_current(name: str) -> None:
    """If this fails: `daysong settings > docs/SETTINGS.md`, and the same for errors and metrics."""
    pages = {
        "settings": settings.document,
        "errors": lambda: errors.document(describe(Registry(SURFACE))),
        "metrics": metrics.document,
    }
    written = (ROOT / f"docs/{name.upper()}.md").read_text(encoding="utf-8")
    assert written == pages[name](), f"run: daysong {name} > docs/{name.upper()}.md"


def test_every_setting_that_is_read_is_described_once() -> None:
    """And no other is; the same holds for kept rows, and for the notes on defaults."""
    known = settings.Recorder({}).known
    described = [name for texts in SETTINGS.values() for name in texts]
    assert sorted(described) == sorted(known)
    assert DEFAULTS.keys() | REQUIRED.keys() <= known
    assert ROWS.keys() == RETENTION_DAYS.keys()


def test_what_is_required_follows_from_the_checks() -> None:
    """A setting of a part is required with that part alone."""
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", settings.document(), re.MULTILINE))
    assert rows["OPENAI_API_KEY"] == "always"
    assert rows["CLERK_SECRET_KEY"] == "production"
    assert rows["VAPI_API_KEY"] == "production, with `phone`"


def test_every_code_has_advice_for_clients() -> None:
    """Codes of functions, of refused requests, and of closed sockets; advice for no code is left over."""
    codes = {error.code for error in describe(Registry(SURFACE)).errors} | ANYWHERE
    assert codes == error_advice.ADVICE.keys()
    assert error_advice.REFUSALS.keys() == refusals.REFUSALS
    closed = {
        (reason, code)
        for path in (ROOT / "daysong/transport").rglob("*.py")
        if not path.name.startswith("test_")
        for code, reason in CLOSES.findall(path.read_text(encoding="utf-8"))
    } - {("Gone", "1006")}
    assert closed == {(reason, code) for reason, (code, _) in error_advice.CLOSED.items()}


def test_every_series_has_a_meaning() -> None:
    """No name is declared twice."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]*\| (.*) \|$", metrics.document(), re.MULTILINE)
    assert len({name for name, _, _ in rows}) == len(rows) > 50
    assert all(about for _, _, about in rows)


def test_the_page_of_vendors_is_complete() -> None:
    """It names each setting of a vendor but addresses, and each proof is a line that `daysong doctor` prints."""
    page = (ROOT / "docs/VENDORS.md").read_text(encoding="utf-8")
    vendors = ("Clerk", "OpenAI", "Suno", "RevenueCat", "VAPI and calls", "Kie", "Expo")
    names = [name for vendor in vendors for name in SETTINGS[vendor] if not name.endswith(("_BASE_URL", "_OLD"))]
    assert [name for name in names if name not in page] == []
    files = ("daysong/commands/doctor.py", "daysong/vendors/openai/client.py")
    doctor = "".join((ROOT / name).read_text(encoding="utf-8") for name in files)
    proofs = dict(re.findall(r"`✓ (\w+): ([^`]+)`", page))
    assert proofs.keys() == {vendor.partition(" ")[0] for vendor in vendors}
    for vendor, said in proofs.items():
        assert f'("{vendor}", ' in doctor
        words = max(re.split(r"https://\S+|[\d.]+|gpt-\S*", said), key=len).strip(" ;-")
        assert words in doctor, said
