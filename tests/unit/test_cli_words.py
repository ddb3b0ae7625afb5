"""What the command line says and selects, as far as that needs no environment."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from harness import events as ev
from harness.cli import cli
from harness.discovery import load_scenarios, select
from harness.ending import complete, heard
from harness.errors import ScenarioError, TargetError, UsageError
from harness.history import FILE_NAME
from harness.jsonlines import encode
from harness.report.judged import find_stored
from harness.report.stored import find_run, stored_runs
from harness.session import Left, Session, SessionOptions, SilentDisplay, load_began, replay_of
from harness.stacks.toxiproxy_binary import find_go
from harness.targets.model import load_target
from harness.values import Phase
from tests.unit import report_samples as samples

ROOT = Path(__file__).parents[2]
SCENARIO = """
from harness.faults.partition import DetachPartition
from harness.scenario import Load, Scenario
from harness.schedule import Schedule
from harness.values import Month

SCENARIO = Scenario(
    name="mine", claim="It holds.", requirements=(), load=Load(months=(Month(2025, 12),)),
    schedule=Schedule.of(DetachPartition(months=(Month(2025, 12),))),
)
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def store(reports: Path, name: str, *records: ev.Record, started_at: str = "2025-12-05T10:15:00+00:00") -> Path:
    """A stored run of these records after its first."""
    folder = reports / name
    folder.mkdir(parents=True)
    (first,) = samples.started().records
    assert isinstance(first, ev.RunStarted)
    begun = dataclasses.replace(first, run=name, started_at=started_at)
    (folder / FILE_NAME).write_text("".join(f"{encode(record)}\n" for record in (begun, *records)))
    return folder


def pytest_collects(*arguments: str) -> set[str]:
    installed = any(point.name == "partition-harness" for point in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "harness.pytest_plugin"]
    command = [sys.executable, "-m", "pytest", *plugin, "scenarios", "--collect-only", "-q", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return {line.split("::")[1] for line in done.stdout.splitlines() if "::" in line}


@pytest.mark.parametrize("keyword", ["network", "partition", "december", "S3"])
def test_a_keyword_selects_the_same_with_pytest(keyword: str) -> None:
    chosen = {scenario.name for scenario in select(load_scenarios(ROOT / "scenarios"), [], keyword)}
    assert chosen
    assert chosen == pytest_collects("-k", keyword)


def test_a_keyword_finds_the_folder_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "lagoon").mkdir()
    (tmp_path / "lagoon" / "shark.py").write_text(SCENARIO)
    scenarios = load_scenarios(tmp_path)
    assert [scenario.name for scenario in select(scenarios, [], "lagoon and shark")] == ["mine"]


def test_files_of_one_name_in_two_folders_are_two_files(tmp_path: Path) -> None:
    for name in ("east", "west"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "json.py").write_text(SCENARIO.replace("mine", name))
    assert set(load_scenarios(tmp_path)) == {"east", "west"}


def test_two_scenarios_of_one_name_are_refused_with_both_files(tmp_path: Path) -> None:
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(SCENARIO)
    with pytest.raises(UsageError, match=r"'mine', in .*one\.py and in .*two\.py"):
        load_scenarios(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("harness.faults.partition", "harness.faults.partitions", r":2: .*No module named.*harness list faults"),
        ("import DetachPartition", "import DetachPartitions", r":2: .*cannot import name 'DetachPartitions'.*list"),
        ("Partition(months=", "Partition(moons=", r":9: .*unexpected keyword argument 'moons'.*scenario\.md"),
        ("Month(2025, 12),))", "Month(2025, 13),))", r":\d+: .*2025-13 is not a month"),
        ("SCENARIO = Scenario(", "SCENARIO = = Scenario(", r":7: .*SyntaxError: invalid syntax\. Mend it"),
    ],
)
def test_a_scenario_that_cannot_be_imported_is_said_with_its_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in SCENARIO
    (tmp_path / "mistaken.py").write_text(SCENARIO.replace(old, new, 1))
    with pytest.raises(ScenarioError, match=said):
        load_scenarios(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name is missing"),
        ('name = ""\nurl = "http://h"\n', "name must be a string that is not empty"),
        ('name = "x"\nurl = "http://h"\nmonths = ["2025-12"]\n', "months: '2025-12' is not a month; write it as"),
        (
            'name = "x"\nurl = "http://h"\n[limits]\ndb_pool_max = "many"\n',
            "must be an integer, not 'many'",
        ),
        ('name = "x"\nurl = "http://h"\n[reads]\nlogs = 1\n', "reads.logs must be true or false, not 1"),
        ('name = "x"\nurl = "http://h"\n[limits]\nlock_timeout_seconds = "1"\n', "must be a number, not '1'"),
        (
            'name = "x"\n[launch]\ncommand = ["x"]\nscram_iterations = 0\n',
            "launch.scram_iterations must be a whole number from 1, not 0",
        ),
    ],
)
def test_a_mistake_in_a_target_is_said_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "target.toml"
    path.write_text(text)
    with pytest.raises(TargetError) as caught:
        load_target(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)


