"""``harness compare``: what is side by side, what counts as worse, and what its exit code says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness import events as ev
from harness.checking import CheckResult, Finding
from harness.cli import cli
from harness.results import Clocks
from harness.suite import MEASURED_AGAIN
from harness.values import Promise
from tests.unit.histories import DECEMBER, HEALING, JANUARY, History, good
from tests.unit.stored_samples import CLOCKS, PASSED, VERSIONS, slowed, store, store_suite

LOST = CheckResult("conservation", findings=(Finding(Promise.CONSERVATION, "3 events are nowhere.", ("a", "b", "c")),))
MORE_LOST = CheckResult("conservation", findings=(Finding(Promise.CONSERVATION, "9 events are nowhere.", ("d",)),))
LATE = CheckResult("recovery", findings=(Finding(Promise.RECOVERY, "It came back late."),))
LEFT = CheckResult("isolation", findings=(Finding(Promise.ISOLATION, "3 x write into 2026_01 answered 202.", ("a",)),))
OTHER_MONTH = CheckResult("isolation", findings=(Finding(Promise.ISOLATION, "3 x write into 2025_11 answered 202."),))
OTHER_STATUS = CheckResult("isolation", findings=(Finding(Promise.ISOLATION, "3 x write into 2026_01 answered 503."),))
MANY = CheckResult("conservation", findings=(replace(LOST.findings[0], event_ids=tuple(map(str, range(60)))),))
UNSURE = CheckResult("metrics", unknowns=("only 3 scrapes",))
BLIND = CheckResult("metrics", not_checked="metrics")
LOOKED = CheckResult("metrics")
AGAIN = CheckResult(MEASURED_AGAIN, facts={"stood_still_seconds_in_the_first_run": 2.0})


def compare(reports: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["compare", *arguments, "--reports", str(reports)])


def gate(reports: Path, first: str = "run-a", second: str = "run-b") -> int:
    return compare(reports, first, second, "--fail-on-regression").exit_code


def rows(reports: Path, first: str = "run-a", second: str = "run-b") -> dict[str, dict[str, Any]]:
    """The rows of the only pair, by name."""
    (pair,) = json.loads(compare(reports, first, second, "--json").stdout)["pairs"]
    return {row["name"]: row for row in pair["rows"]}


def both(reports: Path, first: Sequence[CheckResult] = (PASSED,), second: Sequence[CheckResult] = (PASSED,)) -> None:
    store(reports, "run-a", *first)
    store(reports, "run-b", *second)


def test_two_runs_alike_differ_in_nothing_and_pass_the_gate(tmp_path: Path) -> None:
    both(tmp_path)
    done = compare(tmp_path, "run-a", "run-b", "--fail-on-regression")
    assert done.exit_code == 0, done.output
    last = done.stdout.splitlines()[-1]
    assert last.startswith("✓ NOTHING GOT WORSE  beyond noise, in ")
    shown = rows(tmp_path)
    assert (shown["verdict"]["first_text"], shown["verdict"]["change"]) == ("PASS", "same")
    assert (shown["p50"]["first"], shown["p50"]["change"]) == (pytest.approx(0.01), "same")
    assert (shown["p99"]["change"], shown["p99"]["second"]) == ("unjudged", pytest.approx(0.01))
    assert shown["drain of lock-partition"]["change"] == "same"
    assert shown["drained (events)"]["change"] is None
    assert shown["drained (events)"]["first"] == shown["fallbacks (events)"]["first"] == 101
    assert shown["202 inside"]["first_text"].startswith("100.00 % (")


@pytest.mark.parametrize(
    ("first", "second", "exit_code", "said"),
    [
        ((PASSED,), (LOST,), 1, "verdict: PASS → FAIL (a promise is broken)"),
        ((LOST,), (LOST, LATE), 1, "recovery: It came back late.: – → found (new)"),
        ((LOST,), (MORE_LOST,), 0, "✗ broken on both sides: december-detached"),
        ((LOST,), (MANY,), 3, ": 3 events → 60 events (the same is broken for many more events)"),
        ((LEFT,), (OTHER_MONTH,), 1, "isolation: 3 x write into 2025_11 answered 202.: – → found (new)"),
        ((LEFT,), (OTHER_STATUS,), 1, "isolation: 3 x write into 2026_01 answered 503.: – → found (new)"),
        ((LOST,), (PASSED,), 0, "NOTHING GOT WORSE"),
        ((PASSED,), (UNSURE,), 3, "what was decided before could not be decided again"),
        ((LOST,), (UNSURE,), 3, "what was decided before could not be decided again"),
        ((UNSURE,), (UNSURE,), 3, "no verdict on either side: december-detached"),
        ((UNSURE,), (PASSED,), 0, "NOTHING GOT WORSE"),
        ((PASSED, LOOKED), (PASSED, BLIND), 3, "metrics: checked → not checked (metrics)"),
        ((PASSED, LOOKED), (PASSED,), 3, "metrics: checked → not asked (the second run was judged without it)"),
        ((PASSED, AGAIN), (PASSED,), 0, "NOTHING GOT WORSE"),
    ],
    ids=["broken", "new finding", "same finding", "many more", "another month", "another status", "mended", "unknown",
         "unknown after fail", "never known", "known", "blind", "not asked", "a word about the run"],
)  # fmt: skip
def test_verdicts_and_findings_always_count(
    tmp_path: Path, first: Sequence[CheckResult], second: Sequence[CheckResult], exit_code: int, said: str
) -> None:
    both(tmp_path, first, second)
    done = compare(tmp_path, "run-a", "run-b", "--fail-on-regression")
    assert done.exit_code == exit_code, done.output
    assert said in done.stdout


def test_without_the_option_the_exit_code_is_0_whatever_came_out(tmp_path: Path) -> None:
    both(tmp_path, second=(LOST,))
    done = compare(tmp_path, "run-a", "run-b")
    assert done.exit_code == 0
    assert "✗ WORSE" in done.stdout


def test_a_slower_service_is_worse_and_a_quicker_one_better(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", history=slowed(0.005))
    assert gate(tmp_path) == 1
    assert {rows(tmp_path)[name]["change"] for name in ("p50", "p95")} == {"worse"}
    assert rows(tmp_path, "run-b", "run-a")["p50"]["change"] == "better"
    assert gate(tmp_path, "run-b", "run-a") == 0


def test_a_service_that_is_slower_by_less_than_counts_is_the_same(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", history=slowed(0.0015))
    assert rows(tmp_path)["p50"]["change"] == "same"
    assert gate(tmp_path) == 0


def test_what_a_slower_machine_may_have_done_is_doubtful_and_no_regression(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", history=slowed(0.005, canary_seconds=0.002))
    row = rows(tmp_path)["p50"]
    assert row["change"] == "doubtful"
    assert row["why"] == "1.50 times as long, but the harness's own inserts took 2.00 times as long as well"
    assert gate(tmp_path) == 3
    # Slower than the machine can account for is worse all the same.
    store(tmp_path, "run-c", history=slowed(0.05, canary_seconds=0.002))
    assert gate(tmp_path, "run-a", "run-c") == 1


def reaching(seconds: float) -> History:
    """January, which the fault spares, takes so much longer while it is on."""
    history = good()
    late = {
        record.op
        for record in history.records
        if isinstance(record, ev.Invoke) and record.event_date.month == JANUARY.month and 12 < record.t < HEALING
    }
    for index, record in enumerate(history.records):
        if isinstance(record, ev.Complete) and record.op in late:
            history.records[index] = replace(record, t=record.t + seconds)
    return history


def test_a_fault_that_reaches_the_other_months_more_is_worse(tmp_path: Path) -> None:
    store(tmp_path, "run-a", history=reaching(0.0))
    store(tmp_path, "run-b", history=reaching(0.02))
    row = rows(tmp_path)["p50 under the faults / before them"]
    assert (row["first"], row["second"]) == (pytest.approx(1.0), pytest.approx(3.0, rel=0.01))
    assert row["change"] == "worse"
    assert gate(tmp_path) == 1
    assert rows(tmp_path, "run-b", "run-a")["p50 under the faults / before them"]["change"] == "better"


def test_more_events_without_201_outside_of_the_blast_radius_are_worse_and_one_is_not(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    for name, count in (("run-b", 12), ("run-c", 1)):
        history = good()
        for number in history.ops(JANUARY, 1.0, 9.0)[:count]:
            history.answer(number, 202)
        store(tmp_path, name, history=history)
    row = rows(tmp_path)["202 outside"]
    assert (row["first"], row["change"]) == (0.0, "worse")
    assert rows(tmp_path, "run-a", "run-c")["202 outside"]["change"] == "same"
    assert rows(tmp_path, "run-b", "run-a")["202 outside"]["change"] == "better"


def test_events_refused_inside_the_blast_radius_are_worse_than_queued_ones(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    history = good()
    for number in history.ops(DECEMBER, 12.0, 15.0):
        history.answer(number, 503)
    store(tmp_path, "run-b", history=history)
    assert rows(tmp_path)["503 inside"]["change"] == "worse"
    assert rows(tmp_path)["202 inside"]["change"] is None


@pytest.mark.parametrize(
    ("after", "change"),
    [
        (Clocks("lock-partition", 0.1, 0.2, 0.3, 1.1), "same"),
        (Clocks("lock-partition", 0.1, 0.2, 0.3, 1.5), "unjudged"),
        (Clocks("lock-partition", 0.1, 0.2, 0.3, 4.0), "doubtful"),
        (Clocks("lock-partition", 0.1, 0.2, 0.3, None), "doubtful"),
    ],
    ids=["within its grain", "a little longer", "much longer", "never"],
)
def test_a_clock_of_one_run_is_doubtful_at_most(tmp_path: Path, after: Clocks, change: str) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", clocks=[after])
    assert rows(tmp_path)["drain of lock-partition"]["change"] == change
    assert gate(tmp_path) == (3 if change == "doubtful" else 0)


def test_runs_of_different_scenarios_or_targets_are_refused(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", scenario="december-locked")
    store(tmp_path, "run-c", target="mine")
    for second, said in (
        ("run-b", "no scenario in common"),
        ("run-c", "is of the target reference"),
        ("run-a", "Both"),
    ):
        done = compare(tmp_path, "run-a", second, "--fail-on-regression")
        assert done.exit_code == 2
        assert said in done.output


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ({"postgresql": "150010"}, "postgresql 18.6 against 15.10"),
        ({"platform": "Linux-6.9"}, "platform Linux-6.1 against Linux-6.9"),
        ({"cpus": "8"}, "cpus 2 against 8"),
    ],
)
def test_what_was_measured_on_another_machine_is_said_and_not_judged(
    tmp_path: Path, versions: dict[str, str], said: str
) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", history=slowed(0.05), versions={**VERSIONS, **versions})
    done = compare(tmp_path, "run-a", "run-b", "--fail-on-regression")
    assert done.exit_code == 3
    assert f"differs: {said}" in done.stdout
    assert "no latency could be compared" in done.stdout
    assert rows(tmp_path)["p50"]["change"] == "unjudged"
    # A verdict is one wherever it was made.
    store(tmp_path, "run-c", LOST, versions={**VERSIONS, **versions})
    assert gate(tmp_path, "run-a", "run-c") == 1


def test_another_python_is_said_and_bars_nothing(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", versions={**VERSIONS, "python": "3.13.0"})
    done = compare(tmp_path, "run-a", "run-b", "--fail-on-regression")
    assert done.exit_code == 0
    assert "differs: python 3.11.2 against 3.13.0" in done.stdout


def test_a_run_that_nobody_judged_is_refused_with_the_command_that_does(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    store(tmp_path, "run-b", judged=False)
    done = compare(tmp_path, "run-a", "run-b")
    assert done.exit_code == 2
    assert "never judged" in done.output
    assert "harness check" in done.output


def test_a_history_that_cannot_be_read_leaves_the_verdict_alone_and_too_little_to_say(tmp_path: Path) -> None:
    both(tmp_path)
    (tmp_path / "run-b" / "history.jsonl").write_text("{}\n{}\n")
    done = compare(tmp_path, "run-a", "run-b", "--fail-on-regression")
    assert done.exit_code == 3
    assert "no latency could be compared" in done.stdout


def suites(reports: Path, count: int = 8, *, drain: float = 0.8, late: float = 0.0, missing: int = 0) -> None:
    """Two suites of the same scenarios; in the second each drain and each answer takes another time."""
    for side, slow, seconds in (("a", 0.0, 0.8), ("b", late, drain)):
        folders = [
            store(
                reports,
                f"{side}-{number}",
                scenario=f"scenario-{number}",
                history=slowed(slow) if slow else None,
                clocks=[replace(CLOCKS, drain_seconds=seconds)],
            )
            for number in range(count - (missing if side == "b" else 0))
        ]
        store_suite(reports, f"2026020{1 if side == 'a' else 2}-suite-{side}", folders)


def together(reports: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The rows of the two suites as wholes, and what a gate says."""
    done = compare(reports, "suite-a", "last-suite", "--json", "--fail-on-regression")
    return {row["name"]: row for row in json.loads(done.stdout)["together"]}, done.exit_code


