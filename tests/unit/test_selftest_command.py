"""``harness selftest`` from options to exit code, over a small catalogue; what plays is made by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.checking import CheckResult
from harness.cli import cli
from harness.report.series import SELFTEST
from harness.selftest import page, scoring
from harness.selftest.catalogue import load_catalogue
from harness.selftest.records import Task
from harness.selftest.store import changes, fingerprint, load
from harness.values import Promise
from tests.unit.selftest_samples import LOST, PASSED, UNSURE, Played, as_meant, finding, write_catalogue

ROOT = Path(__file__).parents[2]
Checks = Callable[[Task], Sequence[CheckResult]]


class Lab:
    """One catalogue and one folder of reports."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.catalogue = write_catalogue(folder / "catalogue")
        self.reports = folder / "reports"
        self._monkeypatch = monkeypatch

    def run(
        self,
        *arguments: str,
        checks: Checks = as_meant,
        ends_after: int | None = None,
        leaves: int = 0,
        setup_error: str = "",
    ) -> tuple[Result, Played]:
        played = Played(checks, ends_after=ends_after, leaves=leaves, setup_error=setup_error)
        self._monkeypatch.setattr(scoring, "play", played)
        options = ["--reports", str(self.reports), "--catalogue", str(self.catalogue)]
        return CliRunner().invoke(cli, ["selftest", *options, *arguments]), played

    @property
    def store(self) -> Path:
        (folder,) = self.reports.glob("selftest-*")
        return folder

    def stored(self) -> list[tuple[str, str, int]]:
        lines = (self.store / "runs.jsonl").read_text().splitlines()
        return [(one["defect"], one["scenario"], one["round"]) for one in map(json.loads, lines)]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Lab(tmp_path, monkeypatch)


def last_line(done: Result) -> str:
    return done.stdout.splitlines()[-1]


def test_every_defect_is_played_where_it_must_show_and_the_control_there_and_the_last_line_is_the_score(
    lab: Lab,
) -> None:
    done, played = lab.run()
    assert sorted(played.tasks) == [
        Task("control", "one", 1),
        Task("control", "two", 1),
        Task("lies", "one"),
        Task("lies", "two"),
        Task("loses", "one"),
    ]
    assert last_line(done) == "detected 2 of 2 defects, 2 control runs: 0 false alarms, 0 unknown"
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("defect ", "loses ", "lies "))]
    assert [row[0] for row in rows] == ["defect", "loses", "lies"], "they are drawn as a table"


def test_the_matrix_is_stored_for_people_and_programs(lab: Lab) -> None:
    lab.run()
    data = json.loads((lab.store / "matrix.json").read_text())
    assert data["format"] == 1
    assert [(one["name"], one["outcome"], one["caught"]["checker"]) for one in data["defects"]] == [
        ("loses", "CAUGHT", "conservation"),
        ("lies", "CAUGHT", "metrics"),
    ]
    assert "| loses | 1 | caught | one | conservation | 12 events are nowhere" in (lab.store / "matrix.md").read_text()
    assert "12 events are nowhere" in (lab.store / "matrix.html").read_text()


@pytest.mark.parametrize(
    ("checks", "exit_code", "said"),
    [
        (lambda task: [PASSED], 1, "2 unseen"),
        (lambda task: [LOST], 1, "false alarm: control in one, round 1"),
        (lambda task: [UNSURE] if task.defect == "loses" else as_meant(task), 3, "1 not judged"),
        (lambda task: [UNSURE] if task.defect == "control" else as_meant(task), 3, "control unknown, 1 times: one: me"),
    ],
    ids=["unseen", "false alarm", "not judged", "control not judged"],
)
def test_the_exit_code_tells_what_was_proved_and_the_output_why(
    lab: Lab, checks: Checks, exit_code: int, said: str
) -> None:
    done, _ = lab.run(checks=checks)
    assert done.exit_code == exit_code
    assert said in done.stdout


