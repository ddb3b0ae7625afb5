"""Planted defects that an exclusive scenario catches: latency and the pool are measured while no other test runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.selftest.records import Task

from .test_defects import EXCLUSIVE_TASKS, assert_caught, records_of


@pytest.mark.alone
@pytest.mark.parametrize("task", EXCLUSIVE_TASKS, ids=lambda task: task.defect)
def test_a_planted_defect_is_caught_alone(task: Task, tmp_path: Path) -> None:
    assert_caught(records_of([task], tmp_path)[task])
