"""``harness sweep pool`` from options to exit code; what plays is made by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.checking import CheckResult, Finding
from harness.cli import cli
from harness.report.series import SWEEP
from harness.sweep import sweeping
from harness.sweep.plan import Task
from harness.values import Promise
from tests.unit.histories import History
from tests.unit.sweep_samples import Played, pool_history

ROOT = Path(__file__).parents[2]
LOST = CheckResult("conservation", findings=(Finding(Promise.CONSERVATION, "3 events are nowhere.", ("a",)),))
UNSURE = CheckResult("metrics", unknowns=("only 3 scrapes",))


class Lab:
    """One folder of reports."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reports = folder / "reports"
        self._monkeypatch = monkeypatch

    def run(self, played: Played, *arguments: str) -> Result:
        self._monkeypatch.setattr(sweeping, "play", played)
        return CliRunner().invoke(cli, ["sweep", "pool", "--reports", str(self.reports), *arguments])

    @property
    def folder(self) -> Path:
        (folder,) = self.reports.glob("sweep-*")
        return folder


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(ROOT)
    return Lab(tmp_path, monkeypatch)


def alike(task: Task) -> History:
    return pool_history(task.size)


def waiting(task: Task) -> History:
    return pool_history(task.size, write_seconds=1.0 / task.size, wait_seconds=0.5 / task.size)


@pytest.mark.parametrize(
    ("of", "advice", "last"),
    [
        (alike, "keep", "database as it is: No: raising 25 to 50 brings nothing beyond noise."),
        (waiting, "raise", "database as it is: Yes, to 50: at 25 p99 "),
    ],
    ids=["enough", "too few"],
)
def test_it_plays_each_size_once_and_answers(lab: Lab, of: Callable[[Task], History], advice: str, last: str) -> None:
    played = Played(of)
    done = lab.run(played, "--sizes", "50", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert sorted(task.size for task in played.tasks) == [25, 50]
    assert done.stdout.splitlines()[-1].startswith(last)
    data = json.loads((lab.folder / "pool.json").read_text())
    assert [one["advice"] for one in data["answers"]] == [advice]
    assert [one["exposure_seconds"] for one in data["figures"]] == [pytest.approx(12, abs=0.1)] * 2
    assert "Should we raise" in (lab.folder / "pool.html").read_text()
    assert "[2/2] pool of" in done.stderr


@pytest.mark.parametrize(
    ("checks", "exit_code", "said"),
    [
        (lambda task: (LOST,) if task.size == 50 else (), 1, "✗ broken: run-50-1: conservation: 3 events"),
        (lambda task: (UNSURE,) if task.size == 25 else (), 3, "Cannot tell: the present maximum of 25"),
    ],
    ids=["broken", "unknown"],
)
def test_a_broken_promise_is_1_and_an_open_question_3(
    lab: Lab, checks: Callable[[Task], tuple[CheckResult, ...]], exit_code: int, said: str
) -> None:
    done = lab.run(Played(alike, checks), "--sizes", "50")
    assert done.exit_code == exit_code, done.output
    assert said in done.stdout


def test_a_run_that_could_not_be_set_up_is_left_to_play(lab: Lab) -> None:
    done = lab.run(Played(alike, not_set_up=50), "--sizes", "50")
    assert done.exit_code == 3, done.output
    assert "could not be set up and is left to play: PostgreSQL did not start" in done.stderr
    assert "not played: pool of 50" in done.stdout
    again = Played(alike)
    assert lab.run(again, "--resume", "last").exit_code == 0
    assert [task.size for task in again.tasks] == [50]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--sizes", "5,10"), "none above the present maximum of 25"),
        (("--scenario", "nothing"), "There is no scenario named 'nothing'"),
        (("--target", "nowhere.toml"), "nowhere.toml"),
        (("--resume", "last"), "There is no sweep 'last'"),
        (("--resume", "last", "--sizes", "50", "--delay-ms", "5"), "leave --sizes, --delay-ms out"),
    ],
)
def test_usage_is_2_and_stores_nothing(lab: Lab, arguments: tuple[str, ...], said: str) -> None:
    done = lab.run(Played(alike), *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert not list(lab.reports.glob("sweep-*"))


def test_a_target_that_somebody_else_started_is_refused(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('name = "x"\nurl = "http://127.0.0.1:1"\n')
    done = lab.run(Played(alike), "--target", str(tmp_path / "t.toml"))
    assert done.exit_code == 2
    assert "is reached by its url" in done.output


def test_one_that_was_ended_says_how_to_go_on_and_repeats_nothing(lab: Lab) -> None:
    first = Played(alike, ends_after=1)
    ended = lab.run(first, "--sizes", "50")
    assert ended.exit_code == 130
    assert "1 of 2 runs were stored; go on with: harness sweep pool --resume " in ended.stderr
    assert json.loads((lab.folder / "pool.json").read_text())["exit_code"] == 3
    second = Played(alike)
    done = lab.run(second, "--resume", "last")
    assert done.exit_code == 0, done.output
    assert len(second.tasks) == 1
    assert not set(first.tasks) & set(second.tasks)


def test_the_json_goes_alone_to_standard_output(lab: Lab) -> None:
    data = json.loads(lab.run(Played(alike), "--sizes", "50", "--json").stdout)
    assert data["question"]["sizes"] == [25, 50]
    assert data["left"] == []


def test_older_sweeps_make_room_and_the_one_that_is_gone_on_with_stays(lab: Lab) -> None:
    lab.run(Played(alike, ends_after=1), "--sizes", "50", "--seed", "3")
    assert {path.name for path in lab.folder.iterdir()} <= SWEEP.files
    ended = lab.folder.rename(lab.reports / "sweep-20200102-000000-pool-aaaa")
    older = lab.reports / "sweep-20200101-000000-pool-bbbb"
    shutil.copytree(ended, older)
    resumed = lab.run(Played(alike), "--resume", str(ended), "--keep-runs", "1")
    assert resumed.exit_code == 0, resumed.output
    assert f"Removed 1 old sweep or selftest (--keep-runs): {older.name}." in resumed.stderr
    new = lab.run(Played(alike), "--sizes", "50", "--keep-runs", "2")
    assert f"(--keep-runs): {ended.name}." in new.stderr
    assert lab.folder.name > ended.name