def test_only_folders_that_explain_something_are_left(lab: Lab) -> None:
    lab.run(checks=lambda task: [PASSED])
    kept = sorted(path.name for path in (lab.store / "runs").iterdir())
    assert kept == ["run-lies-one-0", "run-lies-two-0", "run-loses-one-0"]
    assert json.loads((lab.store / "runs.jsonl").read_text().splitlines()[-1])["folder"] == ""


def test_a_selftest_that_was_ended_says_how_to_go_on_and_repeats_nothing(lab: Lab) -> None:
    ended, first = lab.run(ends_after=2)
    assert ended.exit_code == 130
    assert f"2 of 5 runs were stored; go on with: harness selftest --resume {lab.store}" in ended.stderr
    assert json.loads((lab.store / "matrix.json").read_text())["exit_code"] == 3
    done, second = lab.run("--resume", "last")
    assert len(first.tasks) == 2
    assert len(second.tasks) == 3
    assert len(set(lab.stored())) == 5
    assert last_line(done) == "detected 2 of 2 defects, 2 control runs: 0 false alarms, 0 unknown"
    assert done.exit_code == 0


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_that_a_killed_process_left_half_is_played_again(lab: Lab, cut: int) -> None:
    lab.run()
    runs = lab.store / "runs.jsonl"
    whole = runs.read_text()
    runs.write_text(whole[:-cut])
    done, played = lab.run("--resume", str(lab.store))
    assert len(played.tasks) == 1
    assert runs.read_text().count("\n") == whole.count("\n")
    assert len(set(lab.stored())) == 5
    assert done.exit_code == 0


def test_two_processes_do_not_add_to_one_selftest(lab: Lab) -> None:
    lab.run(ends_after=2)
    with load(lab.store).opened():
        refused, played = lab.run("--resume", "last")
    assert (refused.exit_code, played.tasks) == (2, [])
    assert "Another process adds to" in refused.stderr


def test_copies_of_the_target_file_which_may_hold_tokens_are_not_among_the_reports(lab: Lab) -> None:
    lab.run()
    assert load(lab.store).targets_folder.is_relative_to(lab.folder / "cache")


def test_the_control_adds_up_over_resumed_rounds_each_with_its_own_seed(lab: Lab) -> None:
    lab.run("--control", "2", "--seed", "100")
    done, played = lab.run("--resume", "last", "--control", "3")
    assert played.tasks == [Task("control", name, 3) for name in ("one", "two", "alone")]
    assert last_line(done) == "detected 2 of 2 defects, 9 control runs: 0 false alarms, 0 unknown"
    lines = [json.loads(line) for line in (lab.store / "runs.jsonl").read_text().splitlines()]
    assert {one["seed"] for one in lines if one["round"] == 3} == {103}
    assert {one["seed"] for one in lines if one["round"] == 0} == {100}


def test_what_is_resumed_keeps_its_choice_and_the_rows_of_what_was_chosen_before(lab: Lab) -> None:
    lab.run("--defect", "loses", "--control", "0")
    _, same = lab.run("--resume", "last")
    assert same.tasks == []
    done, more = lab.run("--resume", "last", "--defect", "lies")
    assert {task.defect for task in more.tasks} == {"lies"}
    assert last_line(done).startswith("detected 2 of 2 defects, 0 control runs")


def test_a_defect_that_could_not_be_judged_is_played_again_only_when_asked(lab: Lab) -> None:
    lab.run(checks=lambda task: [UNSURE] if task.defect == "loses" else as_meant(task))
    done, played = lab.run("--resume", "last")
    assert (played.tasks, done.exit_code) == ([], 3)
    done, played = lab.run("--resume", "last", "--retry-unknown")
    assert (played.tasks, done.exit_code) == ([Task("loses", "one")], 0)


def test_what_could_not_be_set_up_is_played_again_when_asked_also_of_the_control(lab: Lab) -> None:
    problem = "No port was free."
    lab.run("--defect", "control", "--control", "1", setup_error=problem)
    done, played = lab.run("--resume", "last", "--retry-unknown")
    assert len(played.tasks) == 3
    assert last_line(done) == "detected 0 of 0 defects, 3 control runs: 0 false alarms, 0 unknown"
    assert done.exit_code == 0


