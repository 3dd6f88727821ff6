"""Documents that a test keeps true."""

from __future__ import annotations

import re
from pathlib import Path

from daysong.kernel.functions.declarations import Kind
from rehearsal.world import functions

DECISIONS = Path(__file__).parent.parent / "docs" / "decisions"


def test_g71_every_mutation_says_what_holds_its_invariants() -> None:
    """The table of decision 0010 lists every mutation, and no other."""
    [page] = DECISIONS.glob("0010-*.md")
    table = page.read_text().partition("### Every mutation")[2].partition("\n## ")[0]
    listed = set()
    for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE):
        room = ""
        for name in re.findall(r"`([^`]+)`", row):
            room = name.rpartition(":")[0] or room
            listed.add(f"{room}:{name.rpartition(':')[2]}")
    assert listed == {function.identifier for function in functions() if function.kind is Kind.MUTATION}
