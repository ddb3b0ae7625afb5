"""What ``harness gate`` lets through: what a baseline has too, known defects up to their day; no lost event else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.checking import CheckResult, Finding
from harness.values import Promise
from tests.unit import gate_samples as samples
from tests.unit.gate_samples import BOOKS, KNOWN, OPTIONAL, Traffic, gate, last_line, lost, row, slow, store


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return samples.config(tmp_path)


def test_only_what_is_new_fails_against_a_baseline(tmp_path: Path, config: Path) -> None:
    late = CheckResult("recovery", findings=(Finding(Promise.RECOVERY, "The drain of 2026_01 began 9.1 s late."),))
    store(tmp_path, "before", BOOKS, slow(0.3))
    store(tmp_path, "after", BOOKS, slow(0.4))
    store(tmp_path, "worse", BOOKS, slow(0.4), late)
    done = gate("after", "--baseline", "before", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 0, done.output
    assert "KNOWN" in row(done, "broken_promises")
    assert "not new: before has it too" in done.stdout
    assert "; 1 known failure was let through" in last_line(done)
    done = gate("worse", "--baseline", "before", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "✗ december-detached, recovery: The drain of 2026_01" in done.stdout


def test_a_lost_event_is_new_whatever_the_baseline_lost(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "before", lost(3))
    store(tmp_path, "after", lost(3))
    done = gate("after", "--baseline", "before", "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "FAIL" in row(done, "lost_events")
    assert "before has it too, but a lost event is another one each time" in done.stdout


def test_a_gate_is_no_baseline_of_its_own_runs(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "one", BOOKS, slow(0.5))
    path = tmp_path / "gate.json"
    assert gate("one", "--json", path, "--reports", tmp_path, "--config", config).exit_code == 1
    done = gate("one", "--baseline", path, "--reports", tmp_path, "--config", config)
    assert done.exit_code == 2
    assert "against itself nothing is new" in done.output


def test_the_same_sentence_of_another_scenario_is_new(tmp_path: Path, config: Path) -> None:
    store(tmp_path, "before", BOOKS, slow(0.3))
    store(tmp_path, "after", BOOKS, slow(0.3), scenario="december-locked")
    assert gate("after", "--baseline", "before", "--reports", tmp_path, "--config", config).exit_code == 1


def test_the_result_of_a_gate_is_a_baseline(tmp_path: Path, config: Path) -> None:
    bad = dict.fromkeys(range(0, 3200, 32), 202)
    store(tmp_path, "before", lost(1), traffic=Traffic(answers=bad))
    store(tmp_path, "after", traffic=Traffic(answers=bad))
    store(tmp_path, "worse", traffic=Traffic(answers=dict.fromkeys(range(0, 3200, 10), 202)))
    path = tmp_path / "out" / "before.json"
    done = gate("before", "--json", path, "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    data = json.loads(path.read_text())
    assert (data["decision"], data["exit_code"]) == ("FAIL", 1)
    failed = [one["metric"] for one in data["rows"] if one["decision"] == "FAIL"]
    assert failed == ["lost_events", "dlq_fallback"]
    (finding,) = data["findings"]
    assert finding["event_ids"] == ["00000000-0000-4000-8000-000000000000"]
    done = gate("after", "--baseline", path, "--reports", tmp_path, "--config", config)
    assert done.exit_code == 0, done.output
    assert "KNOWN" in row(done, "dlq_fallback")
    done = gate("worse", "--baseline", path, "--reports", tmp_path, "--config", config)
    assert done.exit_code == 1
    assert "but it is worse now" in done.stdout


def test_a_known_defect_is_let_through_until_its_day(tmp_path: Path) -> None:
    path = samples.config(tmp_path, OPTIONAL + KNOWN)
    store(tmp_path, "one", lost(3))
    for now, code in (("2026-03-31T23:59:59Z", 0), ("2026-04-01T00:00:00Z", 1), ("2026-04-01T01:00:00+02:00", 0)):
        done = gate("one", "--reports", tmp_path, "--config", path, "--now", now)
        assert done.exit_code == code, (now, done.output)
        said = "was known until 2026-03-31, which has passed" if code else "known until 2026-03-31: ticket 4711"
        assert said in done.stdout
        assert ("3 LOST EVENTS were let through" in last_line(done)) is (code == 0)


def test_an_expired_defect_fails_though_the_baseline_has_it(tmp_path: Path) -> None:
    listed = KNOWN.replace("conservation", "fallback").replace("are lost", "the median 202")
    path = samples.config(tmp_path, OPTIONAL + listed)
    store(tmp_path, "before", BOOKS, slow(0.3))
    store(tmp_path, "one", BOOKS, slow(0.3))
    arguments = ("one", "--baseline", "before", "--reports", tmp_path, "--config", path)
    assert gate(*arguments, "--now", "2026-04-01T00:00:00Z").exit_code == 1
    assert gate(*arguments, "--now", "2026-03-31T00:00:00Z").exit_code == 0


def test_a_defect_that_is_listed_with_its_figures_takes_no_worse_run_along(tmp_path: Path) -> None:
    path = samples.config(tmp_path, OPTIONAL + KNOWN.replace("are lost", "3 events of 2025_12"))
    store(tmp_path, "as-listed", lost(3))
    store(tmp_path, "worse", lost(400))
    arguments = ("--reports", tmp_path, "--config", path, "--now", "2026-03-01T00:00:00Z")
    assert gate("as-listed", *arguments).exit_code == 0
    assert gate("as-listed", "worse", *arguments).exit_code == 1


@pytest.mark.parametrize(
    ("old", "new"), [("are lost", "are stored twice"), ("conservation", "duplicates"), ("-detached", "-locked")]
)
def test_a_known_defect_is_one_finding_and_no_other(tmp_path: Path, old: str, new: str) -> None:
    path = samples.config(tmp_path, OPTIONAL + KNOWN.replace(old, new))
    store(tmp_path, "one", lost(3))
    done = gate("one", "--reports", tmp_path, "--config", path, "--now", "2026-03-01T00:00:00Z")
    assert done.exit_code == 1
    assert "matched nothing" in done.stdout


def test_a_known_defect_that_matched_nothing_is_told(tmp_path: Path) -> None:
    path = samples.config(tmp_path, OPTIONAL + KNOWN)
    store(tmp_path, "one")
    done = gate("one", "--reports", tmp_path, "--config", path, "--now", "2026-05-01T00:00:00Z")
    assert done.exit_code == 0
    assert "(and expired on 2026-03-31) matched nothing: is it mended? Then take it out" in done.stdout
