"""What this machine cannot play is skipped, told with its remedy, and never green by itself."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.faults.clock import ShiftClock
from harness.faults.dlq import DlqReadOnly
from harness.faults.fullness import FillTablespace
from harness.gate import Exit, decide
from harness.report.console import suite_lines
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.session import Session, SessionOptions, SilentDisplay
from harness.stacks import host
from harness.stacks.base import Capability
from harness.values import Month

DECEMBER = Month(2025, 12)


def scenario(name: str, *faults: ShiftClock | DlqReadOnly | FillTablespace) -> Scenario:
    load = Load(months=(DECEMBER,))
    return Scenario(name=name, claim="C.", requirements=(), load=load, schedule=Schedule.of(*faults))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that gives nothing beside starting programs."""
    monkeypatch.setattr(host, "granted", frozenset)


@pytest.mark.usefixtures("bare")
def test_what_the_machine_lacks_is_said_with_the_way_to_get_it() -> None:
    assert host.lacking(frozenset({Capability.SQL, Capability.FILES})) == ""
    assert "apt-get install faketime" in host.lacking(frozenset({Capability.SERVICE_CLOCK}))
    assert host.lacking(FillTablespace.needs).startswith("needs mount: run the harness as root")
    assert host.lacking(DlqReadOnly.needs).startswith("needs immutable: run the harness as root")


def test_a_machine_that_gives_all_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "granted", lambda: host.OF_THE_HOST)
    assert host.lacking(frozenset(Capability)) == ""


@pytest.mark.usefixtures("bare")
def test_a_suite_of_nothing_but_skips_is_inconclusive_and_lists_them_everywhere(tmp_path: Path) -> None:
    session = Session(SessionOptions(reports=tmp_path), SilentDisplay())
    chosen = [scenario("full", FillTablespace(months=(DECEMBER,))), scenario("shifted", ShiftClock(days=40))]
    suite = asyncio.run(session.run(chosen))
    assert [one.scenario.name for one in suite.skipped] == ["full", "shifted"]
    assert decide(suite.runs) is Exit.INCONCLUSIVE
    said = "\n".join(line.styled + line.rest for line in suite_lines(suite, 2))
    assert "skipped: full needs mount: run the harness as root" in said
    assert "no scenario was run" in said
    told = json.loads((suite.folder / "suite.json").read_text())["skipped"]
    assert [one["scenario"] for one in told] == ["full", "shifted"]
    junit = ET.parse(suite.folder / "junit.xml").getroot()
    assert [case.get("name") for case in junit.findall(".//testcase[skipped]")] == ["full", "shifted"]
    page = (suite.folder / "index.html").read_text()
    assert '<th scope="row">shifted</th><td>SKIPPED</td><td>needs service-clock' in page
