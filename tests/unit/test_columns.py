"""A large history is judged by its columns: made once, found stale, read again, and equal to the whole history."""

from __future__ import annotations

import bisect
import dataclasses
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness import events as ev
from harness import judging
from harness.checkers import DEFAULT_CHECKERS
from harness.checkers.judge import judge
from harness.checking import CHECKERS, CheckResult
from harness.columnar import FOLDER
from harness.columnar.convert import columns_of, convert
from harness.columnar.steps import stepped
from harness.columnar.store import Store
from harness.errors import HistoryError
from harness.faults.noop import NoopDetach
from harness.history import FILE_NAME
from harness.jsonlines import encode
from harness.judging import judge_folder, open_run
from harness.report.summary import Stories
from harness.results import RunResult, Waits
from harness.rundata import Run
from harness.scenario import Load, Scenario
from harness.schedule import Schedule

from .histories import DECEMBER, JANUARY, MONTHS, History, event_id, gauge, good

SCENARIO = Scenario(
    name="made",
    claim="Nothing is lost.",
    requirements=(),
    load=Load(months=MONTHS),
    schedule=Schedule.of(NoopDetach(month=DECEMBER)),
    min_strict_events=20,
)


def stored(folder: Path, history: History) -> Path:
    """Write a history as a runner does."""
    folder.mkdir(exist_ok=True)
    (folder / FILE_NAME).write_text("".join(f"{encode(record)}\n" for record in history.records), encoding="utf-8")
    return folder


def spoilt() -> History:
    """A history with a loss, a copy, a leak and a missing line."""
    history = good()
    lost = history.ops(DECEMBER, 3, 4)[0]
    history.drop(ev.TableRow, lambda row: row.event_id == event_id(lost))
    history.row(lost + 1, event_id=event_id(9_999))
    for t in (30.0, 30.2, 30.4):
        history.add(ev.ConnectionSample(t, 99, 99))
    history.drop(ev.LogLine, lambda line: "ended" in line.message)
    return history


