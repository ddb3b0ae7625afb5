"""JSON, and the rule that a failing reporter never hides the verdict."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.gate import Exit
from harness.registry import Registry
from harness.report import base
from harness.results import RunResult
from harness.rundata import Run
from tests.unit import report_samples as samples


def test_result_json_holds_every_event_id_and_only_strict_json(tmp_path: Path) -> None:
    check = samples.lost(count=150, hostile=samples.HOSTILE)
    result = samples.result_of(check, samples.PASSED, samples.UNDECIDED, samples.NOT_CHECKED)
    base.write_all(result, samples.sample_run(), tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    data = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert data["verdict"] == "FAIL"
    assert data["run"] == result.run
    assert data["seed"] == 7
    assert data["repeat_command"] == result.repeat_command
    finding = data["checks"][0]["findings"][0]
    assert finding["event_ids"] == list(check.findings[0].event_ids)
    assert (finding["promise"], finding["promise_name"]) == (1, "conservation")
    assert data["checks"][0]["facts"] == {"events_judged": 780.0, "worst": None}
    assert data["unknowns"] == ["fallback: only 120 of 200 events were judged strictly in 2025_12"]
    assert data["not_checked"] == [{"checker": "metrics", "needs": "needs metrics"}]
    assert data["clocks"][0]["recover_seconds"] is None
    assert data["faults"][0]["confirmed"] == samples.CONFIRMED_AT
    assert data["scenario"]["claim"] == samples.SCENARIO.claim
    assert data["versions"]["postgresql"] == "18.0"


def test_a_failed_set_up_is_reported_without_any_history_or_password(tmp_path: Path) -> None:
    result = samples.result_of(setup_error="PostgreSQL refused postgresql://slm:hunter2@127.0.0.1/audit.")
    written = base.write_all(result, None, tmp_path)
    assert written.failures == ()
    assert json.loads((tmp_path / "result.json").read_text())["verdict"] == "SETUP"
    error = ET.parse(tmp_path / "junit.xml").find("testsuite/testcase/error")
    assert error is not None
    assert error.get("type") == "SETUP"
    page = (tmp_path / "report.html").read_text()
    assert "PostgreSQL refused" in page
    assert all("hunter2" not in path.read_text() for path in written.files)


def test_suite_json_has_the_exit_code_and_each_run(tmp_path: Path) -> None:
    suite = samples.suite_of(samples.result_of(samples.PASSED), samples.result_of(samples.UNDECIDED))
    base.write_suite(suite, tmp_path)
    data = json.loads((tmp_path / "suite.json").read_text())
    assert data["exit_code"] == Exit.INCONCLUSIVE
    assert data["verdict"] == "UNKNOWN"
    assert [run["verdict"] for run in data["runs"]] == ["PASS", "UNKNOWN"]


class _Broken:
    name = "broken"

    def write(self, result: RunResult, run: Run | None, folder: Path) -> Path:
        raise RuntimeError("the pen is dry")


def test_a_failing_reporter_is_named_and_recorded_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base.load_reporters()
    registry: Registry[base.Reporter] = Registry("reporter")
    registry.register("broken")(_Broken())
    for name, reporter in base.REPORTERS.items():
        registry.register(name)(reporter)
    monkeypatch.setattr(base, "REPORTERS", registry)
    stderr = io.StringIO()
    written = base.write_all(samples.result_of(samples.PASSED), samples.sample_run(), tmp_path, stderr=stderr)
    assert written.failures == (base.ReportFailure("broken", "RuntimeError: the pen is dry"),)
    assert {path.name for path in written.files} == {"result.json", "junit.xml", "summary.md", "report.html"}
    assert "'broken' failed (RuntimeError: the pen is dry)" in stderr.getvalue()
    assert "the pen is dry" in (tmp_path / base.ERRORS_FILE).read_text()


def test_reporters_that_cannot_write_at_all_never_raise(tmp_path: Path) -> None:
    stderr = io.StringIO()
    missing = tmp_path / "gone"
    written = base.write_all(samples.result_of(samples.PASSED), samples.sample_run(), missing, stderr=stderr)
    assert {failure.reporter for failure in written.failures} == {"json", "junit", "markdown", "html"}
    assert "could not be written either" in stderr.getvalue()
