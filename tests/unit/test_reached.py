"""States that matter: told by each run, added up by a suite, and owed by a full one."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Edge, ServiceState, Write
from harness.checkers.judge import judge
from harness.checking import REACHED_PREFIX, SOMETIMES, CheckResult
from harness.gate import Exit, decide_suite
from harness.report.base import write_suite
from harness.report.console import suite_lines
from harness.results import SuiteResult
from harness.values import Verdict, utc_timestamp
from tests.unit import report_samples
from tests.unit.histories import DECEMBER, HEALED, PROBED, STARTED_AT, History, check, event_id, gauge, good

DOWN = BlastRadius(months=None, write=Write.NO, service=ServiceState.DOWN, edge=Edge.RESTART, outlives_clients=True)


def stored(history: History, number: int, t: float) -> None:
    """Have the row of an operation stored at some moment of the run."""
    moment = utc_timestamp(STARTED_AT + timedelta(seconds=t))
    history.edit(ev.TableRow, lambda row: row.event_id == event_id(number), recorded_at=moment)


def queued(history: History) -> list[int]:
    """The operations that were answered 202, in order."""
    return [record.op for record in history.records if isinstance(record, ev.Complete) and record.status == 202]


def exhausted(history: History) -> None:
    gauge(history, lambda t, text, value: 25.0 if text == "datastorage_db_connections_in_use" and t == 15 else value)


def stalling(history: History) -> None:
    history.edit(ev.Complete, lambda record: record.status == 202, t=31.0)


def spared_after_repair(history: History) -> None:
    (number, *_) = history.ops(DECEMBER, HEALED + 0.2, HEALED + 0.4)
    assert history.invoke(number).t > PROBED
    history.answer(number, 202)


def drained_under_load(history: History) -> None:
    stored(history, queued(history)[0], 21.0)


def drained_in_silence(history: History) -> None:
    stored(history, queued(history)[0], 99.0)


def committed_first(history: History) -> None:
    number = queued(history)[0]
    begun = history.invoke(number).t
    history.edit(ev.Complete, lambda record: record.op == number, t=begun + 1.0)
    stored(history, number, begun + 0.1)


def committed_unanswered(history: History) -> None:
    number = queued(history)[0]
    history.answer(number, 0, type=ev.Completion.INFO)
    stored(history, number, history.invoke(number).t + 0.005)


def queued_first(history: History) -> None:
    number = queued(history)[0]
    begun = history.invoke(number).t
    history.edit(ev.Complete, lambda record: record.op == number, t=begun + 1.0)
    stored(history, number, begun + 0.9)


def contradicted_and_shouted(history: History) -> None:
    contradicted(history)
    number = queued(history)[0]
    history.edit(ev.DlqRow, lambda row: row.event_id == event_id(number), event_id=event_id(number).upper())


def letter_dead(history: History) -> None:
    history.queued_row(queued(history)[0], "dead", "poison")


def sent_again(history: History) -> None:
    number = queued(history)[0]
    stored(history, number, 21.0)
    history.op(15.0, DECEMBER, 202, kind=ev.OpKind.RESEND, of=number)


def sent_again_later(history: History) -> None:
    number = queued(history)[0]
    stored(history, number, 21.0)
    history.op(25.0, DECEMBER, 202, kind=ev.OpKind.RESEND, of=number)


def contradicted(history: History) -> None:
    number = queued(history)[0]
    history.op(15.0, DECEMBER, 202, kind=ev.OpKind.CONFLICT, of=number)
    history.queued_row(number, "dead", "conflict")


def restarted(history: History, at: float = 18.0) -> None:
    history.fault(DOWN, number=1, name="crash-service", injecting=at, injected=at, confirmed=at, healing=at, healed=at)
    history.add(ev.ServiceMark(at + 0.3, "restarted", 8))
    stored(history, queued(history)[0], 21.0)


def restarted_after_the_drain(history: History) -> None:
    restarted(history, 24.0)


@pytest.mark.parametrize(
    ("state", "reach", "miss"),
    [
        ("pool_exhausted", exhausted, lambda history: None),
        ("breaker_open", lambda history: None, stalling),
        ("half_open_probe", spared_after_repair, lambda history: None),
        ("drain_during_load", drained_under_load, drained_in_silence),
        ("ambiguous_commit", committed_first, queued_first),
        ("ambiguous_commit", committed_unanswered, lambda history: None),
        ("dead_letter", letter_dead, lambda history: None),
        ("resend_while_queued", sent_again, sent_again_later),
        ("conflict_on_drain", contradicted, letter_dead),
        ("conflict_on_drain", contradicted_and_shouted, letter_dead),
        ("restart_with_backlog", restarted, restarted_after_the_drain),
    ],
)
def test_a_state_is_told_from_its_neighbour(
    state: str, reach: Callable[[History], None], miss: Callable[[History], None]
) -> None:
    for change, expected in ((reach, 1.0), (miss, 0.0)):
        history = good()
        change(history)
        assert check("reached", history).facts[f"{REACHED_PREFIX}{state}"] == expected


def test_every_state_has_a_sentence_and_what_nobody_can_see_is_not_told() -> None:
    told = check("reached", good()).facts
    assert {f"{REACHED_PREFIX}{name}" for name in SOMETIMES} == set(told)
    blind = check("reached", good().without("sql", "dlq", "metrics")).facts
    assert set(blind) == {"reached_breaker_open", "reached_half_open_probe"}


def suite_that_reached(*states: str, full: bool) -> SuiteResult:
    """A suite of one run that passed, which could see all states and reached these."""
    facts = {f"{REACHED_PREFIX}{name}": float(name in states) for name in SOMETIMES}
    result = dataclasses.replace(report_samples.result_of(), checks=(CheckResult("reached", facts=facts),))
    return SuiteResult("suite-1", Path("reports/suite-1"), (result,), seconds=1.0, jobs=1, full=full)


def test_a_full_suite_owes_every_state_and_a_part_of_it_none() -> None:
    everything = suite_that_reached(*SOMETIMES, full=True)
    assert (everything.verdict, decide_suite(everything)) == (Verdict.PASS, Exit.PASSED)
    lacking = suite_that_reached(*list(SOMETIMES)[1:], full=True)
    assert (lacking.verdict, decide_suite(lacking)) == (Verdict.UNKNOWN, Exit.INCONCLUSIVE)
    assert [one.name for one in lacking.owed] == [next(iter(SOMETIMES))]
    part = dataclasses.replace(lacking, full=False)
    assert (part.verdict, decide_suite(part), part.owed) == (Verdict.PASS, Exit.PASSED, ())


def test_a_state_that_no_run_can_see_is_not_owed() -> None:
    suite = suite_that_reached(full=True)
    (result,) = suite.runs
    blind = dataclasses.replace(result, checks=(CheckResult("reached"),))
    assert dataclasses.replace(suite, runs=(blind,)).verdict is Verdict.PASS


@pytest.mark.parametrize("full", [True, False])
def test_what_was_not_reached_is_told_in_every_report_and_on_the_console_where_it_is_owed(
    tmp_path: Path, full: bool
) -> None:
    name, *others = SOMETIMES
    suite = suite_that_reached(*others, full=full)
    said = [line.styled + line.rest for line in suite_lines(suite, 2)]
    assert (f"  unknown: none of 1 runs reached {name}: {SOMETIMES.get(name)}" in said) is full
    assert any("reached" in line for line in said) is full
    assert not write_suite(suite, tmp_path).failures
    told = {one["name"]: one for one in json.loads((tmp_path / "suite.json").read_text())["reached"]}
    assert (told[name]["runs"], told[name]["of"], told[name]["owed"]) == (0, 1, full)
    assert f"none of 1 runs reached {name}" in (tmp_path / "index.html").read_text()
    errors = ET.parse(tmp_path / "junit.xml").getroot().findall(".//testcase[@name='states-reached']/error")
    assert len(errors) == full


def test_a_full_suite_that_failed_fails() -> None:
    suite = suite_that_reached(full=True)
    failed = dataclasses.replace(suite, runs=(*suite.runs, report_samples.result_of(report_samples.lost())))
    assert (failed.verdict, decide_suite(failed)) == (Verdict.FAIL, Exit.FAILED)


def test_the_checker_neither_finds_nor_doubts() -> None:
    (result,) = judge(good().run(), ["reached"])
    assert (result.findings, result.unknowns) == ((), ())
