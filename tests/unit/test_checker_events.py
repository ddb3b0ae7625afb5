"""Checkers about single events: conservation, duplicates, honest status, isolation."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness import events as ev
from harness.blast import BlastRadius, Dlq, ServiceState, Write
from harness.checkers import DEFAULT_CHECKERS
from harness.checkers._content import parse_content
from harness.checkers.judge import judge
from harness.checking import CHECKERS
from harness.values import Promise, Verdict
from tests.unit.histories import CONFIRMED, DECEMBER, END, JANUARY, MONTHS, RADIUS, History, check, event_id, good


def blamed(name: str, history: History) -> dict[Promise, set[str]]:
    result = check(name, history)
    found: dict[Promise, set[str]] = {}
    for finding in result.findings:
        found.setdefault(finding.promise, set()).update(finding.event_ids)
    return found


SENT_BEFORE_JUDGED = [n for n in DEFAULT_CHECKERS if n not in ("confirmed", "reads", "bounds", "partition-hygiene")]


@pytest.mark.parametrize("faulty", [True, False])
@pytest.mark.parametrize("name", DEFAULT_CHECKERS)
def test_every_checker_passes_an_honest_run(name: str, faulty: bool) -> None:
    result = check(name, good(faulty=faulty))
    assert (result.verdict, result.findings, result.unknowns) == (Verdict.PASS, (), ())


def test_default_checkers_are_all_but_those_that_prove_what_a_scenario_says_of_itself() -> None:
    assert set(CHECKERS) - set(DEFAULT_CHECKERS) == {"exhaustion", "interrupted"}


@pytest.mark.parametrize("name", SENT_BEFORE_JUDGED)
def test_a_run_that_sent_nothing_is_unknown(name: str) -> None:
    assert check(name, History()).verdict is Verdict.UNKNOWN
    probed = History()
    probed.row(probed.op(0.1, JANUARY, 201, writer=-1))
    assert check(name, probed).verdict is Verdict.UNKNOWN, "the harness's own trial writes are no load"


@pytest.mark.parametrize("name", ["evidence", "conservation", "duplicates", "recovery", "partition-hygiene"])
def test_a_run_without_final_read_is_unknown(name: str) -> None:
    history = good()
    history.drop(ev.FinalRead)
    assert check(name, history).verdict is Verdict.UNKNOWN


def test_a_crashing_checker_is_unknown_and_the_others_still_judge() -> None:
    history = good()
    history.edit(ev.RunStarted, lambda r: True, scenario_json='{"min_strict_events": "many"}')
    results = judge(history.run(), ["strictness", "conservation"])
    assert [r.verdict for r in results] == [Verdict.UNKNOWN, Verdict.PASS]
    assert "crashed" in results[0].unknowns[0]


@pytest.mark.parametrize("status", [201, 202])
def test_an_acknowledged_event_that_is_nowhere_is_lost(status: int) -> None:
    history = good()
    number = history.op(5.0, JANUARY, status)
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}
    assert check("conservation", history).facts["lost"] == 1


def test_a_missing_event_is_not_called_lost_while_the_queue_was_not_read() -> None:
    history = good()
    history.op(5.0, JANUARY, 202)
    history.edit(ev.FinalRead, lambda r: True, dlq=False)
    assert check("conservation", history).verdict is Verdict.UNKNOWN


def test_a_missing_event_of_a_month_never_repaired_is_unknown() -> None:
    history = good()
    history.op(5.0, DECEMBER, 201)
    history.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("conservation", history).verdict is Verdict.UNKNOWN


def test_an_event_still_queued_at_the_end_breaks_conservation_and_recovery() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 202)
    history.queued_row(number)
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}
    assert blamed("recovery", history) == {Promise.RECOVERY: {event_id(number)}}


def test_a_dead_letter_that_nothing_conflicts_with_is_a_finding() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 202)
    history.queued_row(number, "dead", "attempts")
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


@pytest.mark.parametrize("month", ["", "2026_01"])
def test_a_row_outside_its_months_partition_is_a_finding(month: str) -> None:
    history = good()
    assert history.edit(ev.TableRow, lambda r: r.event_id == event_id(0), month=month) == 1
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(0)}}


@pytest.mark.parametrize(
    ("field", "value"),
    [("event_data", {"n": 0}), ("version", "2"), ("event_data", {"n": 0, "x": 1.5, "flag": 1}), ("event_type", "u")],
)
def test_changed_content_is_a_finding_that_names_the_field(field: str, value: object) -> None:
    history = good()
    changed = json.dumps({**json.loads(history.invoke(0).content), field: value})
    history.edit(ev.TableRow, lambda r: r.event_id == event_id(0), content=changed)
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(0)}}
    assert field in check("conservation", history).findings[0].summary


def test_another_spelling_of_equal_content_is_equal() -> None:
    a = '{"event_timestamp": "2025-12-01T01:00:00.5+01:00", "event_data": {"a": 1.50, "b": [1e2, -0, true]}}'
    b = '{"event_data": {"b": [100, 0, true], "a": 1.5}, "version": "1.0", "event_timestamp": "2025-12-01T00:00:00.5Z"}'
    assert parse_content(a).differing(parse_content(b)) == ()


@pytest.mark.parametrize(
    ("x", "y"), [("1", "true"), ("0", "false"), ("null", '""'), ("1", '"1"'), ("0.1", "0.10000000000000001")]
)
def test_unequal_json_values_differ(x: str, y: str) -> None:
    a, b = (parse_content(f'{{"event_data": {{"v": {v}}}}}') for v in (x, y))
    assert a.differing(b) == ("event_data",)


def test_a_row_that_nobody_sent_is_a_finding() -> None:
    history = good()
    history.edit(ev.TableRow, lambda r: r.event_id == event_id(0), event_id=event_id(99_999))
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(0), event_id(99_999)}}


@pytest.mark.parametrize(
    ("status", "outcome", "where"),
    [(400, "", "row"), (409, "", "row"), (413, "", "row"), (503, "not_stored", "row"), (400, "", "queue")],
)
def test_an_event_stored_although_refused_breaks_honest_status(status: int, outcome: str, where: str) -> None:
    history = good()
    number = history.op(5.0, JANUARY, status, kind=ev.OpKind.INVALID, outcome=outcome)
    history.row(number) if where == "row" else history.queued_row(number, "dead")
    assert event_id(number) in blamed("conservation", history)[Promise.HONEST_STATUS]


@pytest.mark.parametrize(("status", "outcome"), [(0, ""), (503, "unknown")])
def test_an_unanswered_event_may_be_stored_or_not(status: int, outcome: str) -> None:
    history = good()
    history.row(history.op(5.0, JANUARY, status, outcome=outcome))
    history.op(5.1, JANUARY, status, outcome=outcome)
    result = check("conservation", history)
    assert result.verdict is Verdict.PASS
    assert result.facts["recovered"] == 1


def test_an_unanswered_event_stored_with_other_content_is_a_finding() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 0)
    history.row(number, content=json.dumps({**json.loads(history.invoke(number).content), "event_type": "u"}))
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_rows_that_a_fault_destroyed_are_accounted_until_restored() -> None:
    history = good()
    number = history.op(5.0, DECEMBER, 201)
    history.add(ev.Destroyed(10.1, 0, (event_id(number),), restored=False))
    result = check("conservation", history)
    assert (result.verdict, result.facts["destroyed_by_fault"]) == (Verdict.PASS, 1)
    history.add(ev.Destroyed(20.1, 0, (event_id(number),), restored=True))
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_an_acknowledgement_after_the_destruction_is_due() -> None:
    history = good()
    number = history.op(5.0, DECEMBER, 201)
    history.add(ev.Destroyed(10.1, 0, (event_id(number),), restored=False))
    history.op(11.0, DECEMBER, 202, kind=ev.OpKind.RESEND, of=number)
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def _conflict(history: History, first: int, second: int) -> tuple[int, int]:
    number = history.op(5.0, JANUARY, first)
    other = history.op(6.0, JANUARY, second, kind=ev.OpKind.CONFLICT, of=number, changes={"event_type": "other"})
    return number, other


def test_a_refused_conflict_leaves_its_original() -> None:
    history = good()
    number, _ = _conflict(history, 201, 409)
    history.row(number)
    assert check("conservation", history).verdict is Verdict.PASS


def test_a_refused_conflict_that_took_the_originals_place_is_a_finding() -> None:
    history = good()
    number, other = _conflict(history, 201, 409)
    history.row(other)
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_a_queued_conflict_ends_as_a_dead_letter() -> None:
    history = good()
    number, other = _conflict(history, 201, 202)
    history.row(number)
    history.queued_row(other, "dead", "conflict")
    assert check("conservation", history).verdict is Verdict.PASS


def test_a_queued_conflict_that_vanished_is_a_finding() -> None:
    history = good()
    number, _ = _conflict(history, 202, 202)
    history.row(number)
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_an_event_whose_id_the_service_made_is_found_by_its_correlation() -> None:
    history = good()
    number = history.op(5.0, JANUARY, 0)
    history.edit(ev.Invoke, lambda r: r.op == number, event_id="")
    history.row(number, event_id=event_id(77_777))
    result = check("conservation", history)
    assert (result.verdict, result.facts["recovered"]) == (Verdict.PASS, 1)


def test_two_rows_of_one_identity_are_duplicates() -> None:
    history = good()
    history.row(0)
    assert blamed("duplicates", history) == {Promise.NO_DUPLICATES: {event_id(0)}}


def test_one_invocation_stored_under_two_ids_is_a_duplicate() -> None:
    history = good()
    history.row(0, event_id=event_id(88_888))
    assert blamed("duplicates", history) == {Promise.NO_DUPLICATES: {event_id(88_888)}}


def test_a_resend_of_the_same_event_is_no_duplicate() -> None:
    history = good()
    history.op(5.0, JANUARY, 201, kind=ev.OpKind.RESEND, of=1)
    for name in ("duplicates", "conservation", "honest-status"):
        assert check(name, history).verdict is Verdict.PASS


@pytest.mark.parametrize("status", [400, 409, 413, 500, 502, 503])
def test_a_refusal_of_a_valid_event_in_health_is_a_finding(status: int) -> None:
    history = good(faulty=False)
    assert blamed("honest-status", history) == {}
    assert history.answer(30, status) in blamed("honest-status", history)[Promise.HONEST_STATUS]


def test_a_covered_month_that_refuses_under_the_fault_is_a_finding() -> None:
    history = good()
    number = history.ops(DECEMBER, 12, 13)[0]
    assert blamed("honest-status", history) == {}
    said = history.answer(number, 400)
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {said}}


def test_no_answer_from_a_living_service_breaks_promise_four() -> None:
    history = good(faulty=False)
    said = history.answer(30, 0, type=ev.Completion.INFO, error="ReadTimeout")
    assert blamed("honest-status", history) == {Promise.FALLBACK: {said}}


def test_an_operation_cut_off_by_the_end_of_the_run_is_not_judged() -> None:
    history = good(faulty=False)
    number = history.op(END - 1, JANUARY, 0)
    history.drop(ev.Complete, lambda r: r.op == number)
    assert check("honest-status", history).verdict is Verdict.PASS
    history.edit(ev.Invoke, lambda r: r.op == number, t=END - 6)
    assert check("honest-status", history).verdict is Verdict.FAIL


def test_an_operation_that_a_silenced_service_does_not_answer_is_honest() -> None:
    history = good(faulty=False)
    radius = BlastRadius(months=None, service=ServiceState.DOWN)
    history.fault(radius)
    for month in MONTHS:
        for number in history.ops(month, CONFIRMED, 20):
            history.answer(number, 0)
    assert check("honest-status", history).verdict is Verdict.PASS
    history.answer(history.ops(JANUARY, 12, 13)[0], 201)
    assert check("honest-status", history).verdict is Verdict.UNKNOWN


def test_a_201_where_nothing_can_be_written_is_a_lie_unless_the_row_is_there() -> None:
    history = good()
    number = history.ops(DECEMBER, 12, 13)[0]
    said = history.answer(number, 201)
    assert check("honest-status", history).verdict is Verdict.UNKNOWN
    history.drop(ev.TableRow, lambda r: r.event_id == said)
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {said}}


def test_a_202_in_health_is_judged_by_the_canary() -> None:
    history = good(faulty=False)
    number = history.ops(JANUARY, 12, 13)[0]
    said = history.answer(number, 202)
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {said}}
    stalled = good(faulty=False)
    stalled.answer(number, 202)
    stalled.edit(ev.CanarySample, lambda r: r.month == JANUARY.label and 9 < r.t < 10, seconds=1.5)
    assert check("honest-status", stalled).verdict is Verdict.UNKNOWN
    history.drop(ev.CanarySample)
    assert check("honest-status", history).verdict is Verdict.UNKNOWN


def test_a_202_is_no_honest_one_because_the_month_is_missing_that_no_fault_took_away() -> None:
    history = good(faulty=False)
    said = history.answer(history.ops(JANUARY, 12, 13)[0], 202)
    history.edit(ev.CanarySample, lambda r: r.month == JANUARY.label and 9 < r.t < 14, sqlstate="23514")
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {said}}
    history.edit(ev.CanarySample, lambda r: r.month == DECEMBER.label and 8 < r.t < 8.5, seconds=1.5)
    assert check("honest-status", history).verdict is Verdict.UNKNOWN, "it may have stalled when it was to be made"
    history.edit(ev.CanarySample, lambda r: r.month == DECEMBER.label and 8 < r.t < 8.5, seconds=0.001)
    assert check("honest-status", history).verdict is Verdict.FAIL
    history.edit(ev.CanarySample, lambda r: r.month == JANUARY.label and 9 < r.t < 14, sqlstate="53100")
    assert check("honest-status", history).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(("seconds", "verdict"), [(0.45, Verdict.FAIL), (0.55, Verdict.UNKNOWN)])
def test_a_canary_that_is_slow_below_a_quarter_of_the_timeouts_is_no_excuse(seconds: float, verdict: Verdict) -> None:
    history = good(faulty=False)
    history.answer(history.ops(JANUARY, 12, 13)[0], 202)
    history.edit(ev.CanarySample, lambda r: True, seconds=seconds)
    assert check("honest-status", history).verdict is verdict


def test_a_202_where_the_queue_cannot_take_it_is_a_finding() -> None:
    history = good(faulty=False)
    history.fault(dataclasses.replace(RADIUS, dlq=Dlq.NO))
    for number in history.ops(DECEMBER, 10.2, 20):
        history.answer(number, 503, outcome="not_stored")
    said = history.answer(history.ops(DECEMBER, 12, 13)[0], 202)
    assert blamed("honest-status", history)[Promise.HONEST_STATUS] == {said}


def test_an_answer_that_names_another_month_is_a_finding() -> None:
    history = good()
    history.edit(ev.Complete, lambda r: r.op == 3, partition="2030_01")
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {event_id(3)}}


@pytest.mark.parametrize("status", [202, 503, 400, 0])
def test_another_months_event_that_suffers_from_the_fault_breaks_isolation_only(status: int) -> None:
    history = good()
    said = history.answer(history.ops(JANUARY, 12, 13)[0], status)
    assert blamed("isolation", history) == {Promise.ISOLATION: {said}}
    assert check("honest-status", history).verdict is Verdict.PASS


def test_another_month_may_be_queued_while_statements_of_the_fault_run() -> None:
    history = good()
    history.answer(history.ops(JANUARY, 10.0, 10.1)[0], 202)
    assert check("isolation", history).verdict is Verdict.PASS


def test_a_delayed_month_that_queues_everything_is_a_finding() -> None:
    history = good(faulty=False)
    history.fault(BlastRadius(months=frozenset({DECEMBER}), write=Write.DELAYED, delay_ms=50))
    said = history.answer(history.ops(DECEMBER, 12, 13)[0], 202)
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {said}}


def _pressed(slow: float) -> History:
    history = History(judge_latency=True)
    history.fault()
    for i in range(2100):
        history.op(1 + i * 0.004, JANUARY, 201, took=0.02)
        history.op(12 + i * 0.0035, JANUARY, 201, took=slow if i % 20 == 0 else 0.02)
    return history


def test_a_slow_p99_of_other_months_breaks_isolation_when_latency_is_judged() -> None:
    assert check("isolation", _pressed(0.03)).verdict is Verdict.PASS
    assert check("isolation", _pressed(0.06)).verdict is Verdict.PASS, "not more than 50 ms"
    assert set(blamed("isolation", _pressed(0.3))) == {Promise.ISOLATION}


def test_latency_is_unknown_with_a_stalled_canary_or_few_samples() -> None:
    history = _pressed(0.3)
    history.add(ev.CanarySample(13.0, JANUARY.label, 2.0))
    assert check("isolation", history).verdict is Verdict.UNKNOWN
    few = good()
    few.edit(ev.RunStarted, lambda r: True, scenario_json='{"judge_latency": true}')
    assert check("isolation", few).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("name", ["conservation", "duplicates"])
def test_a_table_that_was_not_read_leaves_everything_unknown(name: str) -> None:
    history = good()
    history.drop(ev.TableRow)
    history.edit(ev.FinalRead, lambda r: True, table=False)
    assert check(name, history).verdict is Verdict.UNKNOWN


def test_an_event_queued_for_a_month_never_repaired_is_unknown() -> None:
    history = good()
    history.queued_row(history.op(15.0, DECEMBER, 202))
    history.drop(ev.FaultMark, lambda r: r.step is ev.FaultStep.PROBED)
    assert check("conservation", history).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("answer", [409, 202])
def test_a_rivals_dead_letter_does_not_account_for_a_lost_original(answer: int) -> None:
    history = good()
    number, other = _conflict(history, 201, answer)
    history.queued_row(other, "dead", "conflict")
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}
    assert check("conservation", history).facts["lost"] == 1


def test_a_dead_letter_whose_owner_a_fault_destroyed_is_accounted() -> None:
    history = good()
    number, other = _conflict(history, 201, 202)
    history.queued_row(other, "dead", "conflict")
    history.add(ev.Destroyed(10.1, 0, (event_id(number),), restored=False))
    assert check("conservation", history).facts["destroyed_by_fault"] == 1
    assert check("conservation", history).verdict is Verdict.PASS


def test_contents_that_are_all_dead_letters_belong_to_nobody() -> None:
    history = good()
    number, other = _conflict(history, 202, 202)
    history.queued_row(number, "dead", "conflict")
    history.queued_row(other, "dead", "conflict")
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(number)}}


def test_a_201_for_an_event_that_was_only_queued_is_a_lie() -> None:
    history = good()
    history.recorded(-0.005)
    assert check("honest-status", history).verdict is Verdict.PASS
    number = history.ops(DECEMBER, 12, 13)[0]
    said = history.answer(number, 201)
    assert check("honest-status", history).verdict is Verdict.UNKNOWN, "stored at once: the radius was wrong"
    history.recorded(9.0, number)
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {said}}


def test_a_201_in_health_that_was_stored_later_is_a_lie_as_well() -> None:
    history = good(faulty=False)
    history.recorded(-0.005)
    history.recorded(0.9, 40)
    assert check("honest-status", history).verdict is Verdict.PASS
    history.recorded(1.5, 40)
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {event_id(40)}}
    history.add(ev.Destroyed(5.0, 0, (event_id(40),), restored=True))
    assert check("honest-status", history).verdict is Verdict.PASS, "a re-send may have stored it again"


def test_a_database_whose_clock_is_ahead_stores_nothing_late() -> None:
    history = good(faulty=False)
    history.recorded(30.0)
    assert check("honest-status", history).verdict is Verdict.PASS
    history.recorded(33.0, 40)
    assert blamed("honest-status", history) == {Promise.HONEST_STATUS: {event_id(40)}}


def test_no_answer_beside_a_canary_that_stalled_without_a_fault_is_unknown() -> None:
    history = good(faulty=False)
    said = history.answer(30, 0, type=ev.Completion.INFO)
    assert blamed("honest-status", history) == {Promise.FALLBACK: {said}}
    history.add(ev.CanarySample(1.4, JANUARY.label, 1.5))
    assert check("honest-status", history).verdict is Verdict.UNKNOWN


def test_a_canary_that_a_fault_stopped_excuses_no_missing_answer() -> None:
    history = good()
    said = history.answer(history.ops(DECEMBER, 12, 13)[0], 0, type=ev.Completion.INFO)
    history.add(ev.CanarySample(12.0, DECEMBER.label, 0.0, "55P03"))
    assert blamed("honest-status", history) == {Promise.FALLBACK: {said}}


@pytest.mark.parametrize("ending", ["load", "abort", "harness", "killed"])
def test_operations_that_a_broken_off_run_left_open_are_not_judged(ending: str) -> None:
    history = good(faulty=False)
    number = history.op(END - 8, JANUARY, 0)
    history.drop(ev.Complete, lambda r: r.op == number)
    assert check("honest-status", history).verdict is Verdict.FAIL
    history.drop(ev.FinalRead) if ending == "killed" else history.add(ev.Note(END, ending, "died"))
    assert check("honest-status", history).verdict is Verdict.PASS
    assert check("evidence", history).verdict is Verdict.UNKNOWN


def test_a_table_that_cannot_be_asked_is_not_checked() -> None:
    for name in ("conservation", "duplicates", "partition-hygiene", "bounds"):
        assert check(name, good().without("sql")).not_checked == "sql"


def test_without_the_queue_the_events_answered_201_are_still_judged() -> None:
    history = good().without("dlq")
    history.edit(ev.FinalRead, lambda r: True, dlq=False)
    history.op(5.0, JANUARY, 202)
    result = check("conservation", history)
    assert (result.verdict, result.facts["queued_not_checked"]) == (Verdict.PASS, 1)
    assert check("recovery", history).verdict is Verdict.PASS
    lost = history.op(5.0, JANUARY, 201)
    assert blamed("conservation", history) == {Promise.CONSERVATION: {event_id(lost)}}