def test_a_control_run_that_could_not_be_judged_counts_for_good(lab: Lab) -> None:
    lab.run(checks=lambda task: [UNSURE] if task == Task("control", "one", 1) else as_meant(task))
    done, played = lab.run("--resume", "last", "--retry-unknown")
    assert played.tasks == []
    assert last_line(done).endswith("2 control runs: 0 false alarms, 1 unknown")


def test_every_control_run_that_could_not_be_judged_is_explained_on_screen_and_where_it_is_published(lab: Lab) -> None:
    def unsure(task: Task) -> Sequence[CheckResult]:
        if task.defect != "control" or task.scenario == "alone":
            return as_meant(task)
        reasons = (f"only {task.round} scrapes of 10 were readable", "and no sample of the queue")
        return [CheckResult("metrics", unknowns=reasons)]

    documents = [lab.folder / "README.md", lab.folder / "matrix.md"]
    for path, mark in zip(documents, (page.SCORE_MARK, page.MATRIX_MARK), strict=True):
        path.write_text(f"{mark}\n{page.END_MARK}\n")
    done, _ = lab.run(
        "--control", "2", *(part for path in documents for part in ("--publish", str(path))), checks=unsure
    )
    assert last_line(done).endswith("6 control runs: 0 false alarms, 4 unknown")
    why = "only 1 scrapes of 10 were readable; metrics: and no sample of the queue"
    for name in ("one", "two"):
        for text in (done.stdout, *(path.read_text() for path in documents)):
            assert f"control unknown, 2 times: {name}: metrics: {why}" in text
            assert f"in round 1 (run run-control-{name}-1), round 2 (run run-control-{name}-2)" in text
    assert [one["count"] for one in json.loads((lab.store / "matrix.json").read_text())["control"]["unknowns"]] == [
        2,
        2,
    ]


def test_what_is_published_tells_the_places_of_this_machine_by_their_usual_names(lab: Lab) -> None:
    def at_a_place(task: Task) -> Sequence[CheckResult]:
        told = f"{sys.executable} -m thing in {Path.cwd()}/tests; {Path.cwd()}-other kept 3 events"
        if task.defect == "loses":
            return [finding("conservation", Promise.CONSERVATION, told, events=3)]
        return as_meant(task)

    document = lab.folder / "matrix.md"
    document.write_text(f"{page.MATRIX_MARK}\n{page.END_MARK}\n")
    done, _ = lab.run("--publish", str(document), checks=at_a_place)
    assert done.exit_code == 0, done.output
    assert f"| python -m thing in ./tests; {Path.cwd()}-other kept 3 events" in document.read_text()
    assert f"{sys.executable} -m thing" in (lab.store / "matrix.md").read_text()


def test_a_halt_file_ends_a_selftest_without_counting_what_it_broke_off(lab: Lab) -> None:
    def halting(task: Task) -> Sequence[CheckResult]:
        if task.scenario == "two":
            (lab.reports / "HALT").touch()
        return as_meant(task)

    ended, _ = lab.run(checks=halting)
    assert ended.exit_code == 3
    assert f"go on with: harness selftest --resume {lab.store}" in ended.stderr
    assert len(lab.stored()) == 1
    refused, played = lab.run("--resume", "last")
    assert (refused.exit_code, played.tasks) == (2, [])
    (lab.reports / "HALT").unlink()
    assert lab.run("--resume", "last")[0].exit_code == 0


def test_what_a_time_budget_left_is_told_with_the_command_that_goes_on(lab: Lab) -> None:
    done, _ = lab.run(leaves=2)
    assert done.exit_code == 3
    assert f"2 runs are not played yet; go on with: harness selftest --resume {lab.store}" in done.stdout


