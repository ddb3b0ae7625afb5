"""The page of a run that is so long that it is judged condensed: nothing is missing from its chart and its stories."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness import judging
from harness.checking import CheckResult, Finding
from harness.report import concerned, points
from harness.report.html import page
from harness.results import RunResult
from harness.values import Promise

from .histories import DECEMBER, event_id
from .test_columns import spoilt, stored, verdict, with_scenario
from .test_report_html import read

HISTORY = with_scenario(spoilt())


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunResult:
    """A judged run that was condensed."""
    monkeypatch.setattr(judging, "LARGE_BYTES", 0)
    result = verdict(stored(tmp_path / "run", HISTORY))
    assert result.data is not None
    assert result.data.condensed is not None
    return result


def test_every_operation_is_in_the_chart_although_most_were_folded(large: RunResult) -> None:
    run = large.data
    assert run is not None
    drawn = points.drawn_of(run, ())
    marked = {(one.month, one.status) for one in drawn.tallies}
    alone = [each for group in drawn.points.values() for each in group if (each.month, each.status) not in marked]
    assert sum(one.count for one in drawn.tallies) + len(alone) == run.sent == len(HISTORY.run().operations)
    assert drawn.tallies
    assert drawn.tallies == [one for one in HISTORY.run().tallied(drawn.begins) if (one.month, one.status) in marked]


def test_a_folded_event_that_a_finding_names_has_its_point_and_its_story(large: RunResult) -> None:
    run = large.data
    assert run is not None
    number = next(op for op in HISTORY.ops(DECEMBER, 3, 4) if op not in run.by_op)
    finding = Finding(Promise.BOUNDS, "Something happened beside it.", (event_id(number),))
    assert [each.op for each in concerned.named_operations(run, [finding])] == [number]
    checks = (*large.checks, CheckResult("x", findings=(finding,)))
    text = " ".join("".join(read(page(dataclasses.replace(large, checks=checks), run)).text).split())
    assert f"All {run.sent:,} requests are in this chart" in text
    assert f"op {number} by writer" in text
    assert "Latencies of so long a run are in the timeline only." in text
