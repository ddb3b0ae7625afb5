"""Words and figures of the reports, and the stories of events."""

from __future__ import annotations

import dataclasses
import math
from datetime import date

import pytest

from harness import events as ev
from harness.report import summary
from harness.report.changes import changes
from harness.results import Clocks, RunResult, Waits
from harness.rundata import build_run
from harness.values import Promise
from tests.unit import report_samples as samples


def test_headline_tells_a_failed_set_up_from_an_unknown_verdict() -> None:
    assert summary.headline(samples.result_of(samples.PASSED)) is summary.PASS
    assert summary.headline(samples.result_of(samples.PASSED, samples.UNDECIDED)) is summary.UNKNOWN
    assert summary.headline(samples.result_of(samples.lost(), samples.UNDECIDED)) is summary.FAIL
    assert summary.headline(samples.result_of(setup_error="no PostgreSQL")) is summary.SETUP


def test_every_headline_differs_by_word_symbol_and_style() -> None:
    heads = (summary.PASS, summary.FAIL, summary.UNKNOWN, summary.SETUP)
    for field in ("word", "symbol", "css"):
        assert len({getattr(head, field) for head in heads}) == len(heads)


def test_an_unknown_run_always_has_a_reason() -> None:
    assert summary.unknown_reasons(samples.result_of(samples.NOT_CHECKED)) != ()
    assert summary.unknown_reasons(samples.result_of()) != ()
    assert summary.unknown_reasons(samples.result_of(samples.PASSED)) == ()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (math.inf, "–"), (0.214, "0.21 s"), (12.34, "12.3 s"), (140.2, "140 s")],
)
def test_seconds_keep_three_digits_or_show_a_dash(seconds: float | None, shown: str) -> None:
    assert summary.seconds_text(seconds) == shown


def test_clocks_of_several_faults_hide_no_missing_one() -> None:
    cells = summary.clock_cells((Clocks("a", detect_seconds=1.0), Clocks("b")))
    assert cells == ("1.00 s / –", "– / –", "– / –", "– / –")


def test_findings_are_grouped_in_the_order_of_the_promises() -> None:
    late = dataclasses.replace(samples.lost().findings[0], promise=Promise.TRUTH)
    groups = summary.by_promise((late, samples.lost().findings[0], late))
    assert [(promise, len(group)) for promise, group in groups] == [
        (Promise.CONSERVATION, 1),
        (Promise.TRUTH, 2),
    ]


def test_irreducible_waits_add_up_exclusive_ones_and_share_the_others_among_cores() -> None:
    def run(seconds: float, *, exclusive: bool) -> RunResult:
        base = samples.result_of(samples.PASSED)
        scenario = dataclasses.replace(base.scenario, exclusive=exclusive)
        return dataclasses.replace(base, scenario=scenario, waits=Waits(edge_seconds=seconds))

    runs = [run(10, exclusive=True), run(6, exclusive=False), run(8, exclusive=False)]
    assert summary.irreducible_seconds(runs, 2) == 10 + 7
    assert summary.irreducible_seconds(runs, 64) == 10 + 7
    assert summary.irreducible_seconds(runs[:1], 2) == 10
    assert summary.irreducible_seconds([], 2) == 0


def test_passwords_in_free_text_are_masked() -> None:
    shown = summary.masked("no answer from postgresql://slm:hunter2@127.0.0.1/db with password=hunter2")
    assert "hunter2" not in shown
    assert "127.0.0.1/db" in shown


