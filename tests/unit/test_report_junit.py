"""JUnit XML: valid by the schema of Jenkins, counted right, and nothing that is not green looks green."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import xmlschema

from harness.checking import REACHED_PREFIX, SOMETIMES, CheckResult
from harness.report import base
from harness.results import RunResult, Skipped, SuiteResult
from harness.rundata import Run
from tests.unit import report_samples as samples

XSD = Path(__file__).parents[1] / "schemas" / "junit-10.xsd"
"""Its source is named in the README.md beside it."""


@cache
def jenkins() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(XSD))


def problems(path: Path) -> Sequence[str]:
    """What the schema has against a file."""
    return [f"{error.path}: {error.reason}" for error in jenkins().iter_errors(str(path))]


def written(suite: SuiteResult, folder: Path) -> ET.Element:
    """The suite's file, once it was found to be valid."""
    assert base.write_suite(suite, folder).failures == ()
    assert problems(folder / "junit.xml") == []
    return ET.parse(folder / "junit.xml").getroot()


def mixed() -> SuiteResult:
    """A suite of each kind of result."""
    return samples.suite_of(
        samples.result_of(samples.PASSED, name="good"),
        samples.result_of(samples.lost(count=300), samples.UNDECIDED, name="bad"),
        samples.result_of(samples.UNDECIDED, name="open"),
        samples.result_of(setup_error="no disk", name="never"),
    )


def test_each_scenario_is_a_testsuite_whose_counts_add_up_to_the_whole(tmp_path: Path) -> None:
    root = written(mixed(), tmp_path)
    names = [suite.get("name") for suite in root]
    assert names == ["good", "bad", "open", "never"]
    assert [suite.get("failures") for suite in root] == ["0", "1", "0", "0"]
    assert [suite.get("errors") for suite in root] == ["0", "0", "1", "1"]
    assert {key: root.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "1",
        "errors": "2",
    }
    assert [error.get("type") for error in root.iter("error")] == ["UNKNOWN", "SETUP"]
    assert {case.get("classname") for case in root.iter("testcase")} == {"scenarios"}


def test_a_failure_tells_promise_events_and_the_command_that_repeats_it(tmp_path: Path) -> None:
    failure = written(mixed(), tmp_path).find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.text is not None
    assert "promise 1 (conservation)" in failure.text
    assert "+280 more, all in result.json" in failure.text
    assert "repeat with: harness replay reports/run-1" in failure.text


def test_requirements_and_clocks_are_properties(tmp_path: Path) -> None:
    properties = written(mixed(), tmp_path).find("testsuite/properties")
    assert properties is not None
    values = [(each.get("name"), each.get("value")) for each in properties]
    assert [value for name, value in values if name == "requirement"] == list(samples.SCENARIO.requirements)
    assert ("detach-partition.detect_seconds", "0.120") in values
    assert ("detach-partition.recover_seconds", "") in values, "a clock that never stopped has no figure"
    assert ("verdict", "PASS") in values
    assert ("report", "run-1/report.html") in values


def test_what_was_skipped_or_is_owed_is_counted_and_not_green(tmp_path: Path) -> None:
    name = next(iter(SOMETIMES))
    never = CheckResult("reached", facts={f"{REACHED_PREFIX}{name}": 0.0})
    suite = dataclasses.replace(
        samples.suite_of(samples.result_of(never)),
        skipped=(Skipped(dataclasses.replace(samples.SCENARIO, name="clock"), "needs service-clock"),),
        full=True,
    )
    root = written(suite, tmp_path)
    assert [(case.get("name"), [child.tag for child in case]) for case in root.iter("testcase")] == [
        ("december-detached", ["system-out"]),
        ("clock", ["skipped"]),
        ("states-reached", ["error"]),
    ]
    assert {key: root.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "0",
        "errors": "1",
    }


@pytest.mark.parametrize("run", [samples.sample_run(), None], ids=["history", "none"])
@pytest.mark.parametrize(
    "result",
    [
        samples.result_of(samples.PASSED),
        samples.result_of(samples.lost(hostile=samples.HOSTILE), samples.NOT_CHECKED),
        samples.result_of(setup_error=samples.HOSTILE),
    ],
    ids=["pass", "fail", "setup"],
)
def test_the_file_of_a_run_is_valid_whatever_is_in_it(tmp_path: Path, result: RunResult, run: Run | None) -> None:
    base.write_all(result, run, tmp_path)
    assert problems(tmp_path / "junit.xml") == []
    suite = ET.parse(tmp_path / "junit.xml").find("testsuite")
    assert suite is not None
    assert suite.get("timestamp") == (run.started.started_at if run is not None else None)


def test_the_sample_that_is_kept_is_valid() -> None:
    assert problems(Path(__file__).parents[2] / "reports" / "sample" / "junit.xml") == []


def test_what_xml_cannot_hold_is_replaced(tmp_path: Path) -> None:
    base.write_all(samples.result_of(samples.lost(hostile=samples.HOSTILE)), samples.sample_run(), tmp_path)
    failure = ET.parse(tmp_path / "junit.xml").find("testsuite/testcase/failure")
    assert failure is not None
    assert "<script>" in str(failure.get("message"))
    assert "\ufffd" in str(failure.get("message"))


def test_the_schema_refuses_what_the_schema_of_jenkins_has_no_place_for(tmp_path: Path) -> None:
    spoilt = tmp_path / "junit.xml"
    written(samples.suite_of(samples.result_of(samples.PASSED)), tmp_path)
    text = spoilt.read_text(encoding="utf-8")
    spoilt.write_text(text.replace("<system-out>", "<properties /><system-out>"), encoding="utf-8")
    assert len(problems(spoilt)) == 1