def test_suites_are_compared_scenario_by_scenario(tmp_path: Path) -> None:
    suites(tmp_path)
    done = compare(tmp_path, "suite-a", "last-suite", "--fail-on-regression")
    assert done.exit_code == 0, done.output
    assert sum(line.lstrip("= ").startswith("same        scenario-") for line in done.stdout.splitlines()) == 8
    assert "[8/8] scenario-7" in done.stderr


def test_many_faults_say_of_a_clock_what_one_cannot(tmp_path: Path) -> None:
    suites(tmp_path, drain=1.5)
    found, exit_code = together(tmp_path)
    row = found["drain of all faults"]
    assert (row["change"], row["second"]) == ("worse", pytest.approx(1.875))
    assert exit_code == 1


def test_few_faults_do_not(tmp_path: Path) -> None:
    suites(tmp_path, 6, drain=1.5)
    found, exit_code = together(tmp_path)
    assert found["drain of all faults"]["change"] == "unjudged"
    assert exit_code == 0


def test_a_run_is_not_compared_with_itself_as_a_part_of_its_suite(tmp_path: Path) -> None:
    suites(tmp_path, 1)
    suite = json.loads((tmp_path / "20260202-suite-b" / "suite.json").read_text())
    run = str(suite["runs"][0]["run"])
    done = compare(tmp_path, "suite-b", run)
    assert done.exit_code == 2
    assert "differs in nothing from itself" in done.output
    assert compare(tmp_path, "suite-a", run).exit_code == 0


