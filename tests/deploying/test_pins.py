"""What the requirements files pin: complete, hashed, and what pyproject.toml asks for."""

from __future__ import annotations

import json
from datetime import date

import pytest

from rehearsal import pins

PROJECT = {
    "dependencies": ["litestar>=2.25", "pyjwt[crypto]>=2.15"],
    "optional-dependencies": {"dev": ["numpy>=2"]},
    "requires-python": ">=3.11",
}
GOOD = """\
litestar==2.25.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
pyjwt[crypto]==2.15.1 ; x < '1' \\
    --hash=sha256:cc
"""
NUMPY = "numpy==2.1 \\\n    --hash=sha256:dd\n"
TODAY = date(2026, 11, 27)


def test_every_dependency_is_pinned_with_hashes_and_is_what_pyproject_asks_for() -> None:
    """In each file, in the same versions."""
    assert pins.objections(*pins.locked(), TODAY) == []


@pytest.mark.parametrize(
    ("first", "second", "objection"),
    [
        (GOOD, GOOD + NUMPY, None),
        (GOOD.replace("==2.25.0", ">=2.25.0"), GOOD + NUMPY, "litestar is not pinned to one version"),
        (GOOD.replace("==2.25.0", "==2.24.0"), GOOD + NUMPY, "litestar 2.24.0 is not >=2.25"),
        (GOOD.replace("    --hash=sha256:cc\n", ""), GOOD + NUMPY, "pyjwt has no hash"),
        (GOOD, GOOD, "numpy of pyproject.toml is missing"),
        (GOOD, GOOD.replace("2.15.1", "2.16.0") + NUMPY, "pyjwt is not in the version of the file before it"),
    ],
)
def test_what_is_wrong_with_pins_is_named(first: str, second: str, objection: str | None) -> None:
    """Each fault by the file and the package."""
    files: list[pins.Locked] = [("requirements.txt", (), first), ("requirements-dev.txt", ("dev",), second)]
    found = pins.objections(PROJECT, files, TODAY)
    assert found == [] if objection is None else any(objection in each for each in found)


def test_a_python_without_fixes_is_an_objection_half_a_year_before() -> None:
    """So that dropping it comes with a release in time."""
    files: list[pins.Locked] = [("requirements.txt", (), GOOD)]
    assert pins.objections(PROJECT, files, date(2027, 6, 1)) == [
        "pyproject.toml: Python 3.11 gets no fixes after 2027-10-31"
    ]


def test_a_package_that_could_not_be_asked_about_is_not_counted_as_audited() -> None:
    """pip-audit exits with 0 when its index knows none of the packages."""
    bad = {"id": "PYSEC-1", "fix_versions": ["2"]}
    output = {
        "dependencies": [{"name": "a", "version": "1", "vulns": [bad]}, {"name": "b", "skip_reason": "not found"}]
    }
    assert pins.read_audit(json.dumps(output)) == (1, 1, ["a 1: PYSEC-1, fixed in 2"])
    assert pins.read_audit("") == (0, 0, [])
