"""What a selftest's runs come to: rows, score, exit code."""

from __future__ import annotations

import pytest

from harness.checking import CheckResult
from harness.gate import Exit
from harness.selftest.matrix import Matrix, Sight, build_matrix, is_to_keep
from harness.selftest.records import Record, Task, record_of
from harness.values import Promise, Verdict
from tests.unit.selftest_samples import (
    CONTROL,
    LIES,
    LOSES,
    LOST,
    PASSED,
    UNSURE,
    WRONG,
    finding,
    record,
    result,
)

ONE, TWO = Task("loses", "one"), Task("lies", "two")
CONTROLS = tuple(Task("control", name, number) for number in (1, 2) for name in ("one", "two"))


def judged(*records: Record, planned: tuple[Task, ...] = (ONE,), skipped: dict[str, str] | None = None) -> Matrix:
    return build_matrix((LOSES,), CONTROL, planned, records, skipped or {})


def sight(*records: Record, planned: tuple[Task, ...] = (ONE,)) -> Sight:
    return judged(*records, planned=planned).rows[0].sight


def test_a_finding_of_the_checker_and_promise_meant_that_names_events_is_a_catch() -> None:
    row = judged(record(ONE, PASSED, LOST)).rows[0]
    assert row.sight is Sight.CAUGHT
    assert row.caught is not None
    assert (row.caught.checker, row.caught.event_count, len(row.caught.event_ids)) == ("conservation", 12, 3)


@pytest.mark.parametrize(
    "other",
    [
        finding("isolation", Promise.CONSERVATION, "12 events are nowhere", events=12),
        finding("conservation", Promise.HONEST_STATUS, "12 events are nowhere", events=12),
        finding("conservation", Promise.CONSERVATION, "12 events are nowhere"),
    ],
    ids=["another checker", "another promise", "no event named"],
)
def test_any_other_finding_sees_the_defect_and_is_counted_apart(other: CheckResult) -> None:
    matrix = judged(record(ONE, other))
    assert matrix.rows[0].sight is Sight.OTHER
    assert matrix.score.startswith("detected 1 of 1 defects (1 not as meant), ")


def test_the_finding_meant_counts_wherever_it_stands_among_others_and_in_whichever_run() -> None:
    other = finding("isolation", Promise.ISOLATION, "30 events waited", events=30)
    assert sight(record(ONE, other, LOST)) is Sight.CAUGHT
    two = Task("loses", "two")
    row = judged(record(ONE, other), record(two, LOST), planned=(ONE, two)).rows[0]
    assert (row.sight, row.seen_in) == (Sight.CAUGHT, ("one", "two"))


def test_where_no_event_is_wrong_a_number_is_enough_and_words_are_not() -> None:
    words = finding("metrics", Promise.TRUTH, "a series is missing")
    for check, expected in ((WRONG, Sight.CAUGHT), (words, Sight.OTHER)):
        assert build_matrix((LIES,), CONTROL, (TWO,), [record(TWO, check)], {}).rows[0].sight is expected


def test_unknown_is_no_detection_and_no_blindness_and_tells_why() -> None:
    row = judged(record(ONE, UNSURE)).rows[0]
    assert row.sight is Sight.UNJUDGED
    assert row.reasons == ("metrics: only 3 scrapes of 10 were readable",)
    failed = record_of(ONE, result(ONE, setup_error="PostgreSQL did not start."), "")
    assert judged(failed).rows[0].reasons == ("set-up: PostgreSQL did not start.",)
    assert judged(failed).exit is Exit.INCONCLUSIVE


def test_a_defect_whose_runs_pass_is_unseen_also_when_another_scenario_cannot_say() -> None:
    assert sight(record(ONE, PASSED)) is Sight.UNSEEN
    # "two" need not reveal it.
    assert sight(record(ONE, PASSED), record(Task("loses", "two"), UNSURE)) is Sight.UNSEEN


def test_the_last_run_of_a_task_counts() -> None:
    assert sight(record(ONE, UNSURE), record(ONE, LOST)) is Sight.CAUGHT
    assert sight(record(ONE, UNSURE), record(ONE, PASSED)) is Sight.UNSEEN


