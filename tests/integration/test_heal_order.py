"""A combination of faults whose heals need another order than that of their injection, on real parts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import harness.faults  # noqa: F401  (fills the registry)
from harness.events import FaultMark, FaultStep
from harness.faults.partition import DetachPartition
from harness.faults.storage import CorruptHeap
from harness.history import read_history
from harness.judging import load_run
from harness.results import RunResult
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.session import Session, SessionOptions, SilentDisplay
from harness.values import Month, Verdict

DECEMBER = Month(2025, 12)
# The table cannot be attached before its page is repaired, and that is healed after it.
SCENARIO = Scenario(
    name="page-damaged-then-detached",
    claim="A detached December with a damaged page is attached once the page is repaired, and all drain.",
    requirements=("S5",),
    load=Load(months=(DECEMBER, Month(2026, 1))),
    schedule=Schedule.of(CorruptHeap(months=(DECEMBER,), pages="last"), DetachPartition(months=(DECEMBER,))),
    min_strict_events=50,
)


def run(folder: Path) -> RunResult:
    session = Session(SessionOptions(reports=folder / "reports", seed=3), SilentDisplay())
    return asyncio.run(session.suite_runner.run(SCENARIO))


def test_a_table_whose_page_must_be_repaired_first_is_attached_by_a_living_run_which_passes(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.verdict is Verdict.PASS, (result.setup_error, result.findings, [c.unknowns for c in result.checks])
    steps = [r.step for r in read_history(result.folder) if isinstance(r, FaultMark) and r.name == DetachPartition.name]
    assert steps[-5:] == [
        *(FaultStep.HEALING, FaultStep.HEAL_FAILED),
        *(FaultStep.HEALING, FaultStep.HEALED, FaultStep.PROBED),
    ]
    heap, detach = load_run(result.folder).windows
    assert (heap.problem, heap.failed_heals, detach.problem) == ("", (), "")
    assert "invalid page" in detach.failed_heals[0]
