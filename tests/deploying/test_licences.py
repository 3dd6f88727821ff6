"""`script/licences`: what an installation ships, and under which licences."""

from __future__ import annotations

import json
from email.message import Message
from pathlib import Path

import pytest

from rehearsal import licences


def test_every_locked_package_has_a_licence_that_we_may_ship() -> None:
    """By what each says of itself; a new dependency with another one fails here."""
    found = licences.packages()
    assert {"asyncpg", "litestar", "msgspec", "openai"} <= {package.name for package in found}
    assert licences.objections(found) == []


def test_the_bill_of_materials_names_each_package_once_and_what_it_needs(tmp_path: Path) -> None:
    """In CycloneDX; the same packages give the same document."""
    files = tmp_path / "one.json", tmp_path / "two.json"
    for file in files:
        assert licences.main(["--sbom", str(file)]) == 0
    one, two = (json.loads(file.read_text()) for file in files)
    assert one == two
    references = [component["bom-ref"] for component in one["components"]]
    assert len(references) == len(set(references)) > 30
    needs = {each["ref"]: each["dependsOn"] for each in one["dependencies"]}
    assert needs.keys() == set(references)
    [litestar] = [reference for reference in references if reference.startswith("pkg:pypi/litestar@")]
    assert any(reference.startswith("pkg:pypi/msgspec@") for reference in needs[litestar])
    assert all(component["licenses"] for component in one["components"])


@pytest.mark.parametrize(
    ("field", "text", "licence"),
    [
        ("License-Expression", "Apache-2.0 OR BSD-3-Clause", "Apache-2.0"),
        ("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)", "GPL-3.0-only"),
        ("License", "GNU AGPLv3", "AGPL-3.0-only"),
        ("License", "ask us", None),
    ],
)
def test_licences_are_read_from_what_packages_say(field: str, text: str, licence: str | None) -> None:
    """One that is not known or not allowed is an objection."""
    about = Message()
    about[field] = text
    assert licences.licence_of(about) == licence
    package = licences.Package("x", "1", licence, (), "")
    assert bool(licences.objections([package])) is (licence != "Apache-2.0")
