"""From results to exit codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.checking import CheckResult, Finding
from harness.gate import Exit, decide
from harness.results import RunResult
from harness.scenario import Load, Scenario
from harness.values import Month, Promise

PASSED = CheckResult("c")
FAILED = CheckResult("c", findings=(Finding(Promise.CONSERVATION, "lost"),))
UNSURE = CheckResult("c", unknowns=("no final read",))
LACKING = CheckResult("c", not_checked="logs")


def run(*checks: CheckResult, setup_error: str = "") -> RunResult:
    scenario = Scenario(name="s", claim="c", requirements=(), load=Load(months=(Month(2025, 12),)))
    return replace(
        RunResult(run="r", folder=Path(), scenario=scenario, seed=1, seconds=1.0, checks=checks),
        setup_error=setup_error,
    )


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run(PASSED)], Exit.PASSED),
        ([run(PASSED, FAILED)], Exit.FAILED),
        ([run(PASSED, UNSURE)], Exit.INCONCLUSIVE),
        ([run(UNSURE, FAILED)], Exit.FAILED),
        ([run(PASSED), run(UNSURE)], Exit.INCONCLUSIVE),
        ([run(FAILED), run(UNSURE), run(setup_error="no port")], Exit.FAILED),
        ([run(PASSED), run(setup_error="no port")], Exit.USAGE),
        ([run(PASSED, LACKING)], Exit.PASSED),
        ([run(LACKING)], Exit.INCONCLUSIVE),
        ([run()], Exit.INCONCLUSIVE),
        ([], Exit.INCONCLUSIVE),
    ],
)
def test_the_worst_run_decides_and_nothing_judged_is_never_a_pass(runs: list[RunResult], expected: Exit) -> None:
    assert decide(runs) is expected
