"""Planted defects that an exclusive scenario catches: latency and the pool are measured while no other test runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from .test_defects import EXCLUSIVE_CASES, Case, assert_caught, run


@pytest.mark.alone
@pytest.mark.parametrize("expected", EXCLUSIVE_CASES, ids=lambda c: c.defect)
def test_a_planted_defect_is_caught_alone(expected: Case, tmp_path: Path) -> None:
    assert_caught(expected, asyncio.run(run(expected.defect, expected.scenario, tmp_path)))
