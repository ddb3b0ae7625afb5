"""A conversion that took long is measured again and again: what is kept is known, and what is half made is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench._synthetic import Synthetic
from bench.checkers import Measured, Size, kept, main
from harness.columnar.convert import convert
from harness.errors import HarnessError

OPERATIONS = 300


@pytest.fixture
def columns(tmp_path: Path) -> Path:
    """The columns of a short history."""
    folder = tmp_path / "columns"
    convert(Synthetic(OPERATIONS).lines(), folder)
    return folder


def test_finished_columns_are_kept(columns: Path) -> None:
    assert kept(OPERATIONS, columns)


def test_columns_that_are_not_there_are_to_be_made(tmp_path: Path) -> None:
    assert not kept(OPERATIONS, tmp_path / "columns")


def test_columns_of_another_length_are_refused(columns: Path) -> None:
    with pytest.raises(HarnessError, match="whole history of 301 operations; remove the folder"):
        kept(OPERATIONS + 1, columns)


def test_columns_of_a_conversion_that_is_under_way_are_refused(columns: Path) -> None:
    next(columns.glob("odd-*")).unlink()
    with pytest.raises(HarnessError, match="no finished columns"):
        kept(OPERATIONS, columns)


def test_a_file_that_is_half_written_is_refused(columns: Path) -> None:
    path = next(columns.glob("odd-*"))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(HarnessError, match="no finished columns"):
        kept(OPERATIONS, columns)


def test_columns_of_a_history_that_broke_off_are_refused(tmp_path: Path) -> None:
    lines = list(Synthetic(OPERATIONS).lines())
    convert(lines[:-1], tmp_path / "columns")
    with pytest.raises(HarnessError, match="does not hold a whole history"):
        kept(OPERATIONS, tmp_path / "columns")


def test_a_line_says_that_the_columns_were_kept() -> None:
    took = Measured(1.5, 1.5, 100.0, "")
    made, again = (Size(10_000, convert, took, took, took).line() for convert in (took, None))
    assert len(made) == len(again)
    assert again.split()[:2] == ["10,000", "kept"]


def test_less_than_the_shortest_history_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.checkers", "--operations", "9999"])
    with pytest.raises(SystemExit):
        main()
    assert "10000 at least" in capsys.readouterr().err
