"""All there is to say of the package is in pyproject.toml; only here can modules be left out of what is installed."""

from __future__ import annotations

import re

from setuptools import setup
from setuptools.command.build_py import build_py

TESTS = re.compile("test_.*|conftest")


class BuildWithoutTests(build_py):
    """Takes every module but the tests beside the code."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Return (package, module, file) for each module of a package."""
        found = super().find_package_modules(package, package_dir)
        return [each for each in found if not TESTS.fullmatch(each[1])]


setup(cmdclass={"build_py": BuildWithoutTests})