def test_a_story_follows_an_event_to_table_and_queue() -> None:
    sample = samples.started()
    event_id = sample.write(1.0, samples.DECEMBER, 202, 0.02)
    sample.write(2.0, samples.DECEMBER, 0, 5.0, event_id)
    day = date(2025, 12, 5)
    sample.records += [
        ev.TableRow(event_id, day, "2025_12", "{}", ""),
        ev.DlqRow(event_id, day, "dead", "conflict", "{}"),
        ev.Destroyed(3.0, 1, (event_id,), restored=False),
        ev.FinalRead(9.0, table=True, dlq=True),
    ]
    story = summary.Stories(build_run(sample.records)).of(event_id)
    assert [summary.operation_text(operation) for operation in story.operations] == [
        "1.000 s · op 1 · writer 1 · write → 202 queued after 20.0 ms",
        "2.000 s · op 2 · writer 2 · write → no answer (ReadTimeout) after 5.00 s",
    ]
    assert story.ending == (
        "in the table once: 2025_12 (event_date 2025-12-05); in the DLQ: dead (conflict); "
        "destroyed by fault 1 and not restored"
    )


def test_a_story_without_final_reads_claims_no_loss() -> None:
    sample = samples.started()
    event_id = sample.write(1.0, samples.DECEMBER, 202, 0.02)
    story = summary.Stories(build_run(sample.records)).of(event_id)
    assert story.ending == "the table was not read at the end; the DLQ was not read at the end"


def test_a_story_names_what_changed_between_sent_and_stored() -> None:
    sample = samples.started()
    event_id = sample.write(1.0, samples.DECEMBER, 202, 0.02)
    sent = '{"event_type":"a","event_data":{"amount":12.50,"large":123456789012345678,"gone":null,"same":1.0}}'
    stored = '{"event_data":{"same":1,"amount":12.5,"large":123456789012345680,"new":[true]},"event_type":"b"}'
    asked = sample.records[1]
    assert isinstance(asked, ev.Invoke)
    sample.records[1] = dataclasses.replace(asked, content=sent)
    sample.records.append(ev.TableRow(event_id, date(2025, 12, 5), "2025_12", stored, ""))
    story = summary.Stories(build_run(sample.records)).of(event_id)
    assert [str(change) for change in story.changes] == [
        'event_type: "a" → "b"',
        "event_data.gone: null → absent",
        "event_data.large: 123456789012345678 → 123456789012345680",
        "event_data.new: absent → [true]",
    ]


def test_a_story_tells_of_batches_of_events_without_an_id_and_of_flaws() -> None:
    sample = samples.started()
    sample.write(1.0, samples.DECEMBER, 202, 0.02)
    asked, answered = sample.records[1:3]
    assert isinstance(asked, ev.Invoke)
    assert isinstance(answered, ev.Complete)
    sample.records[1] = dataclasses.replace(asked, event_id="", batch=7)
    sample.records[2] = dataclasses.replace(answered, answered_id=asked.event_id, flaw="partition is missing")
    (operation,) = summary.Stories(build_run(sample.records)).of(asked.event_id).operations
    assert "write without an id in batch 7 → 202" in summary.operation_text(operation)
    assert "[partition is missing]" in summary.operation_text(operation)


def test_what_is_no_event_is_compared_as_the_text_it_is() -> None:
    assert [str(change) for change in changes('{"a": 1}', "x" * 200)] == [f'content: {{"a": 1}} → {"x" * 100}…']
    assert changes('{"a": 1}', '{"version": "1.0", "a": 1.0}') == ()


def test_times_and_versions_are_shown_as_people_write_them() -> None:
    assert summary.moment_text("2025-12-05T10:15:00.123456+00:00") == "2025-12-05 10:15:00 UTC"
    assert summary.moment_text("someday") == "someday"
    assert summary.version_text(("postgresql", "180006")) == ("postgresql", "18.6")
    assert summary.version_text(("harness", "0.1.0")) == ("harness", "0.1.0")


def test_a_run_that_nobody_saw_end_is_unfinished() -> None:
    killed = dataclasses.replace(samples.result_of(samples.UNDECIDED), seconds=0.0)
    assert summary.took_text(killed, samples.sample_run()) == "unfinished, last record at t=15.2 s"
    assert summary.took_text(samples.result_of(), None) == "took 13.2 s"
