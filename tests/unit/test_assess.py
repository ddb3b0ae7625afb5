"""``harness assess``: a ruling follows from what was proved, and nothing that is missing ever ships."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness import events as ev
from harness.assess.features import FEATURES
from harness.checking import CheckResult, Finding
from harness.cli import cli
from harness.repairs import RepairStep, to_text
from harness.results import Clocks
from harness.values import Promise
from tests.unit.histories import History, good
from tests.unit.stored_samples import store, store_suite

SCENARIO_FILE = """
from harness.scenario import Load, Scenario
from harness.values import Month

CLAIMS = {"pool": ("S1", "S2"), "one": ("S3", "S5"), "two": ("S3", "S4"), "hand": ("S5", "S11")}
LOAD = Load(months=(Month(2025, 12),))
SCENARIOS = tuple(
    Scenario(name=name, claim="C.", requirements=ids, load=LOAD) for name, ids in CLAIMS.items()
)
"""
REQUIREMENTS = {"pool": ("S1", "S2"), "one": ("S3", "S5"), "two": ("S3", "S4"), "hand": ("S5", "S11")}
LOOKED = ("metrics", "exhaustion", "isolation", "conservation", "logs", "recovery")
ALL_PASSED = tuple(CheckResult(name) for name in LOOKED)
LOST = CheckResult("conservation", findings=(Finding(Promise.CONSERVATION, "3 events are nowhere.", ("a",)),))
SLOW = CheckResult("isolation", findings=(Finding(Promise.ISOLATION, "p99 is 3 times as long.", comparative=True),))
TWICE = CheckResult(
    "duplicates", findings=(Finding(Promise.NO_DUPLICATES, "1 event is twice.", ("a",), timeless=True),)
)
UNSURE = CheckResult("recovery", unknowns=("nobody wrote",))
STEPS = (
    RepairStep("select", 0.004, "42P01"),
    RepairStep("create", 0.01, "audit_events_2025_12_restored"),
    RepairStep("load", 0.03, "812 rows"),
    RepairStep("drain", 0.21, "640 events"),
    RepairStep("attach", 0.02, "2025_12"),
)
INPUTS = """
unit = "hours"
[recovery]
manual_minutes = [15, 35]
source = "the assessment"
[features.recovery]
frequency_per_year = 2
impact = 12
cost = 16
"""


def by_hand(steps: Sequence[RepairStep] = STEPS) -> History:
    """The good run, whose fault was healed step by step."""
    history = good()
    history.edit(ev.FaultMark, lambda mark: True, name="drop-and-restore-by-hand")
    history.edit(ev.FaultMark, lambda mark: mark.step is ev.FaultStep.HEALED, detail=to_text(steps))
    return history


class Lab:
    """One folder of reports and one of scenarios."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reports = folder / "reports"
        self.scenarios = folder / "claims"
        self.scenarios.mkdir()
        self.reports.mkdir()
        (self.scenarios / "all.py").write_text(SCENARIO_FILE)

    def store(self, scenario: str, *checks: CheckResult, at: str = "2026-02-01", name: str = "", **more: Any) -> Path:
        """Store a run of a scenario; without checks one in which everybody looked and all passed."""
        return store(
            self.reports,
            name or f"{at}-{scenario}",
            *(checks or ALL_PASSED),
            scenario=scenario,
            requirements=REQUIREMENTS[scenario],
            started_at=f"{at}T00:00:00+00:00",
            **more,
        )

    def store_all(self, **more: Any) -> None:
        """Store a run of each scenario, all of which passed; one of them timed a recovery by hand."""
        for scenario in ("pool", "one", "two"):
            self.store(scenario, **more)
        clocks = [Clocks("drop-and-restore-by-hand", 0.05, 0.1, 0.02, 0.43)]
        self.store("hand", history=by_hand(), clocks=clocks, **more)

    def assess(self, *arguments: str) -> Result:
        options = ["--reports", str(self.reports), "--scenarios", str(self.scenarios)]
        return CliRunner().invoke(cli, ["assess", *arguments, *options])

    def features(self, *arguments: str) -> dict[str, dict[str, Any]]:
        data = json.loads(self.assess(*arguments, "--json").stdout)
        return {one["feature"]: one for one in data["features"]}

    def rulings(self, *arguments: str) -> dict[str, str]:
        return {name: one["ruling"] for name, one in self.features(*arguments).items()}

    def inputs(self, text: str = INPUTS) -> str:
        path = self.folder / "given.toml"
        path.write_text(text)
        return str(path)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    # A file assess.toml beside the user would be read.
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path)


