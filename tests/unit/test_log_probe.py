"""The probe of the service's log: JSON lines with their fields, other lines as they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.events import LogLine
from harness.history import Clock
from harness.probes.logs import FIELDS_MAX_CHARACTERS, read_log


def read(folder: Path, *lines: str) -> list[LogLine]:
    """Lines as the probe reads them, on a clock that began at noon."""
    path = folder / "service.log"
    path.write_text("\n".join(lines), "utf-8")
    clock = Clock()
    clock.started_at = datetime(2026, 2, 1, 12, tzinfo=UTC)
    return [*read_log(path, clock)]


def line(**fields: object) -> str:
    """A line of noon and five seconds, unless it says otherwise."""
    return json.dumps({"timestamp": "2026-02-01T12:00:05Z", "level": "ERROR", "message": "m", **fields})


@pytest.mark.parametrize(
    ("fields", "sqlstate"), [({"sqlstate": "55P03"}, "55P03"), ({"sqlstate": None}, "null"), ({}, "-")]
)
def test_the_sqlstate_of_a_line_is_told_from_its_absence(
    tmp_path: Path, fields: dict[str, object], sqlstate: str
) -> None:
    (found,) = read(tmp_path, line(**fields))
    assert (found.t, found.level, found.message, found.sqlstate) == (5.0, "ERROR", "m", sqlstate)


def test_other_fields_are_kept_but_cut_short(tmp_path: Path) -> None:
    short, long = read(tmp_path, line(suppressed=3, port=1), line(trace="x" * 5000))
    assert (short.suppressed, json.loads(short.fields)) == (3, {"port": 1})
    assert len(long.fields) == FIELDS_MAX_CHARACTERS


def test_a_time_without_an_offset_is_taken_for_utc(tmp_path: Path) -> None:
    (found,) = read(tmp_path, line(timestamp="2026-02-01T12:00:07"))
    assert (found.t, found.level) == (7.0, "ERROR")


def test_what_is_no_json_object_with_a_message_is_kept_raw_at_the_time_of_the_line_before(tmp_path: Path) -> None:
    found = read(tmp_path, line(), "Traceback", "", '{"level": "INFO"}', line(suppressed="many"), "[1]")
    assert [(each.t, each.level) for each in found] == [(5.0, "ERROR"), *[(5.0, "RAW")] * 4]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert [*read_log(tmp_path / "service.log", Clock())] == []