def test_a_scenario_that_the_second_suite_lacks_is_too_little_to_say(tmp_path: Path) -> None:
    suites(tmp_path, 3, missing=1)
    done = compare(tmp_path, "suite-a", "suite-b", "--fail-on-regression")
    assert done.exit_code == 3
    assert "only in A: scenario-2" in done.stdout
    assert compare(tmp_path, "suite-b", "suite-a", "--fail-on-regression").exit_code == 0


def test_a_run_of_the_suite_that_did_not_begin_has_a_verdict_and_no_figures(tmp_path: Path) -> None:
    suites(tmp_path, 2)
    shutil.rmtree(tmp_path / "b-1")
    data = json.loads((tmp_path / "20260202-suite-b" / "suite.json").read_text())
    data["runs"][1]["verdict"] = "UNKNOWN"
    (tmp_path / "20260202-suite-b" / "suite.json").write_text(json.dumps(data))
    done = compare(tmp_path, "suite-a", "suite-b", "--fail-on-regression")
    assert done.exit_code == 3
    assert "scenario-1: verdict: PASS → UNKNOWN" in done.stdout


def test_a_run_of_a_suite_that_is_no_longer_there_is_too_little_to_say(tmp_path: Path) -> None:
    suites(tmp_path, 3)
    shutil.rmtree(tmp_path / "a-1")
    done = compare(tmp_path, "suite-a", "suite-b", "--fail-on-regression")
    assert done.exit_code == 3, done.output
    assert "a run of it cannot be read any more: scenario-1" in done.stdout


