"""Sweeps and selftests are bounded as runs are: by the runs in them, each sort by itself, and never while in use."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.ledger import FOLDER, Holder, Ledger
from harness.report.keeping import ALL_RUNS, prune
from harness.report.series import CPU_FILE, RUNS, SELFTEST, SERIES, SWEEP, Series
from harness.sweep.plan import create, load
from tests.unit.sweep_samples import QUESTION
from tests.unit.test_keeping import NOW, store

SORTS = pytest.mark.parametrize("sort", SERIES, ids=lambda sort: sort.noun)


def make(reports: Path, sort: Series, days_ago: int, *, runs: int = 2, answered: bool = True) -> Path:
    """What a command that began so many days ago has left."""
    began = NOW - timedelta(days=days_ago)
    middle = "pool-" if sort is SWEEP else ""
    folder = reports / f"{sort.prefix}{began:%Y%m%d-%H%M%S}-{middle}{days_ago:04x}"
    (folder / RUNS).mkdir(parents=True)
    for name in (sort.header, sort.lines, *(sort.answers if answered else ())):
        (folder / name).write_text("")
    for number in range(runs):
        run = store(folder / RUNS, days_ago, name=f"x{number}")
        if sort is SWEEP:
            (run / CPU_FILE).write_text("{}")
    return folder


def age(folder: Path) -> None:
    """Have everything in a folder written long ago."""
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where target files are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "partition-harness"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """Where everything is stored."""
    return tmp_path / "reports"


@SORTS
def test_the_oldest_go_once_newer_ones_have_enough_runs_and_it_is_said(reports: Path, sort: Series) -> None:
    folders = [make(reports, sort, days) for days in (1, 2, 3, 4, 5)]
    removed = prune(reports, 4, now=NOW)
    assert [path.exists() for path in folders] == [True, True, False, False, False]
    oldest_first = tuple(path.name for path in folders[:1:-1])
    assert removed.series == oldest_first
    assert removed.text == f"Removed 3 old sweeps and selftests (--keep-runs): {', '.join(oldest_first)}."
    assert prune(reports, 4, now=NOW).series == ()
    assert not [path for path in reports.iterdir() if path.name.startswith(".")]


@SORTS
def test_the_newest_stays_however_many_runs_it_has_and_one_without_runs_is_counted(reports: Path, sort: Series) -> None:
    large = make(reports, sort, 1, runs=9)
    older = make(reports, sort, 2, runs=1)
    prune(reports, 1, now=NOW)
    assert (large.exists(), older.exists()) == (True, False)
    empty = [make(reports, sort, days, runs=0) for days in (3, 4, 5)]
    prune(reports, 11, now=NOW)
    assert [path.exists() for path in empty] == [True, True, False], "nine, one and one make eleven"


def test_each_sort_is_counted_by_itself_and_runs_too(reports: Path) -> None:
    sweeps, selftests = ([make(reports, sort, days) for days in (1, 2)] for sort in SERIES)
    runs = [store(reports, days) for days in (10, 11, 12)]
    removed = prune(reports, 2, now=NOW)
    assert removed.runs == (runs[2].name,)
    assert removed.series == (sweeps[1].name, selftests[1].name)


def test_all_keeps_all(reports: Path) -> None:
    folders = [make(reports, sort, days) for sort in SERIES for days in (1, 2)]
    prune(reports, ALL_RUNS, now=NOW)
    assert all(path.exists() for path in folders)


@SORTS
def test_one_that_a_command_adds_to_stays_and_it_is_said_why(reports: Path, sort: Series) -> None:
    make(reports, sort, 1)
    used = make(reports, sort, 2)
    with (used / sort.lines).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert f"Kept {used.name} beyond --keep-runs: another command adds to it" in prune(reports, 1, now=NOW).text
        assert used.exists()
    assert prune(reports, 1, now=NOW).series == (used.name,)


def test_one_that_is_gone_on_with_holds_that_lock(reports: Path) -> None:
    resumed = create(reports, QUESTION).folder
    aged = resumed.rename(resumed.with_name("sweep-20200101-000000-pool-aaaa"))
    make(reports, SWEEP, 1)
    with load(SWEEP.find(reports, aged.name)).opened():
        age(aged)
        assert prune(reports, 1, now=NOW).series == ()
    assert prune(reports, 1, now=NOW).series == (aged.name,)


@SORTS
def test_what_the_command_itself_went_on_with_stays(reports: Path, sort: Series) -> None:
    make(reports, sort, 1)
    mine, other = make(reports, sort, 2), make(reports, sort, 3)
    assert prune(reports, 1, spare={mine.name}, now=NOW).series == (other.name,)


@SORTS
def test_one_without_an_answer_stays_for_an_hour_after_it_was_written_to(reports: Path, sort: Series) -> None:
    make(reports, sort, 1)
    begun = make(reports, sort, 2, answered=False)
    assert "no answer yet" in prune(reports, 1, now=NOW).text
    age(begun)
    assert prune(reports, 1, now=NOW).series == (begun.name,)


@SORTS
@pytest.mark.parametrize("where", ["notes.txt", f"{RUNS}/HALT", "in a run"])
def test_one_with_something_of_the_users_in_it_stays(reports: Path, sort: Series, where: str) -> None:
    make(reports, sort, 1)
    old = make(reports, sort, 2)
    mine = next((old / RUNS).iterdir()) / "notes.txt" if where == "in a run" else old / where
    mine.write_text("look here")
    assert "which the harness did not put there" in prune(reports, 1, now=NOW).text
    assert mine.exists()


@SORTS
def test_one_with_a_run_that_is_open_or_held_stays(reports: Path, sort: Series) -> None:
    make(reports, sort, 1)
    old = make(reports, sort, 2)
    run = next((old / RUNS).iterdir())
    ledger = Ledger(run / FOLDER)
    with ledger.held(Holder.HEAL):
        assert f"its run {run.name} is being healed" in prune(reports, 1, now=NOW).text
    ledger.begin(run.name, {})
    assert f"of its run {run.name}: its ledger is open; harness heal undoes" in prune(reports, 1, now=NOW).text
    ledger.finish()
    assert prune(reports, 1, now=NOW).series == (old.name,)


@SORTS
def test_one_that_was_given_another_name_is_neither_removed_nor_counted(reports: Path, sort: Series) -> None:
    make(reports, sort, 0).rename(reports / f"{sort.prefix}before-the-release")
    newest, old = make(reports, sort, 1), make(reports, sort, 2)
    elsewhere = make(reports / "elsewhere", sort, 3)
    (reports / elsewhere.name).symlink_to(elsewhere)
    assert prune(reports, 2, now=NOW).series == (old.name,)
    assert newest.exists()
    assert (reports / f"{sort.prefix}before-the-release").exists()
    assert (elsewhere / sort.header).exists()


@SORTS
def test_its_target_files_which_may_have_tokens_go_with_it(reports: Path, sort: Series, cache: Path) -> None:
    newest, old = make(reports, sort, 1), make(reports, sort, 2)
    for folder in (newest, old):
        (cache / sort.cache / folder.name).mkdir(parents=True)
        (cache / sort.cache / folder.name / "target.toml").write_text("")
    prune(reports, 1, now=NOW)
    assert [path.name for path in (cache / sort.cache).iterdir()] == [newest.name]


@SORTS
def test_what_a_killed_command_had_begun_to_remove_is_removed(reports: Path, sort: Series) -> None:
    old = make(reports, sort, 2)
    old.rename(reports / f".{old.name}.removed")
    prune(reports, 9, now=NOW)
    assert list(reports.iterdir()) == []


def test_the_newest_is_last_and_others_are_found_by_name_or_path(reports: Path) -> None:
    old, new = make(reports, SELFTEST, 2), make(reports, SELFTEST, 1)
    assert SELFTEST.find(reports, "last") == new
    assert SELFTEST.find(reports, old.name) == SELFTEST.find(reports, str(old)) == old
    assert SELFTEST.stored(reports) == [new, old]
    assert SWEEP.stored(reports) == []


def test_the_names_that_are_made_are_the_names_that_are_bounded(reports: Path) -> None:
    made = create(reports, QUESTION).folder
    age(made)
    make(reports, SWEEP, -(10**4))
    assert prune(reports, 1, now=datetime.now(UTC)).series == (made.name,)
