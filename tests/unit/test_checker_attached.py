"""The catalog while a run goes on: months made anew, defaults, months ahead, months asked for, locks on the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Write
from harness.values import Month, Promise, Verdict
from tests.unit.histories import (
    CONFIRMED,
    DECEMBER,
    END,
    HEALING,
    INJECTING,
    JANUARY,
    PROBED,
    RADIUS,
    History,
    check,
    good,
    promises,
)

JUNE = Month(2026, 6)
AHEAD = tuple(Month(2026, 1).plus(number) for number in range(4))
Tables = dict[str, int]
ALL: Tables = {month.label: number for number, month in enumerate((DECEMBER, *AHEAD), 100)}


def looked(
    seen: Callable[[float], Tables] = lambda t: ALL,
    history: History | None = None,
    default: str = "audit_events_default",
) -> History:
    """The good run, whose catalog is looked at every second: months to oids by time, none for an empty answer."""
    history = history or good()
    for t in range(int(END)):
        tables = seen(float(t))
        named = [
            (oid, month, default if month == "default" else f"audit_events_{month}_{oid}")
            for month, oid in tables.items()
        ]
        children = tuple(ev.AttachedTable(oid, name, month) for oid, month, name in named)
        history.add(ev.PartitionsSample(float(t), children, "" if tables else "57P03", 0.01))
    return history


def without(*months: Month) -> Tables:
    """Everything but these months."""
    return {label: oid for label, oid in ALL.items() if label not in {month.label for month in months}}


def test_a_month_that_a_fault_took_and_its_heal_brought_back_passes() -> None:
    history = looked(lambda t: without(DECEMBER) if INJECTING < t < PROBED else ALL)
    assert check("partition-hygiene", history).verdict is Verdict.PASS
    assert check("partition-hygiene", history).facts["catalog_looks"] == END


def test_a_restored_copy_that_the_heal_attached_passes() -> None:
    copy = {**ALL, DECEMBER.label: 999}
    history = looked(lambda t: without(DECEMBER) if INJECTING < t < PROBED else copy if t > INJECTING else ALL)
    assert check("partition-hygiene", history).verdict is Verdict.PASS


def test_a_month_made_anew_while_a_fault_withheld_it_is_a_finding_that_names_its_events() -> None:
    anew = {**ALL, DECEMBER.label: 999}
    history = looked(lambda t: anew if 13 < t < HEALING else without(DECEMBER) if INJECTING < t < PROBED else ALL)
    (finding,) = check("partition-hygiene", history).findings
    assert finding.promise is Promise.CONSERVATION
    assert "made anew as audit_events_2025_12_999" in finding.summary
    assert finding.t == 14.0
    assert finding.event_ids


def test_a_month_made_anew_between_an_unreadable_look_and_the_heal_is_not_told_from_the_heal() -> None:
    anew = {**ALL, DECEMBER.label: 999}
    history = looked(lambda t: ALL if t < 10 else {} if t < 21 else anew)
    assert check("partition-hygiene", history).verdict is Verdict.PASS


@pytest.mark.parametrize("since", [INJECTING, 13.0, HEALING])
def test_a_default_partition_that_appears_is_a_finding_also_where_a_fault_acts_on_the_catalog(since: float) -> None:
    rest = {**ALL, "default": 7}
    assert promises("partition-hygiene", looked(lambda t: rest if t > since else ALL)) == {Promise.CONSERVATION}


def test_a_default_partition_that_a_fault_made_is_none_while_it_is_on() -> None:
    rest = {**ALL, "default": 7}
    history = looked(lambda t: rest if INJECTING < t < PROBED else ALL, default="audit_events_harness_default")
    assert promises("partition-hygiene", history) == set()


def test_months_due_ahead_are_there_but_for_a_look_at_a_bad_moment_or_a_fault() -> None:
    last = AHEAD[-1]
    (finding,) = check("partition-hygiene", looked(lambda t: without(last))).findings
    assert finding.summary.startswith(f"{last} was not attached in 32 of 36 looks"), "not of a loop that only begins"
    assert promises("partition-hygiene", looked(lambda t: without(last) if t == 5 else ALL)) == set()
    assert promises("partition-hygiene", looked(lambda t: without(last) if t < 3 else ALL)) == set()
    faulty = good()
    faulty.drop(ev.FaultMark)
    faulty.fault(dataclasses.replace(RADIUS, months=None))
    history = looked(lambda t: without(*AHEAD) if INJECTING < t < PROBED else ALL, faulty)
    assert promises("partition-hygiene", history) == set()


def asked(made_at: float, *, base: History | None = None) -> History:
    """June, which nobody had made, is asked for from 12 s on and is made at some moment."""
    history = base or good(faulty=False)
    for step in range(20):
        t = 12 + step
        history.row(history.op(t, JUNE, 201 if t > made_at + 1 else 202))
    return looked(lambda t: {**ALL, JUNE.label: 500} if t >= made_at else ALL, history)


@pytest.mark.parametrize(("made_at", "late"), [(14.0, False), (16.0, False), (19.0, True), (99.0, True)])
def test_a_month_asked_for_is_made_within_the_interval_of_the_loop(made_at: float, late: bool) -> None:
    found = check("partition-hygiene", asked(made_at)).findings
    assert [finding.promise for finding in found] == [Promise.FALLBACK] * late
    if late:
        assert "asked for at 12.0 s" in found[0].summary
        assert found[0].event_ids


@pytest.mark.parametrize(("first_answer", "late"), [(201, False), (202, True)])
def test_a_month_whose_first_event_was_stored_was_there_before_anybody_looked(first_answer: int, late: bool) -> None:
    history = good(faulty=False)
    history.row(history.op(5.0, JUNE, first_answer))
    looked(lambda t: {**ALL, JUNE.label: 500} if t > 20 else ALL, history)
    assert promises("partition-hygiene", history) == ({Promise.FALLBACK} if late else set())


@pytest.mark.parametrize(("made_at", "late"), [(28.0, False), (31.0, True)])
def test_a_month_that_a_fault_kept_from_being_made_is_due_once_that_is_forgotten(made_at: float, late: bool) -> None:
    history = good(faulty=False)
    history.fault(BlastRadius(months=frozenset({JUNE}), write=Write.NO), name="prevent-partition-creation")
    assert promises("partition-hygiene", asked(made_at, base=history)) == ({Promise.FALLBACK} if late else set())


def test_a_month_that_nothing_prevents_is_due_while_the_fault_that_asks_for_it_is_on() -> None:
    history = good(faulty=False)
    history.fault(BlastRadius(months=frozenset({JUNE}), write=Write.PARTIAL), name="unmade-month")
    assert promises("partition-hygiene", asked(19.0, base=history)) == {Promise.FALLBACK}


def test_a_stall_of_the_database_excuses_a_month_made_late() -> None:
    history = asked(19.0)
    history.edit(ev.CanarySample, lambda sample: 12 < sample.t < 16 and sample.month == JANUARY.label, seconds=1.5)
    assert promises("partition-hygiene", history) == set()


def test_an_exclusive_lock_on_the_whole_table_is_a_finding_unless_the_service_only_starts() -> None:
    history = good()
    history.edit(ev.ConnectionSample, lambda sample: sample.t == 14.0, locking_parent=True)
    assert promises("partition-hygiene", history) == {Promise.ISOLATION}
    history.add(ev.ServiceMark(14.5, "restarted", 8))
    assert promises("partition-hygiene", history) == set()


def test_what_was_seen_meanwhile_is_told_although_the_final_read_never_came() -> None:
    history = looked(lambda t: {**ALL, DECEMBER.label: 999} if t > CONFIRMED + 2 else ALL)
    history.drop(ev.FinalRead)
    result = check("partition-hygiene", history)
    assert result.verdict is Verdict.FAIL
    assert result.unknowns
