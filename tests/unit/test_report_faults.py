"""Faults in the reports: their clocks, their marks, and how several of one name are told apart in every format."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.checkers.clocks import clocks
from harness.fault import radius_to_json
from harness.faults.partition import DetachPartition
from harness.report import base
from harness.report.console import Console
from harness.report.html import page
from harness.report.judged import read_judged
from harness.results import RunResult
from harness.rundata import Run, build_run
from harness.schedule import Schedule
from tests.unit import report_samples as samples
from tests.unit.report_pages import rows

ONCE = "detach-partition"
TWICE = ["detach-partition [0]", "detach-partition [1]"]


def twice() -> Run:
    """December detached two times, the second time four seconds after the first, and never seen to be healthy again."""
    sample = samples.started()
    radius = radius_to_json(BlastRadius(months=frozenset({samples.DECEMBER}), write=Write.NO))
    for number, begin in enumerate((1.0, 5.0)):
        marks = [
            (begin, ev.FaultStep.INJECTING, ""),
            (begin + 0.1, ev.FaultStep.INJECTED, ""),
            (begin + 0.25, ev.FaultStep.CONFIRMED, f"23514 no partition, the {number}."),
            (begin + 2.0, ev.FaultStep.HEALING, ""),
            (begin + 2.5, ev.FaultStep.HEALED, ""),
        ]
        if number == 0:
            marks.append((begin + 2.75, ev.FaultStep.PROBED, ""))
        for t, step, detail in marks:
            declared = radius if step is ev.FaultStep.INJECTING else ""
            sample.records.append(ev.FaultMark(t, number, ONCE, step, detail, declared))
        sample.write(begin + 0.5, samples.DECEMBER, 202, 0.1 * (number + 1))
    sample.write(4.0, samples.DECEMBER, 201, 0.05)
    sample.records.append(ev.FinalRead(9.0, table=True, dlq=True))
    return build_run(sorted(sample.records, key=lambda record: getattr(record, "t", 0.0)))


def judged(run: Run) -> RunResult:
    """Its result, with the clocks that the harness measures."""
    return dataclasses.replace(samples.result_of(samples.PASSED), clocks=clocks(run))


def test_the_four_clocks_of_each_fault_are_a_table_of_the_page() -> None:
    titles, *told = rows(page(judged(twice()), twice()), "The four clocks of each fault")
    assert titles == ["fault", "detect", "fallback", "recover", "drain"]
    # From the bite at 1.1 s to the first 202 at 1.6 s, and from the probe at 3.75 s to the 201 at 4.05 s.
    assert told == [
        [TWICE[0], "–", "0.50 s", "0.30 s", "–"],
        [TWICE[1], "–", "0.60 s", "–", "–"],
    ]


def test_when_each_fault_was_injected_confirmed_and_healed_is_a_table_of_the_page() -> None:
    titles, *told = rows(page(judged(twice()), twice()), "When each fault was on")
    assert titles == ["fault", "months", "write", "inject", "confirmed", "heal", "healed", "probe", "evidence"]
    assert told == [
        [TWICE[0], "2025_12", "no", "1.00 s", "1.25 s", "3.00 s", "3.50 s", "3.75 s", "23514 no partition, the 0."],
        [TWICE[1], "2025_12", "no", "5.00 s", "5.25 s", "7.00 s", "7.50 s", "–", "23514 no partition, the 1."],
    ]


def written(result: RunResult, run: Run, folder: Path) -> dict[str, Sequence[str]]:
    """The names of the faults whose clocks each format tells, by format."""
    base.write_all(result, run, folder)
    properties = [str(each.get("name")) for each in ET.parse(folder / "junit.xml").iter("property")]
    markdown = (folder / "summary.md").read_text(encoding="utf-8").replace("\\", "")
    text = (folder / "report.html").read_text(encoding="utf-8")
    return {
        "clocks": [row[0] for row in rows(text, "The four clocks of each fault")[1:]],
        "marks": [row[0] for row in rows(text, "When each fault was on")[1:]],
        "buttons": re.findall(r"<button[^>]*>Fault: (.*?)</button>", text),
        "junit": [name.removesuffix(".recover_seconds") for name in properties if name.endswith(".recover_seconds")],
        "markdown": re.findall(r"^\| (detach-partition.*?) \|", markdown, re.MULTILINE),
    }


@pytest.mark.parametrize(("run", "names"), [(twice(), TWICE), (samples.sample_run(5), [ONCE])], ids=["two", "one"])
def test_every_format_names_the_faults_of_a_run_alike(tmp_path: Path, run: Run, names: list[str]) -> None:
    found = written(judged(run), run, tmp_path)
    assert found == dict.fromkeys(found, names)


def test_no_property_of_junit_is_there_twice(tmp_path: Path) -> None:
    base.write_all(judged(twice()), twice(), tmp_path)
    names = [str(each.get("name")) for each in ET.parse(tmp_path / "junit.xml").iter("property")]
    once = [name for name in names if name != "requirement"]
    assert len(set(once)) == len(once)


def test_the_number_of_a_fault_is_stored_with_its_clocks_and_an_earlier_version_had_none(tmp_path: Path) -> None:
    base.write_all(judged(twice()), twice(), tmp_path)
    stored = read_judged(tmp_path)
    assert stored is not None
    assert stored.clocks == clocks(twice())
    assert [one.number for one in stored.clocks] == [0, 1]
    data = json.loads((tmp_path / "result.json").read_text())
    for one in data["clocks"]:
        del one["number"]
    (tmp_path / "result.json").write_text(json.dumps(data))
    assert read_judged(tmp_path) == stored


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("times", "name"), [(2, TWICE[1]), (1, ONCE)])
def test_progress_says_which_of_several_faults_is_on(times: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    fault = DetachPartition(months=(samples.DECEMBER,))
    scenario = dataclasses.replace(samples.SCENARIO, schedule=Schedule.of(*[fault] * times))
    stream = _Terminal()
    with Console(stream, live=True, cores=2) as console:
        console.scenario_started("run-1", scenario)
        console.marked("run-1", ev.FaultMark(4.0, times - 1, ONCE, ev.FaultStep.INJECTED))
    assert f"· {name} injected" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())


def test_a_clock_that_was_measured_knows_its_fault() -> None:
    assert [(one.fault, one.number) for one in clocks(samples.sample_run(5))] == [(ONCE, 1)]
