"""Exit codes of commands that need no environment; 1 is that of a broken promise, and of no accident."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from harness import ending
from harness._wait import wait_until_sync
from harness.cli import cli
from harness.errors import LabError, UsageError
from harness.lab.state import LabFolder, home
from tests.hearing import ROOT, hearing, surroundings
from tests.unit.stored_samples import store
from tests.unit.test_lab_state import daemon, record_of

SCENARIOS = """
from harness.scenario import Load, Scenario
from harness.values import Month

SCENARIOS = tuple(
    Scenario(name=name, claim="C.", requirements=(), load=Load(months=(Month(2025, 12),))) for name in {names!r}
)
"""
BREAKS_DAEMONS = """
import sys

if any("harness.lab.daemon" in word for word in sys.orig_argv):
    from harness.lab import daemon

    def load_target(path):
        raise ZeroDivisionError("by zero")

    daemon.load_target = load_target
"""
BY = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def invoke(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(cli, list(arguments))


def write_scenarios(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(SCENARIOS.format(names=names))
    return folder


@contextmanager
def waiting(pipe: Path, command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Start a command that reads what nobody writes, and yield it once it waits for that."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=surroundings(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def read_by_it() -> int | None:
        assert process.poll() is None, process.communicate()[0]
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return None

    try:
        descriptor = wait_until_sync(read_by_it, what="the command to read", deadline_seconds=60)
        try:
            yield process
        finally:
            os.close(descriptor)
    finally:
        process.kill()
        process.communicate()


def waiting_command(kind: str, place: Path) -> tuple[Path, tuple[str, ...]]:
    """A pipe, and a command that reads it in the midst of its work."""
    reports = place / "reports"
    pipes = {
        "check": reports / "one" / "measured.json",
        "compare": reports / "two" / "result.json",
        "explain": reports / "one" / "result.json",
    }
    store(reports, "one")
    (reports / "two").mkdir()
    (reports / "two" / "history.jsonl").write_bytes((reports / "one" / "history.jsonl").read_bytes())
    pipe = pipes.get(kind, place / "pipe.toml")
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    stored = ("--reports", str(reports))
    scenarios = ("--scenarios", str(write_scenarios(place / "scenarios", "mine")))
    return pipe, {
        "check": ("check", "one", *stored),
        "compare": ("compare", "one", "two", *stored),
        "explain": ("explain", "one", "operation", "1", *stored),
        "gate": ("gate", "one", "--config", str(pipe), *stored),
        "assess": ("assess", "--inputs", str(pipe), *stored, *scenarios),
        "run": ("run", "mine", "--target", str(pipe), *stored, *scenarios),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        *((kind, signal.SIGINT) for kind in ("check", "compare", "explain", "gate", "assess", "run")),
        *((kind, by) for kind in ("check", "run") for by in (signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_a_signal_ends_every_command_with_a_code_of_its_own(tmp_path: Path, kind: str, by: signal.Signals) -> None:
    pipe, arguments = waiting_command(kind, tmp_path)
    with waiting(pipe, hearing(*arguments)) as process:
        process.send_signal(by)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == BY[by], said
    assert f"harness: ended by {by.name}, before it was done." in said
    assert "Traceback" not in said


def test_a_signal_that_somebody_ignores_ends_nothing(tmp_path: Path) -> None:
    pipe, arguments = waiting_command("check", tmp_path)
    with waiting(pipe, hearing(*arguments, deaf_to=(signal.SIGHUP,))) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said


@pytest.mark.parametrize("by", list(BY))
def test_a_signal_ends_the_check_of_a_lab_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: signal.Signals
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with (
        daemon("mine"),
        tempfile.TemporaryDirectory(prefix="codes-", dir="/tmp") as short,
        closing(socket.socket(socket.AF_UNIX)) as listening,
    ):
        listening.bind(f"{short}/socket")
        listening.listen()
        folder = LabFolder(home() / "mine")
        folder.write(record_of(folder, tmp_path, socket=f"{short}/socket"))
        process = subprocess.Popen(
            hearing("lab", "check"),
            cwd=ROOT,
            env=surroundings(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            listening.settimeout(60)
            connection, _ = listening.accept()
            with connection:
                assert b"snapshot" in connection.recv(4096)
                process.send_signal(by)
                said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == BY[by], said


CRASHES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "check": (("check", "last"), "harness.session.check_again"),
    "gate": (("gate", "last"), "harness.gating.deciding.decide"),
    "compare": (("compare", "last", "last"), "harness.compare.sides.find_side"),
    "assess": (("assess",), "harness.assess.inputs.load_inputs"),
    "explain": (("explain", "last", "x"), "harness.judging.load_run"),
    "heal": (("heal",), "harness.healing.find_ledgers"),
    "list": (("list", "runs"), "harness.report.stored.stored_runs"),
    "doctor": (("doctor",), "harness.doctor.diagnose"),
    "schema": (("schema",), "harness.report.schema.published"),
    "replay": (("replay", "last"), "harness.session.replay_of"),
    "selftest": (("selftest",), "harness.selftest.scoring.score"),
    "sweep": (("sweep", "pool"), "harness.sweep.sweeping.sweep"),
    "lab": (("lab", "status"), "harness.lab.verbs.find"),
}


def accident(kind: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Play a command in whose midst something happens that nobody foresaw."""
    arguments, where = CRASHES[kind]

    def happens(*_: Any, **__: Any) -> None:
        raise error

    # The tests have a defect fail them, whatever code they expect.
    monkeypatch.setattr("harness.cli.end", ending.end)
    store(tmp_path, "one")
    monkeypatch.setattr(where, happens)
    keeps = ("check", "gate", "compare", "assess", "explain", "heal", "list", "replay")
    return invoke(*arguments, *(("--reports", str(tmp_path)) if kind in keeps else ()))