def test_the_command_that_repeats_a_run_names_all_that_is_not_usual() -> None:
    assert SessionOptions().repeat_options() == ""
    options = SessionOptions(
        scenarios=Path("my claims"), reports=Path("out"), pg_port=5999, toxiproxy_url="http://h:8474", target=Path("t")
    )
    assert shlex.split(options.repeat_options()) == (
        [
            "--scenarios",
            "my claims",
            "--target",
            "t",
            "--pg-port",
            "5999",
            "--toxiproxy-url",
            "http://h:8474",
            "--reports",
            "out",
        ]
    )


def test_a_replay_can_be_repeated_from_the_same_folder_of_scenarios(tmp_path: Path) -> None:
    folder = store(tmp_path, "run-1")
    assert replay_of(folder).scenarios == Path("scenarios")
    command = "harness run mine --seed 7 --scenarios 'my claims' --reports out"
    (folder / "result.json").write_text(json.dumps({"repeat_command": command}))
    assert replay_of(folder).scenarios == Path("my claims")


def test_one_port_for_several_databases_at_once_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--pg-port 5999 is one port, but --jobs 3"):
        Session(SessionOptions(reports=tmp_path, pg_port=5999, jobs=3), SilentDisplay())
    assert Session(SessionOptions(reports=tmp_path, pg_port=5999), SilentDisplay()).jobs == 1


def test_help_keeps_its_examples_and_exit_codes_on_lines_of_their_own() -> None:
    lines = [line.strip() for line in invoke("run", "--help").output.splitlines()]
    assert any(line.startswith("harness run -k december  ") for line in lines)
    assert "130 ended by Ctrl-C, 143 by SIGTERM" in invoke("--help").output


def test_faults_are_listed_with_what_a_scenario_imports() -> None:
    rows = {row["name"]: row for row in json.loads(invoke("list", "faults", "--json").output)}
    detach = rows["detach-partition"]
    assert (detach["python"], detach["fields"]) == ("harness.faults.partition.DetachPartition", ["months"])
    assert (detach["family"], detach["needs"], detach["sqlstates"]) == ("partition", ["sql"], ["23514"])
    assert detach["versions"] == "15 to 18"
    line = next(one for one in invoke("list", "faults").output.splitlines() if one.startswith("detach-partition "))
    assert line.endswith("[harness.faults.partition.DetachPartition(months)]")


def test_a_second_judgement_says_what_the_first_said(tmp_path: Path) -> None:
    store(tmp_path, "20251205-101500-one-aaaa", ev.Note(4.5, "probe", "slow"))
    result = invoke("check", "last", "--reports", str(tmp_path))
    assert result.exit_code == 3
    assert "? UNKNOWN december-detached (unfinished)" in result.output
    assert "  unknown: " in result.output
    assert f"repeat: harness replay 20251205-101500-one-aaaa --reports {tmp_path}" in result.output
    assert "last record at t=4.50 s" in (tmp_path / "20251205-101500-one-aaaa" / "report.html").read_text()


def test_runs_are_listed_newest_first_with_their_verdict(tmp_path: Path) -> None:
    store(tmp_path, "sample", started_at="2025-01-01T00:00:00+00:00")
    newer = store(tmp_path, "20251205-101500-one-aaaa")
    (newer / "result.json").write_text('{"verdict": "PASS"}')
    (tmp_path / "not-a-run").mkdir()
    lines = invoke("list", "runs", "--reports", str(tmp_path)).output.splitlines()
    assert [line.split()[0] for line in lines] == [newer.name, "sample"]
    assert "PASS        2025-12-05 10:15:00 UTC" in lines[0]
    assert "not judged" in lines[1]
    assert [run.folder.name for run in stored_runs(tmp_path)] == [newer.name, "sample"]


def test_a_run_is_found_by_all_that_one_may_type(tmp_path: Path) -> None:
    one, two = store(tmp_path, "20251205-one-aaaa"), store(tmp_path, "20251206-two-bbbb")
    for typed in (str(one), f"{one}/{FILE_NAME}", one.name, "20251205", "one", "aaaa"):
        assert find_run(tmp_path, typed) == one
    store(tmp_path, "20251207-two-cccc", started_at="2025-11-01T00:00:00+00:00")
    with pytest.raises(UsageError, match=r"'two' could be 20251206-two-bbbb, 20251207-two-cccc; give more"):
        find_run(tmp_path, "two")
    with pytest.raises(UsageError, match="harness list runs"):
        find_run(tmp_path, "three")
    assert find_run(tmp_path, "two-b") == two
    with pytest.raises(UsageError, match="no run below"):
        find_run(tmp_path / "empty", "last")


