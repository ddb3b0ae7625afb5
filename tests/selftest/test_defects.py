"""The harness's own proof: each planted defect is caught, with the promise and the events; the control is not.

The runs here share one loop and start in parallel; ``test_exclusive_defects.py`` has those that are alone, as in any
suite.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import harness.faults  # noqa: F401  (fills the registry)
from harness.discovery import load_scenarios
from harness.results import RunResult
from harness.session import Session, SessionOptions, SilentDisplay
from harness.stacks import host
from harness.values import Verdict

from .defects import DEFECTS, Defect

ROOT = Path(__file__).parents[2]
# The other two workers have environments of their own meanwhile.
PARALLEL = 3
QUICK = tuple(one for one in DEFECTS.values() if one.quick)
PASSING = (
    ("control", "december-detached"),
    ("control", "service-killed-while-queueing"),
    # The assessment argued that one failing partition is a subset of an outage.  This defect passes the outage and
    # fails the partition (above), which refutes it.
    ("one-bad-month-queues-all", "argument-whole-database"),
)


def target_file(folder: Path, defect: str) -> Path:
    """A target.toml that starts the reference service with one behaviour broken."""
    reference = (ROOT / "harness/targets/reference.toml").read_text(encoding="utf-8")
    text = (
        reference.replace('name = "reference"', f'name = "{defect}"')
        .replace('["{python}", "-m", "service"]', json.dumps(["{python}", "-m", "tests.selftest.defects", defect]))
        .replace("{root}/../..", str(ROOT))
    )
    assert f'"{defect}"]' in text
    path = folder / f"{defect}.toml"
    path.write_text(text, encoding="utf-8")
    return path


SCENARIOS = load_scenarios(ROOT / "scenarios")
SHARED_CASES = tuple(one for one in QUICK if not SCENARIOS.get(one.scenarios[0]).exclusive)
EXCLUSIVE_CASES = tuple(one for one in QUICK if SCENARIOS.get(one.scenarios[0]).exclusive)


async def run(defect: str, scenario: str, folder: Path) -> RunResult:
    """Run one scenario against the reference service with one behaviour broken."""
    options = SessionOptions(target=target_file(folder, defect), reports=folder / "reports", seed=7)
    return await Session(options, SilentDisplay()).suite_runner.run(SCENARIOS.get(scenario))


def lacking(wanted: Defect) -> str:
    """Say what this machine lacks for the defect's scenario, and how to get it."""
    return host.lacking(SCENARIOS.get(wanted.scenarios[0]).needs)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], RunResult]:
    """Run every defect against its scenario, and what must pass beside them."""
    folder = tmp_path_factory.mktemp("selftest")
    wanted = [(one.name, one.scenarios[0]) for one in SHARED_CASES if not lacking(one)] + list(PASSING)

    async def run_in_place(pair: tuple[str, str], places: asyncio.Semaphore) -> RunResult:
        async with places:
            return await run(*pair, folder)

    async def run_all() -> dict[tuple[str, str], RunResult]:
        places = asyncio.Semaphore(PARALLEL)
        return dict(zip(wanted, await asyncio.gather(*(run_in_place(pair, places) for pair in wanted)), strict=True))

    return asyncio.run(run_all())


def test_the_quick_ones_are_of_most_promises() -> None:
    assert len(QUICK) >= 12
    assert all(len(one.scenarios) == 1 for one in QUICK)
    assert len({one.promise for one in QUICK}) >= 7


def test_what_runs_beside_others_is_not_exclusive() -> None:
    assert not [name for _, name in PASSING if SCENARIOS.get(name).exclusive]


@pytest.mark.parametrize("expected", SHARED_CASES, ids=lambda one: one.name)
def test_a_planted_defect_is_caught(expected: Defect, results: dict[tuple[str, str], RunResult]) -> None:
    if reason := lacking(expected):
        pytest.skip(reason)
    assert_caught(expected, results[expected.name, expected.scenarios[0]])


def assert_caught(expected: Defect, result: RunResult) -> None:
    assert not result.setup_error
    assert result.verdict is Verdict.FAIL, [check for check in result.checks if check.unknowns]
    caught = [
        finding
        for check in result.checks
        if check.checker in expected.checkers
        for finding in check.findings
        if finding.promise == expected.promise
    ]
    assert caught, result.findings
    if expected.names_events:
        assert any(finding.event_ids for finding in caught)


@pytest.mark.parametrize(("defect", "scenario"), PASSING, ids=lambda value: str(value))
def test_what_is_sound_passes(defect: str, scenario: str, results: dict[tuple[str, str], RunResult]) -> None:
    result = results[defect, scenario]
    assert result.verdict is Verdict.PASS, (result.setup_error, result.findings, [c.unknowns for c in result.checks])
