"""What stays stored: the newest, the living, the unhealed, and all that the harness did not make."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.events import RunStarted
from harness.history import FILE_NAME
from harness.jsonlines import encode
from harness.ledger import FOLDER, Holder, Ledger
from harness.report import base, latest
from harness.report.keeping import ALL_RUNS, RUN_FILES, Removed, prune
from tests.unit import report_samples as samples

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def store(reports: Path, days_ago: int, verdict: str = "PASS", name: str = "x") -> Path:
    """A stored run that began so many days ago."""
    began = NOW - timedelta(days=days_ago)
    folder = reports / f"{began:%Y%m%d-%H%M%S}-{name}-{days_ago:04x}"
    folder.mkdir(parents=True)
    (first,) = samples.started().records
    assert isinstance(first, RunStarted)
    begun = dataclasses.replace(first, run=folder.name, started_at=began.isoformat())
    (folder / FILE_NAME).write_text(encode(begun) + "\n")
    if verdict:
        (folder / "result.json").write_text(json.dumps({"run": folder.name, "verdict": verdict}))
    (folder / "service.log").write_text("ready\n")
    (folder / FOLDER).mkdir()
    (folder / FOLDER / "lock").touch()
    return folder


def store_suite(reports: Path, days_ago: int, runs: Sequence[Path] = ()) -> Path:
    began = NOW - timedelta(days=days_ago)
    folder = reports / f"{began:%Y%m%d-%H%M%S}-suite-{days_ago:04x}"
    folder.mkdir(parents=True)
    told = [{"run": run.name, "scenario": "x", "folder": run.name, "verdict": "PASS"} for run in runs]
    (folder / "suite.json").write_text(json.dumps({"suite": folder.name, "runs": told}))
    (folder / "index.html").write_text("<html>")
    return folder


@pytest.fixture
def old(tmp_path: Path) -> list[Path]:
    """Ten runs that passed, newest first, all older than a week."""
    return [store(tmp_path, days) for days in range(10, 20)]


def test_the_oldest_go_first_and_it_is_said_which(tmp_path: Path, old: list[Path]) -> None:
    removed = prune(tmp_path, 7, now=NOW)
    assert removed.runs == tuple(path.name for path in old[:6:-1])
    assert [path.exists() for path in old] == [True] * 7 + [False] * 3
    assert removed.text == f"Removed 3 old runs (--keep-runs): {', '.join(removed.runs)}."
    assert prune(tmp_path, 7, now=NOW) == Removed()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_no_more_names_are_said_than_one_reads(tmp_path: Path, old: list[Path]) -> None:
    assert prune(tmp_path, 1, now=NOW).text.endswith("and 4 more.")


@pytest.mark.usefixtures("old")
def test_all_keeps_all(tmp_path: Path) -> None:
    assert prune(tmp_path, ALL_RUNS, now=NOW) == Removed()
    assert prune(tmp_path / "gone", 1, now=NOW) == Removed()


def test_what_the_command_itself_has_played_stays_though_it_is_more_than_that(tmp_path: Path, old: list[Path]) -> None:
    prune(tmp_path, 1, spare={old[5].name, old[9].name}, now=NOW)
    assert [path.exists() for path in old] == [number in (0, 5, 9) for number in range(10)]


@pytest.mark.parametrize("verdict", ["FAIL", "UNKNOWN", "SETUP", ""])
def test_what_did_not_pass_stays_for_a_week_more(tmp_path: Path, verdict: str) -> None:
    newest = [store(tmp_path, days) for days in (0, 1)]
    lately, passed, long_ago = store(tmp_path, 6, verdict), store(tmp_path, 5), store(tmp_path, 8, verdict)
    if not verdict:
        for path in (*lately.iterdir(), *long_ago.iterdir()):
            os.utime(path, (0, 0))
    removed = prune(tmp_path, 2, now=NOW)
    assert removed.runs == (long_ago.name, passed.name)
    assert all(path.exists() for path in (*newest, lately))


def test_failures_are_bounded_as_well(tmp_path: Path) -> None:
    failed = [store(tmp_path, 1, "FAIL", f"s{number}") for number in range(9)]
    prune(tmp_path, 3, now=NOW)
    assert sum(path.exists() for path in failed) == 6


def test_an_open_ledger_keeps_its_run_and_the_way_on_is_said(tmp_path: Path, old: list[Path]) -> None:
    Ledger(old[9] / FOLDER).begin(old[9].name, {"stack": "external"})
    removed = prune(tmp_path, 8, now=NOW)
    assert removed.runs == (old[8].name,)
    assert removed.spared == ((old[9].name, "its ledger is open; harness heal undoes what is left"),)
    assert f"Kept {old[9].name} beyond --keep-runs: its ledger is open" in removed.text
    Ledger(old[9] / FOLDER).finish()
    assert prune(tmp_path, 8, now=NOW).runs == (old[9].name,)


@pytest.mark.parametrize("holder", list(Holder))
def test_a_run_whose_lock_is_held_stays(tmp_path: Path, old: list[Path], holder: Holder) -> None:
    with Ledger(old[9] / FOLDER).held(holder):
        assert [name for name, _ in prune(tmp_path, 9, now=NOW).spared] == [old[9].name]
    assert prune(tmp_path, 9, now=NOW).runs == (old[9].name,)


def test_a_run_that_has_no_verdict_yet_may_be_about_to_be_judged(tmp_path: Path, old: list[Path]) -> None:
    (old[9] / "result.json").unlink()
    assert "no verdict yet" in prune(tmp_path, 9, now=NOW).text
    for path in old[9].iterdir():
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    assert prune(tmp_path, 9, now=NOW).runs == (old[9].name,)


def test_a_run_with_something_of_the_users_in_it_stays(tmp_path: Path, old: list[Path]) -> None:
    (old[9] / "notes.txt").write_text("look here")
    removed = prune(tmp_path, 9, now=NOW)
    assert removed.text == (
        f"Kept {old[9].name} beyond --keep-runs: it holds notes.txt, which the harness did not put there."
    )
    assert (old[9] / "notes.txt").exists()


@pytest.mark.usefixtures("old")
def test_nothing_else_below_the_reports_is_touched_counted_or_told(tmp_path: Path) -> None:
    store(tmp_path, 0).rename(tmp_path / "my-run")
    elsewhere = store(tmp_path / "elsewhere", 41)
    (tmp_path / elsewhere.name).symlink_to(elsewhere)
    for path in (tmp_path / "HALT", tmp_path / "README.md"):
        path.touch()
    (tmp_path / "selftest-20250101-000000-abcd").mkdir()
    before = set(tmp_path.iterdir())
    removed = prune(tmp_path, 1, now=NOW)
    assert len(removed.runs) == 9
    assert {path.name for path in before - set(tmp_path.iterdir())} == set(removed.runs)
    assert (elsewhere / FILE_NAME).exists()
    assert removed.spared == ()


def test_a_suite_of_which_a_run_stays_keeps_all_of_its_runs(tmp_path: Path, old: list[Path]) -> None:
    again = store(tmp_path, 21)
    again = again.rename(again.with_name(f"{again.name}-again"))
    first = store(tmp_path, 22)
    first = first.rename(again.with_name(again.name.removesuffix("-again")))
    store_suite(tmp_path, 23, [old[1], old[4], again])
    store_suite(tmp_path, 24, [old[3], old[5]])
    prune(tmp_path, 2, now=NOW)
    assert [path.exists() for path in old] == [number in (0, 1, 4) for number in range(10)]
    assert again.exists()
    assert first.exists(), "it was played again, and its page says why"


def test_pages_of_suites_are_bounded_alike(tmp_path: Path) -> None:
    suites = [store_suite(tmp_path, days) for days in (1, 2, 3, 4, 5)]
    (suites[2] / "mine.txt").touch()
    removed = prune(tmp_path, 1, spare={suites[4].name}, now=NOW)
    assert [path.exists() for path in suites] == [True, False, True, False, True]
    assert removed.text == f"Removed 2 old pages of suites (--keep-runs): {suites[3].name}, {suites[1].name}."


def test_what_a_lab_goes_on_with_stays_as_long_as_the_lab_lives(tmp_path: Path, old: list[Path]) -> None:
    kept = store(tmp_path, 30)
    kept = kept.rename(old[9].with_name(f"{old[9].name}-kept"))
    (kept / FOLDER / "lock").unlink()
    with Ledger(old[9] / FOLDER).held(Holder.LAB):
        assert prune(tmp_path, 9, now=NOW).runs == ()
    assert prune(tmp_path, 9, now=NOW).runs == (kept.name, old[9].name)


def test_a_ledger_that_nobody_can_read_keeps_its_run(tmp_path: Path, old: list[Path]) -> None:
    ledger = Ledger(old[9] / FOLDER)
    ledger.begin(old[9].name, {})
    (record,) = (old[9] / FOLDER).glob("*.json")
    record.write_text("{}")
    assert prune(tmp_path, 9, now=NOW).spared == ((old[9].name, "its ledger is none of this version's"),)


def test_what_a_killed_command_had_begun_to_remove_is_removed(tmp_path: Path, old: list[Path]) -> None:
    old[9].rename(tmp_path / f".{old[9].name}.removed")
    (tmp_path / ".hidden").mkdir()
    prune(tmp_path, 9, now=NOW)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in old[:9]} | {".hidden"}


def test_all_that_reporters_write_is_known(tmp_path: Path) -> None:
    written = base.write_all(samples.result_of(samples.lost()), samples.sample_run(5), tmp_path)
    assert {path.name for path in written.files} <= RUN_FILES
    assert base.ERRORS_FILE in RUN_FILES


def test_all_that_a_suite_writes_is_kept_where_it_always_is(tmp_path: Path) -> None:
    written = base.write_suite(samples.suite_of(samples.result_of(samples.PASSED)), tmp_path)
    assert {path.name for path in written.files} == set(latest.FILES)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "20260131-120000-suite-abcd"
    folder.mkdir()
    for name in latest.FILES:
        (folder / name).write_text(f"new {name}")
    (folder / "suite.json").write_text('{"schema_version": 1, "suite": "s", "runs": []}')
    return folder


def test_the_newest_suite_is_where_it_always_is(tmp_path: Path, suite: Path) -> None:
    assert latest.publish(suite, tmp_path) == ""
    place = tmp_path / latest.FOLDER
    told = {path.name: path.read_text() for path in suite.iterdir()}
    assert {path.name: path.read_text() for path in place.iterdir()} == told
    assert set(told) == set(latest.FILES)
    assert not any(path.is_symlink() for path in place.rglob("*"))
    assert place.parent == suite.parent, "links of the page lead from either"


def test_a_suite_that_is_about_to_be_played_leaves_nothing_of_the_one_before(tmp_path: Path, suite: Path) -> None:
    latest.publish(suite, tmp_path)
    mine = tmp_path / latest.FOLDER / "mine.txt"
    mine.touch()
    latest.clear(tmp_path)
    assert list((tmp_path / latest.FOLDER).iterdir()) == [mine]
    latest.clear(tmp_path)
    latest.clear(tmp_path / "gone")


@pytest.mark.parametrize("mark", ["", "[]", '{"suite": "of somebody else"}'])
def test_a_folder_of_that_name_that_is_somebody_elses_is_left_alone(tmp_path: Path, mark: str) -> None:
    place = tmp_path / latest.FOLDER
    place.mkdir()
    (place / "index.html").write_text("my page")
    if mark:
        (place / "suite.json").write_text(mark)
    with pytest.raises(UsageError, match="somebody else's folder"):
        latest.clear(tmp_path)
    assert (place / "index.html").read_text() == "my page"


def test_a_link_of_that_name_leads_to_nothing_that_is_removed(tmp_path: Path, suite: Path) -> None:
    (tmp_path / latest.FOLDER).symlink_to(suite)
    with pytest.raises(UsageError, match="or a link; move it away"):
        latest.clear(tmp_path)
    assert {path.name for path in suite.iterdir()} == set(latest.FILES)


def test_a_report_that_was_not_written_is_not_there_either(tmp_path: Path, suite: Path) -> None:
    (suite / "junit.xml").unlink()
    latest.publish(suite, tmp_path)
    assert not (tmp_path / latest.FOLDER / "junit.xml").exists()
    latest.clear(tmp_path)
    (suite / "suite.json").unlink()
    assert "stays empty" in latest.publish(suite, tmp_path)
    assert list((tmp_path / latest.FOLDER).iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, suite: Path) -> None:
    (tmp_path / latest.FOLDER).write_text("a file of somebody")
    assert "could not be written" in latest.publish(suite, tmp_path)
    assert (tmp_path / latest.FOLDER).read_text() == "a file of somebody"


def test_a_lock_of_flock_is_what_the_ledger_takes(tmp_path: Path, old: list[Path]) -> None:
    descriptor = os.open(old[9] / FOLDER / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert prune(tmp_path, 9, now=NOW).runs == ()
    finally:
        os.close(descriptor)