def test_all_that_passed_and_was_looked_at_ships(lab: Lab) -> None:
    lab.store_all()
    done = lab.assess()
    assert done.exit_code == 0, done.output
    assert set(lab.rulings().values()) == {"ship"}
    assert done.stdout.splitlines()[-1] == "✓ SHIP  all 4 features, by 4 runs"
    assert "evidence: 4 runs of 4 scenarios on target reference, PostgreSQL 18.6" in done.stdout


def test_no_run_at_all_is_a_hold_for_lack_of_evidence(lab: Lab) -> None:
    done = lab.assess()
    assert done.exit_code == 3
    assert set(lab.rulings().values()) == {"hold: evidence is lacking"}
    assert "No judged run counts as evidence." in done.stdout
    assert "no run proves S3" in done.stdout
    assert "2 of 2 scenarios that claim it have no run: one, two (harness run one two)" in done.stdout


def test_a_failed_run_holds_every_feature_that_its_scenario_proves(lab: Lab) -> None:
    lab.store_all()
    lab.store("one", LOST, at="2026-02-02")
    done = lab.assess()
    assert done.exit_code == 1
    assert lab.rulings() == {
        "pool-metrics": "ship",
        "isolation": "hold: a promise is broken",
        "partition-metrics": "ship",
        "recovery": "hold: a promise is broken",
    }
    assert "one failed in 1 of 2 runs, breaking promise 1 (conservation): 2026-02-02-one" in done.stdout
    assert done.stdout.splitlines()[-1] == "✗ HOLD  2 of 4 features: isolation, recovery"


def test_a_run_that_failed_before_one_that_passed_still_holds_until_it_is_left_out(lab: Lab) -> None:
    lab.store_all()
    lab.store("one", LOST, at="2026-01-20")
    done = lab.assess()
    assert done.exit_code == 1
    assert "--since leaves the older out" in done.stdout
    assert lab.assess("--since", "2026-01-25").exit_code == 0
    assert "left out: 1 run (2026-01-20-one: older than 2026-01-25" in lab.assess("--since", "2026-01-25").stdout


def test_what_was_measured_again_at_once_counts_by_the_second_time(lab: Lab) -> None:
    lab.store_all()
    lab.store("one", SLOW, name="x-one")
    lab.store("one", name="x-one-again")
    done = lab.assess()
    assert done.exit_code == 0, done.output
    assert "x-one: measured again" in done.stdout


@pytest.mark.parametrize("wrong", [LOST, TWICE], ids=["lost", "stored twice"])
def test_what_no_second_time_mends_counts_though_the_run_was_played_again(lab: Lab, wrong: CheckResult) -> None:
    lab.store_all()
    lab.store("one", SLOW, wrong, name="x-one")
    lab.store("one", name="x-one-again")
    done = lab.assess()
    assert done.exit_code == 1
    assert "one failed in 1 of 3 runs" in done.stdout
    assert "measured again" not in done.stdout


@pytest.mark.parametrize(
    ("checks", "at", "exit_code", "said"),
    [
        ((UNSURE,), "2026-02-02", 3, "one could not be decided: recovery: nobody wrote"),
        ((UNSURE,), "2026-01-02", 0, "SHIP"),
    ],
    ids=["newer", "older"],
)
def test_an_unknown_holds_when_it_is_the_newest(
    lab: Lab, checks: tuple[CheckResult, ...], at: str, exit_code: int, said: str
) -> None:
    lab.store_all()
    lab.store("one", *checks, at=at)
    done = lab.assess()
    assert done.exit_code == exit_code
    assert said in done.stdout


@pytest.mark.parametrize("missing", ["pool", "one", "two", "hand"])
def test_a_scenario_without_a_run_is_a_hold_of_what_it_claims(lab: Lab, missing: str) -> None:
    for scenario in REQUIREMENTS:
        if scenario != missing:
            lab.store(scenario)
    held = {name for name, ruling in lab.rulings().items() if ruling != "ship"}
    assert held == {one.name for one in FEATURES if set(one.requirements) & set(REQUIREMENTS[missing])}
    assert lab.assess().exit_code == 3


