"""Licences of what `requirements.txt` installs, as a table or as a software bill of materials (CycloneDX 1.5)."""

from __future__ import annotations

import argparse
import json
import re
import sys
import uuid
from importlib.metadata import Distribution, PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
REQUIREMENTS = ROOT / "requirements.txt"

# Words in what packages say of their licence, and its SPDX identifier; the first that matches counts.
KNOWN = (
    (r"\bMPL[- ]?2|Mozilla Public License", "MPL-2.0"),
    (r"\bApache", "Apache-2.0"),
    (r"\bMIT\b", "MIT"),
    (r"BSD[- ]2", "BSD-2-Clause"),
    (r"0BSD", "0BSD"),
    (r"\bBSD", "BSD-3-Clause"),
    (r"\bISC\b", "ISC"),
    (r"\bPSF|Python Software Foundation", "PSF-2.0"),
    (r"Unlicense|CC0", "Unlicense"),
    (r"HPND", "HPND"),
    (r"LGPL", "LGPL-3.0-only"),
    (r"AGPL", "AGPL-3.0-only"),
    (r"GPL[- ]?(v?2|2\.0)|GNU General Public License v2", "GPL-2.0-or-later"),
    (r"GPL", "GPL-3.0-only"),
)
ALLOWED = {
    "MPL-2.0", "Apache-2.0", "MIT", "BSD-2-Clause", "0BSD", "BSD-3-Clause", "ISC", "PSF-2.0", "Unlicense", "HPND",
}  # fmt: skip
# Under GPL 2 or later: an installation with it, such as an image, is passed on under the terms of GPL 3.
EXCEPTIONS = {"mutagen": "GPL-2.0-or-later"}


class Package(NamedTuple):
    """An installed package; `licence` is None when it says none that is known."""

    name: str
    version: str
    licence: str | None
    needs: tuple[str, ...]
    home: str


def packages(requirements: Path = REQUIREMENTS) -> list[Package]:
    """Return the locked packages that are installed here, by name; others are for other platforms."""
    found = []
    for name in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==", requirements.read_text(), re.MULTILINE):
        try:
            found.append(described(distribution(name)))
        except PackageNotFoundError:
            continue
    return sorted(found)


def described(package: Distribution) -> Package:
    """Return what a package says of itself."""
    about: Any = package.metadata
    needs = {
        canonical(re.split(r"[^A-Za-z0-9_.-]", each)[0]) for each in package.requires or () if "extra ==" not in each
    }
    home = about.get("Home-page") or next(iter(about.get_all("Project-URL") or [""])).partition(", ")[2]
    return Package(canonical(about["Name"]), package.version, licence_of(about), tuple(sorted(needs)), home)


def licence_of(about: Any) -> str | None:
    """Return the SPDX identifier of a package's licence, by its expression, else its classifiers, else its text."""
    classifiers = [each for each in about.get_all("Classifier") or () if each.startswith("License ::")]
    for said in (about.get("License-Expression"), *classifiers, about.get("License")):
        for pattern, identifier in KNOWN:
            if said and re.search(pattern, said[:200]):
                return identifier
    return None


def canonical(name: str) -> str:
    """Return a name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def bill_of_materials(found: list[Package]) -> dict[str, Any]:
    """Return the packages as a CycloneDX document."""
    own = version("daysong")
    names = {package.name for package in found}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, repr(found))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "daysong",
                "name": "daysong",
                "version": own,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": _reference(package),
                "name": package.name,
                "version": package.version,
                "purl": _reference(package),
                "licenses": [{"license": {"id": package.licence}}] if package.licence else [],
            }
            for package in found
        ],
        "dependencies": [
            {
                "ref": _reference(package),
                "dependsOn": [_reference(other) for other in found if other.name in {*package.needs} & names],
            }
            for package in found
        ],
    }


def _reference(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version}"


def objections(found: list[Package]) -> list[str]:
    """Return the packages whose licence is not known or not allowed, each with its licence."""
    return [
        f"{package.name}: {package.licence or 'no licence that is known'}"
        for package in found
        if package.licence is None
        or (package.licence not in ALLOWED and EXCEPTIONS.get(package.name) != package.licence)
    ]


def main(arguments: list[str]) -> int:
    """Run the command; see script/licences."""
    parser = argparse.ArgumentParser(prog="script/licences")
    parser.add_argument("--sbom", type=Path, help="write a CycloneDX document there")
    parser.add_argument("--check", action="store_true", help="fail for a licence that is unknown or not allowed")
    given = parser.parse_args(arguments)
    found = packages()
    if given.sbom:
        given.sbom.write_text(json.dumps(bill_of_materials(found), indent=2) + "\n", encoding="utf-8")
    elif not given.check:
        for package in found:
            print(f"{package.name:28} {package.version:14} {package.licence or '?'}")
    for objection in objections(found):
        print(f"licences: {objection}", file=sys.stderr)
    return 1 if objections(found) and given.check else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
