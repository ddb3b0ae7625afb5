"""The history file: readable up to the last instant of a killed runner, redacted, refused when broken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from harness.columnar.convert import columns_of
from harness.columnar.store import Store
from harness.errors import HistoryError
from harness.events import HIDDEN, Note, Record
from harness.history import FILE_NAME, Clock, History, read_history


def written(folder: Path, *texts: str, secrets: tuple[str, ...] = ()) -> History:
    history = History(folder, Clock())
    history.hide(secrets)
    for text in texts:
        history.add(Note(1.0, "topic", text))
    return history


def test_records_are_on_disk_before_the_file_is_closed(tmp_path: Path) -> None:
    written(tmp_path, "a", "b\nwith a line break", "ü \ud800")
    assert [record.text for record in read_history(tmp_path) if isinstance(record, Note)] == [
        "a",
        "b\nwith a line break",
        "ü \ud800",
    ]


def test_a_last_line_that_a_killed_runner_left_torn_is_dropped(tmp_path: Path) -> None:
    written(tmp_path, "a", "b").close()
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-9])
    assert [record.text for record in read_history(tmp_path) if isinstance(record, Note)] == ["a"]


@pytest.mark.parametrize("read", [read_history, lambda folder: Store(columns_of(folder)).every_record()])
def test_a_last_line_that_is_torn_within_a_character_is_dropped(
    tmp_path: Path, read: Callable[[Path], list[Record]]
) -> None:
    written(tmp_path, "a", "日").close()
    path = tmp_path / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index("日".encode()) + 2])
    assert [record.text for record in read(tmp_path) if isinstance(record, Note)] == ["a"]
    path.write_bytes(whole.replace("日".encode(), b"\xe6\x97"))
    with pytest.raises(HistoryError, match=r"line 2: no UTF-8"):
        read(tmp_path)


def test_a_broken_line_elsewhere_is_named(tmp_path: Path) -> None:
    written(tmp_path, "a", "b").close()
    path = tmp_path / FILE_NAME
    first, second, _ = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join((first[:-9], second, b"")))
    with pytest.raises(HistoryError, match="line 1"):
        read_history(tmp_path)


def test_a_folder_without_a_history_is_said(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=FILE_NAME):
        read_history(tmp_path)


def test_secrets_never_reach_the_file(tmp_path: Path) -> None:
    written(tmp_path, "password is hunter22!", secrets=("hunter22!", "")).close()
    assert "hunter22!" not in (tmp_path / FILE_NAME).read_text()
    assert f"password is {HIDDEN}" in (tmp_path / FILE_NAME).read_text()


def test_two_runs_never_share_a_file(tmp_path: Path) -> None:
    written(tmp_path).close()
    with pytest.raises(FileExistsError):
        History(tmp_path, Clock())


def test_wall_time_is_mapped_to_the_runs_clock() -> None:
    clock = Clock()
    assert clock.at_wall(clock.started_at.astimezone(UTC) + timedelta(seconds=2.5)) == 2.5