def test_a_checker_that_nobody_could_use_is_a_hold_and_is_listed(lab: Lab) -> None:
    blind = (*(check for check in ALL_PASSED if check.checker != "logs"), CheckResult("logs", not_checked="logs"))
    for scenario in REQUIREMENTS:
        lab.store(scenario, *blind)
    found = lab.features()["partition-metrics"]
    assert found["ruling"] == "hold: evidence is lacking"
    assert found["reasons"] == ["the checker logs passed in no run: nobody could look"]
    assert found["not_checked"] == ["logs: logs"]
    assert lab.features()["isolation"]["ruling"] == "ship"


def test_what_this_machine_cannot_play_is_listed_and_does_not_hold_by_itself(lab: Lab) -> None:
    lab.store_all()
    text = SCENARIO_FILE.replace('"hand": ("S5", "S11")}', '"hand": ("S5", "S11"), "disk": ("S3",)}')
    (lab.scenarios / "all.py").rename(lab.scenarios / "more.py")
    (lab.scenarios / "more.py").write_text(text)
    assert lab.rulings()["isolation"] == "hold: evidence is lacking"
    store_suite(lab.reports, "20260201-suite-x", [], skipped={"disk": "needs root"})
    assert lab.rulings()["isolation"] == "ship"
    assert "not checked: disk: needs root" in lab.assess().stdout


@pytest.mark.parametrize(
    ("more", "why"), [({"judged": False}, "never judged"), ({"setup_error": "no port"}, "could not be set up")]
)
def test_a_run_that_was_none_is_left_out_and_counted(lab: Lab, more: dict[str, Any], why: str) -> None:
    for scenario in ("pool", "two", "hand"):
        lab.store(scenario)
    lab.store("one", **more)
    done = lab.assess()
    assert done.exit_code == 3
    assert f"left out: 1 run (2026-02-01-one: {why})" in done.stdout


def test_a_verdict_that_cannot_be_read_holds_everything_since_nobody_knows_what_it_says(lab: Lab) -> None:
    lab.store_all()
    (lab.store("one", at="2026-02-02") / "result.json").write_text("{")
    done = lab.assess()
    assert done.exit_code == 3, done.output
    assert "left out: 1 run (2026-02-02-one: " in done.stdout
    assert "the verdict of 2026-02-02-one cannot be read" in done.stdout
    assert set(lab.rulings().values()) == {"hold: evidence is lacking"}


def test_a_suite_that_cannot_be_read_is_left_out_unless_it_was_asked_for(lab: Lab) -> None:
    lab.store_all()
    store_suite(lab.reports, "20260201-suite-x", [])
    (lab.reports / "20260201-suite-x" / "suite.json").write_text("[]")
    assert "20260201-suite-x: " in lab.assess().stdout
    assert lab.assess().exit_code == 0
    done = lab.assess("last-suite")
    assert done.exit_code == 2
    assert "is no JSON object" in done.output


def test_named_runs_and_suites_are_all_the_evidence(lab: Lab) -> None:
    lab.store_all()
    lab.store("one", LOST, at="2026-01-20")
    newer = [lab.reports / f"2026-02-01-{scenario}" for scenario in REQUIREMENTS]
    store_suite(lab.reports, "20260201-suite-x", newer)
    assert lab.assess("last-suite").exit_code == 0
    assert lab.assess("2026-02-01-one").exit_code == 3
    assert lab.assess("2026-01-20-one").exit_code == 1


def test_runs_of_several_targets_are_refused_until_one_is_chosen(lab: Lab) -> None:
    lab.store_all()
    lab.store("one", LOST, at="2026-02-02", target="mine")
    done = lab.assess()
    assert done.exit_code == 2
    assert "several targets: mine, reference" in done.output
    assert lab.assess("--target-name", "reference").exit_code == 0
    assert lab.assess("--target-name", "mine").exit_code == 1


def test_the_recovery_by_hand_is_set_beside_the_service(lab: Lab) -> None:
    lab.store_all()
    said = lab.assess("--inputs", lab.inputs()).stdout
    assert "recovery, timed in 2026-02-01-hand (target reference, PostgreSQL 18.6); the machine's part alone:" in said
    assert re.search(r"find out: SELECT of the month fails \(42P01\) +0\.004 s  0\.05 s", said)
    assert re.search(r"drain the queue into it \(640 events\) +0\.210 s  0\.43 s", said)
    assert re.search(r"first direct write after the repair +–  0\.02 s", said)
    assert re.search(r"all steps +0\.27 s", said)
    assert "takes people 15 to 35 minutes, by the assessment (an input, not measured)" in said
    assert "operator minutes saved: 15 to 35 a recovery, 30 to 70 a year" in said


