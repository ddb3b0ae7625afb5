"""Planted defects that an exclusive scenario catches: latency and the pool are measured while no other test runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .defects import Defect
from .test_defects import EXCLUSIVE_CASES, assert_caught, run


@pytest.mark.alone
@pytest.mark.parametrize("expected", EXCLUSIVE_CASES, ids=lambda one: one.name)
def test_a_planted_defect_is_caught_alone(expected: Defect, tmp_path: Path) -> None:
    assert_caught(expected, asyncio.run(run(expected.name, expected.scenarios[0], tmp_path)))
