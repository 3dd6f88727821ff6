"""Modules import each other in one direction only."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("daysong", "rehearsal")


def imported(path: Path, module: str, modules: dict[str, Path]) -> set[str]:
    """Return the modules that a file imports anywhere: in functions and under TYPE_CHECKING, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            base = node.module or ""
            found.update(name if (name := f"{base}.{alias.name}") in modules else base for alias in node.names)
    return (found & modules.keys()) - {module}


def test_modules_import_each_other_in_no_cycle() -> None:
    """No module imports itself through others, at run time or for types."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    graph = {module: imported(path, module, modules) for module, path in modules.items()}
    assert len(graph) > 100
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError("import cycle: " + " -> ".join(error.args[1])) from None
