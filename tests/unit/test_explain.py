"""The story of one event: what is told, in which order, and what is concluded."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness import events as ev
from harness.checking import Finding
from harness.cli import cli
from harness.errors import UsageError
from harness.history import FILE_NAME
from harness.jsonlines import encode
from harness.report import storylines as lines
from harness.report.jsonfile import NamedFinding, result_to_json
from harness.report.story import EventStory, resolve, tell
from harness.report.summary import explain_command
from harness.report.telling import story_lines, story_to_json
from harness.values import Promise, utc_timestamp
from tests.unit import report_samples as samples
from tests.unit.histories import (
    DECEMBER,
    END,
    INJECTING,
    PROBED,
    STARTED_AT,
    History,
    event_id,
    good,
)

QUEUED_AT, DRAINED_AT = 15.0, PROBED + 1.0


def at(seconds: float) -> str:
    return utc_timestamp(STARTED_AT + timedelta(seconds=seconds))


def drained() -> tuple[History, int]:
    """The good run, and one of its events that was queued in the fault and drained after it."""
    history = good()
    number = history.ops(DECEMBER, QUEUED_AT, QUEUED_AT + 0.2)[0]
    history.recorded(-0.005)
    history.edit(ev.TableRow, lambda row: row.event_id == event_id(number), recorded_at=at(DRAINED_AT))
    return history, number


def story(history: History, number: int, *findings: NamedFinding, judged: bool = True) -> EventStory:
    return tell(history.run(), event_id(number), findings, judged=judged)


def naming(number: int) -> NamedFinding:
    return NamedFinding("conservation", Finding(Promise.CONSERVATION, "1 events are lost.", (event_id(number),)))


def test_an_event_that_was_queued_and_drained_is_told_from_its_send_to_its_row() -> None:
    history, number = drained()
    told = story(history, number)
    assert told.conclusion == (
        "Answered 202 at 15.1 s while lock-partition was on; drained into the table at 21.2 s; nothing wrong."
    )
    kinds = [line.kind for line in told.lines if line.kind in ("sent", "answered", "stored", "final")]
    assert kinds == ["sent", "answered", "stored", "final"]
    times = [line.t for line in told.lines if line.t is not None]
    assert times == sorted(times)
    (answer,) = [line for line in told.lines if isinstance(line, lines.Answered)]
    assert (answer.allowed, answer.strict, answer.phase) == ((202,), True, "during")
    assert answer.under == ("lock-partition (on)",)
    assert [line.step for line in told.lines if isinstance(line, lines.FaultMarked)] == [
        "injecting",
        "injected",
        "confirmed",
        "healing",
        "healed",
        "probed",
    ]


def test_the_month_around_it_is_told_by_changes_and_not_sample_by_sample() -> None:
    history, number = drained()
    history.records = [record for record in history.records if not isinstance(record, ev.DlqSample)]
    for t, depth in ((14.6, 0), (15.0, 3), (16.0, 9), (17.0, 7), (20.9, 0)):
        history.add(ev.DlqSample(t, depth, 0, {DECEMBER.label: depth}))
    told = story(history, number).lines
    assert [(line.t, line.depth) for line in told if isinstance(line, lines.DepthSeen)] == [
        (15.0, 3),
        (16.0, 9),
        (20.9, 0),
    ]
    statuses = [line.status for line in told if isinstance(line, lines.StatusSeen)]
    assert statuses == ["unavailable", "healthy"]


def test_only_log_lines_that_concern_the_event_are_told() -> None:
    history, number = drained()
    history.add(
        ev.LogLine(15.0, "ERROR", "Failed to write to partition audit_events_2026_01"),
        ev.LogLine(15.0, "ERROR", "Database connection lost"),
        ev.LogLine(15.0, "INFO", "Request queued, waiting for available connection"),
        ev.LogLine(16.0, "INFO", "DLQ fallback activated for partition 2025_12", 2),
        ev.LogLine(2.0, "ERROR", "Failed to write to partition audit_events_2025_12"),
    )
    said = [line.message for line in story(history, number).lines if isinstance(line, lines.Logged)]
    assert said == [
        "Database connection lost",
        "DLQ fallback activated for partition 2025_12",
        "DLQ fallback ended for partition 2025_12",
    ]


def test_a_lost_event_is_said_to_be_lost_with_the_finding_that_names_it() -> None:
    history, number = drained()
    history.drop(ev.TableRow, lambda row: row.event_id == event_id(number))
    assert (
        "LOST: neither in the table nor in the queue; 1 finding names it"
        in story(history, number, naming(number), naming(number + 1)).conclusion
    )
    assert "yet no stored finding names it" in story(history, number).conclusion
    assert "the run is not judged" in story(history, number, judged=False).conclusion


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda h, n: h.add(*[r for r in h.records if isinstance(r, ev.TableRow) and r.event_id == event_id(n)]),
         "DOUBLED: 2 rows"),
        (lambda h, n: h.edit(ev.TableRow, lambda r: r.event_id == event_id(n), month="2026_01"),
         "MISPLACED in 2026_01"),
        (lambda h, n: h.edit(ev.TableRow, lambda r: r.event_id == event_id(n), content="{}"),
         "CHANGED: stored with other content"),
        (lambda h, n: h.queued_row(n), "QUEUED still, although stored as well"),
        (lambda h, n: h.answer(n, 400), "STORED although it was refused"),
    ],
)  # fmt: skip
def test_each_way_to_end_wrongly_has_its_word(spoil: object, said: str) -> None:
    history, number = drained()
    spoil(history, number)  # type: ignore[operator]
    assert said in story(history, number).conclusion


def test_changed_content_is_told_key_by_key() -> None:
    history, number = drained()
    content = json.loads(history.invoke(number).content)
    content["event_data"]["n"] = -1
    history.edit(ev.TableRow, lambda row: row.event_id == event_id(number), content=json.dumps(content))
    (row,) = [line for line in story(history, number).lines if isinstance(line, lines.RowFound)]
    assert f"event_data.n: {number} → -1" in row.text


def test_a_queued_event_and_a_dead_one_are_told_with_state_and_reason() -> None:
    for state, said in (("pending", "QUEUED still"), ("dead", "DEAD without being poison or in conflict (22003)")):
        history, number = drained()
        history.drop(ev.TableRow, lambda row, number=number: row.event_id == event_id(number))  # type: ignore[misc]
        history.queued_row(number, state, "22003")
        told = story(history, number)
        assert said in told.conclusion
        assert "yet no stored finding names it" in told.conclusion
        assert any(f"{state} in the DLQ (22003)" in line.text for line in told.lines)


def test_poison_may_be_a_dead_letter_and_nothing_else() -> None:
    history, number = drained()
    sent = history.invoke(number)
    history.records[history.records.index(sent)] = dataclasses.replace(sent, kind=ev.OpKind.POISON)
    assert "STORED although the table can never take it" in story(history, number).conclusion
    history.drop(ev.TableRow, lambda row: row.event_id == event_id(number))
    history.queued_row(number, "dead", "22003")
    assert story(history, number).conclusion.endswith("; a dead letter, as poison may be (22003); nothing wrong.")


def test_a_dead_letter_without_the_row_of_its_rival_is_a_loss_only_where_that_row_can_be_looked_for() -> None:
    history, number = drained()
    history.op(16.0, DECEMBER, 202, kind=ev.OpKind.CONFLICT, of=number, changes={"event_outcome": "failure"})
    history.drop(ev.TableRow, lambda row: row.event_id == event_id(number))
    history.queued_row(number, "dead", "conflict")
    assert "LOST to a rival that is not there" in story(history, number).conclusion
    assert "yet no stored finding names it" in story(history, number).conclusion
    history.drop(ev.FaultMark, lambda mark: mark.step is ev.FaultStep.PROBED)
    assert "; dead (conflict); no" in story(history, number).conclusion
    assert "yet no stored" not in story(history, number).conclusion


def test_a_row_that_the_fault_destroyed_is_no_loss_and_its_fault_is_named() -> None:
    history, _ = drained()
    number = history.ops(DECEMBER, 5.0, 5.2)[0]
    history.drop(ev.TableRow, lambda row: row.event_id == event_id(number))
    history.add(ev.Destroyed(INJECTING + 0.05, 0, (event_id(number),), False))
    told = story(history, number)
    assert "destroyed by a fault, which accounts for it; nothing wrong" in told.conclusion
    assert "destroyed by lock-partition [0]" in [line.text for line in told.lines]


def test_what_could_not_be_read_is_not_called_lost() -> None:
    history, number = drained()
    history.drop(ev.TableRow, lambda row: row.event_id == event_id(number))
    history.edit(ev.FinalRead, lambda read: True, dlq=False)
    assert "not in the table, and the queue was not read; no finding names it" in story(history, number).conclusion
    history.drop(ev.FaultMark, lambda mark: mark.step is ev.FaultStep.PROBED)
    assert "never seen repaired" in story(history, number).conclusion


def test_an_answer_that_was_not_due_is_marked() -> None:
    history, _ = drained()
    number = history.ops(DECEMBER, 5.0, 5.2)[0]
    history.answer(number, 202)
    told = story(history, number)
    (answer,) = [line for line in told.lines if isinstance(line, lines.Answered)]
    assert "NOT ALLOWED, due was 201" in answer.text
    assert "although an answer was not one of those due" in told.conclusion
    assert ("answered", "fail") in [(line.styled.split()[2], line.style) for line in story_lines(told)
                                    if len(line.styled.split()) > 2]  # fmt: skip


def test_an_unanswered_event_may_be_anywhere() -> None:
    history, number = drained()
    history.answer(number, 0, type=ev.Completion.INFO, error="ReadTimeout")
    assert (
        "nobody answered while lock-partition was on; recovered: stored in the table"
        in story(history, number).conclusion
    )
    history.drop(ev.TableRow, lambda row: row.event_id == event_id(number))
    assert "nowhere, which it may be" in story(history, number).conclusion


def test_an_event_is_found_in_any_case_by_its_beginning_and_by_its_operation() -> None:
    history, _ = drained()
    run = history.run()
    long = "abcdef01-0000-4000-8000-000000000000"
    history.add(ev.DlqRow(long.upper(), DECEMBER.first_day, "dead", "", "{}"))
    run = history.run()
    for asked in (long, long.upper(), "ABCDEF", f"{{{long}}}", long.replace("-", ""), f" {long} "):
        assert resolve(run, asked) == long
    assert resolve(run, "operation 7") == resolve(run, "Op 7") == event_id(7)


def test_what_cannot_be_found_is_refused_with_what_is_near() -> None:
    run = good().run()
    with pytest.raises(UsageError, match=r"could be 00000000-.*, 00000000-.* and \d+ more; give more of the id"):
        resolve(run, "0000")
    wrong = event_id(7).replace("0000", "000a", 1)
    with pytest.raises(UsageError, match=rf"knows no event .*nearest ids are {event_id(7)},"):
        resolve(run, wrong)
    with pytest.raises(UsageError, match=r"no operation 99999; it has those from 0 to \d+"):
        resolve(run, "operation 99999")
    with pytest.raises(UsageError, match="it sent none"):
        resolve(History().run(), "abc")


def test_an_event_whose_id_the_service_made_is_found_by_its_operation_and_its_row() -> None:
    history, number = drained()
    made = "abcdef01-0000-4000-8000-000000000000"
    history.edit(ev.Invoke, lambda record: record.op == number, event_id="")
    history.edit(ev.TableRow, lambda row: row.event_id == event_id(number), event_id=made)
    run = history.run()
    assert resolve(run, f"operation {number}") == made
    told = tell(run, made, [NamedFinding("x", Finding(Promise.TRUTH, "s", (f"operation {number}",)))])
    assert "drained into the table" in told.conclusion
    assert len(told.findings) == 1


def stored(folder: Path, history: History, *, result: bool = True) -> None:
    folder.mkdir(parents=True)
    (folder / FILE_NAME).write_text("".join(f"{encode(record)}\n" for record in history.records))
    if result:
        data = result_to_json(samples.result_of(samples.lost(1)), None)
        (folder / "result.json").write_text(json.dumps(data))


def explain(reports: Path, *words: str) -> str:
    done = CliRunner().invoke(cli, ["explain", *words, "--reports", str(reports)])
    assert done.exit_code == (2 if done.stderr else 0), done.output
    return done.output


def test_the_command_tells_the_story_and_says_what_it_cannot_find(tmp_path: Path) -> None:
    history, number = drained()
    stored(tmp_path / "run-a", history)
    said = explain(tmp_path, "last", "operation", str(number))
    assert said.splitlines()[0] == f"event {event_id(number)} of run r1"
    assert said.splitlines()[-1].endswith("drained into the table at 21.2 s; nothing wrong.")
    assert "knows no event" in explain(tmp_path, "last", "ffff")
    assert "There is no run 'nowhere'" in explain(tmp_path, "nowhere", "ffff")


def test_the_same_story_is_json(tmp_path: Path) -> None:
    history, number = drained()
    history.records = [r for r in history.records if not (isinstance(r, ev.Complete) and r.op == number)]
    stored(tmp_path / "run-a", history, result=False)
    data = json.loads(explain(tmp_path, "last", event_id(number), "--json"))
    assert (data["event_id"], data["judged"]) == (event_id(number), False)
    (answer,) = [line for line in data["lines"] if line["kind"] == "answered"]
    assert (answer["t"], answer["seconds"], answer["status"]) == (None, None, 0)
    assert data == story_to_json(story(history, number, judged=False))
    assert [line["t"] for line in data["lines"] if line["kind"] == "final"] == [END]


def test_a_finding_prints_a_command_that_a_shell_takes_apart_again() -> None:
    assert explain_command(Path("reports/a b"), "operation 3") == "harness explain 'reports/a b' operation 3"
    assert explain_command(Path("reports/a"), "$(x)") == "harness explain reports/a '$(x)'"