def suite_of(reports: Path, name: str, *runs: str, seconds: float = 60.0) -> Path:
    folder = reports / name
    folder.mkdir()
    told = [{"run": run, "scenario": "x", "folder": run, "verdict": "PASS"} for run in runs]
    (folder / "suite.json").write_text(json.dumps({"suite": name, "seconds": seconds, "runs": told}))
    return folder


def test_last_means_the_newest_suite_or_a_run_after_it_and_where_one_run_is_meant_its_newest(tmp_path: Path) -> None:
    for second in (1, 2):
        began = f"2025-12-05T10:00:0{second}+00:00"
        store(tmp_path, f"20251205-10000{second}-one-aaaa", started_at=began)
    # Another command played this one meanwhile, and its suite is older.
    store(tmp_path, "20251205-100030-other-bbbb", started_at="2025-12-05T10:00:30+00:00")
    suite_of(tmp_path, "20251205-095900-suite-bbbb", "20251205-100030-other-bbbb", seconds=0.0)
    suite = suite_of(tmp_path, "20251205-100000-suite-aaaa", "20251205-100001-one-aaaa", "20251205-100002-one-aaaa")
    assert find_stored(tmp_path, "last") == find_stored(tmp_path, "last-suite") == suite
    assert find_run(tmp_path, "last").name == "20251205-100002-one-aaaa"
    alone = store(tmp_path, "20251205-110000-lab-cccc", started_at="2025-12-05T11:00:00+00:00")
    assert find_stored(tmp_path, "last") == find_run(tmp_path, "last") == alone
    assert find_stored(tmp_path, "last-suite") == suite


def test_last_is_no_older_run_where_nothing_of_the_newest_suite_was_played(tmp_path: Path) -> None:
    store(tmp_path, "20251201-100000-one-aaaa", started_at="2025-12-01T10:00:00+00:00")
    suite = suite_of(tmp_path, "20251205-100000-suite-aaaa", "20251205-100001-one-aaaa")
    assert find_stored(tmp_path, "last") == suite
    with pytest.raises(UsageError, match="20251205-100000-suite-aaaa was played last, and no run of it has a history"):
        find_run(tmp_path, "last")


def test_every_command_that_takes_a_stored_run_says_the_same_of_last() -> None:
    # What heals knows no `last`: without a name it takes whatever is left.
    takes = {name for name, command in cli.commands.items() if _takes_a_run(command)} - {"heal"}
    assert takes == {"assess", "check", "compare", "explain", "gate", "replay"}
    means = re.compile(r"`last`:? (is )?\(?the newest (run of the newest )?suite, or a run that began after it")
    for name in (*takes, "list"):
        assert means.search(" ".join(invoke(name, "--help").output.split())), name


def _takes_a_run(command: click.Command) -> bool:
    return any("RUN" in (each.metavar or "") for each in command.params if isinstance(each, click.Argument))


def test_a_suite_is_answered_with_its_runs(tmp_path: Path) -> None:
    folder = tmp_path / "20251205-suite-dddd"
    folder.mkdir()
    (folder / "suite.json").write_text('{"runs": [{"run": "a-1"}, {"run": "b-2"}]}')
    for typed in (str(folder), folder.name, "suite"):
        with pytest.raises(UsageError, match="is a suite; its runs are a-1, b-2"):
            find_run(tmp_path, typed)


@pytest.mark.parametrize("command", ["check", "replay"])
@pytest.mark.parametrize(("spoilt", "said"), [("{}\n", "line 2"), ("", "no RunStarted record")])
def test_a_history_that_cannot_be_read_is_named_with_the_next_step(
    tmp_path: Path, command: str, spoilt: str, said: str
) -> None:
    path = store(tmp_path, "run-1") / FILE_NAME
    path.write_text(path.read_text() + spoilt if spoilt else "")
    result = invoke(command, "run-1", "--reports", str(tmp_path))
    assert result.exit_code == 2
    assert str(path) in result.output
    assert said in result.output
    assert "run the scenario again" in result.output


def test_an_interrupted_command_says_what_is_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    left = Left(judged=("run-1",), recorded=("run-2",))
    with heard(), pytest.raises(SystemExit) as caught:
        complete(interrupted(), lambda: left.text(tmp_path))
    assert caught.value.code == 143
    said = capsys.readouterr().err
    assert "judged: run-1." in said
    assert f"  harness check run-2 --reports {tmp_path}" in said


def test_a_run_whose_load_never_began_is_nothing_to_judge(tmp_path: Path) -> None:
    assert not load_began(store(tmp_path, "early") / FILE_NAME)
    assert load_began(store(tmp_path, "played", ev.PhaseMark(1.0, Phase.BEFORE)) / FILE_NAME)


def test_looking_for_go_writes_nothing_outside_of_the_temporary_folder() -> None:
    find_go()
    assert not Path("/nonexistent").exists()