@pytest.fixture
def columnar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every history count as large."""
    monkeypatch.setattr(judging, "LARGE_BYTES", 0)


def verdict(folder: Path) -> RunResult:
    return judge_folder(folder, waits=Waits(), timings={}, seconds=lambda: 1.0, repeat_command="")


def with_scenario(history: History, **changes: Any) -> History:
    history.edit(
        ev.RunStarted, lambda record: True, scenario_json=json.dumps(dataclasses.replace(SCENARIO, **changes).to_json())
    )
    return history


def test_a_large_run_has_the_verdict_that_it_would_have_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stored(tmp_path / "run", with_scenario(spoilt()))
    small = verdict(folder)
    monkeypatch.setattr(judging, "LARGE_BYTES", 0)
    large = verdict(folder)
    assert large.data is not None
    assert large.data.condensed is not None
    assert (large.checks, large.clocks) == (small.checks, small.clocks)
    assert large.findings


@pytest.fixture
def counting() -> Iterator[str]:
    """A checker that knows nothing of condensed runs."""
    name = "counts-operations"

    @CHECKERS.register(name)
    def count(run: Run) -> CheckResult:
        return CheckResult(name, facts={"operations": float(len(run.operations))})

    yield name
    del CHECKERS._things[name]


@pytest.mark.usefixtures("columnar")
def test_a_checker_that_is_not_condensable_gets_the_whole_run(tmp_path: Path, counting: str) -> None:
    history = with_scenario(good(), extra_checkers=(counting,))
    result = verdict(stored(tmp_path / "run", history))
    assert result.checks[-1].facts == {"operations": float(len(history.run().operations))}
    assert result.data is not None
    assert len(result.data.operations) < len(history.run().operations)


@pytest.mark.usefixtures("columnar")
def test_the_columns_alone_are_judged_as_well(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", with_scenario(spoilt()))
    first = verdict(folder)
    (folder / FILE_NAME).unlink()
    assert verdict(folder).checks == first.checks
    assert open_run(folder).whole().operations == spoilt().run().operations


@pytest.mark.usefixtures("columnar")
def test_nothing_is_left_of_a_judge_that_was_killed_once_another_opens_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stored(tmp_path / "run", good())
    columns_of(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for owner in (ended.pid, os.getpid()):
        (tmp_path / f"harness-spill-{owner}-0123456789abcdef").mkdir()
    store = Store(folder / FOLDER)
    assert [left.name for left in tmp_path.glob("harness-spill-*")] == [f"harness-spill-{os.getpid()}-0123456789abcdef"]
    store.connection.execute("SET memory_limit = '256MB'")
    store.connection.execute(
        "CREATE TABLE much AS SELECT hash(range) AS one, hash(range + 1) AS two FROM range(30_000_000)"
    )
    assert len([*tmp_path.glob("harness-spill-*")]) == 2, "nothing was spilled, so that this test sees no clearing away"
    store.close()
    assert len([*tmp_path.glob("harness-spill-*")]) == 1


def test_columns_are_made_once_and_anew_when_the_history_has_changed(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", with_scenario(good()))
    before = next(columns_of(folder).glob("operations-*")).stat().st_mtime_ns
    assert next(columns_of(folder).glob("operations-*")).stat().st_mtime_ns == before
    stored(folder, with_scenario(spoilt()))
    assert verdict(folder).findings


@pytest.mark.usefixtures("columnar")
def test_a_folded_event_that_a_finding_names_has_its_story(tmp_path: Path) -> None:
    history = with_scenario(good())
    run = open_run(stored(tmp_path / "run", history)).run
    number = next(op for op in history.ops(DECEMBER, 3, 4) if op not in run.by_op)
    assert Stories(run).of(event_id(number)) == Stories(history.run()).of(event_id(number))
    assert Stories(run).of(event_id(number)).operations


@pytest.mark.usefixtures("columnar")
def test_operations_with_one_number_are_named_as_the_whole_run_names_them(tmp_path: Path) -> None:
    history = with_scenario(good())
    twice, completed_twice = history.ops(DECEMBER, 3, 3.2)[0], history.ops(DECEMBER, 4, 4.2)[0]
    history.add(dataclasses.replace(history.invoke(twice), t=29.0))
    history.add(ev.Complete(33.0, completed_twice, ev.Completion.OK, 202, "queued"))
    run, whole = open_run(stored(tmp_path / "run", history)).run, history.run()
    for since, until in ((0.0, 1.0), (3.0, 3.5), (32.0, 33.0)):
        named = [(each.op, each.invoked, each.completed, each.status) for each in run.under_way(since, until)]
        assert named == [(o.op, o.invoked, o.completed, o.status) for o in whole.under_way(since, until)]
        assert named


def test_a_broken_line_is_named_and_a_torn_last_one_dropped(tmp_path: Path) -> None:
    lines = [f"{encode(record)}\n" for record in good().records]
    with pytest.raises(HistoryError, match="line 3:"):
        convert([*lines[:2], "{}\n", *lines[2:]], tmp_path / "broken")
    convert([*lines, lines[5][:-20]], tmp_path / "torn")
    convert([*lines, encode(ev.Note(99.0, "whole", "but without its newline"))], tmp_path / "whole")
    assert len(Store(tmp_path / "torn").every_record()) == len(lines)
    assert len(Store(tmp_path / "whole").every_record()) == len(lines) + 1


def test_text_that_no_column_can_hold_comes_back_from_its_line(tmp_path: Path) -> None:
    history = good()
    history.op(30.0, DECEMBER, 400, kind=ev.OpKind.INVALID, changes={"event_type": "\ud800", "event_action": "\0"})
    lines = (f"{encode(record)}\n" for record in history.records)
    convert(lines, tmp_path / FOLDER)
    assert Store(tmp_path / FOLDER).every_record() == history.records


@pytest.mark.usefixtures("columnar")
def test_a_run_in_which_nothing_was_sent_is_unknown_by_its_columns_too(tmp_path: Path) -> None:
    history = with_scenario(History())
    opened = open_run(stored(tmp_path / "run", history))
    names = DEFAULT_CHECKERS
    assert judge(opened.run, names) == judge(history.run(), names)


def both(folder: Path, history: History, checker: str) -> tuple[CheckResult, CheckResult]:
    """What a checker says of the whole run, and of the condensed one."""
    run = open_run(stored(folder, with_scenario(history))).run
    assert len(run.operations) < run.sent / 2
    return judge(history.run(), [checker])[0], judge(run, [checker])[0]


@pytest.mark.usefixtures("columnar")
def test_the_last_write_before_a_scrape_is_known_though_it_was_folded(tmp_path: Path) -> None:
    history = good()
    name = f'datastorage_partition_last_write_timestamp{{partition="{JANUARY}"}}'
    gauge(history, lambda t, text, value: 0.0 if text == name and t in (15.0, 26.5) else value)
    whole, condensed = both(tmp_path / "run", history, "metrics")
    assert whole.findings[0].event_ids
    assert condensed == whole


@pytest.mark.usefixtures("columnar")
def test_a_write_that_stalled_beside_a_degraded_scrape_is_known_though_it_was_folded(tmp_path: Path) -> None:
    history = good()
    stalled, slowest = history.ops(JANUARY, 5, 5.1)[0], history.ops(JANUARY, 7, 7.1)[0]
    for number, seconds in ((stalled, 0.3), (slowest, 0.4)):
        history.edit(ev.Complete, lambda one, number=number: one.op == number, t=history.invoke(number).t + seconds)  # type: ignore[misc]
    status = 'datastorage_partition_status{partition="%s",status="%s"}'
    shown = {status % (JANUARY, "healthy"): 0.0, status % (JANUARY, "degraded"): 1.0}
    gauge(history, lambda t, text, value: shown.get(text, value) if t == 5.0 else value)
    whole, condensed = both(tmp_path / "run", history, "metrics")
    assert not whole.findings
    assert condensed == whole


@pytest.mark.usefixtures("columnar")
def test_writes_that_starve_beside_a_drain_are_known_though_they_were_folded(tmp_path: Path) -> None:
    history = good()
    for number in history.ops(JANUARY, 21.3, 25.0):
        history.edit(ev.Complete, lambda one, number=number: one.op == number, t=25.0 + number / 10_000)  # type: ignore[misc]
    history.edit(ev.DlqSample, lambda one: 21.0 < one.t < 26.0, depth=5)
    whole, condensed = both(tmp_path / "run", history, "recovery")
    assert len(whole.findings[0].event_ids) > 2
    assert condensed == whole


def test_a_run_without_history_or_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no readable history"):
        columns_of(tmp_path)


@pytest.mark.usefixtures("columnar")
def test_columns_of_another_format_are_no_run_without_the_history_they_were_made_of(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", with_scenario(good()))
    meta = columns_of(folder) / "columns.json"
    meta.write_text(json.dumps(json.loads(meta.read_text(encoding="utf-8")) | {"format": 1}), encoding="utf-8")
    history = (folder / FILE_NAME).rename(tmp_path / "aside")
    with pytest.raises(HistoryError, match=r"format 1, and this version reads format 2; put history\.jsonl back"):
        open_run(folder)
    history.rename(folder / FILE_NAME)
    assert open_run(folder).run.sent == len(good().run().operations)


@pytest.mark.parametrize("times", [[-1.0, 0.0, 0.5, 7.25], [0.0, 0.5, 0.5 + 1e-9, 10_000.0], [3.0]])
@pytest.mark.parametrize("inclusive", [False, True])
def test_the_step_of_a_value_is_how_many_times_come_before_it(times: list[float], inclusive: bool) -> None:
    connection = duckdb.connect()
    values = sorted({t + by for t in times for by in (-0.3, -1e-10, 0.0, 1e-10, 0.3)})
    connection.execute("CREATE TABLE given AS SELECT unnest(?::DOUBLE[]) AS t", [[*values, math.inf]])
    query = stepped(connection, "given", "t", times, inclusive=inclusive)
    before = bisect.bisect_left if inclusive else bisect.bisect_right
    found = connection.execute(f"SELECT t, step FROM ({query}) ORDER BY t").fetchall()
    assert found == [(t, before(times, t)) for t in values]
    connection.close()