@pytest.mark.parametrize("kind", CRASHES)
def test_what_nobody_foresaw_is_called_a_defect_of_the_harness_and_is_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    done = accident(kind, ZeroDivisionError("password=hunter2"), tmp_path, monkeypatch)
    assert done.exit_code == 3
    traced, _, said = done.stderr.partition("harness: The harness itself failed: ")
    assert traced.startswith("Traceback (most recent call last):")
    assert "in happens" in traced
    assert said.startswith("ZeroDivisionError: password=***. That is a defect of the harness: nothing was decided")
    assert "report it with the command" in said
    assert "hunter2" not in done.output


@pytest.mark.parametrize("kind", CRASHES)
def test_ctrl_c_is_130_in_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    done = accident(kind, KeyboardInterrupt(), tmp_path, monkeypatch)
    assert done.exit_code == 130
    assert "harness: ended by SIGINT, before it was done." in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (EOFError(), 3, "failed: EOFError: "),
        (asyncio.CancelledError(), 3, "failed: CancelledError: "),
        (MemoryError(), 3, "failed: MemoryError: "),
        (BrokenPipeError("a judge"), 3, "failed: BrokenPipeError: a judge"),
        (ExceptionGroup("two", [ValueError("the first"), ValueError("the second")]), 3, "failed: ValueError: the firs"),
        (click.Abort(), 130, "ended by SIGINT"),
        (UsageError("No such run."), 2, "harness: No such run.\n"),
        (LabError("It was not healed.", 1), 1, "harness: It was not healed.\n"),
        (click.UsageError("No such option."), 2, "Error: No such option."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_ends_a_command_has_its_code_and_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    done = accident("check", error, tmp_path, monkeypatch)
    assert done.exit_code == code
    assert said in done.stderr


def test_handlers_of_signals_are_as_before_when_a_command_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mine(number: int, frame: object) -> None:
        """Somebody's own handler, whatever the tests were started with."""

    before = {by: signal.signal(by, mine) for by in BY}
    try:
        accident("check", KeyboardInterrupt(), tmp_path, monkeypatch)
        assert [signal.getsignal(by) for by in BY] == [mine] * len(BY)
    finally:
        for by, handler in before.items():
            signal.signal(by, handler)


def test_a_lab_that_does_not_start_by_a_defect_is_3_with_the_traceback_of_its_daemon(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BREAKS_DAEMONS)
    place = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "XDG_STATE_HOME": str(tmp_path / "state")}
    done = subprocess.run(
        hearing("lab", "up", "--reports", str(tmp_path / "reports")),
        cwd=ROOT,
        env=surroundings(**place),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    traced, _, said = done.stderr.partition("harness: The harness itself failed: ZeroDivisionError: by zero.")
    assert "Traceback (most recent call last):" in traced
    assert "Report it with its traceback above." in said
    assert not list((tmp_path / "state/partition-harness/labs").iterdir())


@pytest.mark.parametrize("arguments", [("schema", "events"), ("assess",)], ids=" ".join)
def test_a_reader_who_has_gone_is_no_broken_promise(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    scenarios = write_scenarios(tmp_path / "scenarios", "mine")
    where = ("--reports", str(tmp_path), "--scenarios", str(scenarios)) if arguments == ("assess",) else ()
    with os.fdopen(writing, "w") as output:
        done = subprocess.run(
            hearing(*arguments, *where),
            cwd=tmp_path,
            env=surroundings(),
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_doctor_ends_with_2_when_something_is_missing(tmp_path: Path) -> None:
    done = invoke("doctor", "--pg-bindir", str(tmp_path))
    assert done.exit_code == 2
    assert str(tmp_path) in done.stdout
    assert done.stdout.splitlines()[-1].endswith("missing: see above.")


def test_mark_prints_its_statements_and_refuses_what_it_cannot_reach() -> None:
    with socket.socket() as taken:
        # Bound, so that nobody else is there, and never listened at.
        taken.bind(("127.0.0.1", 0))
        url = ("--database-url", f"host=127.0.0.1 port={taken.getsockname()[1]} user=x dbname=x")
        printed = invoke("mark", *url, "--token", "it's", "--dry-run")
        assert (printed.exit_code, printed.output.count(";\n")) == (0, 2)
        assert "VALUES ('it''s')" in printed.output
        freed = invoke("mark", *url, "--token", "t", "--release", "--dry-run")
        assert (freed.exit_code, freed.output.split()[0]) == (0, "UPDATE")
        refused = invoke("mark", *url, "--token", "t", PGPASSWORD="hunter2")
        assert refused.exit_code == 2
        assert "Could not mark the database" in refused.output
    for missing in (url, ("--token", "t")):
        assert invoke("mark", *missing).exit_code == 2
