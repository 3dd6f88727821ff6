"""`script/audit`: what the requirements files pin, compared with pyproject.toml; and what is known against it.

The first part needs no network: `objections`. The second asks the advisories of PyPI by pip-audit, and says so when
they cannot be reached: no audit is not a clean one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
# Each has what the one before it has, in the same versions, and further extras of pyproject.toml.
FILES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("requirements.txt", ()),
    ("requirements-dev.txt", ("dev",)),
    ("requirements-test.txt", ("otel", "test")),
    ("requirements-bench.txt", ("bench",)),
)
# A file's name, the extras that it has besides those before it, and its text.
Locked = tuple[str, tuple[str, ...], str]
PIN = re.compile(r"^(?P<name>[A-Za-z0-9_.-]+)(?:\[[^\]]*\])?(?P<rest>.*(?:\n[ \t]+--hash.*)*)", re.MULTILINE)
# When each version gets its last security fix: PEP 664, 693, 719, 745.
PYTHON_ENDS = {"3.11": date(2027, 10, 31), "3.12": date(2028, 10, 31), "3.13": date(2029, 10, 31),
               "3.14": date(2030, 10, 31)}  # fmt: skip
NOTICE = timedelta(days=180)
NOT_AUDITED = 3  # exit code


class Pin(NamedTuple):
    """A line of a requirements file."""

    name: str
    version: Version | None
    hashes: int


def pins(text: str) -> list[Pin]:
    """Return what a requirements file installs, by name; the version is None where it is not exactly one."""
    found = []
    for match in PIN.finditer(text):
        exactly = re.match(r"==([^\s;*]+)(?=[\s;\\]|$)", match["rest"])
        version = Version(exactly[1]) if exactly else None
        found.append(Pin(canonicalize_name(match["name"]), version, match["rest"].count("--hash=sha256:")))
    return found


def objections(project: dict[str, Any], files: Sequence[Locked], today: date) -> list[str]:
    """Return what is wrong with the pins of `files`, which are in the order of FILES."""
    wrong: list[str] = []
    wanted: list[Requirement] = [Requirement(each) for each in project["dependencies"]]
    before: dict[str, set[Version | None]] = {}
    for name, extras, text in files:
        for extra in extras:
            wanted += [Requirement(each) for each in project["optional-dependencies"][extra]]
        listed = pins(text)
        found: dict[str, set[Version | None]] = {}
        for pin in listed:
            found.setdefault(pin.name, set()).add(pin.version)
        differ = [each for each, versions in before.items() if found.get(each) != versions]
        faults = [
            *(f"{pin.name} is not pinned to one version" for pin in listed if pin.version is None),
            *(f"{pin.name} has no hash" for pin in listed if not pin.hashes),
            *(fault for requirement in wanted for fault in _faults(requirement, found)),
            *(f"{each} is not in the version of the file before it" for each in differ),
        ]
        wrong += [f"{name}: {fault}" for fault in faults]
        before = found
    supported = SpecifierSet(project["requires-python"])
    ending = [each for each, ends in PYTHON_ENDS.items() if each in supported and ends - NOTICE < today]
    return wrong + [f"pyproject.toml: Python {each} gets no fixes after {PYTHON_ENDS[each]}" for each in ending]


def _faults(requirement: Requirement, found: dict[str, set[Version | None]]) -> list[str]:
    """Return what is wrong with how one requirement of pyproject.toml is pinned."""
    versions = found.get(canonicalize_name(requirement.name), set())
    if not versions:
        return [f"{requirement.name} of pyproject.toml is missing: run script/lock"]
    return [
        f"{requirement.name} {version} is not {requirement.specifier}"
        for version in versions
        if version is not None and not requirement.specifier.contains(version)
    ]


def locked(root: Path = ROOT) -> tuple[dict[str, Any], list[Locked]]:
    """Return `project` of pyproject.toml, and the files as `objections` takes them."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return project, [(name, extras, (root / name).read_text()) for name, extras in FILES]


class Audit(NamedTuple):
    """What pip-audit says: the packages it could ask about, and the advisories that were found."""

    audited: int
    skipped: int
    advisories: list[str]


def read_audit(output: str) -> Audit:
    """Read pip-audit's JSON. A package that it could not ask about is skipped, although it exits with 0 then."""
    dependencies = json.loads(output)["dependencies"] if output.strip() else []
    asked = [each for each in dependencies if "skip_reason" not in each]
    advisories = [
        f"{each['name']} {each['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none yet'}"
        for each in asked
        for found in each["vulns"]
    ]
    return Audit(len(asked), len(dependencies) - len(asked), advisories)


def main(pip_audit: str) -> int:
    """Check the pins, then ask about them; return the exit code."""
    wrong = objections(*locked(), datetime.now(UTC).date())
    for each in wrong:
        print(f"audit: {each}")
    print(f"audit: pins, hashes and supported Pythons: {f'{len(wrong)} objections' if wrong else 'ok'}")
    command = [pip_audit, "--requirement", str(ROOT / FILES[-2][0]), "--require-hashes", "--disable-pip"]
    options = ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)  # noqa: S603
    audit = read_audit(done.stdout)
    for advisory in audit.advisories:
        print(f"audit: {advisory}")
    if not audit.audited or audit.skipped:
        print(f"audit: NOT AUDITED: the advisories of {audit.skipped or 'all'} packages cannot be had here")
        return 1 if wrong or audit.advisories else NOT_AUDITED
    print(f"audit: {audit.audited} packages, {len(audit.advisories)} advisories")
    return 1 if wrong or audit.advisories else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
