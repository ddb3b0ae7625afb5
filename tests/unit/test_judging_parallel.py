"""Runs judged at the same time, as a suite judges them, do not see each other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.checkers._common import expectations
from harness.rundata import Run

from .histories import good

ROUNDS = 3000


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Threads that are interrupted as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("impatient_threads")
def test_each_run_is_judged_by_its_own_operations() -> None:
    def strangers(run: Run) -> int:
        return sum(expectations(run)[0][0] is not run.operations[0] for _ in range(ROUNDS))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(strangers, [good().run() for _ in range(4)])) == [0, 0, 0, 0]
