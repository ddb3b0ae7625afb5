"""Exit codes of ``harness run``: of whatever its runs come to, and of what breaks it off, without any part started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import Result

from harness import ending
from harness.checking import REACHED_PREFIX, CheckResult
from harness.errors import UsageError
from harness.results import RunResult
from harness.runner import RunPlan
from harness.session import Session
from harness.suite import SuiteRunner
from tests.unit.report_samples import lost
from tests.unit.test_exit_codes import invoke, write_scenarios

PASSED, UNSURE = CheckResult("conservation"), CheckResult("conservation", unknowns=("?",))
NEVER_REACHED = CheckResult("reached", facts={f"{REACHED_PREFIX}pool_exhausted": 0.0})
SETUP = "PostgreSQL did not start."


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[CheckResult, ...] | str]:
    """What runs come to, by their scenarios: checks, or why they could not be set up; no part of them is started."""
    outcomes: dict[str, tuple[CheckResult, ...] | str] = {}

    async def measured(self: SuiteRunner, plan: RunPlan, alone: object) -> RunResult:
        plan.folder.mkdir(parents=True)
        outcome = outcomes[plan.scenario.name]
        result = RunResult(plan.run, plan.folder, plan.scenario, plan.seed, 1.0)
        return replace(result, setup_error=outcome) if isinstance(outcome, str) else replace(result, checks=outcome)

    async def prepared(self: Session) -> None:
        """Nothing is to be started."""

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.setattr(SuiteRunner, "_measured", measured)
    monkeypatch.setattr(Session, "prepare", prepared)
    return outcomes


def run(outcomes: Mapping[str, object], *arguments: str) -> Result:
    """Run all scenarios of the usual folder, so that the suite owes every state that a run of it could see."""
    write_scenarios(Path("scenarios"), *outcomes)
    return invoke("run", *arguments)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([(PASSED,)], 0),
        ([(PASSED,), (lost(),)], 1),
        ([(PASSED,), SETUP], 2),
        ([(PASSED,), (UNSURE,)], 3),
        ([(UNSURE,), (lost(),)], 1),
        ([(lost(),), SETUP], 1),
        ([(UNSURE,), SETUP], 2),
        ([(PASSED, NEVER_REACHED)], 3),
        ([(lost(), NEVER_REACHED)], 1),
        ([(NEVER_REACHED,), SETUP], 2),
    ],
)
def test_a_suite_ends_with_the_code_of_its_worst_run_and_says_so_where_programs_read(
    played: dict[str, tuple[CheckResult, ...] | str],
    outcomes: list[tuple[CheckResult, ...] | str],
    code: int,
) -> None:
    played |= {f"s{number}": outcome for number, outcome in enumerate(outcomes)}
    done = run(played, "--events", "events.ndjson")
    assert done.exit_code == code, done.output
    told = json.loads(Path("reports/latest/suite.json").read_text())
    last = json.loads(Path("events.ndjson").read_text().splitlines()[-1])
    assert (told["exit_code"], last["event"], last["exit_code"]) == (code, "suite-finished", code)


def test_a_state_that_a_part_of_the_suite_has_not_reached_is_not_owed(
    played: dict[str, tuple[CheckResult, ...] | str],
) -> None:
    played |= {"one": (PASSED, NEVER_REACHED), "two": (PASSED, NEVER_REACHED)}
    assert run(played).exit_code == 3
    assert run(played, "one").exit_code == 0


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ZeroDivisionError("by zero"), 3, "the harness itself failed: ZeroDivisionError: by zero"),
        (KeyboardInterrupt(), 130, "ended by Ctrl-C"),
        (UsageError("It cannot be."), 2, "It cannot be."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_run_that_is_broken_off_ends_with_the_code_that_its_stream_tells(
    played: dict[str, tuple[CheckResult, ...] | str],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    said: str,
) -> None:
    async def happens(self: Session, *_: object, **__: object) -> None:
        raise error

    played["mine"] = (PASSED,)
    monkeypatch.setattr("harness.cli.end", ending.end)
    monkeypatch.setattr(Session, "run", happens)
    done = run(played, "--events", "events.ndjson")
    assert done.exit_code == code, done.output
    last = json.loads(Path("events.ndjson").read_text().splitlines()[-1])
    assert (last["event"], last["exit_code"], last["reason"]) == ("broken-off", code, said)