def test_a_scenario_still_to_come_keeps_a_defect_open_unless_it_was_seen() -> None:
    both = (TWO, Task("lies", "one"))
    for check, expected in ((PASSED, Sight.PENDING), (WRONG, Sight.CAUGHT)):
        assert build_matrix((LIES,), CONTROL, both, [record(TWO, check)], {}).rows[0].sight is expected


def test_what_this_machine_cannot_play_is_skipped_and_out_of_the_count() -> None:
    matrix = judged(skipped={"one": "needs root"})
    assert matrix.rows[0].sight is Sight.SKIPPED
    assert matrix.rows[0].reasons == ("one needs root",)
    assert matrix.score == "detected 0 of 0 defects (1 skipped), 0 control runs: 0 false alarms, 0 unknown"
    assert matrix.exit is Exit.INCONCLUSIVE


def controlled(*controls: Record, planned: tuple[Task, ...] = CONTROLS) -> Matrix:
    return judged(record(ONE, LOST), *controls, planned=(ONE, *planned))


def test_the_score_is_one_line_of_defects_control_runs_alarms_and_doubts() -> None:
    matrix = controlled(*(record(task, PASSED) for task in CONTROLS[:3]), record(CONTROLS[3], UNSURE))
    assert matrix.score == "detected 1 of 1 defects, 4 control runs: 0 false alarms, 1 unknown"
    assert matrix.exit is Exit.PASSED


def test_a_finding_about_the_control_is_a_false_alarm_and_fails() -> None:
    matrix = controlled(record(CONTROLS[0], LOST), *(record(task, PASSED) for task in CONTROLS[1:]))
    assert [alarm.task for alarm in matrix.control.alarms] == [CONTROLS[0]]
    assert matrix.score.endswith("4 control runs: 1 false alarms, 0 unknown")
    assert matrix.exit is Exit.FAILED


@pytest.mark.parametrize("checks", [UNSURE, None], ids=["none judged", "one not played"])
def test_a_control_that_could_not_be_judged_at_all_or_is_not_complete_is_inconclusive(
    checks: CheckResult | None,
) -> None:
    played = CONTROLS if checks else CONTROLS[1:]
    assert controlled(*(record(task, checks or PASSED) for task in played)).exit is Exit.INCONCLUSIVE


def test_an_unseen_defect_outranks_what_could_not_be_judged() -> None:
    assert judged(record(ONE, PASSED), record(CONTROLS[0], UNSURE), planned=(ONE, CONTROLS[0])).exit is Exit.FAILED


def test_nothing_played_is_no_pass() -> None:
    assert build_matrix((), CONTROL, (), (), {}).exit is Exit.INCONCLUSIVE


@pytest.mark.parametrize(
    ("kept", "task", "check"),
    [
        (False, CONTROLS[0], PASSED),
        (True, CONTROLS[0], LOST),
        (True, CONTROLS[0], UNSURE),
        (False, ONE, LOST),
        (True, ONE, WRONG),
        (True, ONE, PASSED),
        (True, ONE, UNSURE),
        (False, Task("loses", "two"), PASSED),
    ],
)
def test_only_a_run_that_explains_something_is_kept(kept: bool, task: Task, check: CheckResult) -> None:
    defect = CONTROL if task.defect == "control" else LOSES
    assert is_to_keep(defect, record(task, check)) is kept


def test_a_record_survives_its_line_of_json_and_hostile_text_its_terminal() -> None:
    hostile = finding("conservation", Promise.CONSERVATION, "1 \x1b[31m\ud800 password=hunter2 " + "long " * 90, 1)
    stored = record(ONE, hostile)
    assert Record.from_json(stored.to_json()) == stored
    summary = stored.caught[0].summary
    assert "\x1b" not in summary
    assert "hunter2" not in summary
    assert summary.encode().decode() == summary
    assert len(summary) <= 240
    assert stored.verdict is Verdict.FAIL
