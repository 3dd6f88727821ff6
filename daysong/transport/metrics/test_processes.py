"""Several processes of one server, as one page of metrics."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daysong.transport.metrics.processes import Processes, labelled, merged

pytestmark = pytest.mark.anyio

ONE = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{kind="a} b",path="x y"} 1.0
calls_total 2.0
# HELP open Open ones.
# TYPE open gauge
open 5.0
"""


def test_samples_get_the_label_of_their_process() -> None:
    """Whatever is in the values of other labels."""
    assert labelled("open 5.0", 1) == 'open{process="1"} 5.0'
    assert labelled('calls{kind="a} b",path="x y"} 1.0', 0) == 'calls{process="0",kind="a} b",path="x y"} 1.0'


def test_g58_texts_of_several_processes_become_one_that_parses() -> None:
    """Each family has its head once, and every sample of every process."""
    text = merged({0: ONE, 1: ONE}, 3)
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families["calls"].samples) == 4
    assert {sample.labels["process"] for sample in families["open"].samples} == {"0", "1"}
    assert {sample.labels["what"]: sample.value for sample in families["daysong_processes"].samples} == {
        "expected": 3, "answered": 2,
    }  # fmt: skip
    assert text.count("# TYPE calls_total counter") == 1


async def test_g58_a_process_answers_the_others_and_one_that_is_gone_is_left_out(tmp_path: Path) -> None:
    """A socket that was left behind by a killed process is replaced."""
    first, second = Processes(tmp_path, 0, 3), Processes(tmp_path, 1, 3)
    (tmp_path / "1").touch()
    async with first.listening(), second.listening():
        texts = await first.texts()
    assert texts.keys() == {0, 1}
    assert "python_info" in texts[1]
    assert not (tmp_path / "0").exists()