def test_minutes_are_never_said_to_be_saved_without_inputs_or_without_proof(lab: Lab) -> None:
    lab.store_all()
    assert "operator minutes saved: not said, since no assess.toml gives" in lab.assess().stdout
    lab.store("one", UNSURE, at="2026-02-02")
    said = lab.assess("--inputs", lab.inputs()).stdout
    assert "operator minutes saved: not said, since the runs do not prove that it recovers by itself" in said


@pytest.mark.parametrize(
    ("checks", "history", "said"),
    [
        ((LOST,), None, "the run that timed it, 2026-02-01-hand, is FAIL"),
        (ALL_PASSED, by_hand(()), "does not say what its steps took"),
        (ALL_PASSED, good(), "no run has timed a recovery by hand; `harness run december-recovered-by-hand` does"),
    ],
    ids=["failed", "silent", "none"],
)
def test_a_recovery_that_was_not_timed_is_said_to_be_none(
    lab: Lab, checks: tuple[CheckResult, ...], history: History | None, said: str
) -> None:
    lab.store("hand", *checks, history=history or by_hand())
    shown = lab.assess("--inputs", lab.inputs()).stdout
    assert said in shown
    assert "all steps" not in shown


def test_a_step_that_was_not_timed_leaves_no_total(lab: Lab) -> None:
    steps = [*STEPS[:3], RepairStep("drain", None, "the queue could not be listed"), STEPS[4]]
    lab.store("hand", history=by_hand(steps))
    data = json.loads(lab.assess("--json").stdout)["recovery"]
    assert data["by_hand_machine_seconds"] is None
    assert data["steps"][3] == {"name": "drain", "seconds": None, "said": "the queue could not be listed"}


def test_no_score_without_all_three_inputs_and_the_formula_of_the_assessment_is_worth_nothing(lab: Lab) -> None:
    lab.store_all()
    done = lab.assess("--inputs", lab.inputs())
    assert "  recovery: 1.50" in done.stdout
    assert "  isolation: no score, frequency_per_year, impact, cost not given" in done.stdout
    assert "multiplies by revenue, which it sets to 0: every score is 0 whatever the evidence" in done.stdout
    scores = {name: one["score"] for name, one in lab.features("--inputs", lab.inputs()).items()}
    assert scores == {"pool-metrics": None, "isolation": None, "partition-metrics": None, "recovery": 1.5}
    without = lab.inputs(INPUTS.replace("impact = 12\n", ""))
    assert "  recovery: no score, impact not given" in lab.assess("--inputs", without).stdout


def test_a_score_never_turns_a_hold_into_a_ship(lab: Lab) -> None:
    done = lab.assess("--inputs", lab.inputs())
    assert done.exit_code == 3
    assert "  recovery: 1.50" in done.stdout


def test_the_document_has_every_feature_with_its_scenarios(lab: Lab) -> None:
    lab.store_all()
    lab.store("two", LOST, at="2026-02-02")
    path = lab.folder / "out" / "readiness.md"
    done = lab.assess("--markdown", str(path))
    assert done.exit_code == 2
    assert "cannot be written" in done.output
    path.parent.mkdir()
    assert lab.assess("--markdown", str(path), "--inputs", lab.inputs()).exit_code == 1
    text = path.read_text()
    assert "| Partition failure isolation | S3 | hold: a promise is broken |" in text
    assert "| two | S3 | 2 | FAIL (promise 1 (conservation)) | 2026-02-02-two |" in text
    assert "| drain the queue into it (640 events) | 0.210 s | 0.43 s |" in text
    assert "- recovery: 1.50" in text
    assert "multiplies by revenue" in text


def test_a_folder_that_is_not_there_is_usage(lab: Lab) -> None:
    done = CliRunner().invoke(cli, ["assess", "--reports", "nowhere", "--scenarios", str(lab.scenarios)])
    assert done.exit_code == 2
    assert "no folder nowhere" in done.output
