"""What `script/bench peers` makes of its measurements."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.peers import report
from bench.peers.client import Measured
from bench.peers.functions import CONTENDERS, FUNCTIONS, Contender, comparable

RATES: dict[Contender, tuple[float, ...]] = {"daysong": (80, 60, 90), "floor": (100, 100, 100), "usual": (10, 10, 10)}


def rounds() -> dict[Contender, list[Measured]]:
    """Return three rounds at these rates."""
    cpu = {"server": 1.0, "postgres": 2.0, "client": 3.0}
    return {
        one: [Measured(int(rate), 1.0, 1.0, 2.0, 3.0 if one == "floor" else 6.0, cpu, 0) for rate in RATES[one]]
        for one in CONTENDERS
    }


def test_ratios_are_medians_over_rounds_and_missed_goals_say_by_how_much() -> None:
    """A slow round of one contender does not decide."""
    create = next(function for function in FUNCTIONS if function.name == "createDiary")
    assert report.ratio(rounds(), "floor") == pytest.approx(0.8)
    assert report.missed(create, rounds()) == ["0.80 of the floor, not 0.85", "p99 2.0 × the floor's, not 1.5"]


def test_the_table_replaces_the_former_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what stands between the marks changes."""
    document = tmp_path / "PERFORMANCE.md"
    document.write_text(f"Before.\n{report.BEGIN}\nold\n{report.END}\nAfter.\n")
    monkeypatch.setattr(report, "DOCUMENT", document)
    report.write(report.table({"createDiary": rounds()}, [f for f in FUNCTIONS if f.name == "createDiary"], "How."))
    text = document.read_text()
    assert "| createDiary (one row) | 80 | 100 | 10 | 0.80 | 8.0 | 2.0 |" in text
    assert text.startswith("Before.\n")
    assert text.endswith("After.\n")
    assert "old" not in text


def test_equal_results_of_different_servers_compare_equal() -> None:
    """Random ids, the envelope and absent fields make no difference; anything else does."""
    own = b'{"status":"success","value":{"_id":"diary_01kv0000000000000000000000","limit":5.0},"logLines":[]}'
    assert comparable(own) == comparable(b'{"_id":"diary_01kw1111111111111111111111","limit":5,"title":null}')
    assert comparable(own) != comparable(b'{"_id":"music_01kw1111111111111111111111","limit":5}')
