"""What the lab's commands say when there is no lab, and when something is typed wrong: a sentence and exit code 2."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from harness.cli import cli
from harness.errors import UsageError
from harness.lab.command import lab
from harness.lab.options import seconds_of, settings_of


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without any lab."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lab", *arguments])


WITHOUT_A_LAB = (
    ("status",),
    ("status", "--watch"),
    ("load",),
    ("load", "--stop"),
    ("inject", "detach-partition"),
    ("heal",),
    ("check",),
    ("psql",),
    ("logs",),
    ("record", "mine.py"),
    ("down",),
)


def test_every_command_that_needs_a_lab_is_tried_without_one() -> None:
    assert {arguments[0] for arguments in WITHOUT_A_LAB} == set(lab.commands) - {"up", "list"}


@pytest.mark.parametrize("arguments", WITHOUT_A_LAB, ids=" ".join)
def test_without_a_lab_each_command_says_how_to_start_one(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert "No lab is up; `harness lab up` starts one." in result.output


def test_nothing_to_list_and_nothing_to_end_is_no_error() -> None:
    for arguments in (("list",), ("list", "--prune"), ("down", "--all")):
        result = invoke(*arguments)
        assert result.exit_code == 0
        assert "no lab is up" in result.output
    assert invoke("list", "--json").output.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("up", "--name", "A lab"), "is no name for a lab"),
        (("up", "--max-age", "soon"), "'soon' is no time; write it as 90s"),
        (("up", "--max-age", "0s"), "give more than 0"),
        (("up", "--service-env", "HARNESS_CLOCK"), "write --service-env NAME=VALUE"),
        (("load", "--for", "1x"), "'1x' is no time"),
        (("load", "--month", "December"), "is not a month"),
        (("load", "--stop", "--rate", "3"), "--stop takes no other option"),
        (("heal", "latency", "--all"), "say different things"),
        (("down", "--name", "x", "--all"), "say different things"),
        (("down", "--name", "x"), "There is no lab named 'x'; none is up; `harness lab up` starts one."),
        (("record", "mine.json"), "ends with .py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_slip_is_answered_with_what_is_wanted(arguments: tuple[str, ...], said: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_there_is_not_written_over(place: Path) -> None:
    file = place / "mine.py"
    file.write_text("mine")
    result = invoke("record", str(file))
    assert result.exit_code == 2
    assert "is there already" in result.output
    assert file.read_text() == "mine"


def test_every_command_teaches_by_an_example_or_says_what_it_does() -> None:
    context = click.Context(lab)
    for name in lab.list_commands(context):
        command = lab.get_command(context, name)
        assert command is not None
        assert command.help
        assert (
            f"harness lab {name}" in invoke("--help").output
            or f"harness lab {name}" in invoke(name, "--help").output
            or (name in ("list", "logs"))
        )


def test_the_help_of_a_run_tells_of_keeping() -> None:
    output = CliRunner().invoke(cli, ["run", "--help"]).output
    assert "--keep" in output
    assert "harness run december-detached --keep" in output


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("1.5 s", 1.5), ("30m", 1800.0), ("2h", 7200.0), ("1h30m", 5400.0), ("1D", 86400.0)],
)
def test_times_are_read_as_they_are_written(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-3s", "3 weeks", "1h x", "0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        seconds_of(text)


def test_settings_are_names_and_values() -> None:
    assert settings_of(("A=1", "B=x=y", "C="), "--x") == {"A": "1", "B": "x=y", "C": ""}
    for wrong in ("A", "=1"):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            settings_of((wrong,), "--x")
