"""Labs are known to every terminal of their user, and a dead one is told from a living one by what the kernel frees."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner

from harness.cli import cli
from harness.errors import SetupError, UsageError
from harness.events import RunStarted
from harness.history import FILE_NAME
from harness.jsonlines import encode
from harness.lab import state
from harness.lab.state import (
    LabFolder,
    LabRecord,
    claim,
    claimed,
    clear,
    find,
    home,
    known,
    socket_place,
    valid_name,
    write_holder,
)
from harness.ledger import FOLDER, Ledger
from tests.unit import report_samples as samples

HOLDER = """
import os, sys
from harness.lab.state import claim, write_holder
taken = claim(sys.argv[1])
write_holder(taken.descriptor)
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory of this test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(state, "_LOCK_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(state, "_REAPER_SECONDS", 0.05)
    return tmp_path


@contextmanager
def daemon(name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lab's name as its daemon does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def record_of(folder: LabFolder, reports: Path, **changes: str) -> LabRecord:
    run = reports / f"run-{folder.name}"
    run.mkdir(parents=True, exist_ok=True)
    return LabRecord(
        name=folder.name,
        pid=os.getpid(),
        started_at="2026-01-01T00:00:00+00:00",
        target="t",
        folder=run,
        ledger=run / FOLDER,
        harness="0",
        **changes,
    )


def test_a_name_is_had_by_one_living_process_and_freed_with_it_however_it_ends(place: Path) -> None:
    with daemon("mine") as process:
        assert claim("mine") is None
        assert find(None).name == find("mine").name == "mine"
        assert LabFolder(home() / "mine").holder() == process.pid
        process.kill()
        process.wait()
        assert not LabFolder(home() / "mine").alive()
        with claimed("mine") as taken:
            assert taken is not None
    with pytest.raises(UsageError, match=r"No lab is up.*What is left of mine"):
        find(None)
    with pytest.raises(UsageError, match="daemon of the lab mine has died"):
        find("mine")


def test_the_only_lab_is_meant_and_several_are_named(place: Path) -> None:
    with pytest.raises(UsageError, match="No lab is up; `harness lab up` starts one"):
        find(None)
    with daemon("east"):
        assert find(None).name == "east"
        with pytest.raises(UsageError, match="no lab named 'easst'; did you mean east"):
            find("easst")
        with daemon("west"), pytest.raises(UsageError, match=r"Several labs are up: east, west\. Say which one with"):
            find(None)


def test_only_its_owner_may_look_into_the_state(place: Path) -> None:
    with claimed("mine") as taken:
        assert taken is not None
        taken.folder.write(record_of(taken.folder, place))
        for path in (home(), taken.folder.path, *taken.folder.path.iterdir()):
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        assert taken.folder.record() == record_of(taken.folder, place)


def test_a_record_that_cannot_be_read_is_none(place: Path) -> None:
    with claimed("mine") as taken:
        assert taken is not None
        assert taken.folder.record() is None
        for text in ("", "{}", '{"name": 3}', "\xff"):
            (taken.folder.path / "lab.json").write_text(text)
            assert taken.folder.record() is None


def test_what_a_dead_lab_left_is_cleared_with_its_ledger_and_its_socket(place: Path) -> None:
    said: list[str] = []
    socket = place / "socket"
    socket.touch()
    with claimed("dead") as taken:
        assert taken is not None
        record = record_of(taken.folder, place, root=str(place / "gone"), socket=str(socket))
        taken.folder.write(record)
    ledger = Ledger(record.ledger)
    ledger.begin("run-dead", {"stack": "embedded", "root": str(place / "gone")})
    (folder,) = known()
    assert clear(folder, said.append)
    assert known() == []
    assert not socket.exists()
    assert ledger.record is not None
    assert not ledger.record.open
    assert any("its environment ended with its runner" in line for line in said)


def test_the_logs_of_a_dead_lab_are_redacted_when_it_is_cleared_and_those_of_the_run_that_it_kept(place: Path) -> None:
    target = place / "target.toml"
    target.write_text('name = "t"\n[launch]\ncommand = ["x"]\n[launch.environment]\nA_KEY = "correct-horse-battery"\n')
    first = dataclasses.replace(cast("RunStarted", samples.started().records[0]), target_path=str(target))
    with claimed("dead") as taken:
        assert taken is not None
        record = record_of(taken.folder, place)
        kept = dataclasses.replace(record, ledger=place / "run-that-was-kept" / FOLDER)
        taken.folder.write(kept)
    folders = (record.folder, kept.ledger.parent)
    for folder in folders:
        folder.mkdir(exist_ok=True)
        (folder / FILE_NAME).write_text(f"{encode(first)}\n")
        (folder / "service.log").write_text("it was correct-horse-battery\nLAB_TOKEN=planted lab token\n")
    (lab,) = known()
    assert clear(lab, lambda _: None)
    assert known() == []
    for folder in folders:
        assert (folder / "service.log").read_text() == "it was ***\nLAB_TOKEN=***\n"


def dead_for_good(place: Path) -> tuple[LabFolder, Path]:
    """A dead lab, and a root of it that nobody removes.

    Nothing proves that this folder is a runner's root: it has no lock that anybody could have held.
    """
    root = place / "ph-not-ours"
    root.mkdir()
    with claimed("dead") as taken:
        assert taken is not None
        record = record_of(taken.folder, place, root=str(root))
        taken.folder.write(record)
    Ledger(record.ledger).begin("run-dead", {"stack": "embedded", "root": str(root)})
    return taken.folder, root


def test_what_is_still_there_of_a_dead_lab_keeps_it_from_being_forgotten(place: Path) -> None:
    said: list[str] = []
    folder, root = dead_for_good(place)
    assert not clear(folder, said.append)
    assert [one.name for one in known()] == ["dead"]
    assert any("FAILED" in line and str(root) in line for line in said)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("list", "--prune"), "dead: could not be cleared away"),
        (("down",), "Something of the lab dead is left; see the lines above."),
        (("down", "--name", "dead"), "Something of the lab dead is left; see the lines above."),
        (("down", "--all"), "Something of the lab dead is left; see the lines above."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_that_cannot_clear_a_dead_lab_away_ends_with_1_until_it_can(
    place: Path, arguments: tuple[str, ...], told: str
) -> None:
    _, root = dead_for_good(place)
    left = CliRunner().invoke(cli, ["lab", *arguments])
    assert left.exit_code == 1
    assert told in left.output
    assert str(root) in left.output
    root.rmdir()
    assert CliRunner().invoke(cli, ["lab", *arguments]).exit_code == 0
    assert known() == []


def test_a_name_that_is_what_is_left_of_a_dead_lab_cannot_be_had(place: Path) -> None:
    dead_for_good(place)
    refused = CliRunner().invoke(cli, ["lab", "up", "--name", "dead", "--reports", str(place / "reports")])
    assert refused.exit_code == 2
    assert "What is left of the dead lab dead could not be cleared away" in refused.output


def test_a_living_lab_is_not_cleared(place: Path) -> None:
    with daemon("mine"):
        (folder,) = known()
        assert not clear(folder, lambda _: None)
        assert folder.alive()


def test_a_name_that_was_forgotten_while_it_was_taken_is_taken_anew(place: Path) -> None:
    with claimed("mine") as taken:
        assert taken is not None
        taken.folder.remove()
        with claimed("mine") as again:
            assert again is not None
            assert again.folder.path.is_dir()
            assert claim("mine") is None


def test_a_start_that_failed_forgets_its_own_place_and_never_that_of_the_next(place: Path) -> None:
    taken = claim("mine")
    assert taken is not None
    taken.forget()
    assert known() == []
    with daemon("mine"):
        taken.forget()
        assert [one.name for one in known()] == ["mine"]
    taken.close()


def test_a_lab_that_starts_is_ended_by_the_process_it_has_now(place: Path) -> None:
    with claimed("mine") as taken:
        assert taken is not None
        write_holder(taken.descriptor)
    with claimed("mine") as taken:
        assert taken is not None
        assert taken.folder.wait_holder(0.05) is None, "the process of before may be anybody's by now"
        write_holder(taken.descriptor)
        assert taken.folder.wait_holder(0.05) == os.getpid()
    assert taken.folder.wait_holder(0.05) is None


@pytest.mark.parametrize("name", ["", "Lab", "a/b", "../x", "-x", ".x", "x" * 41, "ä"])
def test_a_name_that_is_no_folder_s_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a lab"):
        valid_name(name)


def test_a_place_that_cannot_be_written_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(place / "file"))
    with pytest.raises(SetupError, match="XDG_STATE_HOME"):
        home()


def test_without_a_setting_the_state_lies_below_the_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    for given in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", given)
        assert home() == place / ".local/state/partition-harness/labs"


def test_the_socket_lies_where_the_reaper_removes_it_unless_that_path_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    short = Path(os.path.relpath(tmp_path)) if len(str(tmp_path)) > 80 else tmp_path
    place = socket_place(short / "ph-1")
    assert place == short / "ph-1/lab/socket"
    assert not stat.S_IMODE(place.parent.stat().st_mode) & 0o077
    deep = tmp_path / ("x" * 100) / "ph-2"
    with pytest.raises(SetupError, match=r"too long for a Unix socket\. Set TMPDIR"):
        socket_place(deep)
    # Where pytest's own folder is too deep, as this one is for the root.
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        assert socket_place(deep).is_relative_to(runtime)