def test_a_score_is_not_mixed_from_two_states_of_the_sources(lab: Lab) -> None:
    lab.run(ends_after=2)
    scenarios = lab.catalogue.parent / "scenarios"
    (scenarios / "more.py").write_text("# Nothing yet.\n")
    refused, played = lab.run("--resume", "last")
    assert refused.exit_code == 2
    assert "changed since: catalogue/scenarios/more.py, scenarios/more.py. Its 2 runs do not score" in refused.stderr
    assert played.tasks == []
    readme = lab.folder / "README.md"
    readme.write_text(f"{page.SCORE_MARK}\n{page.END_MARK}\n")
    mixed, _ = lab.run("--resume", "last", "--force", "--publish", str(readme))
    assert mixed.exit_code == 0
    assert "mixed by --force at" in mixed.stdout
    for path in (lab.store / "matrix.md", readme):
        assert "Mixed by --force at" in path.read_text()
        assert "scenarios/more.py" in path.read_text()
    # The next one is of the new state.
    assert lab.run("--resume", "last")[0].exit_code == 0


def test_equally_named_sources_and_a_folder_of_reports_in_them_are_a_state_too(lab: Lab) -> None:
    watched = [lab.folder / "a" / "src" / "report" / "page.py", lab.folder / "b" / "src" / "report" / "page.py"]
    for path in watched:
        path.parent.mkdir(parents=True)
        path.write_text("")
    lab.catalogue.write_text(lab.catalogue.read_text() + 'sources = ["../a/src", "../b/src"]\n')
    for path in watched:
        before = fingerprint(load_catalogue(lab.catalogue))
        path.write_text("# Another state.\n")
        assert len(changes(before, fingerprint(load_catalogue(lab.catalogue)))) == 1
    # What only shows results in the harness itself is none.
    assert not [name for name in before if name.startswith("harness/report/") or name == "harness/selftest/page.py"]


def test_another_postgresql_is_another_state(lab: Lab) -> None:
    lab.run()
    refused, _ = lab.run("--resume", "last", "--pg-bindir", "/usr/bin")
    assert refused.exit_code == 2
    assert "--pg-bindir /usr/bin instead of (none)" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--resume", "last"), "There is no selftest 'last'"),
        (("--defect", "looses"), "did you mean loses"),
        (("--scenario", "three"), "There is no scenario named 'three'"),
        (("-k", "nothing-like-it"), "No defect of"),
        (("--publish", "no-such-file.md"), "cannot be read"),
    ],
)
def test_a_wrong_name_is_a_usage_error_that_stores_nothing(lab: Lab, arguments: tuple[str, ...], said: str) -> None:
    done, _ = lab.run(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(lab.reports.glob("*"))


def test_the_score_is_published_between_marks_and_replaces_what_was_there(lab: Lab) -> None:
    readme = lab.folder / "README.md"
    readme.write_text("# Mine\n\n<!-- selftest:score -->\nold\n<!-- selftest:end -->\n\nThe rest.\n")
    for arguments in ((), ("--resume", "last")):
        done, _ = lab.run(*arguments, "--publish", str(readme))
        assert done.exit_code == 0, done.output
        text = readme.read_text()
        assert text.startswith("# Mine\n\n<!-- selftest:score -->\n> detected 2 of 2 defects, 2 control runs:")
        assert text.endswith("<!-- selftest:end -->\n\nThe rest.\n")
        assert "old" not in text
    for place in ("README.md", "docs/reference/matrix.md"):
        assert page.marks_of(ROOT / place)
    unmarked = lab.folder / "NOTES.md"
    unmarked.write_text("# Notes\n")
    refused, played = lab.run("--publish", str(unmarked))
    assert (refused.exit_code, played.tasks) == (2, [])
    assert "<!-- selftest:score -->" in refused.stderr


def test_older_selftests_make_room_and_the_last_line_is_the_score_all_the_same(lab: Lab) -> None:
    lab.run(checks=lambda task: [PASSED])
    assert {path.name for path in lab.store.iterdir()} <= SELFTEST.files
    old = lab.store.rename(lab.reports / "selftest-20200101-000000-aaaa")
    done, _ = lab.run("--keep-runs", "1")
    assert f"Removed 1 old sweep or selftest (--keep-runs): {old.name}." in done.stdout
    assert last_line(done).startswith("detected 2 of 2 defects")
    assert lab.store.name > old.name