def test_of_a_scenario_that_was_played_several_times_the_worst_run_counts(tmp_path: Path) -> None:
    suites(tmp_path, 2)
    failed = store(tmp_path, "b-failed", LOST, scenario="scenario-1")
    folders = [tmp_path / "b-0", failed, tmp_path / "b-1"]
    store_suite(tmp_path, "20260203-suite-c", folders)
    done = compare(tmp_path, "suite-a", "last-suite", "--fail-on-regression")
    assert done.exit_code == 1, done.output
    assert "scenario-1: verdict: PASS → FAIL" in done.stdout


def test_a_run_beside_a_suite_is_compared_with_its_own_scenario(tmp_path: Path) -> None:
    suites(tmp_path, 3)
    data = json.loads(compare(tmp_path, "a-1", "suite-b", "--json").stdout)
    assert [pair["scenario"] for pair in data["pairs"]] == ["scenario-1"]
    assert data["only_second"] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("suite", "could be 20260202-suite-b, 20260201-suite-a; give more of the name"),
        ("nothing-like-it", "There is no run 'nothing-like-it'"),
    ],
)
def test_a_name_that_fits_no_side_or_several_is_answered(tmp_path: Path, name: str, said: str) -> None:
    suites(tmp_path, 1)
    done = compare(tmp_path, "a-0", name)
    assert done.exit_code == 2
    assert said in done.output


def test_the_newest_suite_of_none_is_said(tmp_path: Path) -> None:
    store(tmp_path, "run-a")
    assert "There is no suite below" in compare(tmp_path, "run-a", "last-suite").output


def test_the_json_holds_the_intervals_and_never_what_json_cannot(tmp_path: Path) -> None:
    both(tmp_path)
    text = compare(tmp_path, "run-a", "run-b", "--json").stdout
    data = json.loads(text)
    assert "Infinity" not in text
    p99 = data["pairs"][0]["first"]["quantiles"]["outside"]["0.99"]
    assert p99["high_seconds"] is None
    assert p99["samples"] > 400
    assert data["exit_code"] == 0
    assert data["noise"]["least_ratio"] == 1.2
