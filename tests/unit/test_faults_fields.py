"""What faults declare and refuse without any environment, and the pages of files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.fault import FAULTS, fault_from_json
from harness.faultfacts import catalogue
from harness.faults._pages import (
    DAMAGE,
    PAGE_BYTES,
    SEGMENT_PAGES,
    Relation,
    count_pages,
    damage_pages,
    read_pages,
    restore_pages,
    segments,
    write_pages,
)
from harness.probes.postgres import month_of_bounds
from harness.stacks.local_files import LocalFiles
from harness.values import Month

RELATION = Relation(1, "public", "t", "base/1/2")


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    file = tmp_path / RELATION.path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"".join(bytes([page + 1]) * PAGE_BYTES for page in range(4)))
    return LocalFiles(tmp_path)


def test_restore_brings_back_the_saved_bytes_of_damaged_pages(files: LocalFiles) -> None:
    before = (files.root / RELATION.path).read_bytes()
    saved = read_pages(files, RELATION, [1, 3])
    damage_pages(files, RELATION, [1, 3])
    assert (files.root / RELATION.path).read_bytes() != before
    assert restore_pages(files, RELATION, [1, 3], saved) == [1, 3]
    assert (files.root / RELATION.path).read_bytes() == before


def test_restore_leaves_a_page_that_was_written_since(files: LocalFiles) -> None:
    saved = read_pages(files, RELATION, [0, 1])
    damage_pages(files, RELATION, [0])
    with (files.root / RELATION.path).open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(b"newer")
    assert restore_pages(files, RELATION, [0, 1], saved) == [0]
    assert read_pages(files, RELATION, [1]).startswith(b"newer")
    assert restore_pages(files, RELATION, [0, 1], saved) == []


def test_pages_lie_in_files_of_a_gigabyte_and_are_taken_from_each_in_the_order_asked_for(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    (tmp_path / RELATION.path).parent.mkdir(parents=True)
    # Sparse, so that a gigabyte takes no room.
    for path, count in ((RELATION.path, SEGMENT_PAGES), (f"{RELATION.path}.1", 2)):
        with (tmp_path / path).open("wb") as file:
            file.truncate(count * PAGE_BYTES)
    assert segments(files, RELATION) == [RELATION.path, f"{RELATION.path}.1"]
    assert count_pages(files, RELATION) == SEGMENT_PAGES + 2
    last, first = SEGMENT_PAGES - 1, SEGMENT_PAGES
    blocks = [first, last, first + 1]
    pages = b"".join(bytes([number]) * PAGE_BYTES for number in (7, 8, 9))
    write_pages(files, RELATION, blocks, pages)
    assert read_pages(files, RELATION, blocks) == pages
    assert files.read(RELATION.path, last * PAGE_BYTES) == bytes([8]) * PAGE_BYTES
    assert files.read(f"{RELATION.path}.1") == bytes([7]) * PAGE_BYTES + bytes([9]) * PAGE_BYTES
    damage_pages(files, RELATION, [last, first])
    assert restore_pages(files, RELATION, blocks, pages) == [first, last]
    assert read_pages(files, RELATION, blocks) == pages


def test_restore_writes_over_pages_that_are_torn_as_given_and_over_no_other(files: LocalFiles) -> None:
    saved = read_pages(files, RELATION, [0, 1])
    torn = bytes(2 * PAGE_BYTES)
    write_pages(files, RELATION, [0], torn)
    assert restore_pages(files, RELATION, [0, 1], saved, torn) == [0]
    assert read_pages(files, RELATION, [0, 1]) == saved


def test_restore_leaves_a_page_that_the_file_no_longer_has(files: LocalFiles) -> None:
    saved = read_pages(files, RELATION, [2, 3])
    damage_pages(files, RELATION, [2, 3])
    with (files.root / RELATION.path).open("r+b") as file:
        file.truncate(3 * PAGE_BYTES)
    assert restore_pages(files, RELATION, [2, 3], saved) == [2]
    assert count_pages(files, RELATION) == 3


def test_damaged_header_has_flags_that_no_page_has() -> None:
    assert int.from_bytes(DAMAGE[10:12], "little") & ~0x0007


def test_pages_of_a_missing_file_are_none(tmp_path: Path) -> None:
    assert count_pages(LocalFiles(tmp_path), RELATION) == 0


@pytest.mark.parametrize(
    ("bounds", "month"),
    [
        ("FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')", Month(2025, 12)),
        ("FOR VALUES FROM ('2025-12-01') TO ('2025-12-16')", None),
        ("FOR VALUES FROM ('2025-12-02') TO ('2026-01-01')", None),
        ("FOR VALUES FROM (MINVALUE) TO ('2026-01-01')", None),
        ("DEFAULT", None),
        ("", None),
    ],
)
def test_month_is_read_from_the_bounds(bounds: str, month: Month | None) -> None:
    assert month_of_bounds(bounds) == month


@pytest.mark.parametrize(
    "data",
    [
        {"fault": "latency", "delay_ms": 0},
        {"fault": "latency", "delay_ms": 5, "directions": []},
        {"fault": "bandwidth", "rate_kb_per_second": 0},
        {"fault": "bandwidth", "rate_kb_per_second": -1},
        {"fault": "bandwidth", "rate_kb_per_second": 5, "directions": []},
        {"fault": "blackhole", "directions": []},
        {"fault": "slow-close", "delay_ms": 0},
        {"fault": "slicer", "average_bytes": 0, "delay_us": 100},
        {"fault": "slicer", "average_bytes": 100, "delay_us": -1},
        {"fault": "slicer", "average_bytes": 5000, "delay_us": 100},
        {"fault": "limit-data", "limit_bytes": 100},
        {"fault": "flapping-proxy", "interval_ms": 0},
        {"fault": "terminate-backends-repeatedly", "interval_ms": 1},
        {"fault": "limit-role-connections", "limit": -1},
        {"fault": "force-statement-timeout", "timeout_ms": 0},
        {"fault": "corrupt-heap", "pages": "first"},
        {"fault": "prevent-partition-creation", "month": "2031_05", "how": "wish"},
        {"fault": "attach-wrong-bounds", "month": "2025_12", "missing": "middle"},
        {"fault": "hold-lock-idle", "how": "politely"},
        {"fault": "refuse-by-trigger", "sqlstate": "2200"},
        {"fault": "refuse-by-trigger", "sqlstate": "22003'"},
        {"fault": "refuse-by-trigger", "sqlstate": "22003\n"},
        {"fault": "refuse-by-trigger", "sqlstate": "00000"},
        {"fault": "slow-partition", "delay_ms": 0},
        {"fault": "slow-partition", "delay_ms": 60000},
        {"fault": "detach-partition", "weeks": []},
        {"fault": "detach-partitoin"},
        {"fault": "restart-loop", "times": 0},
        {"fault": "restart-loop", "until": "happy"},
        {"fault": "limit-descriptors", "spare": -1},
        {"fault": "limit-memory", "spare_mb": -1},
        {"fault": "shift-clock", "days": 0},
        {"fault": "pass-month-end", "seconds_before": 0},
        {"fault": "pass-month-end", "seconds_before": 3600},
        {"fault": "dlq-full", "months": ["2025_12"], "detach": False},
    ],
)
def test_field_that_makes_no_sense_is_a_usage_error(data: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        fault_from_json(data)


def test_every_fault_tells_effect_versions_and_radius() -> None:
    assert len(catalogue()) == len(list(FAULTS.items())) > 45
    for facts in catalogue():
        assert facts.effect
        assert facts.versions
        assert "Radius" in (FAULTS.get(facts.name).__doc__ or ""), f"{facts.name} does not tell its Radius"


def test_reference_page_lists_every_fault_and_field() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/faults.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    for facts in catalogue():
        told = rows[f"`{facts.name}`"]
        missing = [state for state in facts.sqlstates if state not in told]
        assert not missing, f"docs/reference/faults.md does not tell {missing} of {facts.name}"
    for name, kind in FAULTS.items():
        for field in dataclasses.fields(kind):  # type: ignore[arg-type]
            assert f"`{field.name}`" in page, f"{name}.{field.name} is not in docs/reference/faults.md"
